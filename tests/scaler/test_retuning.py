"""Other settings for what runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.scaler.simulated_proxy import NAME, World, hello, now, until, world
from wakeful.clock import run_simulated as run
from wakeful.config.model import Aggregation, Metric, Revision, Scale


def retuned(revision: Revision, scale: Scale, **settings: Any) -> Revision:
    return replace(revision, template=replace(revision.template, scale=scale, **settings))


async def steadily(it: World, held: int, seconds: int) -> None:
    """So many requests in hand all the time, from now on."""
    start = round(now())
    for second in range(start, start + seconds):
        await until(second)
        for _ in range(held):
            it.send(NAME, duration=1)


def test_a_window_that_changes_length_keeps_what_it_remembers() -> None:
    async def main() -> None:
        before = hello(concurrency=10, scale=Scale(window=60))
        async with world(before) as it:
            await steadily(it, held=20, seconds=30)
            await until(30.9)
            instances = it.starts()

            it.scaler.add(retuned(before, Scale(window=10)))
            await until(41.5)  # 10 s of silence fill the shorter window, a tick later it shows
            assert it.status().stable < 2
            await until(46)
            assert it.size() == 0
            assert it.starts() == instances

    run(main())


def test_another_metric_begins_with_empty_windows() -> None:
    async def main() -> None:
        before = hello(concurrency=10, max_instances=4)
        async with world(before) as it:
            await steadily(it, held=20, seconds=10)
            await until(10.5)
            assert it.status().stable > 10
            it.scaler.add(retuned(before, Scale(metric=Metric.RPS, target=1000)))
            await until(14.5)
            assert it.status().stable < 10  # of 20 requests in hand, none arrived since

    run(main())


@pytest.mark.parametrize(("most", "size"), [(2, 2), (8, 8)])
def test_bounds_change_under_a_running_revision(most: int, size: int) -> None:
    async def main() -> None:
        before = hello(concurrency=10, max_instances=4)
        async with world(before) as it:
            for _ in range(80):
                it.send(NAME, duration=100)
            await until(5)
            assert it.size() == 4
            it.scaler.add(retuned(before, Scale(), max_instances=most))
            await until(10)
            # Both instances that may stay and those that may not are in use.
            assert it.status().desired == size
            assert it.status().ready + it.status().draining == max(4, size)

    run(main())


def test_a_longer_delay_holds_back_from_the_next_decision_on() -> None:
    async def main() -> None:
        before = hello(concurrency=10)
        async with world(before) as it:
            await it.send(NAME, duration=1)
            it.scaler.add(retuned(before, Scale(down_delay=200)))
            await until(250)
            assert it.size() == 1
            await until(275)
            assert it.size() == 0

    run(main())


@pytest.mark.parametrize(
    ("aggregation", "least", "most"),
    [
        # 30 s of 10 requests in 40 s; or 10 * 0.8 ** 10, a fifth being forgotten each second
        (Aggregation.LINEAR, 7, 8),
        (Aggregation.WEIGHTED_EXPONENTIAL, 1, 1.4),
    ],
)
def test_a_weighted_average_forgets_sooner(
    aggregation: Aggregation, least: float, most: float
) -> None:
    async def main() -> None:
        async with world(hello(concurrency=10, scale=Scale(aggregation=aggregation))) as it:
            await steadily(it, held=10, seconds=30)
            await until(40.5)
            assert least <= it.status().stable <= most

    run(main())
