"""What must be true of the autoscaler whatever its settings and its traffic are.

The pure rules have their own properties beside them; here everything runs
together, in simulated time: windows, decisions, fleets and the event rule,
under loads, crashes, failing starts and reloads at random.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.scaler.simulated_proxy import now
from tests.scaler.watched import Watched
from wakeful.clock import run_simulated
from wakeful.config.model import Aggregation, Metric, Queue, Revision, Scale, Template
from wakeful.runtime.driver import DriverError
from wakeful.runtime.instance import InstanceId
from wakeful.runtime.memory import Script
from wakeful.scaler.target import resolve_target

pytestmark = pytest.mark.no_cover  # traced it takes three times as long, to cover what others do

NAME = "hello-00001"

# Ranges are the schema's, but windows are short, as hundreds of stories are
# simulated to their end, and no target is so small that a few requests want
# hundreds of instances.
SCALES = st.builds(
    Scale,
    metric=st.sampled_from(Metric),
    aggregation=st.sampled_from(Aggregation),
    target=st.sampled_from([None, 0.5, 1.0, 2.5, 20.0, 1000.0]),
    utilization=st.sampled_from([0.5, 0.7, 1.0]),
    window=st.sampled_from([6.0, 6.0, 7.0, 20.0, 60.0]),
    panic_window=st.sampled_from([0.01, 0.1, 0.5, 1.0]),
    panic_threshold=st.sampled_from([1.1, 2.0, 10.0]),
    down_delay=st.sampled_from([0.0, 0.0, 3.0, 60.0]),
    retention=st.sampled_from([0.0, 0.0, 0.5, 30.0]),
    initial=st.integers(0, 4),
    activation=st.integers(1, 3),
    max_up_rate=st.sampled_from([1.01, 2.0, 1000.0]),
    max_down_rate=st.sampled_from([1.01, 2.0, 10.0]),
    target_burst_capacity=st.sampled_from([-1.0, 0.0, 211.0]),
)


@st.composite
def templates(draw: st.DrawFn) -> Template:
    scale = draw(SCALES)
    least = draw(st.sampled_from([0, 0, 0, 1, 3]))
    most = draw(st.sampled_from([0, 1, 4, 8]))
    if most:
        least, scale = min(least, most), replace(scale, activation=min(scale.activation, most))
    return Template(
        image="hello:1",
        concurrency=draw(st.sampled_from([0, 1, 3, 10])),
        min_instances=least,
        max_instances=most,
        scale=scale,
        queue=Queue(timeout=60),
    )


SCRIPTS = st.builds(
    Script,
    start=st.sampled_from([0, 0.25, 1, 7]),
    failure=st.sampled_from([None, None, None, None, DriverError("no")]),
    listen=st.sampled_from([0, 0.1, 3, 3, None]),
    lifetime=st.sampled_from([None, None, None, None, 0, 0.1, 15]),
    goodbye=st.sampled_from([0, 2, 30]),
)
STORIES = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(1, 25), st.sampled_from([0.01, 0.3, 3, 40])),
        st.tuples(st.just("send"), st.integers(1, 4), st.sampled_from([0.01, 0.3, 3, 40])),
        st.tuples(st.just("wait"), st.sampled_from([0, 0.1, 0.7, 1, 2, 5, 20, 70]), st.none()),
        st.tuples(st.just("crash"), st.integers(0, 5), st.none()),
        st.tuples(st.just("next starts"), st.integers(1, 3), SCRIPTS),
        st.tuples(st.just("engine"), st.sampled_from([0.5, 10]), st.none()),
        st.tuples(st.just("retire"), st.sampled_from([0, 1, 30]), st.none()),
        st.tuples(st.just("retune"), st.just(0), templates()),
    ),
    max_size=25,
)
Story = Sequence[tuple[str, float, object]]


@asynccontextmanager
async def watched(template: Template, script: Script = Script()) -> AsyncIterator[Watched]:  # noqa: B008
    it = Watched(script)
    await it.driver.open(it.exited)
    it.add(Revision("hello", 1, template))
    observer = asyncio.create_task(it.observe_every_second())
    try:
        yield it
        assert it.breaches == []
    finally:
        it.closing = True
        observer.cancel()
        for task in list(it.tasks):
            task.cancel()
        await asyncio.gather(observer, *it.tasks, return_exceptions=True)
        await it.scaler.close(leave=False)
        assert await it.driver.instances() == []


async def play(it: Watched, story: Story) -> None:
    for verb, amount, what in story:
        if verb == "send":
            for _ in range(int(amount)):
                it.send(NAME, what)  # type: ignore[arg-type]
        elif verb == "wait":
            await asyncio.sleep(amount)
        elif verb == "crash":
            alive = await it.driver.instances()
            if alive:
                it.driver.crash(InstanceId(alive[int(amount) % len(alive)].instance))
        elif verb == "next starts":
            it.driver.upcoming.extend([what] * int(amount))  # type: ignore[list-item]
        elif verb == "engine":
            it.driver.available = False
            await asyncio.sleep(amount)
            it.driver.available = True
        elif verb == "retire":
            it.retire(NAME)
            await asyncio.sleep(amount)
            it.add(it.revisions[NAME])
        elif verb == "retune":
            assert isinstance(what, Template)
            it.add(replace(it.revisions[NAME], template=what))
        it.look()


async def settle(it: Watched) -> None:
    """Until whatever was begun is over: starts, back-off, panic and retention, and then the
    slowest way down: one instance in a tick, and each as late as the delay makes it."""
    scale = it.revisions[NAME].template.scale
    await asyncio.sleep(3 * scale.window + scale.retention + 200)
    await asyncio.sleep(it.largest * (2 + scale.down_delay))


@settings(max_examples=100, deadline=None)
@given(templates(), STORIES)
def test_whatever_happens_bounds_hold_and_nothing_in_use_is_taken_away(
    template: Template, story: Story
) -> None:
    async def main() -> None:
        async with watched(template) as it:
            await play(it, story)
            it.driver.upcoming.clear()
            outcomes = await it.answers()
            assert all(outcome.instance or outcome.detail for outcome in outcomes)

            template_now = it.revisions[NAME].template
            await settle(it)
            status = it.status()
            assert (status.starting, status.ready) == (0, template_now.min_instances)
            assert status.draining + status.stopping == 0
            assert it.scaler.awake == ((NAME,) if template_now.min_instances else ())

    run_simulated(main())


@settings(max_examples=40, deadline=None)
@given(templates(), STORIES, st.integers(1, 40))
def test_a_load_that_no_longer_changes_is_converged_upon_and_left_alone(
    template: Template, story: Story, load: int
) -> None:
    async def main() -> None:
        async with watched(template) as it:
            await play(it, story)
            it.driver.upcoming.clear()
            await it.answers()
            await asyncio.sleep(130)  # the longest back-off, and whatever was under way
            for _ in range(load):
                it.send(NAME, 1e6)
            template_now = it.revisions[NAME].template
            await settle(it)
            settled, starts = it.status(), len(it.driver.starts)
            assert settled.starting == settled.stopping == 0
            assert settled.ready in enough(template_now, load)

            await asyncio.sleep(3 * template_now.scale.window)
            assert (it.status().ready, len(it.driver.starts)) == (settled.ready, starts)

    run_simulated(main())


def enough(template: Template, load: int) -> set[int]:
    """What so many requests that never end want: by the limit, and by the target."""
    scale, limit = template.scale, template.concurrency
    needed = ceil(load / limit) if limit else 1
    if limit or scale.metric is Metric.CONCURRENCY:
        needed = max(needed, scale.activation)
    wanted = {0}  # no request arrives any more
    if scale.metric is Metric.CONCURRENCY:
        target = resolve_target(scale, limit).value
        # The weights of an exponential average sum to a little less than one.
        wanted = {ceil(load / target), ceil(load * 0.9999 / target)}
    most = template.max_instances or 10**6
    return {min(max(one, needed, template.min_instances), most) for one in wanted}


@settings(max_examples=25, deadline=None)
@given(templates(), STORIES)
def test_the_same_story_has_the_same_history(template: Template, story: Story) -> None:
    async def main() -> tuple[object, ...]:
        async with watched(template) as it:
            await play(it, story)
            outcomes = await it.answers()
            await asyncio.sleep(100)
            return it.published, it.driver.starts, it.driver.stops, len(outcomes), now()

    assert run_simulated(main()) == run_simulated(main())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 12), st.sampled_from([0, 0, 0.05, 0.4, 1.1, 3])),
        min_size=1,
        max_size=12,
    ),
    st.integers(1, 5),
    st.integers(1, 20),
    st.builds(Script, start=st.sampled_from([0, 0.25, 2]), listen=st.sampled_from([0, 0.1, 4])),
)
def test_nothing_is_started_twice_for_the_same_demand(
    arrivals: list[tuple[int, float]], concurrency: int, most: int, script: Script
) -> None:
    """However the requests come, and however long the starts take."""
    template = Template(
        image="hello:1",
        concurrency=concurrency,
        max_instances=most,
        scale=Scale(utilization=1.0),  # so that a tick wants no more than the limit does
    )

    async def main() -> None:
        async with watched(template, script) as it:
            sent = 0
            for crowd, pause in arrivals:
                for _ in range(crowd):
                    it.send(NAME, 1e4)
                sent += crowd
                await asyncio.sleep(pause)
            await asyncio.sleep(50)
            assert len(it.driver.starts) == min(ceil(sent / concurrency), most)
            assert it.status().ready == len(it.driver.starts)

    run_simulated(main())


def test_a_maximum_that_was_lowered_holds_before_the_next_decision() -> None:
    template = Template(image="hello:1", concurrency=1, max_instances=5)

    async def main() -> None:
        async with watched(template) as it:
            for _ in range(5):
                it.send(NAME, 1e4)
            await asyncio.sleep(60.5)
            assert it.size() == 5
            it.add(replace(it.revisions[NAME], template=replace(template, max_instances=3)))
            alive = await it.driver.instances()
            for found in alive[:2]:
                it.driver.crash(InstanceId(found.instance))
            await asyncio.sleep(0)
            assert (it.size(), len(it.driver.starts)) == (3, 5)

    run_simulated(main())


def test_what_the_event_rule_asked_for_is_kept_while_panicking() -> None:
    """Its own memory ends a window after the burst, and the panic that follows later."""
    scale = Scale(window=6, target=1, utilization=1, panic_threshold=1.1, max_up_rate=1.01)
    template = Template(image="hello:1", concurrency=0, min_instances=1, scale=scale)

    async def main() -> None:
        async with watched(template) as it:
            for _ in range(5):
                it.send(NAME, 0.01)
            it.driver.available = False  # so that the burst is over before much is ready
            await asyncio.sleep(0.5)
            it.driver.available = True
            sizes: list[int] = []
            while not sizes or it.status().panicking:
                await asyncio.sleep(1)
                sizes.append(it.status().desired)
            assert len(sizes) > 6
            assert set(sizes[:-1]) == {5}
            await asyncio.sleep(30)
            assert it.size() == 1

    run_simulated(main())
