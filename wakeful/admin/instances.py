"""What runs now: every instance, with what is in it and what it uses."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass

from wakeful.clock import Now
from wakeful.proxy.server import DataPlane
from wakeful.runtime.driver import Driver, DriverError
from wakeful.runtime.instance import InstanceId, State, Usage
from wakeful.scaler.autoscaler import Autoscaler

_PATIENCE = 2.0  # seconds for the engine to say what instances use
_UNKNOWN = Usage(None, None)


@dataclass(frozen=True, slots=True)
class Row:
    """One instance. Durations are seconds, memory is bytes; null where it is not known."""

    instance: str
    service: str
    revision: str
    state: str  # starting, ready, resting, paused, draining, frozen, stopping
    in_flight: int
    concurrency: int  # the limit; 0 = none
    age: float  # since it was asked for, or found
    start: float | None  # until it was ready
    cpu: float | None  # processor time
    memory: int | None
    restarts: int  # instances of its revision that failed, each of which another one replaces


@dataclass(frozen=True, slots=True)
class Failing:
    """A revision whose latest starts failed, and which waits before the next one."""

    service: str
    revision: str
    restarts: int
    reason: str
    retry_in: float  # seconds until the next start; 0: at the next request


@dataclass(frozen=True, slots=True)
class Listing:
    instances: list[Row]
    failing: list[Failing]

    def as_json(self) -> dict[str, object]:
        return asdict(self)


async def listing(
    plane: DataPlane, scaler: Autoscaler, driver: Driver, now: Now, service: str | None
) -> Listing:
    """Of one service, or of all; by service, and the oldest instances of each first."""
    found = await _rows(plane, scaler, driver, now, service)
    return Listing(found, _failing(scaler, now(), service))


def _failing(scaler: Autoscaler, now: float, service: str | None) -> list[Failing]:
    return sorted(
        (
            Failing(
                it.service,
                it.revision,
                it.restarts,
                it.failure,
                round(max(0.0, it.blocked_until - now), 3),
            )
            for it in scaler.statuses()
            if service in (None, it.service)
            if it.failure and not it.retired and (it.blocked_until > now or not it.instances)
        ),
        key=lambda it: (it.service, it.revision),
    )


async def _rows(
    plane: DataPlane, scaler: Autoscaler, driver: Driver, now: Now, service: str | None
) -> list[Row]:
    seen = [
        (revision, view)
        for revision, view in scaler.instances()
        if service is None or revision.service == service
    ]
    used = await _usages(
        driver, [view.instance for _, view in seen if view.state is not State.STOPPING]
    )
    found = []
    for revision, view in seen:
        throttler = plane.throttlers.get(revision.name)
        inside = throttler.inside(view.instance) if throttler is not None else 0
        usage = used.get(view.instance, _UNKNOWN)
        status = scaler.status(revision.name)
        found.append(
            Row(
                instance=view.instance,
                service=revision.service,
                revision=revision.name,
                state="resting" if view.resting else view.state.value,
                in_flight=inside,
                concurrency=revision.template.concurrency,
                age=round(now() - view.since, 3),
                start=None if view.took is None else round(view.took, 3),
                cpu=usage.cpu,
                memory=usage.memory,
                restarts=status.restarts if status is not None else 0,
            )
        )
    return sorted(found, key=lambda row: row.service)


async def _usages(driver: Driver, instances: list[InstanceId]) -> dict[InstanceId, Usage]:
    """What can be had in time: an engine that does not answer holds nobody up for long."""
    asked = {
        instance: asyncio.create_task(driver.usage(instance), name=f"usage of {instance}")
        for instance in instances
    }
    if not asked:
        return {}
    _, late = await asyncio.wait(asked.values(), timeout=_PATIENCE)
    for task in late:
        task.cancel()
    return {instance: _result(task) for instance, task in asked.items() if task not in late}


def _result(task: asyncio.Task[Usage]) -> Usage:
    try:
        return task.result()
    except DriverError:
        return _UNKNOWN
