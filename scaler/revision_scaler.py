"""One revision: from its traffic to the instances it has.

Joins the pure rules of its neighbours to a fleet. Remembers what they need
only while the revision is awake; one that sleeps is little more than its name.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from math import floor, inf
from typing import NamedTuple

from wakeful.config.model import Metric, Revision, Scale
from wakeful.events import Load, Outage, Sample, StartPhase
from wakeful.runtime.fleet import Fleet
from wakeful.runtime.instance import Exit, Found, State
from wakeful.scaler import reflex
from wakeful.scaler.bounds import Activity, Bounds, Phase, adopted_phase, bound, new_phase
from wakeful.scaler.decider import (
    DELAY_SLOT,
    UNKNOWN,
    Averages,
    DeciderState,
    Decision,
    Policy,
    decide,
    delayed,
    initial_state,
    remembered_state,
    undecided,
)
from wakeful.scaler.plan import Plan, plan
from wakeful.scaler.remembered import Remembered
from wakeful.scaler.target import panic_window_seconds
from wakeful.scaler.window import Window, window

logger = logging.getLogger(__name__)

_NOTHING_SEEN = Averages(0.0, 0.0)
_NOTHING_ASKED = reflex.Reflex()
_NO_LOAD = Load()


class RevisionStatus(NamedTuple):
    """One revision, as the autoscaler sees it now."""

    service: str
    revision: str
    retired: bool
    awake: bool
    woken: bool  # at any time since it was added
    scheduled: int | None  # instances that its schedule asks for now; None: it has none
    metric: Metric
    desired: int  # what it should have, all rules applied
    starting: int
    ready: int
    resting: int  # of the ready ones: frozen until the next request
    draining: int
    frozen: int  # spares, which nobody needs now
    stopping: int
    stable: float  # the averages of the latest decision, in units of the metric
    panic: float
    target: float  # per instance, in the same units; 0 while asleep
    excess_burst: int
    panicking: bool
    outage: Outage | None
    failure: str  # why the latest start failed, for the operator; "" when it did not
    blocked_until: float  # no start makes sense before this moment
    # Since it was added
    cold_starts: int  # times that a request found no instance, and some were started for it
    starts: int
    starts_failed: int
    crashes: int
    freezes: int
    thaws: int
    became_ready: int
    start_seconds: float  # from asked-for to ready, of those that became ready
    start_phases: tuple[
        tuple[StartPhase, int, float], ...
    ]  # how many there were, and their seconds

    @property
    def instances(self) -> int:
        """In whatever state."""
        return self.starting + self.ready + self.draining + self.frozen + self.stopping

    @property
    def restarts(self) -> int:
        """Instances that failed, each of which another one replaces where it is needed."""
        return self.crashes + self.starts_failed


@dataclass(slots=True, eq=False)
class _Attention:
    """What is remembered of a revision while it is awake."""

    fleet: Fleet
    policy: Policy
    bounds: Bounds
    stable: Window
    panic: Window
    state: DeciderState
    phase: Phase
    decision: Decision
    seen: Averages = _NOTHING_SEEN
    asked: reflex.Reflex = _NOTHING_ASKED


class RevisionScaler:
    """Keeps one revision at the number of instances its traffic needs.

    Seconds are given to it counted, moments (``now``) as they are.
    """

    __slots__ = (
        "_attention",
        "_fleet",
        "_initial_reached",
        "_new_fleet",
        "awaited",
        "cold_starts",
        "desired",
        "load",
        "retired",
        "revision",
        "scheduled",
    )

    def __init__(self, revision: Revision, new_fleet: Callable[[Revision], Fleet]) -> None:
        self.revision = revision
        self.retired = False
        self.awaited = 0  # instances it is to have before anybody asks for it
        self.scheduled = 0  # instances to keep, by its schedule as of now
        self.load = _NO_LOAD  # as last heard of
        self.desired = 0
        self.cold_starts = 0
        # Knative asks for the initial scale once in a revision's life
        self._initial_reached = False
        self._new_fleet = new_fleet
        self._fleet: Fleet | None = None  # from the first time it woke
        self._attention: _Attention | None = None

    @property
    def awake(self) -> bool:
        return self._attention is not None

    @property
    def fleet(self) -> Fleet | None:
        return self._fleet

    @property
    def held(self) -> bool:
        """Somebody's request is in its hands."""
        return self.load.active > 0 or self.load.waiting > 0

    def retire(self, retired: bool) -> None:
        """Whether no route leads to it any more; Knative calls such a revision unreachable."""
        self.retired = retired
        if retired:
            self.awaited = 0
        if self._fleet is not None:
            self._fleet.keep_spares(not retired)
        self._set_rules()

    def follow(self, scheduled: int) -> None:
        """What its schedule asks for from now on."""
        self.scheduled = scheduled
        self._set_rules()

    def retune(self, revision: Revision) -> None:
        """Other settings of the same definition, from the next decision on.

        What the windows remember stays, as far as it is of use.
        """
        before, self.revision = self.revision.template.scale, revision
        if self._fleet is not None:
            self._fleet.revision = revision
        self._set_rules()
        scale, it = revision.template.scale, self._attention
        if it is None or scale == before:
            return
        if (scale.metric, scale.aggregation) != (before.metric, before.aggregation):
            it.stable, it.panic = _windows(scale)
        else:
            it.stable.resize(int(scale.window))
            it.panic.resize(panic_window_seconds(scale.window, scale.panic_window))
        if scale.down_delay != before.down_delay:
            it.state = delayed(it.state, scale.down_delay)

    def arrived(self, now: float) -> None:
        """It is not awaited any more: requests come.

        What was started for them is kept for as long as what they ask for themselves.
        """
        if self._attention is not None:
            window = self.revision.template.scale.window
            asked = self._attention.asked
            self._attention.asked = reflex.recall(asked, self.awaited, now, window)
        self.awaited = 0

    def _set_rules(self) -> None:
        if self._attention is not None:
            template, reachable = self.revision.template, not self.retired
            self._attention.policy = Policy.of(template, reachable)
            self._attention.bounds = Bounds.of(template, reachable, self.scheduled)
            if template.max_instances:  # what exits before the next decision is not replaced
                self.desired = min(self.desired, template.max_instances)

    def adopt(self, found: Found, now: float) -> None:
        it = self._wake(now)
        it.fleet.adopt(found)
        self.desired = max(self.desired, it.fleet.size)
        it.state = initial_state(it.fleet.size, now, self.revision.template.scale.down_delay)
        it.phase = adopted_phase(it.fleet.size, now)
        logger.info("%s: instance %s found running", found.revision, found.instance)

    def remember(self, now: float, second: int) -> Remembered | None:
        """What to tell ``recall`` in the next process; None while it is asleep."""
        it = self._attention
        if it is None:
            return None
        slot, delay = floor(now / DELAY_SLOT), it.state.delay
        return Remembered(
            metric=self.revision.template.scale.metric,
            stable=it.stable.history(second),
            panic=it.panic.history(second),
            panicking=None if it.state.panic_since is None else now - it.state.panic_since,
            panic_peak=it.state.panic_peak,
            delay=tuple((slot - at, wanted) for at, wanted in delay.falling) if delay else (),
            asked=it.asked.peak,
            asked_ago=now - it.asked.since,
            active=now - it.phase.since if it.phase.activity is Activity.ACTIVE else None,
        )

    def recall(self, was: Remembered, gap: float, now: float, second: int) -> bool:
        """Go on from what was remembered ``gap`` seconds ago, for the instances found running.

        False when it says nothing of now: a window has passed, or nothing runs.
        """
        it, scale = self._attention, self.revision.template.scale
        if it is None:
            return False
        if not 0 <= gap <= scale.window or was.metric is not scale.metric:
            return False
        # Nobody was served in the gap: it is no silence, the windows do not count it.
        for ours, history in ((it.stable, was.stable), (it.panic, was.panic)):
            if history is not None:
                ours.go_on(second, history)
        began = now - gap
        it.state = remembered_state(it.state, was, began)
        it.asked = reflex.Reflex(was.asked, began - was.asked_ago)
        if was.active is not None:
            it.phase = Phase(Activity.ACTIVE, began - was.active, initial_reached=True)
        return True

    # The event rule: a request that would queue asks for capacity now

    def satisfied(self, load: Load) -> bool:
        """Whether these requests have all the instances they may have; must be cheap."""
        if self._attention is None or not self._attention.fleet.size:
            return False
        needed = self._needed(self._attention.policy, load)
        return self._attention.fleet.size >= min(needed, self._attention.bounds.max or inf)

    def answer(self, now: float) -> None:
        """Start what the requests in hand need, unless KPA wants more already."""
        template = self.revision.template
        if not self._needed(Policy.of(template, reachable=not self.retired), self.load):
            return  # whoever asked has left
        it = self._wake(now)
        needed = self._recall(it, now)
        size, ready = it.fleet.size, it.fleet.count(State.READY)
        wanted, it.phase = bound(it.bounds, needed, size, ready, it.phase, now)
        self.desired = max(self.desired, wanted)
        self._start_missing(it, now, f"{self.load.active} active, {self.load.waiting} waiting")
        if not size and it.fleet.count(State.STARTING):
            self.cold_starts += 1

    def _needed(self, policy: Policy, load: Load) -> int:
        template = self.revision.template
        concurrent = template.scale.metric is Metric.CONCURRENCY
        needed = reflex.demand(load, template.concurrency, policy.target if concurrent else inf)
        return max(needed, policy.activation) if needed else 0

    def _recall(self, it: _Attention, now: float) -> int:
        needed = self._needed(it.policy, self.load)
        it.asked = reflex.recall(it.asked, needed, now, self.revision.template.scale.window)
        return needed

    # The tick: Knative's KPA

    def wake(self, now: float) -> None:
        self._wake(now)

    def record(self, sample: Sample, second: int, seconds: int) -> None:
        """What happened in the ``seconds`` seconds up to ``second``."""
        it = self._attention
        assert it is not None
        self.load = sample.load
        rps = self.revision.template.scale.metric is Metric.RPS
        value = sample.requests / seconds if rps else sample.concurrency
        window = int(self.revision.template.scale.window)
        # After a pause of the whole process one sample speaks for all its seconds.
        for each in range(second - min(seconds, window) + 1, second + 1):
            it.stable.record(each, value)
            it.panic.record(each, value)

    def decide(self, now: float, second: int) -> None:
        it = self._attention
        assert it is not None
        # What was found running was ready before, and is about to be again.
        fleet, ready = it.fleet, it.fleet.count(State.READY) + it.fleet.returning

        seen = None
        # With all the burst capacity there is Knative scrapes nothing, so silence is no load.
        if it.policy.target_burst_capacity == -1 or not it.stable.empty(second):
            seen = Averages(it.stable.average(second), it.panic.average(second))
        panicked = it.state.panicking
        decision, it.state = decide(it.policy, seen, ready, it.state, now)
        if seen is not None and decision is not None:
            it.seen, it.decision = seen, decision
        wanted, it.phase = bound(
            it.bounds,
            UNKNOWN if decision is None else decision.desired,
            fleet.size,
            ready,
            it.phase,
            now,
        )
        self._initial_reached |= it.phase.initial_reached
        self._recall(it, now)
        if panicked and it.state.panicking:
            wanted = max(wanted, self.desired)  # also what the event rule had asked for
        self.desired = self._settled(it, wanted, now)

        if self._worth_trying(it):
            self._start_missing(it, now, self._in_words(it))
        before = fleet.size
        given_up = self._plan(fleet).drain
        if given_up:
            fleet.drain(given_up)
            self._log_change(it, before, self._in_words(it))

        if fleet.asleep and self._quiet(it, second):
            self._attention = None  # the fleet stays, for what it knows of failed starts
            self.desired = 0

    def _settled(self, it: _Attention, wanted: int, now: float) -> int:
        """KPA's answer, the event rule's, and never less than one for a request in hand."""
        if self.retired and not self.held:
            return 0  # no window to wait for: nobody can come back
        asked = reflex.floor(it.asked, now, self.revision.template.scale.window)
        settled = max(wanted, asked, self.awaited, 1 if self.held else 0)
        return min(settled, it.bounds.max) if it.bounds.max else settled

    def _quiet(self, it: _Attention, second: int) -> bool:
        if self.held or self.awaited:
            return False
        return self.retired or (it.bounds.min == 0 and it.stable.average(second) == 0)

    # Starting

    def exited(self, exit: Exit, now: float) -> bool:
        """False when the instance is none of this revision's.

        One that ended by itself is missing: what is wanted stays, so it is replaced.
        """
        if self._fleet is None or exit.instance not in self._fleet:
            return False
        self._fleet.exited(exit)
        it = self._attention
        if it is not None and self._worth_trying(it):
            self._start_missing(it, now, f"{exit.instance} exited")
        return True

    def _worth_trying(self, it: _Attention) -> bool:
        """After failed starts nothing is tried again for traffic that has gone away."""
        if not it.fleet.failing or it.fleet.count(State.READY) or self.held or self.awaited:
            return True
        return it.bounds.min > 0 and not self.retired

    def _start_missing(self, it: _Attention, now: float, why: str) -> None:
        fleet, before = it.fleet, it.fleet.size
        todo = self._plan(fleet)
        if todo.thaw:
            fleet.thaw(todo.thaw)
            why = f"{why}; {len(todo.thaw)} thawed"
        start = todo.start
        if fleet.failing and not fleet.count(State.READY):
            # Nothing shows that it works at all: one try is enough to see.
            start = min(start, max(0, 1 - fleet.size))
        if start and fleet.blocked_until <= now:
            fleet.start(start)
        if fleet.size > before:
            self._log_change(it, before, why)

    def _plan(self, fleet: Fleet) -> Plan:
        limit = self.revision.template.concurrency
        return plan(self.desired, fleet.starting, fleet.ready, self.load, limit, fleet.spares)

    # Awake and asleep

    def _wake(self, now: float) -> _Attention:
        if self._attention is not None:
            return self._attention
        if self._fleet is None:
            self._fleet = self._new_fleet(self.revision)
            self._fleet.keep_spares(not self.retired)
        template, reachable = self.revision.template, not self.retired
        scale = template.scale
        stable, panic = _windows(scale)
        policy = Policy.of(template, reachable)
        bounds = Bounds.of(template, reachable, self.scheduled)
        if self._initial_reached:
            phase = Phase(Activity.INACTIVE, now, initial_reached=True)
        else:
            phase = new_phase(bounds, now)
        self._attention = _Attention(
            fleet=self._fleet,
            policy=policy,
            bounds=bounds,
            stable=stable,
            panic=panic,
            state=initial_state(self._fleet.size, now, scale.down_delay),
            phase=phase,
            decision=undecided(policy, scale.initial),
        )
        return self._attention

    # To be shown

    def status(self) -> RevisionStatus:
        it, fleet = self._attention, self._fleet
        return RevisionStatus(
            service=self.revision.service,
            revision=self.revision.name,
            retired=self.retired,
            awake=it is not None,
            woken=fleet is not None,
            scheduled=self.scheduled if self.revision.template.schedule else None,
            metric=self.revision.template.scale.metric,
            desired=self.desired,
            starting=fleet.count(State.STARTING) if fleet else 0,
            ready=fleet.count(State.READY) if fleet else 0,
            resting=fleet.resting if fleet else 0,
            draining=fleet.count(State.DRAINING) if fleet else 0,
            frozen=fleet.count(State.FROZEN) if fleet else 0,
            stopping=fleet.count(State.STOPPING) if fleet else 0,
            stable=it.seen.stable if it else 0.0,
            panic=it.seen.panic if it else 0.0,
            target=it.policy.target if it else 0.0,
            excess_burst=it.decision.excess_burst if it else 0,
            panicking=it.decision.panicking if it else False,
            outage=fleet.outage if fleet else None,
            failure=fleet.failure if fleet else "",
            blocked_until=fleet.blocked_until if fleet else -inf,
            cold_starts=self.cold_starts,
            starts=fleet.starts if fleet else 0,
            starts_failed=fleet.starts_failed if fleet else 0,
            crashes=fleet.crashes if fleet else 0,
            freezes=fleet.freezes if fleet else 0,
            thaws=fleet.thaws if fleet else 0,
            became_ready=fleet.became_ready if fleet else 0,
            start_seconds=fleet.start_seconds if fleet else 0.0,
            start_phases=_counted(fleet) if fleet else (),
        )

    def _in_words(self, it: _Attention) -> str:
        if self.awaited:
            return "to take over"
        metric = self.revision.template.scale.metric
        words = f"{metric} {it.seen.stable:.1f}, target {it.policy.target:g}"
        if it.decision.panicking:
            words += ", panic"
        return words + ", retired" if self.retired else words

    def _log_change(self, it: _Attention, before: int, why: str) -> None:
        logger.info("%s: %d -> %d instances (%s)", self.revision.name, before, it.fleet.size, why)


def _counted(fleet: Fleet) -> tuple[tuple[StartPhase, int, float], ...]:
    return tuple((phase, it.count, it.sum) for phase, it in fleet.start_phases.items())


def _windows(scale: Scale) -> tuple[Window, Window]:
    """The stable and the panic window, empty."""
    panic = panic_window_seconds(scale.window, scale.panic_window)
    return window(scale.aggregation, int(scale.window)), window(scale.aggregation, panic)
