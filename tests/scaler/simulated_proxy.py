"""A proxy of a page: queues, slots and samples in simulated time, and no bytes.

It keeps the proxy's side of the bargain with the scaler (a sample a second,
demand where a request would queue, drained as soon as an instance is empty),
and notes every breach of the other side's.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import count

from wakeful.config.model import Revision, Scale, Template
from wakeful.events import Backends, Load, Sample
from wakeful.runtime.instance import Exit, InstanceId
from wakeful.runtime.memory import MemoryDriver, Script
from wakeful.runtime.turns import Turns
from wakeful.scaler.autoscaler import Autoscaler
from wakeful.scaler.revision_status import RevisionStatus

NAME = "hello-00001"


def hello(
    concurrency: int = 10,
    min_instances: int = 0,
    max_instances: int = 10,
    scale: Scale = Scale(),  # noqa: B008 (frozen)
) -> Revision:
    """The revision of that name."""
    template = Template(
        image="hello:1",
        concurrency=concurrency,
        min_instances=min_instances,
        max_instances=max_instances,
        scale=scale,
    )
    return Revision("hello", 1, template)


def now() -> float:
    return round(asyncio.get_running_loop().time(), 6)


async def until(moment: float) -> None:
    await asyncio.sleep(moment - asyncio.get_running_loop().time())


@dataclass(frozen=True, slots=True)
class Outcome:
    instance: str | None  # None: turned away
    waited: float
    detail: str = ""


@dataclass(slots=True, eq=False)
class Door:
    """One revision's slots and queue."""

    limit: float  # of one instance
    backends: Backends = Backends()  # noqa: RUF009 (frozen)
    active: Counter[str] = field(default_factory=Counter)
    waiting: deque[asyncio.Future[str]] = field(default_factory=deque)
    area: float = 0.0  # request-seconds since the last sample
    since: float = 0.0
    arrivals: int = 0
    ignored: int = 0  # of those active: what a wake filter matched

    def advance(self) -> None:
        moment = asyncio.get_running_loop().time()
        held = self.active.total() + len(self.waiting) - self.ignored
        self.area += held * (moment - self.since)
        self.since = moment

    def free(self) -> str | None:
        least = min(self.backends.endpoints, key=lambda e: self.active[e.instance], default=None)
        if least is None or self.active[least.instance] >= self.limit:
            return None
        return least.instance

    def load(self) -> Load:
        self.active = +self.active
        busy = tuple(self.active.items())
        return Load(self.active.total(), len(self.waiting), busy, self.ignored)


