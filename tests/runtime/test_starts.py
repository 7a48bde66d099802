"""A fleet's instances on their way up; see staging for what is scripted."""

from __future__ import annotations

import logging

import pytest

from tests.runtime.staging import simulated, stage, until
from wakeful.events import Backends, Outage
from wakeful.runtime.driver import DriverError
from wakeful.runtime.instance import Address, Found, InstanceId
from wakeful.runtime.memory import Script
from wakeful.runtime.turns import Turns

# Coming up


@simulated
async def test_an_instance_is_published_when_its_probe_passes_and_not_before() -> None:
    async with stage() as it:
        it.fleet.start(1)
        await until(0.3)
        assert (it.fleet.starting, it.fleet.ready, it.published) == (("i1",), (), [])

        await until(1)
        assert (it.fleet.starting, it.fleet.ready) == ((), ("i1",))
        assert it.published == [(0.35, ("i1",), None)]


@simulated
async def test_where_an_instance_listens_is_published_with_it() -> None:
    async with stage() as it:
        seen: list[Backends] = []
        it.on_publish = seen.append
        it.fleet.start(1)
        await until(1)

        [endpoint] = seen[-1].endpoints
        assert (endpoint.host, endpoint.port) == ("i1", 8080)


@simulated
async def test_instances_that_were_asked_for_together_start_together() -> None:
    async with stage() as it:
        it.fleet.start(3)
        await until(1)

        assert [s.at for s in it.driver.starts] == [0, 0, 0]
        assert it.fleet.ready == ("i1", "i2", "i3")
        assert [p[0] for p in it.published] == [0.35, 0.35, 0.35]


@simulated
async def test_starts_beyond_the_hosts_limit_wait_for_their_turn() -> None:
    async with stage(turns=Turns(2)) as it:
        it.fleet.start(5)
        await until(2)

        assert [round(s.at, 6) for s in it.driver.starts] == [0, 0, 0.25, 0.25, 0.5]


@simulated
async def test_an_instance_that_never_listens_does_not_keep_others_from_starting() -> None:
    async with stage(turns=Turns(1)) as it:
        it.driver.upcoming.append(Script(listen=None))
        it.fleet.start(2)
        await until(1)

        assert it.fleet.ready == ("i2",)


@simulated
async def test_waiting_for_a_turn_does_not_count_against_the_start() -> None:
    async with stage(Script(start=40), turns=Turns(1)) as it:
        it.fleet.start(3)
        await until(121)

        assert it.fleet.ready == ("i1", "i2", "i3")


@simulated
async def test_a_pull_keeps_nobody_elses_instance_from_starting() -> None:
    turns = Turns(1)
    async with stage(Script(pull=40), turns=turns) as slow, stage(turns=turns) as other:
        slow.fleet.start(3)
        await until(1)
        other.fleet.start(1)
        await until(2)
        assert (other.fleet.ready, slow.fleet.ready) == (("i1",), ())

        await until(42)
        assert slow.fleet.ready == ("i1", "i2", "i3")
        assert [round(s.at, 6) for s in slow.driver.starts] == [40, 40.25, 40.5]


@simulated
async def test_a_pull_that_takes_too_long_is_a_failed_start() -> None:
    async with stage(Script(pull=70)) as it:
        it.fleet.start(1)
        await until(60.5)

        assert it.fleet.outage == Outage(
            "start_failed", "the instance was not started within 60s", until=61
        )


@simulated
async def test_a_found_instance_is_adopted_when_its_probe_passes() -> None:
    async with stage() as it:
        address = (await it.driver.start(it.fleet.revision, InstanceId("old"))).address
        it.fleet.adopt(Found(InstanceId("old"), "hello", "hello-00001", address))
        assert it.fleet.starting == ("old",)

        await until(1)
        assert it.fleet.ready == ("old",)
        assert len(it.driver.starts) == 1
        assert it.published == [(0.35, ("old",), None)]


@simulated
async def test_an_instance_that_runs_already_is_adopted_without_a_turn_to_start() -> None:
    async with stage(Script(start=40), turns=Turns(1)) as it:
        address = (await it.driver.start(it.fleet.revision, InstanceId("old"))).address
        it.fleet.start(1)
        await until(41)
        it.fleet.adopt(Found(InstanceId("old"), "hello", "hello-00001", address))
        await until(42)

        assert it.fleet.ready == ("old",)


@simulated
async def test_a_found_instance_that_does_not_listen_is_stopped_at_the_deadline() -> None:
    async with stage() as it:
        it.fleet.adopt(Found(InstanceId("old"), "hello", "hello-00001", Address("old", 8080)))
        await until(61)

        assert it.stops == [(60, "old")]
        assert it.fleet.gone


# What a start consists of


def phases_of(backends: Backends) -> list[tuple[str, float]]:
    (endpoint,) = backends.endpoints
    assert endpoint.start is not None
    return [(phase, round(seconds, 6)) for phase, seconds in endpoint.start.phases]


@simulated
async def test_an_instance_is_published_with_what_its_start_consisted_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    turns = Turns(1)
    async with stage(turns=turns) as other, stage(turns=turns) as it:
        seen: list[Backends] = []
        it.on_publish = seen.append
        other.fleet.start(1)
        await until(0.05)
        it.fleet.start(1)
        await until(1)

        assert phases_of(seen[0]) == [("queued", 0.2), ("start", 0.25), ("listening", 0.1)]
        (endpoint,) = seen[0].endpoints
        assert endpoint.start is not None
        assert round(endpoint.start.ready_at, 6) == 0.6
        ready = "hello-00001: instance i1 is ready after 0.550 s"
        assert f"{ready} (queued 0.200, start 0.250, listening 0.100)" in caplog.text


@simulated
async def test_a_pull_comes_before_the_turn_and_is_not_counted_as_waiting_for_it() -> None:
    async with stage(Script(pull=3)) as it:
        seen: list[Backends] = []
        it.on_publish = seen.append
        it.fleet.start(1)
        await until(5)

        order = [("pull", 3), ("queued", 0), ("start", 0.25), ("listening", 0.1)]
        assert phases_of(seen[0]) == order


@simulated
async def test_the_phases_of_all_starts_are_added_up_but_not_of_those_that_failed() -> None:
    async with stage(Script(start=0.5, listen=0.25)) as it:
        it.driver.upcoming += [
            Script(start=4, lifetime=0),
            Script(start=4, failure=DriverError("no")),
        ]
        it.fleet.start(2)
        await until(10)
        assert it.fleet.start_phases == {}

        it.fleet.start(2)
        await until(20)
        totals = {phase: (of.count, of.sum) for phase, of in it.fleet.start_phases.items()}
        assert totals == {"queued": (2, 0), "start": (2, 1), "listening": (2, 0.5)}


@simulated
async def test_an_adopted_instance_was_not_started(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with stage(Script(start=0, listen=2)) as it:
        address = (await it.driver.start(it.fleet.revision, InstanceId("old"))).address
        seen: list[Backends] = []
        it.on_publish = seen.append
        it.fleet.adopt(Found(InstanceId("old"), "hello", "hello-00001", address))
        await until(5)

        assert [one.start for one in seen[0].endpoints] == [None]
        assert it.fleet.start_phases == {}
        (line,) = [r.getMessage() for r in caplog.records if "is ready" in r.getMessage()]
        assert line == "hello-00001: instance old is ready after 2.000 s"
