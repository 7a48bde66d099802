"""A restart: what the scaler knew goes on, for as long as it is true."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.scaler.simulated_proxy import NAME, World, until, world
from wakeful.clock import run_simulated
from wakeful.config.model import Aggregation, Metric, Revision, Scale, Template
from wakeful.runtime.instance import Found, InstanceId
from wakeful.runtime.memory import Script
from wakeful.scaler.remembered import Remembered
from wakeful.scaler.window import window

values = st.integers(0, 800).map(lambda eighths: eighths / 8)


@given(
    aggregation=st.sampled_from(Aggregation),
    seconds=st.integers(1, 12),
    before=st.lists(st.tuples(st.integers(0, 40), values), max_size=30),
    shift=st.integers(-100, 100),
    after=st.lists(values, max_size=15),
)
def test_a_window_goes_on_as_if_it_had_never_stopped(
    aggregation: Aggregation,
    seconds: int,
    before: list[tuple[int, float]],
    shift: int,
    after: list[float],
) -> None:
    one, other = window(aggregation, seconds), window(aggregation, seconds)
    for second, value in before:
        one.record(second, value)
    history = one.history(40)
    if history is not None:
        other.go_on(40 + shift, history)
    for second, value in enumerate([*after, 0.0], 40):
        assert other.empty(second + shift) == one.empty(second)
        assert other.average(second + shift) == pytest.approx(one.average(second), abs=1e-6)
        one.record(second + 1, value)
        other.record(second + 1 + shift, value)


def test_a_shorter_window_takes_the_newest_of_a_longer_one() -> None:
    long, short = window(Aggregation.LINEAR, 60), window(Aggregation.LINEAR, 10)
    for second in range(60):
        long.record(second, float(second))
    history = long.history(59)
    assert history is not None
    short.go_on(0, history)
    assert short.average(0) == 54.5  # of 50 to 59


KNOWN = Remembered(
    metric=Metric.RPS,
    stable=None,
    panic=None,
    panicking=None,
    panic_peak=0,
    delay=(),
    asked=0,
    asked_ago=0.0,
    active=None,
)


@given(
    st.builds(
        Remembered,
        metric=st.sampled_from(Metric),
        stable=st.none() | st.just(window(Aggregation.LINEAR, 6).history(0)),
        panic=st.none(),
        panicking=st.none() | st.floats(0, 1e6),
        panic_peak=st.integers(0, 1000),
        delay=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30))).map(tuple),
        asked=st.integers(0, 1000),
        asked_ago=st.floats(0, 1e6),
        active=st.none() | st.floats(0, 1e6),
    )
)
def test_what_is_written_is_what_is_read(was: Remembered) -> None:
    assert Remembered.from_json(json.loads(json.dumps(was.as_json()))) == was


def test_a_history_is_written_and_read_too() -> None:
    ours = window(Aggregation.LINEAR, 6)
    ours.record(3, 0.1)
    was = replace(KNOWN, stable=ours.history(5))
    read = Remembered.from_json(json.loads(json.dumps(was.as_json())))
    assert read == was
    assert read.stable is not None
    assert (read.stable.silent, read.stable.seen) == (2, 1)


@pytest.mark.parametrize(
    "damage",
    [
        {"metric": "rbs"},
        {"metric": 1},
        {"stable": "x"},
        {"stable": [0, 1]},
        {"stable": [-1, 1, ""]},
        {"stable": [0, 0, ""]},
        {"stable": [0, 1, "*"]},
        {"stable": [0, 1, "AAAA"]},  # three bytes are no double
        {"panicking": "long"},
        {"panic-peak": None},
        {"delay": [[1]]},
        {"asked": [1]},
        {"active": []},
    ],
)
def test_what_nobody_wrote_is_refused(damage: dict[str, object]) -> None:
    said = json.loads(json.dumps(KNOWN.as_json()))
    assert Remembered.from_json(said) == KNOWN
    with pytest.raises(ValueError, match=r".+"):
        Remembered.from_json(said | damage)
    with pytest.raises(ValueError, match="not what was written"):
        Remembered.from_json({})


# The whole scaler


def hello(scale: Scale = Scale()) -> Revision:  # noqa: B008 (frozen)
    return Revision(
        "hello", 1, Template(image="hello:1", concurrency=10, max_instances=20, scale=scale)
    )


async def hold(it: World, held: Callable[[int], int], seconds: range) -> list[int]:
    """So many requests in hand in each second; the number of instances at its end."""
    sizes = []
    for second in seconds:
        await until(second + 0.01)
        for _ in range(held(second)):
            it.send(NAME, duration=0.97)
        await until(second + 0.99)
        sizes.append(it.size())
    return sizes


async def without_a_restart(revision: Revision, seconds: int) -> list[int]:
    async with world(revision) as it:
        return await hold(it, falling, range(seconds))


async def after_a_restart(
    revision: Revision,
    at: int,
    gap: int,
    seconds: int,
    recall: bool = True,
    listen: float = 0,
    held: Callable[[int], int] | None = None,
    look: Callable[[World], None] = lambda it: None,
) -> list[int]:
    held = held or falling
    async with world(revision) as first:
        await hold(first, held, range(at))
        remembered = {name: it.as_json() for name, it in first.scaler.remember().items()}
        left = first.size()
    text = json.dumps(remembered)
    async with world() as it:
        await until(at + gap)
        it.add(revision)
        it.driver.upcoming.extend([Script(start=0, listen=listen)] * left)
        for number in range(left):
            name = InstanceId(f"left-{number}")
            address = (await it.driver.start(revision, name)).address
            assert it.scaler.adopt(Found(name, "hello", NAME, address))
        if recall:
            known = {name: Remembered.from_json(was) for name, was in json.loads(text).items()}
            it.scaler.recall(known, gap)
        sizes = await hold(it, held, range(at + gap, seconds))
        look(it)
        return sizes


def falling(second: int) -> int:
    return 80 if second < 40 else 20


@pytest.mark.parametrize(
    ("scale", "at"),
    [
        (Scale(), 30),  # under full load
        (Scale(), 60),  # while the averages fall
        (Scale(), 104),  # while instances go
        (Scale(aggregation=Aggregation.WEIGHTED_EXPONENTIAL), 60),
        (Scale(down_delay=30), 120),
    ],
)
def test_a_restart_makes_no_difference_to_the_scale(scale: Scale, at: int) -> None:
    steady = run_simulated(without_a_restart(hello(scale), 240))
    after = run_simulated(after_a_restart(hello(scale), at, 0, 240))
    assert max(steady) >= 8
    assert steady[-1] == 3  # 20 in hand, a target of 7
    # Both decide every other second, and not in the same ones.
    for second, size in enumerate(after[:-2], at):
        near = steady[second - 2 : second + 3]
        assert min(near) <= size <= max(near), second


def test_the_time_in_between_is_no_silence() -> None:
    """Nobody was served then, but nobody had gone away either."""
    seen: list[float] = []
    run_simulated(
        after_a_restart(
            hello(),
            40,
            20,
            64,
            held=lambda second: 80,
            look=lambda it: seen.append(it.status().stable),
        )
    )
    assert seen[0] > 0.9 * 80


def test_instances_that_are_probed_again_begin_no_panic() -> None:
    seen: list[bool] = []
    run_simulated(
        after_a_restart(
            hello(), 36, 0, 39, listen=5, look=lambda it: seen.append(it.status().panicking)
        )
    )
    assert seen == [False]


def test_a_restart_does_not_put_off_the_way_to_zero() -> None:
    def briefly(second: int) -> int:
        return 5 if second < 10 else 0

    sizes = run_simulated(after_a_restart(hello(), 40, 0, 80, held=briefly))
    assert (sizes[0], sizes[-1]) == (1, 0)


def test_a_restart_that_knows_nothing_keeps_everything_for_a_window() -> None:
    """What Knative does: the difference that remembering makes."""
    steady = run_simulated(without_a_restart(hello(), 240))
    after = run_simulated(after_a_restart(hello(), 60, 0, 240, recall=False))
    assert after[50] == steady[60]
    assert steady[60 + 50] < steady[60]


def test_what_a_window_has_passed_over_says_nothing_any_more() -> None:
    late = run_simulated(after_a_restart(hello(), 30, 61, 200))
    forgotten = run_simulated(after_a_restart(hello(), 30, 61, 200, recall=False))
    assert late == forgotten
    early = run_simulated(after_a_restart(hello(), 30, 59, 200))
    assert early != forgotten


def test_what_was_remembered_wakes_nothing_that_does_not_run() -> None:
    async def main() -> None:
        async with world(hello()) as it:
            it.scaler.recall({NAME: replace(KNOWN, metric=Metric.CONCURRENCY, asked=5)}, 1.0)
            await until(10)
            assert it.starts() == []
            assert it.scaler.awake == ()

    run_simulated(main())
