"""Instances that somebody else pauses, in simulated time."""

from __future__ import annotations

import pytest

from tests.runtime.staging import Publication, Stage, now, simulated, stage, until
from tests.runtime.test_freezing import host
from wakeful.events import Backends
from wakeful.runtime.instance import InstanceId, State
from wakeful.runtime.memory import Script

ONE, TWO = InstanceId("i1"), InstanceId("i2")


def latest(it: Stage) -> Publication:
    return it.published[-1]


@simulated
async def test_what_somebody_pauses_is_out_of_balancing_until_it_runs_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with stage() as it:

        def empty(backends: Backends) -> None:
            if not any(endpoint.instance == ONE for endpoint in backends.endpoints):
                it.fleet.drained(ONE)  # as the proxy says it: at once, and inside the call

        it.on_publish = empty
        it.fleet.start(2)
        await until(1)
        it.driver.pause(ONE)
        assert latest(it) == (1, (TWO,), None)
        assert (it.fleet.size, it.fleet.count(State.PAUSED)) == (1, 1)
        assert not it.fleet.asleep
        assert "instance i1 was paused by somebody else" in caplog.text

        await until(1000)
        assert it.stops == []
        it.driver.pause(ONE, False)
        assert latest(it) == (1000, (ONE, TWO), None)
        assert it.fleet.size == 2


@simulated
async def test_what_was_inside_ends_before_anything_new_comes_in() -> None:
    async with stage() as it:
        it.fleet.start(1)
        await until(1)
        it.driver.pause(ONE)
        await until(2)
        it.driver.pause(ONE, False)
        assert latest(it) == (1, (), None)

        await until(3)
        it.fleet.drained(ONE)
        assert latest(it) == (3, (ONE,), None)


@simulated
async def test_the_end_of_what_was_inside_changes_nothing_while_it_is_paused() -> None:
    async with stage() as it:
        it.fleet.start(1)
        await until(1)
        it.driver.pause(ONE)
        it.fleet.drained(ONE)
        assert (it.fleet.ready, it.fleet.count(State.PAUSED)) == ((), 1)


@simulated
async def test_one_that_is_paused_while_it_starts_gets_no_request_when_it_listens() -> None:
    class Connects:
        """As TCP does to a frozen container."""

        last_failure = ""

        async def passed(self) -> None:
            await until(1)

    async with stage(prober=lambda address, readiness: Connects()) as it:
        it.fleet.start(1)
        await until(0.5)
        it.driver.pause(ONE)
        await until(2)
        assert (it.published, it.fleet.count(State.PAUSED)) == ([], 1)

        it.driver.pause(ONE, False)
        assert it.published == [(2, (ONE,), None)]


@simulated
async def test_one_that_was_frozen_between_two_requests_runs_when_it_comes_back() -> None:
    async with host() as it:
        it.a.start(1)
        await until(1)
        it.a.rest("a1", since=1)
        assert it.frozen("a1")
        it.a.paused(InstanceId("a1"), True)
        it.a.drained("a1")
        it.a.paused(InstanceId("a1"), False)
        assert it.a.ready == ("a1",)
        assert not it.frozen("a1")


@simulated
async def test_a_spare_that_somebody_pauses_is_no_spare() -> None:
    async with host() as it:
        it.a.start(1)
        await until(1)
        it.a.drain(["a1"])
        assert [*it.a.spares] == ["a1"]
        it.a.paused(InstanceId("a1"), True)
        assert [*it.a.spares] == []
        await until(2)
        assert it.stops == [(1, "a1")]


@simulated
async def test_one_that_is_paused_while_it_drains_is_not_kept_as_a_spare() -> None:
    async with host() as it:
        it.inside.add("a1")
        it.a.start(1)
        await until(1)
        it.a.drain(["a1"])
        it.a.paused(InstanceId("a1"), True)
        assert it.a.draining == ("a1",)
        it.a.drained("a1")
        await until(2)
        assert it.stops == [(1, "a1")]


@pytest.mark.parametrize("vacant", [True, False])
def test_when_its_revision_goes_it_goes_too_but_not_with_a_request_inside(vacant: bool) -> None:
    @simulated
    async def story() -> None:
        async with stage() as it:
            it.fleet.start(1)
            await until(1)
            it.driver.pause(ONE)
            if vacant:
                it.fleet.drained(ONE)
            await until(2)
            it.fleet.keep_spares(False)
            await until(3)
            assert it.stops == ([(2, ONE)] if vacant else [])
            it.fleet.drained(ONE)
            await until(4)
            assert it.stops == [(2 if vacant else 3, ONE)]

    story()


@simulated
async def test_of_a_revision_that_goes_none_is_left_to_whoever_paused_it() -> None:
    async with stage() as it:
        it.fleet.start(1)
        await until(1)
        it.fleet.keep_spares(False)
        it.driver.pause(ONE)
        assert it.fleet.ready == (ONE,)  # for the scaler to drain, as it does with all


@simulated
async def test_one_that_ends_while_it_is_paused_is_a_crash() -> None:
    async with stage() as it:
        it.fleet.start(1)
        await until(1)
        it.driver.pause(ONE)
        it.driver.crash(ONE)
        await until(2)
        assert (it.fleet.crashes, it.fleet.gone, it.fleet.failing) == (1, True, False)


@simulated
async def test_the_end_of_all_stops_what_is_paused() -> None:
    async with stage(Script()) as it:
        it.fleet.start(1)
        await until(1)
        it.driver.pause(ONE)
        await until(2)
    assert it.stops == [(2, ONE)]


@simulated
async def test_what_is_said_of_an_instance_that_is_gone_is_of_no_interest() -> None:
    async with stage() as it:
        it.fleet.paused(InstanceId("gone"), True)
        assert (it.fleet.gone, it.published, now()) == (True, [], 0)
