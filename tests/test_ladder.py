"""An instance in use is never frozen and never stopped, in whatever order things happen.

The throttlers, the autoscaler, the fleets and the spares are the real ones, on
a scripted driver and in simulated time; requests are held by this test.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeful.clock import run_simulated
from wakeful.config.model import Idle, Revision, Scale, Template
from wakeful.events import Load
from wakeful.proxy.reply import Reply
from wakeful.proxy.server import DataPlane, RouteTo
from wakeful.proxy.throttler import Refused, Slot
from wakeful.runtime.instance import Exit, InstanceId
from wakeful.runtime.memory import MemoryDriver, Script
from wakeful.runtime.spares import Spares
from wakeful.scaler.autoscaler import Autoscaler

pytestmark = pytest.mark.no_cover  # traced it takes three times as long, to cover what others do

MIB = 2**20
NAMES = ("a", "b")


class WatchedDriver(MemoryDriver):
    """Fails the test when it is told to freeze or to stop what is in use."""

    def __init__(self, script: Script, inside: Counter[str]) -> None:
        super().__init__(script)
        self.inside = inside
        self.broken: list[str] = []

    def freeze(self, instance: InstanceId, failed: Callable[[InstanceId], None]) -> None:
        self.look(instance, "frozen")
        super().freeze(instance, failed)

    async def stop(self, instance: InstanceId, grace: float) -> None:
        self.look(instance, "stopped")
        await super().stop(instance, grace)

    def look(self, instance: InstanceId, what: str) -> None:
        if self.inside[instance]:
            self.broken.append(f"{instance} was {what} with {self.inside[instance]} in it")


class Request:
    def __init__(self, house: House, service: str, seconds: float) -> None:
        self.house = house
        self.seconds = seconds
        self.throttler = house.plane.throttlers[f"{service}-00001"]
        self.over = False
        self.turned_away = False
        now = house.now()
        if not self.throttler.awake:
            house.plane.wake(self.throttler, now)
        try:
            slot = self.throttler.acquire(self, now)
        except Refused as refused:
            self.refused(refused.answer)
        else:
            if slot is not None:
                self.admitted(slot)

    def admitted(self, slot: Slot) -> None:
        """From here on its bytes may be written."""
        instance = slot.endpoint.instance
        self.house.inside[instance] += 1
        if self.house.driver.frozen(InstanceId(instance)):
            self.house.driver.broken.append(f"{instance} was given a request while it was frozen")
        asyncio.get_running_loop().call_later(self.seconds, self.release, slot)

    def refused(self, answer: Reply) -> None:
        self.over = self.turned_away = True

    def release(self, slot: Slot) -> None:
        instance = slot.endpoint.instance
        if self.house.driver.frozen(InstanceId(instance)):
            self.house.driver.broken.append(f"{instance} was frozen with a request in it")
        self.house.inside[instance] -= 1
        self.over = True
        self.throttler.release(slot, self.house.now())


class House:
    def __init__(self, template: Template, script: Script, budget: int) -> None:
        loop = asyncio.get_running_loop()
        self.now = loop.time
        self.inside: Counter[str] = Counter()
        self.driver = WatchedDriver(script, self.inside)
        self.plane = DataPlane(self, clock=loop.time)
        self.spares = Spares(self.driver, budget, now=loop.time)
        numbers = count(1)
        self.scaler = Autoscaler(
            self.driver,
            self.driver.probe,
            self.plane.publish,
            now=loop.time,
            new_id=lambda revision: InstanceId(f"{revision.service}{next(numbers)}"),
            spares=self.spares,
        )
        self.revisions = [Revision(name, 1, template) for name in NAMES]
        self.route(*NAMES)
        self.requests: list[Request] = []

    def route(self, *services: str) -> None:
        for revision in self.revisions:
            if revision.service in services:
                self.scaler.add(revision)
        self.plane.route(
            RouteTo(one.service, (one.service,), ((100, one),))
            for one in self.revisions
            if one.service in services
        )
        for revision in self.revisions:
            if revision.service not in services:
                self.scaler.retire(revision.name)

    # Signals

    def demand(self, revision: str, load: Load) -> None:
        self.scaler.demand(revision, load)

    def drained(self, revision: str, instance: str) -> None:
        self.scaler.drained(revision, instance)

    def rest(self, revision: str, instance: str, since: float) -> None:
        self.scaler.rest(revision, instance, since)

    def rouse(self, revision: str, instance: str) -> None:
        self.scaler.rouse(revision, instance)

    async def pulse(self) -> None:
        while True:
            await asyncio.sleep(1)
            self.scaler.observe(self.now(), self.plane.samples(self.now()))

    # What may happen

    def send(self, service: str, seconds: float) -> None:
        self.requests.append(Request(self, service, seconds))

    def crash_one_that_is_empty(self, n: int) -> None:
        living = [i for i, running in self.driver._instances.items() if not running.ended.is_set()]
        empty = [instance for instance in living if not self.inside[instance]]
        if empty:
            self.driver.crash(empty[n % len(empty)])


SERVICES = st.sampled_from(NAMES)
SECONDS = st.sampled_from([0.0, 0.01, 0.2, 1.0, 5.0, 9.0, 40.0])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), SERVICES, SECONDS),
        st.tuples(st.just("send"), SERVICES, SECONDS),
        st.tuples(st.just("wait"), st.just(""), SECONDS),
        st.tuples(st.just("wait"), st.just(""), SECONDS),
        st.tuples(st.just("crash"), st.just(""), st.integers(0, 5)),
        st.tuples(st.just("budget"), st.just(""), st.sampled_from([0, 64, 1000])),
        st.tuples(st.just("retire"), st.just(""), st.just(0)),
        st.tuples(st.just("return"), st.just(""), st.just(0)),
    ),
    max_size=40,
)


async def live(
    steps: list[tuple[str, str, float]],
    concurrency: int,
    min_instances: int,
    idle: Idle,
    budget: int,
    script: Script,
) -> None:
    template = Template(
        image="x:1",
        concurrency=concurrency,
        min_instances=min_instances,
        scale=Scale(window=6.0),
        idle=idle,
    )
    it = House(template, script, budget * MIB)

    def exited(exit: Exit) -> None:
        it.scaler.exited(exit)

    await it.driver.open(exited)
    pulse = asyncio.create_task(it.pulse())
    routed = True
    for verb, service, value in steps:
        match verb:
            case "send":
                it.send("a" if not routed else service, value)
            case "wait":
                await asyncio.sleep(value)
            case "crash":
                it.crash_one_that_is_empty(int(value))
            case "budget":
                it.spares.resize(int(value) * MIB)
            case "retire":
                it.route("a")
                routed = False
            case _:
                # Its throttler may have been dropped with the old route.
                it.route(*NAMES)
                routed = True
        assert it.driver.broken == []
    await asyncio.sleep(200)
    assert it.driver.broken == []
    assert all(request.over for request in it.requests)
    if script.freezable and idle.freeze_after is not None and not min_instances:
        # At rest nothing runs: whatever there is has been frozen.
        assert all(running.frozen for running in it.driver._instances.values())
    pulse.cancel()
    await it.scaler.close(leave=False)
    assert await it.driver.instances() == []
    assert it.spares.memory == 0
    it.plane.close()


@settings(max_examples=300, deadline=None)
@given(
    steps=STEPS,
    concurrency=st.sampled_from([0, 1, 2]),
    min_instances=st.sampled_from([0, 0, 1]),
    freeze_after=st.sampled_from([0.0, 0.0, 0.3, 3.0, None]),
    stop_after=st.sampled_from([0.0, 3.0, 900.0]),
    budget=st.sampled_from([0, 64, 128, 1000]),
    freezable=st.sampled_from([True, True, True, False]),
)
def test_what_is_in_use_is_neither_frozen_nor_stopped(
    steps: list[tuple[str, str, float]],
    concurrency: int,
    min_instances: int,
    freeze_after: float | None,
    stop_after: float,
    budget: int,
    freezable: bool,
) -> None:
    run_simulated(
        live(
            steps,
            concurrency,
            min_instances,
            Idle(freeze_after, stop_after),
            budget,
            Script(start=0.25, listen=0.1, freezable=freezable),
        )
    )


@pytest.mark.parametrize("freeze_after", [0.0, 1.0])
def test_a_service_that_slept_is_woken_without_a_start(freeze_after: float) -> None:
    async def main() -> None:
        template = Template(
            image="x:1", scale=Scale(window=6.0), idle=Idle(freeze_after=freeze_after)
        )
        it = House(template, Script(), 1000 * MIB)
        await it.driver.open(it.scaler.exited)
        pulse = asyncio.create_task(it.pulse())
        it.send("a", 0.5)
        await asyncio.sleep(100)
        assert it.driver.frozen(InstanceId("a1"))
        assert it.scaler.awake == ()
        (status, _) = it.scaler.statuses()
        assert (status.desired, status.ready, status.frozen, status.cold_starts) == (0, 0, 1, 1)

        it.send("a", 0.5)
        await asyncio.sleep(0)
        assert it.inside["a1"] == 1  # in the next turn of the loop
        assert not it.driver.frozen(InstanceId("a1"))
        await asyncio.sleep(1)
        assert len(it.driver.starts) == 1
        (status, _) = it.scaler.statuses()
        assert (status.ready, status.frozen, status.cold_starts) == (1, 0, 1)
        pulse.cancel()
        await it.scaler.close(leave=False)
        it.plane.close()

    run_simulated(main())


def test_a_revision_that_is_retired_before_it_first_woke_leaves_no_spare() -> None:
    async def main() -> None:
        template = Template(image="x:1", idle=Idle(freeze_after=0.0))
        it = House(template, Script(), 1000 * MIB)
        await it.driver.open(it.scaler.exited)
        pulse = asyncio.create_task(it.pulse())
        it.send("b", 0.5)
        it.route("a")  # the request waits, and nothing was started yet
        await asyncio.sleep(20)
        assert [request.turned_away for request in it.requests] == [False]
        assert len(it.driver.starts) == len(it.driver.stops) == 1
        assert "b-00001" not in it.scaler
        pulse.cancel()
        await it.scaler.close(leave=False)
        it.plane.close()

    run_simulated(main())


def test_a_revision_is_known_until_the_spares_that_it_left_are_gone() -> None:
    async def main() -> None:
        template = Template(image="x:1", scale=Scale(window=6.0))
        it = House(template, Script(goodbye=5.0), 1000 * MIB)
        await it.driver.open(it.scaler.exited)
        pulse = asyncio.create_task(it.pulse())
        it.send("b", 0.5)
        await asyncio.sleep(100)
        assert it.scaler.awake == ()
        it.route("a")
        await asyncio.sleep(1)
        assert len(it.driver.stops) == 1
        pulse.cancel()
        await it.scaler.close(leave=False)
        assert await it.driver.instances() == []
        it.plane.close()

    run_simulated(main())
