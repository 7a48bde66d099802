"""A fleet's instances on the ladder, and the host's spares, in simulated time.

An instance is ready 0.35 s after it was asked for, and holds 64 MiB.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.runtime.staging import now, simulated, until
from wakeful.config.model import Idle, Revision, Template
from wakeful.events import Backends
from wakeful.runtime.driver import DriverError
from wakeful.runtime.fleet import Fleet
from wakeful.runtime.instance import Exit, InstanceId, Usage
from wakeful.runtime.ladder import Spare
from wakeful.runtime.memory import MemoryDriver, Script
from wakeful.runtime.spares import Spares

MIB = 2**20


class Host:
    """Two fleets, a and b, that share a driver and a budget."""

    def __init__(self, script: Script, budget: int, idle: Idle) -> None:
        self.driver = MemoryDriver(script)
        clock = asyncio.get_running_loop().time
        self.spares = Spares(self.driver, budget, now=clock)
        self.backends: dict[str, tuple[str, ...]] = {}
        self.inside: set[str] = set()  # instances with a request in them
        self.a, self.b = (self._fleet(name, idle) for name in "ab")

    def _fleet(self, name: str, idle: Idle) -> Fleet:
        numbers = iter(range(1, 100))

        def publish(backends: Backends) -> None:
            gone = set(self.backends.get(name, ()))
            self.backends[name] = tuple(e.instance for e in backends.endpoints)
            for instance in gone - set(self.backends[name]):
                if instance not in self.inside:
                    fleet.drained(instance)

        fleet = Fleet(
            Revision(name, 1, Template(image="x:1", idle=idle)),
            self.driver,
            self.driver.probe,
            publish,
            now=asyncio.get_running_loop().time,
            new_id=lambda: InstanceId(f"{name}{next(numbers)}"),
            spares=self.spares,
        )
        return fleet

    def exited(self, exit: Exit) -> None:
        for fleet in (self.a, self.b):
            fleet.exited(exit)

    @property
    def stops(self) -> list[tuple[float, str]]:
        return [(round(stop.at, 6), stop.instance) for stop in self.driver.stops]

    def frozen(self, name: str) -> bool:
        return self.driver.frozen(InstanceId(name))


@asynccontextmanager
async def host(
    script: Script = Script(),  # noqa: B008 (frozen)
    *,
    budget: int = 1000 * MIB,
    idle: Idle = Idle(),  # noqa: B008 (frozen)
) -> AsyncIterator[Host]:
    it = Host(script, budget, idle)
    await it.driver.open(it.exited)
    yield it
    await it.a.close(leave=False)
    await it.b.close(leave=False)
    assert it.spares.memory == 0


# Between requests


@simulated
async def test_an_instance_that_rests_is_frozen_and_stays_in_balancing() -> None:
    async with host() as it:
        it.a.start(1)
        await until(1)
        it.a.rest("a1", since=1.0)
        assert it.frozen("a1")
        assert (it.a.ready, it.a.resting, it.a.size) == (("a1",), 1, 1)
        assert it.backends["a"] == ("a1",)

        it.a.rouse("a1")
        assert not it.frozen("a1")
        assert (it.a.resting, it.a.freezing.freezes, it.a.freezing.thaws) == (0, 1, 1)


@simulated
async def test_what_is_not_ready_is_not_frozen() -> None:
    async with host() as it:
        it.a.start(1)
        await until(0.3)
        it.a.rest("a1", since=0.0)  # started, and its probe is under way
        it.a.rest("nobody", since=0.0)
        assert not it.frozen("a1")
        await until(1)
        assert it.a.ready == ("a1",)


@simulated
async def test_one_that_cannot_be_frozen_runs_on_and_is_left_alone_for_a_minute() -> None:
    async with host(Script(freezable=False)) as it:
        it.a.start(1)
        await until(1)
        it.a.rest("a1", since=1.0)
        await until(2)
        assert (it.a.ready, it.a.resting) == (("a1",), 0)
        it.a.rest("a1", since=2.0)
        assert it.a.freezing.freezes == 1
        await until(62)
        it.a.rest("a1", since=62.0)
        assert it.a.freezing.freezes == 2


# Spares


@simulated
async def test_a_drained_instance_becomes_a_spare_and_is_stopped_after_its_time() -> None:
    async with host() as it:
        it.a.start(2)
        await until(1)
        it.a.drain(["a2"])
        assert it.frozen("a2")
        assert (it.a.ready, it.a.spares, it.a.size) == (("a1",), ("a2",), 1)
        assert it.backends["a"] == ("a1",)

        await until(900.5)
        assert it.stops == []
        assert it.spares.memory == 64 * MIB
        await until(902)
        assert it.stops == [(901, "a2")]
        assert it.spares.memory == 0


@simulated
async def test_a_thawed_spare_takes_requests_at_once_and_without_a_probe() -> None:
    async with host() as it:
        it.a.start(1)
        await until(1)
        it.a.drain(["a1"])
        await until(500)
        assert it.a.asleep
        assert not it.a.gone
        it.a.thaw(["a1"])
        assert not it.frozen("a1")
        assert (it.backends["a"], it.a.ready, it.a.spares) == (("a1",), ("a1",), ())
        assert it.spares.memory == 0

        await until(2000)  # its time as a spare is over with that
        assert it.stops == []
        assert not it.a.asleep


@simulated
async def test_the_latest_used_spare_is_the_first_to_be_thawed() -> None:
    async with host() as it:
        it.a.start(3)
        await until(20)
        it.a.rest("a1", since=3.0)
        it.a.rest("a3", since=5.0)
        it.a.drain(["a1", "a2", "a3"])  # a2 may have been used until now
        assert it.a.spares == ("a2", "a3", "a1")


@simulated
async def test_beyond_the_budget_the_least_recently_used_of_all_fleets_is_stopped() -> None:
    async with host(budget=2 * 64 * MIB) as it:
        it.a.start(2)
        it.b.start(1)
        await until(20)
        it.b.rest("b1", since=1.0)
        it.b.drain(["b1"])
        await until(30)
        it.a.drain(["a1"])
        await until(40)
        assert it.stops == []
        it.a.drain(["a2"])
        await until(50)
        assert it.stops == [(40, "b1")]

        it.spares.resize(64 * MIB)
        await until(51)
        assert it.stops == [(40, "b1"), (50, "a1")]
        it.spares.resize(0)
        await until(52)
        assert it.a.gone


@simulated
async def test_memory_that_cannot_be_read_is_assumed() -> None:
    class Secretive(MemoryDriver):
        async def usage(self, instance: InstanceId) -> Usage:
            raise DriverError("no")

    async with host() as it:
        spares = Spares(Secretive(), 1000 * MIB, now=asyncio.get_running_loop().time)
        it.a.freezing._spares = it.spares = spares
        it.a.start(1)
        await until(1)
        it.a.drain(["a1"])
        assert spares.memory == 0
        await until(2)
        assert spares.memory == 128 * MIB


@simulated
async def test_nothing_is_under_way_for_one_that_is_a_spare_no_more() -> None:
    class Slow(MemoryDriver):
        async def usage(self, instance: InstanceId) -> Usage:
            await asyncio.sleep(3600)
            return Usage(None, None)

    clock = asyncio.get_running_loop().time
    stopped: list[InstanceId] = []
    spares = Spares(Slow(), MIB, now=clock)
    before = asyncio.all_tasks()
    for name, until_ in (("a", 5.0), ("b", 99.0)):
        spare = Spare(InstanceId(name), 0.0, until_)
        spares.keep(spare, lambda instance, why: stopped.append(instance))
    spares.release(InstanceId("b"))
    await until(6)
    assert stopped == ["a"]
    assert asyncio.all_tasks() == before


@simulated
async def test_without_a_time_or_a_budget_or_freezing_there_are_no_spares() -> None:
    for budget, idle in [
        (MIB, Idle(stop_after=0.0)),
        (0, Idle()),
        (MIB, Idle(freeze_after=None)),
    ]:
        async with host(budget=budget, idle=idle) as it:
            it.a.start(1)
            await asyncio.sleep(1)
            it.a.drain(["a1"])
            await asyncio.sleep(1)
            assert it.a.gone


@simulated
async def test_a_spare_that_cannot_be_frozen_is_stopped() -> None:
    async with host(Script(freezable=False)) as it:
        it.a.start(2)
        await until(1)
        it.a.drain(["a1"])
        await until(2)
        assert it.stops == [(1, "a1")]
        it.a.drain(["a2"])  # nor is another one tried
        assert it.a.freezing.freezes == 1
        await until(3)
        assert it.a.gone


@simulated
async def test_a_spare_that_exits_is_forgotten() -> None:
    async with host() as it:
        it.a.start(1)
        await until(1)
        it.a.drain(["a1"])
        it.driver.crash(InstanceId("a1"))
        await until(2)
        assert it.a.gone
        assert it.spares.memory == 0
        assert not it.a.failing  # it had been well


@simulated
async def test_spares_of_a_revision_that_is_gone_are_stopped_and_none_are_kept() -> None:
    async with host() as it:
        it.a.start(2)
        await until(1)
        it.a.drain(["a1"])
        it.a.keep_spares(False)
        await until(2)
        assert it.stops == [(1, "a1")]
        it.a.drain(["a2"])
        await until(3)
        assert it.a.gone

        it.a.keep_spares(True)
        it.a.start(1)
        await until(4)
        it.a.drain(["a3"])
        assert it.a.spares == ("a3",)


@simulated
async def test_an_outage_is_none_while_there_is_a_spare() -> None:
    async with host() as it:
        it.a.start(1)
        await until(1)
        it.a.drain(["a1"])
        it.driver.upcoming.append(Script(failure=DriverError("no")))
        it.a.start(1)
        await until(1.5)
        assert it.a.failing
        assert it.a.outage is None
        it.driver.crash(InstanceId("a1"))
        assert it.a.outage is not None


# The end


@simulated
async def test_frozen_instances_are_left_running_or_stopped_when_the_fleet_closes() -> None:
    async with host() as it:
        for fleet, name in ((it.a, "a"), (it.b, "b")):
            fleet.start(2)
            await until(now() + 1)
            fleet.rest(f"{name}1", since=now())
            fleet.drain([f"{name}2"])
        await it.a.close(leave=True)
        assert not it.frozen("a1")
        assert not it.frozen("a2")
        assert it.stops == []
        await it.b.close(leave=False)
        assert [name for _, name in it.stops] == ["b1", "b2"]
        assert it.spares.memory == 0
