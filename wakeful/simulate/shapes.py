"""Made-up traffic: how the rate of requests goes over time, and when the requests come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from math import cos, pi, sqrt


class Kind(StrEnum):
    STEP = "step"
    RAMP = "ramp"
    SPIKE = "spike"
    SINE = "sine"
    POISSON = "poisson"


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of time in which the rate goes from ``first`` to ``last`` in a straight line."""

    start: float
    seconds: float
    first: float  # requests per second
    last: float

    @property
    def requests(self) -> float:
        return (self.first + self.last) / 2 * self.seconds

    def when(self, requests: float) -> float:
        """When so many of its requests have come."""
        if not requests:
            return self.start
        # first*x + slope/2*x**2 = requests, in the form that neither divides by
        # a slope of nothing nor takes one large number from another.
        slope = (self.last - self.first) / self.seconds
        root = sqrt(max(0.0, self.first**2 + 2 * slope * requests))
        return self.start + 2 * requests / (self.first + root)


# In parts of the whole length.
_STEP_UP, _STEP_DOWN = 0.1, 0.9
_SPIKE, _SPIKE_WIDTH = 0.5, 0.05
_SINE_PERIODS = 4
_SINE_POINTS = 64  # of a period; straight lines between them


def segments(kind: Kind, low: float, high: float, length: float) -> tuple[Segment, ...]:
    """The rate of each shape between ``low`` and ``high``, over ``length`` seconds.

    step: high from a tenth of the time to nine tenths. ramp: from low to high
    at half time, and back. spike: high for a twentieth of the time from half
    time on. sine: four periods, each from low to high and back. poisson: high
    all the time; only the moments are at random.
    """
    match kind:
        case Kind.STEP:
            corners = [(0.0, low), (_STEP_UP, low), (_STEP_UP, high)]
            corners += [(_STEP_DOWN, high), (_STEP_DOWN, low), (1.0, low)]
        case Kind.RAMP:
            corners = [(0.0, low), (0.5, high), (1.0, low)]
        case Kind.SPIKE:
            end = _SPIKE + _SPIKE_WIDTH
            corners = [(0.0, low), (_SPIKE, low), (_SPIKE, high)]
            corners += [(end, high), (end, low), (1.0, low)]
        case Kind.SINE:
            points = _SINE_PERIODS * _SINE_POINTS
            corners = [
                (i / points, low + (high - low) * (1 - cos(2 * pi * i / _SINE_POINTS)) / 2)
                for i in range(points + 1)
            ]
        case Kind.POISSON:
            corners = [(0.0, high), (1.0, high)]
    return tuple(
        Segment(begin * length, (end - begin) * length, first, last)
        for (begin, first), (end, last) in pairwise(corners)
        if end > begin
    )


def evenly(shape: Iterable[Segment]) -> Iterator[float]:
    """One request whenever the rate has added up to one more; the first at once."""
    due = 0.0
    for segment in shape:
        while due < segment.requests - 1e-9:
            yield segment.when(max(0.0, due))
            due += 1
        due -= segment.requests


def at_random(rate: float, length: float, gap: Callable[[float], float]) -> Iterator[float]:
    """A Poisson process; ``gap(rate)`` draws from the exponential distribution."""
    if rate > 0:
        moment = gap(rate)
        while moment < length:
            yield moment
            moment += gap(rate)
