"""The frozen spares of this host: kept for a time, and within a budget of memory.

Fleets put their spares here and take them back; what has to go is told to the
fleet it came from.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf

from wakeful.clock import Now
from wakeful.runtime.driver import Driver, DriverError
from wakeful.runtime.instance import InstanceId
from wakeful.runtime.ladder import Spare, next_due, overdue

log = logging.getLogger(__name__)

# Of an instance whose memory cannot be read.
ASSUMED_MEMORY = 128 * 2**20


@dataclass(slots=True, eq=False)
class _Kept:
    spare: Spare
    stop: Callable[[InstanceId, str], None]
    weighing: asyncio.Task[None] | None = None


class Spares:
    """Nothing here runs but one timer, for the spare whose time is up next."""

    def __init__(self, driver: Driver, budget: int, *, now: Now) -> None:
        self._driver = driver
        self._budget = budget
        self._now = now
        self._kept: dict[InstanceId, _Kept] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def memory(self) -> int:
        """Bytes that they hold."""
        return sum(kept.spare.memory for kept in self._kept.values())

    @property
    def budget(self) -> int:
        return self._budget

    def resize(self, budget: int) -> None:
        self._budget = budget
        self._stop_overdue()

    def keep(self, spare: Spare, stop: Callable[[InstanceId, str], None]) -> None:
        """``stop`` is called when it has to go, with the reason; never from in here."""
        kept = self._kept[spare.instance] = _Kept(spare, stop)
        kept.weighing = asyncio.create_task(self._weigh(kept), name=f"weigh {spare.instance}")
        self._look_later()

    def release(self, instance: InstanceId) -> None:
        """It is a spare no more."""
        if instance in self._kept:
            self._drop(instance)
            self._look_later()

    # Private

    def _drop(self, instance: InstanceId) -> _Kept:
        kept = self._kept.pop(instance)
        if kept.weighing is not None:
            kept.weighing.cancel()
        return kept

    async def _weigh(self, kept: _Kept) -> None:
        """What it holds counts from here on: guesses must not drive out what is known."""
        instance, memory = kept.spare.instance, ASSUMED_MEMORY
        try:
            memory = (await self._driver.usage(instance)).memory or ASSUMED_MEMORY
        except DriverError as error:
            log.debug("the memory of %s is not known: %s", instance, error)
        kept.spare = replace(kept.spare, memory=memory)
        kept.weighing = None
        self._stop_overdue()

    def _stop_overdue(self) -> None:
        now = self._now()
        spares = [kept.spare for kept in self._kept.values()]
        for instance in overdue(spares, self._budget, now):
            kept = self._drop(instance)
            late = kept.spare.until <= now
            kept.stop(instance, "not needed for long enough" if late else "over frozen-memory")
        self._look_later()

    def _look_later(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = next_due(kept.spare for kept in self._kept.values())
        if due < inf:
            delay = max(0.0, due - self._now())
            self._timer = asyncio.get_running_loop().call_later(delay, self._stop_overdue)
