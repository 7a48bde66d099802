"""A course as curves: its values in stretches of time of one length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from wakeful.simulate.course import Course, Steps, summed


@dataclass(frozen=True, slots=True)
class Curves:
    """Point ``i`` of each stands for the time from ``i * step`` to ``(i + 1) * step``."""

    step: float  # seconds
    demand: Sequence[float]  # requests in hand on average
    queue: Sequence[int]  # requests that waited, at the most
    desired: Sequence[int]  # the most in this time, as of those that follow
    ready: Sequence[int]
    instances: Sequence[int]  # without spares
    spares: Sequence[int]
    kept: Sequence[int]  # ready ones and spares together


def curves(course: Course, points: int) -> Curves:
    step = course.seconds / points
    demand, queue = [0.0] * points, [0] * points
    begin = 0.0
    for second in course.traffic:
        begin = max(begin, second.until - 1)
        first, last = int(begin / step), min(points, ceil(second.until / step))
        for at in range(first, last):
            shared = min(second.until, (at + 1) * step) - max(begin, at * step)
            if shared > 0:
                demand[at] += second.demand * shared / step
                queue[at] = max(queue[at], second.queue)
        begin = second.until

    def most(steps: Steps) -> list[int]:
        return [steps.most(at * step, (at + 1) * step) for at in range(points)]

    return Curves(
        step,
        demand,
        queue,
        most(course.desired),
        most(course.ready),
        most(course.instances),
        most(course.spares),
        most(summed([course.ready, course.spares])),
    )
