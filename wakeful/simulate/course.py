"""What became of one service in a simulation: counts, waits, and instances over time."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import ceil
from typing import TypeAlias

Stretch: TypeAlias = tuple[float, float]  # of time, from when until when

_NOTHING = 1e-9  # seconds: what is left of the difference of two equal floats


class Steps:
    """A whole number over time, which is 0 at first."""

    __slots__ = ("moments", "values")

    def __init__(self) -> None:
        self.moments = [0.0]
        self.values = [0]

    def set(self, moment: float, value: int) -> None:
        if value == self.values[-1]:
            return
        if moment == self.moments[-1]:
            self.values[-1] = value
        else:
            self.moments.append(moment)
            self.values.append(value)

    def at(self, moment: float) -> int:
        return self.values[bisect_right(self.moments, moment) - 1]

    def most(self, begin: float, end: float) -> int:
        """The largest value in a stretch of time, ``end`` not included."""
        first = bisect_right(self.moments, begin) - 1
        last = first + 1
        while last < len(self.moments) and self.moments[last] < end:
            last += 1
        return max(self.values[first:last])

    @property
    def peak(self) -> int:
        return max(self.values)


def counted(lives: Iterable[Stretch], less: Iterable[Stretch] = ()) -> Steps:
    """How many there were, from when each began and ended; without those of ``less``."""
    changes: dict[float, int] = {}
    for stretches, weight in ((lives, 1), (less, -1)):
        for began, ended in stretches:
            changes[began] = changes.get(began, 0) + weight
            changes[ended] = changes.get(ended, 0) - weight
    return _running(changes)


def summed(parts: Sequence[Steps]) -> Steps:
    changes: dict[float, int] = {}
    for part in parts:
        before = 0
        for moment, value in zip(part.moments, part.values, strict=True):
            changes[moment] = changes.get(moment, 0) + value - before
            before = value
    return _running(changes)


def _running(changes: Mapping[float, int]) -> Steps:
    steps = Steps()
    moments = sorted(changes)
    for moment, value in zip(moments, accumulate(changes[m] for m in moments), strict=True):
        steps.set(moment, value)
    return steps


class Waits:
    """How long requests waited for a place; most did not, and cost nothing here."""

    __slots__ = ("_longer", "_sorted", "count")

    def __init__(self) -> None:
        self.count = 0
        self._longer = array("d")
        self._sorted: list[float] | None = None

    def add(self, seconds: float) -> None:
        self.count += 1
        if seconds > _NOTHING:
            self._longer.append(seconds)
            self._sorted = None

    @classmethod
    def of_all(cls, parts: Iterable[Waits]) -> Waits:
        whole = cls()
        for part in parts:
            whole.count += part.count
            whole._longer += part._longer
        return whole

    def percentile(self, percent: float) -> float:
        """The shortest that is not exceeded by so many of 100 (nearest rank); 0 of none."""
        if self._sorted is None:
            self._sorted = sorted(self._longer)
        rank = ceil(percent * self.count / 100) - (self.count - len(self._sorted))
        return self._sorted[rank - 1] if rank > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Second:
    """The traffic in about one second, up to ``until``."""

    until: float
    demand: float  # average number of requests in hand, waiting included
    queue: int  # the most that waited at once


@dataclass(frozen=True, slots=True)
class Course:
    """All that is told of one service."""

    service: str
    seconds: float  # that were simulated
    requests: int
    answered: int
    rejected: Mapping[str, int]  # by reason
    waits: Waits  # of all that had a place
    cold_requests: int  # that waited for a start, with no instance ready, and had a place at last
    instances: Steps  # from asked for to gone, without spares
    spares: Steps
    ready: Steps
    desired: Steps
    instance_seconds: float
    spare_seconds: float
    traffic: Sequence[Second]  # those that had any
    # As the autoscaler counts them; it knows nothing of fixed upstreams.
    cold_starts: int = 0  # times that a request found no instance
    starts: int = 0
    starts_failed: int = 0
    thaws: int = 0  # spares that were needed again


class Ledger:
    """Counts while the simulation goes on."""

    __slots__ = (
        "_queue",
        "_traffic",
        "answered",
        "cold_requests",
        "desired",
        "ready",
        "rejected",
        "requests",
        "service",
        "waits",
    )

    def __init__(self, service: str) -> None:
        self.service = service
        self.requests = 0
        self.answered = 0
        self.rejected: dict[str, int] = {}
        self.waits = Waits()
        self.cold_requests = 0
        self.ready = Steps()
        self.desired = Steps()
        self._queue = 0  # the most since the last sample
        self._traffic: list[Second] = []

    def queued(self, waiting: int) -> None:
        self._queue = max(self._queue, waiting)

    def admit(self, waited: float, cold: bool) -> None:
        self.waits.add(waited)
        self.cold_requests += cold and waited > _NOTHING

    def reject(self, reason: str) -> None:
        self.rejected[reason] = self.rejected.get(reason, 0) + 1

    def sample(self, now: float, demand: float, waiting: int) -> None:
        self._traffic.append(Second(now, demand, max(self._queue, waiting)))
        self._queue = 0

    def course(
        self, seconds: float, lives: Sequence[Stretch], spares: Sequence[Stretch] = ()
    ) -> Course:
        """``lives``: from when each instance was asked for until it was gone; ``spares``: the
        stretches of these in which one was frozen, and not needed."""
        spare_seconds = _added_up(spares)
        return Course(
            service=self.service,
            seconds=seconds,
            requests=self.requests,
            answered=self.answered,
            rejected=dict(sorted(self.rejected.items())),
            waits=self.waits,
            cold_requests=self.cold_requests,
            instances=counted(lives, less=spares),
            spares=counted(spares),
            ready=self.ready,
            desired=self.desired,
            instance_seconds=_added_up(lives) - spare_seconds,
            spare_seconds=spare_seconds,
            traffic=tuple(self._traffic),
        )


def _added_up(stretches: Iterable[Stretch]) -> float:
    return sum(ended - began for began, ended in stretches)
