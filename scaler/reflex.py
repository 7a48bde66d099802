"""A request that would have to queue asks for capacity now.

Our own rule, on top of Knative's: averages need a tick to notice a queue, and
the proxy knows of it at once. The reflex only ever adds to what the decider
wants; the number of instances wanted is the larger of the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from wakeful.events import Load


@dataclass(frozen=True, slots=True)
class Reflex:
    """The most that was asked for lately, and when it was last asked for."""

    peak: int = 0
    since: float = 0.0


def demand(load: Load, concurrency: int, target: float) -> int:
    """The instances without which a request has to wait.

    With a hard limit that is arithmetic. Without one a ready instance takes
    everything, so requests wait only where nothing is ready; then ``target``
    requests are meant for each (``math.inf`` when the target is not a number
    of requests in flight: one instance, and the decider will say the rest).

    What a wake filter matched asks for nothing; but where others wait, the
    room it takes is missing.
    """
    held = load.active + load.waiting
    if not load.waiting:
        held -= load.ignored
    if concurrency:
        return ceil(held / concurrency)
    return max(1, ceil(held / target)) if load.waiting else 0


def recall(reflex: Reflex, wanted: int, now: float, hold: float) -> Reflex:
    """Take in what is wanted at this moment.

    A peak is remembered for ``hold`` seconds since it was last reached, as
    Knative remembers a panic: stopping the instances of a burst between its
    waves would throw away starts already paid for.
    """
    if wanted >= floor(reflex, now, hold):
        return Reflex(peak=wanted, since=now)
    return reflex


def floor(reflex: Reflex, now: float, hold: float) -> int:
    """The instances to keep for what was asked for in the last ``hold`` seconds."""
    return reflex.peak if now - reflex.since <= hold else 0
