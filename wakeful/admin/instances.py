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
    state: str  # starting, ready, resting, draining, frozen, stopping
    in_flight: int
    concurrency: int  # the limit; 0 = none
    age: float  # since it was asked for, or found
    start: float | None  # until it was ready
    cpu: float | None  # processor time
    memory: int | None

    def as_json(self) -> dict[str, object]:
        return asdict(self)


async def rows(
    plane: DataPlane, scaler: Autoscaler, driver: Driver, now: Now, service: str | None
) -> list[Row]:
    """Of one service, or of all; by service, and the oldest of each first."""
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
