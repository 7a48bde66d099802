"""A fleet's instances on their way out, and whatever else may happen; see staging."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.runtime.staging import now, simulated, stage, until
from wakeful.clock import run_simulated
from wakeful.events import Backends
from wakeful.runtime.driver import DriverError, EngineUnavailable
from wakeful.runtime.instance import InstanceId, State
from wakeful.runtime.memory import Script

# Going


@simulated
async def test_a_drained_instance_leaves_the_endpoints_at_once_and_stops_when_it_is_empty() -> None:
    async with stage() as it:
        it.fleet.start(1)
        await until(1)
        it.fleet.drain(["i1"])
        assert it.published[-1:] == [(1, (), None)]
        assert it.fleet.draining == ("i1",)

        await until(5000)
        assert it.stops == []

        it.fleet.drained("i1")
        await until(5001)
        assert it.stops == [(5000, "i1")]
        assert it.fleet.gone


@simulated
async def test_an_empty_instance_may_be_reported_from_inside_the_publication() -> None:
    async with stage() as it:
        it.fleet.start(2)
        await until(1)
        it.on_publish = lambda backends: it.fleet.drained("i1")
        it.fleet.drain(["i1"])
        await until(2)

        assert it.stops == [(1, "i1")]
        assert it.fleet.ready == ("i2",)


@simulated
async def test_draining_several_is_published_once() -> None:
    async with stage() as it:
        it.fleet.start(3)
        await until(1)
        it.fleet.start(1)
        it.published.clear()
        it.fleet.drain(["i1", "i4", "i3"])
        await until(2)

        assert it.published == [(1, ("i2",), None)]


@simulated
async def test_an_instance_that_was_still_starting_is_called_off() -> None:
    async with stage() as it:
        it.fleet.start(1)
        await until(0.1)
        it.fleet.drain(["i1"])
        await until(1)

        assert it.stops == [(0.1, "i1")]
        assert it.fleet.gone
        assert it.published == []
        assert it.fleet.starts_failed == 0
        assert not it.fleet.failing


class Gate:
    """A probe that passes when the test says so."""

    last_failure = "not open"

    def __init__(self) -> None:
        self.open = asyncio.get_running_loop().create_future()

    async def passed(self) -> None:
        await self.open


@pytest.mark.parametrize("first", ["passed", "drained"])
def test_a_start_called_off_in_the_turn_in_which_it_gets_ready_stays_off(first: str) -> None:
    async def main() -> None:
        gate = Gate()
        async with stage(prober=lambda address, readiness: gate) as it:
            it.fleet.start(1)
            await until(1)
            if first == "passed":
                gate.open.set_result(None)
                it.fleet.drain(["i1"])
            else:
                it.fleet.drain(["i1"])
                gate.open.set_result(None)
            await until(2)

            assert it.fleet.gone
            assert it.published == []
            assert it.stops == [(1, "i1")]
            assert it.fleet.became_ready == 0

    run_simulated(main())


@simulated
async def test_what_was_not_asked_to_drain_cannot_be_reported_empty() -> None:
    async with stage() as it:
        it.fleet.start(1)
        await until(1)
        it.fleet.drained("i1")
        it.fleet.drained("nobody")
        await until(2)

        assert it.fleet.ready == ("i1",)


@simulated
async def test_an_instance_the_engine_will_not_stop_is_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with stage() as it:
        stop, tries = it.driver.stop, []

        async def refuses_until_five(instance: InstanceId, grace: float) -> None:
            tries.append(now())
            if now() < 5:
                raise EngineUnavailable("no answer")
            await stop(instance, grace)

        it.driver.stop = refuses_until_five  # type: ignore[method-assign]
        it.fleet.start(1)
        await until(1)
        it.fleet.drain(["i1"])
        it.fleet.drained("i1")
        await until(3)
        assert it.fleet.count(State.STOPPING) == 1

        await until(20)
        assert tries == [1, 2, 4, 8]
        assert it.fleet.gone
        assert "cannot be stopped: no answer" in caplog.text


# Closing


@simulated
async def test_closing_stops_every_instance_whatever_it_is_doing_and_waits_for_that() -> None:
    async with stage(Script(goodbye=3)) as it:
        it.fleet.start(2)
        await until(1)
        it.fleet.drain(["i2"])
        it.fleet.start(1)
        await until(1.1)
        await it.fleet.close(leave=False)

        assert now() == 4.1
        assert it.published[-1:] == [(1.1, (), None)]
        assert await it.driver.instances() == []
        assert it.fleet.gone


@simulated
async def test_an_instance_whose_publication_fails_is_stopped_and_the_rest_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def breaks_once(backends: Backends) -> None:
        it.on_publish = lambda backends: None
        raise ZeroDivisionError

    async with stage() as it:
        it.on_publish = breaks_once
        it.fleet.start(1)
        await until(1)
        it.fleet.start(1)
        await until(2)

        assert it.fleet.ready == ("i2",)
        assert it.stops == [(0.35, "i1")]
        assert it.published[1:] == [(0.35, (), None), (1.35, ("i2",), None)]
    assert "ZeroDivisionError" in caplog.text


@simulated
async def test_leaving_touches_nothing() -> None:
    async with stage() as it:
        it.fleet.start(2)
        await until(1)
        it.published.clear()
        await it.fleet.close(leave=True)
        await until(100)

        assert {f.instance for f in await it.driver.instances()} == {"i1", "i2"}
        assert (it.stops, it.published) == ([], [])


@simulated
async def test_closing_does_not_wait_for_an_engine_that_is_gone() -> None:
    async with stage() as it:

        async def refuses(instance: InstanceId, grace: float) -> None:
            raise EngineUnavailable("no answer")

        it.driver.stop = refuses  # type: ignore[method-assign]
        it.fleet.start(1)
        await until(1)
        await it.fleet.close(leave=False)
        assert now() == 1


# Whatever happens

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["start", "drain", "drained", "crash", "wait", "tick"]), st.integers(0, 5)
    ),
    max_size=40,
)
SCRIPTS = st.lists(
    st.builds(
        Script,
        start=st.sampled_from([0, 0.25, 3]),
        failure=st.sampled_from([None, None, DriverError("no")]),
        listen=st.sampled_from([0, 0.1, None]),
        lifetime=st.sampled_from([None, None, 0, 0.1, 20]),
        goodbye=st.sampled_from([0, 2, 30]),
    ),
    max_size=10,
)


@settings(max_examples=150, deadline=None)
@given(STEPS, SCRIPTS)
def test_an_endpoint_never_outlives_its_instance_and_nothing_is_left_behind(
    steps: list[tuple[str, int]], scripts: list[Script]
) -> None:
    async def main() -> None:
        async with stage() as it:
            whole: list[Backends] = []
            it.on_publish = whole.append
            it.driver.upcoming.extend(scripts)
            for verb, n in steps:
                names = (*it.fleet.starting, *it.fleet.ready, *it.fleet.draining)
                some = names[n % len(names)] if names else "nobody"
                if verb == "start":
                    it.fleet.start(n % 3)
                elif verb == "drain":
                    it.fleet.drain([some])
                elif verb == "drained":
                    it.fleet.drained(some)
                elif verb == "crash":
                    alive = [f.instance for f in await it.driver.instances()]
                    if alive:
                        it.driver.crash(alive[n % len(alive)])
                elif verb == "wait":
                    await asyncio.sleep(n * n)
                else:
                    await asyncio.sleep(0)

                published = it.published[-1][1] if it.published else ()
                alive_now = {f.instance for f in await it.driver.instances()}
                assert published == it.fleet.ready
                assert set(published) <= alive_now
                assert it.fleet.size == len(it.fleet.ready) + len(it.fleet.starting)
                assert not (it.fleet.size and it.fleet.outage)
            assert all(a != b for a, b in pairwise(whole))  # nothing is published twice

            await it.fleet.close(leave=False)
            assert it.fleet.gone
            assert await it.driver.instances() == []

    run_simulated(main())
