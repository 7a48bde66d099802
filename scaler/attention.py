"""What is remembered of a revision while it is awake, and how many instances follow from that.

Joins the pure rules of its neighbours. Of instances it knows how many there are; it
starts and stops none.
"""

from __future__ import annotations

from math import floor

from wakeful.config.model import Metric, Scale, Template
from wakeful.events import Sample
from wakeful.scaler import reflex
from wakeful.scaler.bounds import Activity, Bounds, Phase, adopted_phase, bound, new_phase
from wakeful.scaler.decider import (
    DELAY_SLOT,
    UNKNOWN,
    Averages,
    Policy,
    decide,
    delayed,
    initial_state,
    remembered_state,
    undecided,
)
from wakeful.scaler.remembered import Remembered
from wakeful.scaler.target import panic_window_seconds
from wakeful.scaler.window import Window, window

_NOTHING_SEEN = Averages(0.0, 0.0)
_NOTHING_ASKED = reflex.Reflex()


class Attention:
    """The windows of one revision, its rules, and what they came to last.

    ``second`` counts the windows' seconds, ``now`` is a moment.
    """

    __slots__ = (
        "_asked",
        "_panic",
        "_scale",
        "_stable",
        "_state",
        "bounds",
        "decision",
        "phase",
        "policy",
        "seen",
    )

    def __init__(
        self,
        template: Template,
        *,
        reachable: bool,
        scheduled: int,
        running: int,
        initial_reached: bool,
        now: float,
    ) -> None:
        scale = template.scale
        self._scale = scale
        self._set_rules(template, reachable, scheduled)
        self._stable, self._panic = _windows(scale)
        self._state = initial_state(running, now, scale.down_delay)
        self._asked = _NOTHING_ASKED  # by the event rule
        self.phase = (
            Phase(Activity.INACTIVE, now, initial_reached=True)
            if initial_reached
            else new_phase(self.bounds, now)
        )
        self.decision = undecided(self.policy, scale.initial)
        self.seen = _NOTHING_SEEN

    def _set_rules(self, template: Template, reachable: bool, scheduled: int) -> None:
        self.policy = Policy.of(template, reachable)
        self.bounds = Bounds.of(template, reachable, scheduled)

    def follow(self, template: Template, *, reachable: bool, scheduled: int) -> None:
        """Other settings, from the next decision on.

        What the windows remember stays, as far as it is of use.
        """
        self._set_rules(template, reachable, scheduled)
        scale, before = template.scale, self._scale
        if scale == before:
            return
        self._scale = scale
        if (scale.metric, scale.aggregation) != (before.metric, before.aggregation):
            self._stable, self._panic = _windows(scale)
        else:
            self._stable.resize(int(scale.window))
            self._panic.resize(panic_window_seconds(scale.window, scale.panic_window))
        if scale.down_delay != before.down_delay:
            self._state = delayed(self._state, scale.down_delay)

    @property
    def panicking(self) -> bool:
        return self._state.panicking

    # From one process to the next

    def adopted(self, running: int, now: float) -> None:
        """So many instances were found running in all."""
        self._state = initial_state(running, now, self._scale.down_delay)
        self.phase = adopted_phase(running, now)

    def remember(self, now: float, second: int) -> Remembered:
        """What to tell ``recall`` in the next process."""
        slot, state = floor(now / DELAY_SLOT), self._state
        return Remembered(
            metric=self._scale.metric,
            stable=self._stable.history(second),
            panic=self._panic.history(second),
            panicking=None if state.panic_since is None else now - state.panic_since,
            panic_peak=state.panic_peak,
            delay=tuple((slot - at, wanted) for at, wanted in state.delay.falling)
            if state.delay
            else (),
            asked=self._asked.peak,
            asked_ago=now - self._asked.since,
            active=now - self.phase.since if self.phase.activity is Activity.ACTIVE else None,
        )

    def recall(self, was: Remembered, gap: float, now: float, second: int) -> bool:
        """Go on from what was remembered ``gap`` seconds ago.

        False when it says nothing of now: a window has passed, or it is in another unit.
        """
        if not 0 <= gap <= self._scale.window or was.metric is not self._scale.metric:
            return False
        # Nobody was served in the gap: it is no silence, the windows do not count it.
        for ours, history in ((self._stable, was.stable), (self._panic, was.panic)):
            if history is not None:
                ours.go_on(second, history)
        began = now - gap
        self._state = remembered_state(self._state, was, began)
        self._asked = reflex.Reflex(was.asked, began - was.asked_ago)
        if was.active is not None:
            self.phase = Phase(Activity.ACTIVE, began - was.active, initial_reached=True)
        return True

    # The event rule

    def ask(self, instances: int, now: float) -> None:
        """So many are needed at this moment."""
        self._asked = reflex.recall(self._asked, instances, now, self._scale.window)

    def asked(self, now: float) -> int:
        """How many to keep for what was needed of late."""
        return reflex.floor(self._asked, now, self._scale.window)

    # The tick: Knative's KPA

    def record(self, sample: Sample, second: int, seconds: int) -> None:
        """What happened in the ``seconds`` seconds up to ``second``."""
        rps = self._scale.metric is Metric.RPS
        value = sample.requests / seconds if rps else sample.concurrency
        # After a pause of the whole process one sample speaks for all its seconds.
        for each in range(second - min(seconds, int(self._scale.window)) + 1, second + 1):
            self._stable.record(each, value)
            self._panic.record(each, value)

    def decide(self, size: int, ready: int, now: float, second: int) -> int:
        """How many there should be; there are ``size``, of which ``ready`` may get requests."""
        seen = None
        # With all the burst capacity there is Knative scrapes nothing, so silence is no load.
        if self.policy.target_burst_capacity == -1 or not self._stable.empty(second):
            seen = Averages(self._stable.average(second), self._panic.average(second))
        decision, self._state = decide(self.policy, seen, ready, self._state, now)
        if seen is not None and decision is not None:
            self.seen, self.decision = seen, decision
        return self.bound(UNKNOWN if decision is None else decision.desired, size, ready, now)

    def bound(self, wanted: int, size: int, ready: int, now: float) -> int:
        """The same within the minimum, the maximum and the gate before zero."""
        wanted, self.phase = bound(self.bounds, wanted, size, ready, self.phase, now)
        return wanted

    def quiet(self, second: int) -> bool:
        """Nothing happened for a whole window, and no minimum is to be kept."""
        return self.bounds.min == 0 and self._stable.average(second) == 0


def _windows(scale: Scale) -> tuple[Window, Window]:
    """The stable and the panic window, empty."""
    panic = panic_window_seconds(scale.window, scale.panic_window)
    return window(scale.aggregation, int(scale.window)), window(scale.aggregation, panic)
