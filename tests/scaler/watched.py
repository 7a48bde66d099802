"""The simulated proxy, with somebody who looks at every start, stop, publication and decision.

What must always be true is checked at the moment when it could become false,
and held against what the proxy itself knows: its requests, and which instances
it was told of.
"""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from dataclasses import dataclass
from math import inf

from tests.scaler.simulated_proxy import Outcome, World
from wakeful.config.model import Metric, Revision
from wakeful.events import Backends
from wakeful.runtime.driver import Turn
from wakeful.runtime.instance import InstanceId, Launched
from wakeful.runtime.memory import MemoryDriver, Script
from wakeful.runtime.turns import Turns
from wakeful.scaler.revision_status import RevisionStatus

# A sample speaks for a whole second, and its second may have begun just before the load ended.
_GRAIN = 2.0


class _WatchedDriver(MemoryDriver):
    """Says when an instance is about to be stopped."""

    def __init__(self, default: Script, world: Watched) -> None:
        super().__init__(default)
        self._world = world

    async def start(
        self, revision: Revision, instance: InstanceId, turn: Turn = nullcontext
    ) -> Launched:
        self._world.starting(revision)
        return await super().start(revision, instance, turn)

    async def stop(self, instance: InstanceId, grace: float) -> None:
        self._world.stopping(instance)
        await super().stop(instance, grace)


@dataclass(slots=True)
class _Seen:
    """One revision at the latest look."""

    status: RevisionStatus
    revision: Revision
    last_load: float = -inf  # when there last was any, in the terms of its metric
    troubled: bool = False  # a start failed or an instance crashed since it was last calm


class Watched(World):
    """Notes every breach of what must always be true."""

    def __init__(self, script: Script = Script(), turns: Turns | None = None) -> None:  # noqa: B008
        super().__init__(script, turns)
        self.revisions: dict[str, Revision] = {}
        self.closing = False
        self._stopped: set[str] = set()
        self._sent: dict[str, float] = {}  # the latest request to each
        self._seen: dict[str, _Seen] = {}

    def new_driver(self, script: Script) -> MemoryDriver:
        return _WatchedDriver(script, self)

    # What changes

    def add(self, revision: Revision) -> None:
        """New, back from retirement, or with other settings."""
        self.revisions[revision.name] = revision
        # What was true under other settings says nothing.
        self._seen.pop(revision.name, None)
        self._sent.pop(revision.name, None)
        if revision.name in self.doors:
            self.doors[revision.name].limit = revision.template.concurrency or float("inf")
        super().add(revision)

    def retire(self, name: str) -> None:
        self._seen.pop(name, None)
        self.scaler.retire(name)

    def send(self, name: str, duration: float) -> asyncio.Task[Outcome]:
        self._sent[name] = asyncio.get_running_loop().time()
        return super().send(name, duration)

    # What is looked at

    def starting(self, revision: Revision) -> None:
        status = self._status(revision.name)
        if status is not None:
            self._hold_to_the_maximum(status)

    def stopping(self, instance: InstanceId) -> None:
        self._stopped.add(instance)
        for name, door in self.doors.items():
            inside = door.active[instance]
            if inside and instance not in self.crashed and not self.closing:
                self.breaches.append(f"{name}: {instance} is stopped with {inside} requests in it")

    def publish(self, name: str, backends: Backends) -> None:
        for endpoint in backends.endpoints:
            if endpoint.instance in self._stopped | self.crashed:
                self.breaches.append(f"{name}: {endpoint.instance} is published and gone")
        super().publish(name, backends)

    def look(self) -> None:
        super().look()
        moment = asyncio.get_running_loop().time()
        for status in self.scaler.statuses():
            name = status.revision
            door, revision = self.doors[name], self.revisions[name]
            held = door.active.total() + len(door.waiting)
            before = self._seen.get(name)
            if status.desired < 0 or min(status.starting, status.ready, status.draining) < 0:
                self.breaches.append(f"{name}: a negative number in {status}")
            if before is None:
                self._seen[name] = _Seen(status, revision)
                continue
            before.troubled |= _troubles(status) > _troubles(before.status)
            if revision.template.scale.metric is Metric.RPS:
                before.last_load = max(before.last_load, self._sent.get(name, -inf))
            elif held:
                before.last_load = moment
            self._hold_to_the_maximum(status)
            self._hold_while_panicking(before.status, status)
            self._hold_what_is_in_use(before, status, held, moment)
            before.status = status
            if status.ready and not held:
                before.troubled = False

    def _status(self, name: str) -> RevisionStatus | None:
        return next((one for one in self.scaler.statuses() if one.revision == name), None)

    def _hold_to_the_maximum(self, status: RevisionStatus) -> None:
        before = self._seen.get(status.revision)
        most = self.revisions[status.revision].template.max_instances
        size = status.starting + status.ready
        # With a maximum that was lowered there may be more for a while, but none is added.
        if most and before is not None and size > max(most, _size(before.status)):
            self.breaches.append(f"{status.revision}: {size} instances, {most} at most: {status}")

    def _hold_while_panicking(self, before: RevisionStatus, status: RevisionStatus) -> None:
        if status.retired or not (before.panicking and status.panicking):
            return
        most = self.revisions[status.revision].template.max_instances  # lowered, perhaps
        if status.desired < min(before.desired, most or before.desired):
            self.breaches.append(
                f"{status.revision}: {before.desired} -> {status.desired} desired in a panic"
            )

    def _hold_what_is_in_use(
        self, before: _Seen, status: RevisionStatus, held: int, moment: float
    ) -> None:
        """Zero only after the window and with nothing in flight; never below the minimum."""
        template, size = before.revision.template, _size(status)
        if status.retired or before.troubled:
            return
        if size < _size(before.status) and size < template.min_instances:
            self.breaches.append(f"{status.revision}: {size} instances, fewer than the minimum")
        if size or not _size(before.status):
            return
        if held:
            self.breaches.append(f"{status.revision}: at zero with {held} requests")
        elif moment - before.last_load < template.scale.window - _GRAIN:
            self.breaches.append(f"{status.revision}: at zero before its window is over")

    async def answers(self) -> list[Outcome]:
        return await asyncio.gather(*self.tasks)


def _size(status: RevisionStatus) -> int:
    return status.starting + status.ready


def _troubles(status: RevisionStatus) -> int:
    return status.starts_failed + status.crashes
