"""One revision's door: its slots, its queue, and what it counts.

Owns Breaker, slots and counters of a revision. Everything that takes or gives
back a place in an instance goes through here; endpoints come from outside,
published whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf
from typing import Protocol

from wakeful.config.model import Revision, Template
from wakeful.events import Backends, Endpoint, Load, Outage, Sample
from wakeful.proxy import reply, waiting_page
from wakeful.proxy.balancer import Policy, policy_for
from wakeful.proxy.breaker import UNLIMITED, Breaker, QueueFull
from wakeful.proxy.counters import Counters
from wakeful.proxy.framing import RequestHead
from wakeful.proxy.pool import Pool
from wakeful.proxy.stats import RequestStats
from wakeful.proxy.wake_filters import Rule, WakeFilters


class Slot:
    """One instance as the proxy sees it: what is in it, and the connections to it."""

    __slots__ = (
        "active",
        "endpoint",
        "frozen",
        "note",
        "pool",
        "retired",
        "tried",
        "used",
    )

    def __init__(self, endpoint: Endpoint, pool: Pool, now: float) -> None:
        self.endpoint = endpoint
        self.pool = pool
        self.active = 0
        self.used = now  # when a request last ended in it; wake filters' do not count
        self.frozen = False  # it may be, and has to be roused before it can answer
        self.retired = False  # out of balancing; finishes what it has
        self.note = b""  # what the access log says of it, once it was said
        self.tried = False  # has answered one that waited for it to start


class Refused(Exception):
    """No place, and no sense in waiting for one."""

    def __init__(self, answer: reply.Reply) -> None:
        super().__init__(answer.detail)
        self.answer = answer


class Waiter(Protocol):
    """A request that asked for a place."""

    def admitted(self, slot: Slot) -> None:
        """The place is taken. Must not release it before it returns."""

    def refused(self, answer: reply.Reply) -> None: ...


class Signals(Protocol):
    """What the proxy tells the scaler at the moment it happens."""

    def demand(self, revision: str, load: Load) -> None: ...
    def drained(self, revision: str, instance: str) -> None: ...
    def rest(self, revision: str, instance: str, since: float) -> None: ...
    def rouse(self, revision: str, instance: str) -> None: ...


class Throttler:
    """Places requests of one revision, in order, within its limits."""

    # How long an instance that refused a connection is left alone: its exit is
    # usually known within this time, and then it is gone for good.
    SUSPECT_SECONDS = 0.25

    # A connection that has idled for longer than this when its instance is thawed may be
    # closed under the request: by the instance's clock its time is up. Only what can be
    # sent again may have it. (Servers keep connections for 2 s, gunicorn, and more.)
    FRESH_SECONDS = 1.0

    def __init__(
        self,
        revision: Revision,
        signals: Signals,
        *,
        now: float,
        new_pool: Callable[[Endpoint], Pool],
        randrange: Callable[[int], int],
        call_later: Callable[[float, Callable[[], None]], object],
        clock: Callable[[], float],
        watch: Callable[[], None],
    ) -> None:
        template = revision.template
        self.revision = revision
        self.name = revision.name
        self.service = revision.service
        self.template = template
        self.fixed = bool(template.upstreams)
        self.limit = template.concurrency or UNLIMITED
        self.patience = _patience(template)  # seconds from a place in an instance to its answer
        self.slots: tuple[Slot, ...] = ()
        self.outage: Outage | None = None
        self._spares = False  # there are instances that need only be thawed
        self.breaker: Breaker[Waiter] = Breaker(template.queue.limit)
        self.stats = RequestStats(now)
        self.counters = Counters()
        self.awake = False  # its samples are being read
        self.routed = True  # new requests may come
        self.filters = _filters(template)
        self.ignored = 0  # requests in instances that a wake filter matched
        self._randrange = randrange
        self._policy: Policy = policy_for(template.concurrency, randrange)
        self._retired: dict[str, Slot] = {}
        self._suspects: set[Slot] = set()
        self._crowded = False  # some instance holds more than a limit that was lowered
        self._beyond = 0  # requests that the slots have no place for: see _capacity
        self._signals = signals
        self._new_pool = new_pool
        self._call_later = call_later
        self._clock = clock
        self._watch = watch  # told when rest_idle has something to see to
        self._freeze_after = _freeze_after(template)

    # Called by an exchange

    def acquire(self, waiter: Waiter, now: float, head: RequestHead | None = None) -> Slot | None:
        """A place at once, or None and a turn in the queue. Raises Refused.

        By its head a request is told from one that is better shown a page.
        """
        self.stats.arrive(now)
        if self.breaker.try_acquire():
            return self._place()
        if not self.slots:
            self._turn_back(head, now)
        try:
            self.breaker.wait(waiter)
        except QueueFull:
            self.stats.leave(now)
            self._signals.demand(self.name, self.load())
            raise Refused(reply.QUEUE_FULL) from None
        self._signals.demand(self.name, self.load())
        return None

    def pass_by(self, rule: Rule, now: float) -> Slot:
        """A place for a request that is no activity: now, or Refused.

        It takes part in all that bounds an instance, and in nothing that the
        scaler is told of: it does not wait, and it asks for nothing.
        """
        if self.breaker.try_acquire():
            self.ignored += 1
            return self._place()
        if self.slots:
            raise Refused(rule.busy)
        outage = self.outage
        if outage is not None and now < outage.until:
            raise Refused(_start_failed(outage, now))
        raise Refused(rule.asleep)

    def release(self, slot: Slot, now: float, ignored: bool = False) -> None:
        """Give a place back; whoever waits longest gets it."""
        if ignored:
            self.ignored -= 1
        else:
            self.stats.leave(now)
            slot.used = now
        slot.active -= 1
        if self._beyond:
            self.breaker.capacity = self._capacity()
        admitted = self.breaker.release()
        if admitted:
            self._admit(admitted)
        if not slot.active:
            if slot.retired:
                self._report_drained(slot)
            elif not self._freeze_after:
                self._rest(slot)

    def leave(self, waiter: Waiter, now: float) -> None:
        """A request stops waiting before its turn."""
        self.stats.leave(now)
        self.breaker.leave(waiter)

    def try_elsewhere(self, waiter: Waiter, slot: Slot) -> bool:
        """Nothing of the request reached ``slot``: find it another place, first in line.

        False when there is nowhere else to go; the place is still held then.
        """
        if self.fixed and len(self.slots) <= 1:
            return False
        self.suspect(slot)
        slot.active -= 1
        slot.used = self._clock()
        self.breaker.release_to_front(waiter)
        self._admit(self.breaker.resize(self._capacity()))
        self._report_drained(slot)
        if self.breaker.waiting:
            self._signals.demand(self.name, self.load())
        return True

    def suspect(self, slot: Slot) -> None:
        """An instance refused a connection: for a moment nobody else is sent there."""
        self.counters.retries += 1
        if slot.retired or slot in self._suspects:
            return
        self._suspects.add(slot)
        self.slots = tuple(other for other in self.slots if other is not slot)
        self.breaker.capacity = self._capacity()
        self._call_later(self.SUSPECT_SECONDS, lambda: self._trust(slot))

    # Called by the data plane

    @property
    def in_hand(self) -> int:
        """Requests that were accepted and not answered in full."""
        return self.breaker.active + self.breaker.waiting

    @property
    def asked(self) -> bool:
        """Any request ever came for it."""
        return bool(self.counters.durations) or self.in_hand > 0

    def publish(self, backends: Backends) -> None:
        """Take over what may be used from now on; the rest finishes and is drained."""
        self.outage, self._spares = backends.outage, backends.spares
        gone = {slot.endpoint.instance: slot for slot in self.slots}
        gone |= {slot.endpoint.instance: slot for slot in self._suspects}
        slots: list[Slot] = []
        for endpoint in backends.endpoints:
            slot = gone.pop(endpoint.instance, None)
            if slot is None:
                slots.append(Slot(endpoint, self._new_pool(endpoint), self._clock()))
                self._watch_idle()
            elif slot not in self._suspects:
                slots.append(slot)
        self.slots = tuple(slots)
        for slot in gone.values():
            slot.retired = True
            slot.pool.close()
            self._suspects.discard(slot)
            self._retired[slot.endpoint.instance] = slot
        self._admit(self.breaker.resize(self._capacity()))
        if self.outage is not None and not self.slots and not self._suspects:
            self._turn_away(self.outage)
        for slot in gone.values():
            self._report_drained(slot)

    def retune(self, revision: Revision) -> None:
        """Other settings of the same definition, for the requests from now on.

        Instances that hold more than a lowered limit finish what they have.
        """
        template, before = revision.template, self.template
        if template == before:
            return
        self.revision, self.template = revision, template
        if template.wake != before.wake:
            self.filters = _filters(template)
        self.patience = _patience(template)
        self.breaker.max_waiting = template.queue.limit
        self._freeze_after = _freeze_after(template)
        self._watch_idle()
        if template.concurrency != before.concurrency:
            self.limit = template.concurrency or UNLIMITED
            self._policy = policy_for(template.concurrency, self._randrange)
            self._crowded = True
            self._admit(self.breaker.resize(self._capacity()))

    def sample(self, now: float) -> Sample:
        """The traffic since the last sample."""
        average, arrived = self.stats.report(now)
        return Sample(average, arrived, self.load())

    def inside(self, instance: str) -> int:
        """How many requests are in this instance now."""
        slots = (*self.slots, *self._suspects, *self._retired.values())
        return sum(slot.active for slot in slots if slot.endpoint.instance == instance)

    def load(self) -> Load:
        busy = tuple((slot.endpoint.instance, slot.active) for slot in self.slots if slot.active)
        return Load(self.breaker.active, self.breaker.waiting, busy, self.ignored)

    def close_idle(self, before: float) -> bool:
        """Close connections that have idled since ``before``; True while any are left."""
        left = False
        for slot in (*self.slots, *self._suspects):
            left |= slot.pool.close_idle(before)
        return left

    def rest_idle(self, now: float) -> bool:
        """Let those be frozen that were empty for long enough; True while others may have to be."""
        left = False
        for slot in self.slots:
            if slot.frozen:
                continue
            if slot.active or now - slot.used < self._freeze_after:
                left = True
            else:
                self._rest(slot)
        return left and self._freeze_after < inf

    # Private

    def _turn_back(self, head: RequestHead | None, now: float) -> None:
        """Nothing is ready. Raises Refused where it makes no sense to wait."""
        settings, outage = self.template.waiting_page, self.outage
        waits = settings.enabled and not self._spares
        shown = waits and head is not None and waiting_page.navigates(head)
        if outage is not None and now < outage.until:
            self.stats.leave(now)
            if shown:
                raise Refused(waiting_page.failed(settings, self.service, outage, now))
            raise Refused(_start_failed(outage, now))
        if shown:
            self.stats.leave(now)
            # It will be back: the scaler is asked as if it waited.
            load = self.load()
            self._signals.demand(self.name, replace(load, waiting=load.waiting + 1))
            raise Refused(waiting_page.starting(settings, self.service))

    def _place(self) -> Slot:
        slots = self.slots
        if len(slots) == 1:
            slot = slots[0]
        else:
            picked = self._policy.pick(slots, self.limit)
            if picked is None:
                raise AssertionError("the breaker admitted a request that no slot has room for")
            slot = picked
        slot.active += 1
        if slot.frozen:
            self._rouse(slot)
        return slot

    def _admit(self, waiters: Sequence[Waiter]) -> None:
        # Placed first and told afterwards: what a waiter does must not see a
        # slot that another admitted one is about to take.
        for waiter, slot in [(waiter, self._place()) for waiter in waiters]:
            waiter.admitted(slot)

    def _capacity(self) -> int:
        # What retired and suspect slots still hold counts as active, so it
        # counts here too: it must not take places from the others.
        held = sum(slot.active for slot in self._retired.values())
        held += sum(slot.active for slot in self._suspects)
        if self._crowded:
            over = sum(max(0, slot.active - self.limit) for slot in self.slots)
            self._crowded = over > 0
            held += over
        self._beyond = held
        return self.limit * len(self.slots) + held

    def _rest(self, slot: Slot) -> None:
        slot.frozen = True
        self._signals.rest(self.name, slot.endpoint.instance, slot.used)

    def _rouse(self, slot: Slot) -> None:
        """Before anything of a request is written to it."""
        slot.frozen = False
        self._signals.rouse(self.name, slot.endpoint.instance)
        slot.pool.doubted = self._clock() - self.FRESH_SECONDS
        self._watch_idle()

    def _watch_idle(self) -> None:
        if self._freeze_after < inf:
            self._watch()

    def _report_drained(self, slot: Slot) -> None:
        if slot.retired and slot.active == 0:
            del self._retired[slot.endpoint.instance]
            self._signals.drained(self.name, slot.endpoint.instance)

    def _trust(self, slot: Slot) -> None:
        if slot in self._suspects:
            self._suspects.discard(slot)
            self.slots = (*self.slots, slot)
            self._crowded |= slot.active > self.limit  # which was lowered meanwhile
            self._watch_idle()
            self._admit(self.breaker.resize(self._capacity()))

    def _turn_away(self, outage: Outage) -> None:
        now = self._clock()
        answer = _start_failed(outage, now)
        for waiter in self.breaker.turn_away():
            self.stats.leave(now)
            waiter.refused(answer)


def _patience(template: Template) -> float:
    return min(template.response_start_timeout, template.timeout)


def _freeze_after(template: Template) -> float:
    """Seconds; infinity for never."""
    after = template.idle.freeze_after
    return inf if after is None or template.upstreams else after


def _filters(template: Template) -> WakeFilters | None:
    return WakeFilters(template.wake.ignore) if template.wake.ignore else None


def _start_failed(outage: Outage, now: float) -> reply.Reply:
    return reply.start_failed(outage.reason, outage.detail, outage.until - now)
