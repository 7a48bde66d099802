"""From the desired number of instances to the number to actually have.

Knative's kpa/scaler.go and the activity states of kpa.go, on one host: minimum,
maximum, initial scale, and the gate before zero. Its waits for a network to be
reprogrammed (probing the activator, grace period) are gone, because here the
proxy is always in the path.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, auto
from typing import assert_never

from wakeful.config.model import Template
from wakeful.scaler.decider import UNKNOWN

# Knative's activationTimeoutBuffer: a start that fails at its deadline is
# reported by whoever watches it before the gate takes the instance away.
DEADLINE_BUFFER = 30.0


class Activity(StrEnum):
    ACTIVATING = auto()  # instances are wanted, fewer than necessary are ready
    ACTIVE = auto()
    INACTIVE = auto()  # none is wanted


@dataclass(frozen=True, slots=True)
class Bounds:
    min: int = 0
    max: int = 0  # 0 = no limit
    initial: int = 1
    stable_window: float = 60.0
    retention: float = 0.0
    progress_deadline: float = 600.0
    reachable: bool = True  # some traffic target names the revision

    @classmethod
    def of(cls, template: Template, reachable: bool = True, scheduled: int = 0) -> Bounds:
        """``scheduled`` is what a schedule asks for at this time: a minimum like the other."""
        return cls(
            min=max(template.min_instances, scheduled),
            max=template.max_instances,
            initial=template.scale.initial,
            stable_window=template.scale.window,
            retention=template.scale.retention,
            reachable=reachable,
        )


@dataclass(frozen=True, slots=True)
class Phase:
    """What the gate remembers: how active the revision is, and since when."""

    activity: Activity
    since: float
    initial_reached: bool  # the initial scale is asked for once in a revision's life


def initial_scale(bounds: Bounds) -> int:
    """How many must be ready before a new revision may be given requests."""
    return _necessary(bounds, initial_reached=False)


def new_phase(bounds: Bounds, now: float) -> Phase:
    """A revision that was never started: it owes its initial scale."""
    if not bounds.reachable:
        return Phase(Activity.INACTIVE, now, initial_reached=False)
    if _necessary(bounds, initial_reached=False) == 0:
        return Phase(Activity.INACTIVE, now, initial_reached=True)
    return Phase(Activity.ACTIVATING, now, initial_reached=False)


def adopted_phase(ready: int, now: float) -> Phase:
    """A revision that lived before we did: whoever was asleep stays asleep."""
    return Phase(Activity.ACTIVE if ready else Activity.INACTIVE, now, initial_reached=True)


def bound(
    bounds: Bounds, desired: int, current: int, ready: int, phase: Phase, now: float
) -> tuple[int, Phase]:
    """The number of instances to have, and the phase that follows.

    ``desired`` is the decider's answer, or UNKNOWN; ``current`` the number
    there is, starting ones included; ``ready`` how many of them may be given
    requests.
    """
    elapsed = now - phase.since
    held = _clamp(bounds, phase, current)
    if desired < 0 and phase.activity is not Activity.ACTIVATING:
        return held, _advance(bounds, UNKNOWN, ready, phase, now)

    wanted = _clamp(bounds, phase, desired)
    if wanted:
        return wanted, _advance(bounds, wanted, ready, phase, now)

    match phase.activity:
        case Activity.ACTIVATING:
            # Nobody wants it any more, but it is on its way: let it arrive,
            # and be active for a window, rather than throw the start away.
            if elapsed > bounds.progress_deadline + DEADLINE_BUFFER:
                return 0, _advance(bounds, 0, ready, phase, now)
            if not phase.initial_reached and bounds.reachable:
                held = max(held, _within(bounds, bounds.initial))
            return held, _advance(bounds, UNKNOWN, ready, phase, now)
        case Activity.ACTIVE:
            if elapsed < bounds.stable_window:
                return 1, _advance(bounds, 1, ready, phase, now)
            # Two steps, as in Knative: inactive now, zero at the next decision.
            return held, _advance(bounds, 0, ready, phase, now)
        case Activity.INACTIVE:
            retention = bounds.retention if bounds.reachable else 0.0
            return (
                0 if elapsed >= retention else held,
                _advance(bounds, 0, ready, phase, now),
            )
        case _:
            assert_never(phase.activity)


def _clamp(bounds: Bounds, phase: Phase, wanted: int) -> int:
    lowest = bounds.min if bounds.reachable else 0
    # An initial scale of 1 is not a minimum: it may be given up at the deadline.
    if bounds.initial > 1 and bounds.reachable and not phase.initial_reached:
        lowest = max(lowest, bounds.initial)
    return _within(bounds, max(wanted, lowest))


def _within(bounds: Bounds, wanted: int) -> int:
    return min(wanted, bounds.max) if bounds.max else wanted


def _advance(bounds: Bounds, wanted: int, ready: int, phase: Phase, now: float) -> Phase:
    """Knative's computeActiveCondition: what these instances make of the revision."""
    necessary = _necessary(bounds, phase.initial_reached)
    reached = phase.initial_reached or (bounds.reachable and ready >= necessary)
    if wanted == 0 or (wanted == UNKNOWN and phase.activity is Activity.INACTIVE):
        activity = Activity.INACTIVE
    elif ready < necessary:
        activity = Activity.ACTIVATING
    else:
        activity = Activity.ACTIVE
    if activity is phase.activity and reached is phase.initial_reached:
        return phase
    since = phase.since if activity is phase.activity else now
    return Phase(activity, since, reached)


def _necessary(bounds: Bounds, initial_reached: bool) -> int:
    """How many must be ready before the revision counts as active."""
    if not bounds.reachable:
        return 1
    return _within(bounds, max(bounds.min, 1 if initial_reached else bounds.initial))
