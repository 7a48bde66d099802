"""How many instances a revision should have: Knative's pod autoscaler.

The arithmetic of pkg/autoscaler/scaling/autoscaler.go, to the digit. Here are
targets, rates, panic, activation scale and scale-down-delay; minimum, maximum
and scale-to-zero come afterwards, in ``bounds``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, floor
from typing import NamedTuple

from wakeful.config.model import Template
from wakeful.scaler.max_window import MaxWindow
from wakeful.scaler.remembered import Remembered
from wakeful.scaler.target import resolve_target

DELAY_SLOT = 2.0  # seconds; Knative's tick, which its delay window is divided into
UNKNOWN = -1  # the desired scale before anything was measured


@dataclass(frozen=True, slots=True)
class Policy:
    """What one revision's settings come down to; target and total are in units of the metric."""

    target: float
    total: float
    stable_window: float = 60.0
    panic_threshold: float = 2.0
    max_up_rate: float = 1000.0
    max_down_rate: float = 2.0
    activation: int = 1
    down_delay: float = 0.0
    target_burst_capacity: float = 211.0
    reachable: bool = True  # some traffic target names the revision

    @classmethod
    def of(cls, template: Template, reachable: bool = True) -> Policy:
        scale = template.scale
        target = resolve_target(scale, template.concurrency)
        return cls(
            target=target.value,
            total=target.total,
            stable_window=scale.window,
            panic_threshold=scale.panic_threshold,
            max_up_rate=scale.max_up_rate,
            max_down_rate=scale.max_down_rate,
            activation=scale.activation,
            down_delay=scale.down_delay,
            target_burst_capacity=scale.target_burst_capacity,
            reachable=reachable,
        )


class Averages(NamedTuple):
    """The load of all instances together, queue included, over both windows."""

    stable: float
    panic: float


@dataclass(frozen=True, slots=True)
class DeciderState:
    """The little that one decision hands on to the next."""

    panic_since: float | None = None
    panic_peak: int = 0
    delay: MaxWindow | None = None

    @property
    def panicking(self) -> bool:
        return self.panic_since is not None


class Decision(NamedTuple):
    desired: int  # before minimum, maximum and scale-to-zero; UNKNOWN before any
    excess_burst: int  # Knative's excess burst capacity: a number to report, it steers nothing
    panicking: bool


def initial_state(ready: int, now: float, down_delay: float) -> DeciderState:
    """What to begin with when ``ready`` instances are found running.

    More than one of them means that the load was there before we were: the
    windows know nothing of it yet, so the revision starts in panic, which
    keeps what is running for a stable window.

    ``down_delay`` is fixed here, as in Knative; ``delayed`` changes it.
    """
    state = DeciderState(panic_since=now if ready > 1 else None, panic_peak=ready)
    return delayed(state, down_delay)


def delayed(state: DeciderState, down_delay: float) -> DeciderState:
    """The same under another scale-down-delay (seconds); what it remembers of late stays."""
    if down_delay <= 0:
        return replace(state, delay=None)
    slots = ceil(down_delay / DELAY_SLOT)
    return replace(state, delay=MaxWindow(slots, state.delay.falling if state.delay else ()))


def remembered_state(state: DeciderState, was: Remembered, now: float) -> DeciderState:
    """``state`` with what was known before a restart; ages count from ``now``."""
    state = replace(
        state,
        panic_since=None if was.panicking is None else now - was.panicking,
        panic_peak=was.panic_peak,
    )
    if state.delay is None:
        return state
    slot = floor(now / DELAY_SLOT)
    falling = tuple((slot - ago, wanted) for ago, wanted in was.delay)
    return replace(state, delay=replace(state.delay, falling=falling))


def undecided(policy: Policy, initial: int) -> Decision:
    """What to report before the first decision."""
    burst = policy.target_burst_capacity
    excess = int(burst) if burst in (-1, 0) else int(initial * policy.total - burst)
    return Decision(desired=UNKNOWN, excess_burst=excess, panicking=False)


def decide(
    policy: Policy, seen: Averages | None, ready: int, state: DeciderState, now: float
) -> tuple[Decision | None, DeciderState]:
    """One decision, and what the next one must know of it.

    Without data (``seen`` is None) there is no decision and nothing changes:
    silence of the measurement is not silence of the clients.
    """
    if seen is None:
        return None, state

    running = max(1, ready)
    # Rounded away from the running number on both sides, so that a small rate
    # times a small number still moves by one.
    most = ceil(policy.max_up_rate * running)
    fewest = floor(running / policy.max_down_rate) if policy.reachable else 0
    calm = ceil(seen.stable / policy.target)
    surge = ceil(seen.panic / policy.target)

    # The unclamped surge: a low max-up-rate does not talk a burst down.
    if surge / running >= policy.panic_threshold:
        state = replace(state, panic_since=now)
    elif state.panic_since is not None and state.panic_since + policy.stable_window < now:
        state = replace(state, panic_since=None, panic_peak=0)

    wanted = _activate(policy, calm, min(max(calm, fewest), most))
    if state.panic_since is not None:
        # Never shrinks while panicking. The stable average may be the larger
        # of the two; provision for whichever is.
        burst = _activate(policy, surge, min(max(surge, fewest), most))
        wanted = max(wanted, burst, state.panic_peak)
        if wanted != state.panic_peak:
            state = replace(state, panic_peak=wanted)

    # An unreachable revision has nobody to keep instances for.
    if state.delay is not None and policy.reachable:
        delay = state.delay.record(floor(now / DELAY_SLOT), wanted)
        wanted = delay.current()
        state = replace(state, delay=delay)

    decision = Decision(
        desired=wanted,
        excess_burst=_excess_burst(policy, seen, ready),
        panicking=state.panic_since is not None,
    )
    return decision, state


def _activate(policy: Policy, load: int, wanted: int) -> int:
    """Activation scale: where there is any load, there are at least so many instances."""
    return max(wanted, policy.activation) if policy.activation > 1 and load > 0 else wanted


def _excess_burst(policy: Policy, seen: Averages, ready: int) -> int:
    if policy.target_burst_capacity == 0:
        return 0
    if policy.target_burst_capacity < 0:
        return -1
    return floor(ready * policy.total - policy.target_burst_capacity - seen.panic)