class World:
    """An autoscaler, a scripted driver, and this proxy in front of them.

    It begins at midnight of 1 January 1970, UTC, a Thursday.
    """

    def __init__(self, script: Script, turns: Turns | None = None) -> None:
        self.driver = self.new_driver(script)
        self.doors: dict[str, Door] = {}
        self.published: list[tuple[float, str, Backends]] = []
        self.breaches: list[str] = []
        self.tasks: set[asyncio.Task[Outcome]] = set()
        self.crashed: set[str] = set()
        self.largest = 0  # number of starting and ready instances of one revision, ever
        numbers = count(1)
        self.scaler = Autoscaler(
            self.driver,
            self.driver.probe,
            self.publish,
            now=asyncio.get_running_loop().time,
            new_id=lambda revision: InstanceId(f"{revision.service}-{next(numbers)}"),
            turns=turns,
            wall=asyncio.get_running_loop().time,
        )

    def new_driver(self, script: Script) -> MemoryDriver:
        return MemoryDriver(script)

    def exited(self, exit: Exit) -> None:
        if exit.instance not in {stop.instance for stop in self.driver.stops}:
            self.crashed.add(exit.instance)
        self.scaler.exited(exit)

    # The proxy

    def add(self, revision: Revision) -> None:
        limit = revision.template.concurrency or float("inf")
        self.doors.setdefault(revision.name, Door(limit))
        self.scaler.add(revision)

    def publish(self, name: str, backends: Backends) -> None:
        self.published.append((now(), name, backends))
        door = self.doors[name]
        door.advance()
        before = {e.instance for e in door.backends.endpoints}
        door.backends = backends
        self._admit(door)
        if backends.outage is not None:
            if backends.endpoints:
                self.breaches.append("an outage beside endpoints")
            while door.waiting:
                refused = door.waiting.popleft()
                if not refused.done():
                    refused.set_exception(ConnectionRefusedError(backends.outage.detail))
        for instance in before - {e.instance for e in backends.endpoints}:
            if not door.active[instance]:
                self.scaler.drained(name, instance)

    def send(self, name: str, duration: float) -> asyncio.Task[Outcome]:
        task = asyncio.create_task(self._request(name, duration))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def poll(self, name: str, duration: float) -> asyncio.Task[Outcome]:
        """A request that a wake filter matches: passed to an instance with room, or answered."""
        task = asyncio.create_task(self._poll(name, duration))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def _poll(self, name: str, duration: float) -> Outcome:
        door = self.doors[name]
        instance = None if door.waiting else door.free()
        if instance is None:
            return Outcome(None, 0.0, "asleep")
        door.advance()
        door.active[instance] += 1
        door.ignored += 1
        await self._stay(name, door, instance, duration, ignored=True)
        return Outcome(instance, 0.0)

    def show(self, name: str) -> str:
        """A browser's request for a page of a service with a waiting page: what it is shown."""
        door = self.doors[name]
        door.advance()
        door.arrivals += 1
        if door.backends.endpoints:
            return "the real page"
        if door.backends.outage is not None and now() < door.backends.outage.until:
            return door.backends.outage.reason
        load = door.load()
        self.scaler.demand(name, replace(load, waiting=load.waiting + 1))
        return "starting"

    async def _request(self, name: str, duration: float) -> Outcome:
        door, began = self.doors[name], asyncio.get_running_loop().time()
        door.advance()
        door.arrivals += 1
        instance = None if door.waiting else door.free()
        if instance is not None:
            door.active[instance] += 1
        else:
            outage = door.backends.outage
            if outage is not None and began < outage.until:
                return Outcome(None, 0.0, outage.detail)
            place: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            door.waiting.append(place)
            self._demand(name, door)
            try:
                instance = await place
            except ConnectionRefusedError as refusal:
                return Outcome(None, now() - began, str(refusal))
        waited = asyncio.get_running_loop().time() - began
        await self._stay(name, door, instance, duration)
        return Outcome(instance, round(waited, 6))

    async def _stay(
        self, name: str, door: Door, instance: str, duration: float, *, ignored: bool = False
    ) -> None:
        await asyncio.sleep(duration)
        door.advance()
        door.active[instance] -= 1
        door.ignored -= ignored
        stopped = instance in {stop.instance for stop in self.driver.stops}
        if stopped and instance not in self.crashed:
            self.breaches.append(f"{instance} was stopped with a request in it")
        self._admit(door)
        still = {e.instance for e in door.backends.endpoints}
        if instance not in still and not door.active[instance]:
            self.scaler.drained(name, instance)

    def _demand(self, name: str, door: Door) -> None:
        published = len(self.published)
        self.scaler.demand(name, door.load())
        if len(self.published) != published:
            self.breaches.append("published from inside demand")

    def _admit(self, door: Door) -> None:
        while door.waiting and (instance := door.free()) is not None:
            place = door.waiting.popleft()
            if not place.done():
                door.active[instance] += 1
                place.set_result(instance)

    def observe(self) -> None:
        samples: dict[str, Sample] = {}
        moment = asyncio.get_running_loop().time()
        for name, door in self.doors.items():
            door.advance()
            if door.area or door.arrivals or door.active.total() or door.waiting:
                samples[name] = Sample(door.area, door.arrivals, door.load())
            door.area, door.arrivals = 0.0, 0
        self.scaler.observe(moment, samples)
        self.look()

    def look(self) -> None:
        for status in self.scaler.statuses():
            self.largest = max(self.largest, status.starting + status.ready)

    async def observe_every_second(self) -> None:
        for second in count(1):
            await until(second)
            self.observe()

    # What is seen from outside

    def status(self, name: str = "hello-00001") -> RevisionStatus:
        return next(s for s in self.scaler.statuses() if s.revision == name)

    def size(self, name: str = "hello-00001") -> int:
        status = self.status(name)
        return status.starting + status.ready

    def starts(self) -> list[float]:
        return [round(start.at, 6) for start in self.driver.starts]

    def stops(self) -> list[float]:
        return [round(stop.at, 6) for stop in self.driver.stops]


@asynccontextmanager
async def world(
    *revisions: Revision,
    script: Script = Script(),  # noqa: B008 (frozen)
    turns: Turns | None = None,
) -> AsyncIterator[World]:
    """An instance is ready 0.35 s after it was asked for, unless the script says otherwise."""
    it = World(script, turns)
    await it.driver.open(it.exited, it.scaler.paused)
    for revision in revisions:
        it.add(revision)
    observer = asyncio.create_task(it.observe_every_second())
    try:
        yield it
        assert it.breaches == []
    finally:
        observer.cancel()
        for task in list(it.tasks):
            task.cancel()
        await asyncio.gather(observer, *it.tasks, return_exceptions=True)
        await it.scaler.close(leave=False)
