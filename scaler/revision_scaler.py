"""One revision: from its traffic to the instances it has.

Has a fleet do what ``attention`` and the event rule ask for. Remembers what they
need only while the revision is awake; one that sleeps is little more than its name.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from math import inf

from wakeful.config.model import Metric, Revision
from wakeful.events import Load, Sample, StartPhase
from wakeful.runtime.fleet import Fleet
from wakeful.runtime.instance import Exit, Found, InstanceId, State
from wakeful.scaler import reflex
from wakeful.scaler.attention import Attention
from wakeful.scaler.decider import Policy
from wakeful.scaler.plan import Plan, plan
from wakeful.scaler.remembered import Remembered
from wakeful.scaler.revision_status import RevisionStatus

logger = logging.getLogger(__name__)

_NO_LOAD = Load()


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
        self._attention: Attention | None = None

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
        """Other settings of the same definition, from the next decision on."""
        self.revision = revision
        if self._fleet is not None:
            self._fleet.revision = revision
        self._set_rules()

    def arrived(self, now: float) -> None:
        """It is not awaited any more: requests come.

        What was started for them is kept for as long as what they ask for themselves.
        """
        if self._attention is not None:
            self._attention.ask(self.awaited, now)
        self.awaited = 0

    def _set_rules(self) -> None:
        if self._attention is not None:
            template = self.revision.template
            self._attention.follow(template, reachable=not self.retired, scheduled=self.scheduled)
            if template.max_instances:  # what exits before the next decision is not replaced
                self.desired = min(self.desired, template.max_instances)

    # From one process to the next

    def adopt(self, found: Found, now: float) -> None:
        it, fleet = self._wake(now)
        fleet.adopt(found)
        self.desired = max(self.desired, fleet.size)
        it.adopted(fleet.size, now)
        logger.info("%s: instance %s found running", found.revision, found.instance)

    def remember(self, now: float, second: int) -> Remembered | None:
        """What to tell ``recall`` in the next process; None while it is asleep."""
        return None if self._attention is None else self._attention.remember(now, second)

    def recall(self, was: Remembered, gap: float, now: float, second: int) -> bool:
        """Go on from what was remembered ``gap`` seconds ago, for the instances found running.

        False when it says nothing of now, or nothing runs.
        """
        it = self._attention
        return it is not None and it.recall(was, gap, now, second)

    # The event rule: a request that would queue asks for capacity now

    def satisfied(self, load: Load) -> bool:
        """Whether these requests have all the instances they may have; must be cheap."""
        it, fleet = self._attention, self._fleet
        if it is None or fleet is None or not fleet.size:
            return False
        return fleet.size >= min(self._needed(it.policy, load), it.bounds.max or inf)

    def answer(self, now: float) -> None:
        """Start what the requests in hand need, unless KPA wants more already."""
        template = self.revision.template
        if not self._needed(Policy.of(template, reachable=not self.retired), self.load):
            return  # whoever asked has left
        it, fleet = self._wake(now)
        needed = self._needed(it.policy, self.load)
        it.ask(needed, now)
        size = fleet.size
        wanted = it.bound(needed, size, fleet.count(State.READY), now)
        self.desired = max(self.desired, wanted)
        why = f"{self.load.active} active, {self.load.waiting} waiting"
        self._start_missing(fleet, now, why)
        if not size and fleet.count(State.STARTING):
            self.cold_starts += 1

    def _needed(self, policy: Policy, load: Load) -> int:
        template = self.revision.template
        concurrent = template.scale.metric is Metric.CONCURRENCY
        needed = reflex.demand(load, template.concurrency, policy.target if concurrent else inf)
        return max(needed, policy.activation) if needed else 0

    # The tick: Knative's KPA

    def wake(self, now: float) -> None:
        self._wake(now)

    def record(self, sample: Sample, second: int, seconds: int) -> None:
        """What happened in the ``seconds`` seconds up to ``second``."""
        assert self._attention is not None
        self.load = sample.load
        self._attention.record(sample, second, seconds)

    def decide(self, now: float, second: int) -> None:
        it, fleet = self._attention, self._fleet
        assert it is not None
        assert fleet is not None
        # What was found running was ready before, and is about to be again.
        ready = fleet.count(State.READY) + fleet.returning
        panicked = it.panicking
        wanted = it.decide(fleet.size, ready, now, second)
        self._initial_reached |= it.phase.initial_reached
        it.ask(self._needed(it.policy, self.load), now)
        if panicked and it.panicking:
            wanted = max(wanted, self.desired)  # also what the event rule had asked for
        self.desired = self._settled(it, wanted, now)

        if self._worth_trying(it, fleet):
            self._start_missing(fleet, now, self._in_words(it))
        before = fleet.size
        given_up = self._plan(fleet).drain
        if given_up:
            fleet.drain(given_up)
            self._log_change(before, fleet.size, self._in_words(it))

        if fleet.asleep and self._quiet(it, second):
            self._attention = None  # the fleet stays, for what it knows of failed starts
            self.desired = 0

    def _settled(self, it: Attention, wanted: int, now: float) -> int:
        """KPA's answer, the event rule's, and never less than one for a request in hand."""
        if self.retired and not self.held:
            return 0  # no window to wait for: nobody can come back
        settled = max(wanted, it.asked(now), self.awaited, 1 if self.held else 0)
        return min(settled, it.bounds.max) if it.bounds.max else settled

    def _quiet(self, it: Attention, second: int) -> bool:
        if self.held or self.awaited:
            return False
        return self.retired or it.quiet(second)

    # Starting

    def exited(self, exit: Exit, now: float, *, replace: bool) -> None:
        """One of its instances ended.

        By itself: then it is missing, what is wanted stays, and so it is replaced.
        """
        it, fleet = self._attention, self._fleet
        assert fleet is not None
        fleet.exited(exit)
        if replace and it is not None and self._worth_trying(it, fleet):
            self._start_missing(fleet, now, f"{exit.instance} exited")

    def paused(self, instance: InstanceId, paused: bool, now: float) -> None:
        """Somebody else has paused one of its instances: it is missing. Or one runs again,
        which may be one too many."""
        it, fleet = self._wake(now)
        fleet.paused(instance, paused)
        if self._worth_trying(it, fleet):
            self._start_missing(fleet, now, f"{instance} is paused")

    def _worth_trying(self, it: Attention, fleet: Fleet) -> bool:
        """After failed starts nothing is tried again for traffic that has gone away."""
        if not fleet.failing or fleet.count(State.READY) or self.held or self.awaited:
            return True
        return it.bounds.min > 0 and not self.retired

    def _start_missing(self, fleet: Fleet, now: float, why: str) -> None:
        before, todo = fleet.size, self._plan(fleet)
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
            self._log_change(before, fleet.size, why)

    def _plan(self, fleet: Fleet) -> Plan:
        limit = self.revision.template.concurrency
        return plan(self.desired, fleet.starting, fleet.ready, self.load, limit, fleet.spares)

    # Awake and asleep

    def _wake(self, now: float) -> tuple[Attention, Fleet]:
        fleet, it = self._fleet, self._attention
        if fleet is None:
            fleet = self._fleet = self._new_fleet(self.revision)
            fleet.keep_spares(not self.retired)
        if it is None:
            it = self._attention = Attention(
                self.revision.template,
                reachable=not self.retired,
                scheduled=self.scheduled,
                running=fleet.size,
                initial_reached=self._initial_reached,
                now=now,
            )
        return it, fleet

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
            paused=fleet.count(State.PAUSED) if fleet else 0,
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
            freezes=fleet.freezing.freezes if fleet else 0,
            thaws=fleet.freezing.thaws if fleet else 0,
            became_ready=fleet.became_ready if fleet else 0,
            start_seconds=fleet.start_seconds if fleet else 0.0,
            start_phases=_counted(fleet) if fleet else (),
        )

    def _in_words(self, it: Attention) -> str:
        if self.awaited:
            return "to take over"
        metric = self.revision.template.scale.metric
        words = f"{metric} {it.seen.stable:.1f}, target {it.policy.target:g}"
        if it.decision.panicking:
            words += ", panic"
        return words + ", retired" if self.retired else words

    def _log_change(self, before: int, after: int, why: str) -> None:
        logger.info("%s: %d -> %d instances (%s)", self.revision.name, before, after, why)


def _counted(fleet: Fleet) -> tuple[tuple[StartPhase, int, float], ...]:
    # By way of a list: a tuple made from a generator is cut to its length, and each time CPython
    # keeps one more of that length when it is freed, up to 2,000.
    return tuple([(phase, it.count, it.sum) for phase, it in fleet.start_phases.items()])
