"""Which frozen spares are stopped: those whose time is up, and the oldest beyond the budget."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

from wakeful.runtime.instance import InstanceId


@dataclass(frozen=True, slots=True)
class Spare:
    """A frozen instance that nobody needs now."""

    instance: InstanceId
    used: float  # when a request last was in it
    until: float  # when it is stopped
    memory: int = 0  # bytes, as far as is known


def overdue(spares: Iterable[Spare], budget: int, now: float) -> list[InstanceId]:
    """What to stop now, so that the others are within ``budget`` bytes together.

    The least recently used go first, and none is stopped for the sake of one
    that was used before it: what is kept is always the latest.
    """
    stopped: list[InstanceId] = []
    left = budget
    for spare in sorted(spares, key=lambda spare: spare.used, reverse=True):
        if spare.until <= now:
            stopped.append(spare.instance)
            continue
        left -= spare.memory
        if left < 0:
            stopped.append(spare.instance)
    return stopped[::-1]


def next_due(spares: Iterable[Spare]) -> float:
    """When the next one's time is up; infinity when there are none."""
    return min((spare.until for spare in spares), default=inf)
