"""Deployments over a real data plane, autoscaler and fleets, in simulated time.

Nothing listens and no byte is sent: a request takes its place at a revision's
door as an exchange does, holds it for its duration, and gives it back.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from random import Random
from types import MappingProxyType
from typing import Any

from wakeful.config.model import Config, Revision, Scale, Service, Template
from wakeful.deploy import Deployments, Shares, Standing
from wakeful.events import Backends, Load
from wakeful.proxy.reply import Reply
from wakeful.proxy.server import DataPlane
from wakeful.proxy.throttler import Refused, Slot, Throttler
from wakeful.proxy.traffic import choose
from wakeful.runtime.instance import InstanceId
from wakeful.runtime.memory import MemoryDriver, Script
from wakeful.runtime.spares import Spares
from wakeful.scaler.autoscaler import Autoscaler

DOMAIN = Config().domain


def now() -> float:
    return round(asyncio.get_running_loop().time(), 6)


async def until(moment: float) -> None:
    await asyncio.sleep(moment - asyncio.get_running_loop().time())


class Visitor:
    """One request."""

    def __init__(self) -> None:
        self.place: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()

    def admitted(self, slot: Slot) -> None:
        self.place.set_result(slot)

    def refused(self, answer: Reply) -> None:
        self.place.set_exception(ConnectionRefusedError(answer.detail))


class World:
    """``hello`` is the service that is deployed, revision by revision."""

    def __init__(
        self, script: Script | Callable[[Revision], Script], frozen_memory: int = 0
    ) -> None:
        loop = asyncio.get_running_loop()
        numbers = count(1)
        self.driver = MemoryDriver(script)
        self.plane = DataPlane(self, clock=loop.time)
        self.plane.randrange = Random(7).randrange
        self.scaler = Autoscaler(
            self.driver,
            self.driver.probe,
            self.publish,
            now=loop.time,
            new_id=lambda revision: InstanceId(f"{revision.name}-{next(numbers)}"),
            spares=Spares(self.driver, frozen_memory, now=loop.time),
        )
        self.settled: list[str] = []
        self.deployments = Deployments(
            self.plane, self.scaler, now=loop.time, settled=self.settled.append
        )
        self.services: dict[str, Service] = {}
        self.generations: Counter[str] = Counter()
        self.latest: dict[str, Revision] = {}
        self.pinned: dict[str, Shares] = {}
        self.tasks: set[asyncio.Task[str]] = set()

    # What an application does

    def deploy(
        self,
        name: str = "hello",
        *,
        rollout: float = 0.0,
        serving: Revision | None = None,
        **keys: Any,
    ) -> Revision:
        """Another definition; ``serving`` is what an earlier run left."""
        self.generations[name] += 1
        template = Template(image=f"{name}:{self.generations[name]}", **keys)
        self.services[name] = Service(name, template, rollout_duration=rollout)
        self.latest[name] = Revision(name, self.generations[name], template)
        self.reload({} if serving is None else {name: serving})
        return self.latest[name]

    def pin(self, *shares: tuple[Revision, int]) -> None:
        """What is left of hello's hundred percent is the latest's."""
        self.pinned = {"hello": tuple((percent, revision) for revision, percent in shares)}
        self.reload()

    def reload(self, left: Mapping[str, Revision] = MappingProxyType({})) -> None:
        """Read the file, whatever it says now."""
        services = list(self.services.values())
        latest = {name: self.latest[name] for name in self.services}
        serving = {**self.deployments.in_use(), **left}
        self.deployments.apply(services, DOMAIN, latest, serving, self.pinned)

    def set_rollout(self, duration: float, name: str = "hello") -> None:
        self.services[name] = replace(self.services[name], rollout_duration=duration)
        self.reload()

    def publish(self, revision: str, backends: Backends) -> None:
        self.plane.publish(revision, backends)
        self.deployments.published(revision, backends)

    def demand(self, revision: str, load: Load) -> None:
        self.scaler.demand(revision, load)

    def drained(self, revision: str, instance: str) -> None:
        self.scaler.drained(revision, instance)

    def rest(self, revision: str, instance: str, since: float) -> None:
        self.scaler.rest(revision, instance, since)

    def rouse(self, revision: str, instance: str) -> None:
        self.scaler.rouse(revision, instance)

    async def pulse(self) -> None:
        for second in count(1):
            await until(second)
            self.scaler.observe(now(), self.plane.samples(now()))
            self.deployments.check()

    # What its clients do

    def send(self, duration: float = 0.1, name: str = "hello") -> asyncio.Task[str]:
        """The revision that answers, and what it waited: "hello-00001 0.35"."""
        task = asyncio.create_task(self._request(self._door(name), duration))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def _door(self, name: str) -> Throttler:
        route = self.plane.routes.match(f"{name}.{DOMAIN}".encode())
        assert route is not None
        return choose(route.shares, self.plane.randrange(100))

    async def _request(self, door: Throttler, duration: float) -> str:
        began = now()
        if not door.awake:
            self.plane.wake(door, began)
        visitor = Visitor()
        try:
            slot = door.acquire(visitor, began) or await visitor.place
        except Refused as refused:
            return f"{door.name} refused: {refused.answer.detail}"
        except ConnectionRefusedError as refused:
            return f"{door.name} refused: {refused}"
        waited = now() - began
        await asyncio.sleep(duration)
        door.counters.count(b"GET", 200, duration, 0, 0)
        door.release(slot, now())
        return f"{door.name} {waited:g}"

    # What is seen from outside

    def standing(self, name: str = "hello") -> Standing:
        return next(one for one in self.deployments.standings() if one.service == name)

    def shares(self, name: str = "hello") -> dict[str, int]:
        """By the routes: what requests really meet."""
        route = self.plane.routes.match(f"{name}.{DOMAIN}".encode())
        assert route is not None
        shares: Counter[str] = Counter()
        for percent, door in route.shares:
            shares[door.name] += percent
        return dict(shares)

    def starts(self, revision: str) -> list[float]:
        return [round(one.at, 6) for one in self.driver.starts if one.revision == revision]

    async def running(self) -> Counter[str]:
        return Counter(found.revision for found in await self.driver.instances())


@asynccontextmanager
async def world(
    script: Script | Callable[[Revision], Script] = Script(),  # noqa: B008 (frozen)
    frozen_memory: int = 0,
) -> AsyncIterator[World]:
    """An instance is ready 0.35 s after it was asked for, unless the script says otherwise.

    There are no frozen spares but within ``frozen_memory``, in bytes.
    """
    it = World(script, frozen_memory)
    await it.driver.open(it.scaler.exited)
    pulse = asyncio.create_task(it.pulse())
    try:
        yield it
    finally:
        pulse.cancel()
        await asyncio.gather(pulse, *it.tasks, return_exceptions=True)
        it.deployments.close()
        await it.scaler.close(leave=False)


SHORT = Scale(window=6)
