"""A revision's door, under any order of events: nobody lost, nothing over its limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from wakeful.config.model import HostPort, Idle, Queue, Revision, Template, WakeFilter
from wakeful.events import Backends, Endpoint, Load, Outage
from wakeful.proxy.known import KnownHeads
from wakeful.proxy.pool import Pool
from wakeful.proxy.reply import Reply
from wakeful.proxy.throttler import Refused, Slot, Throttler
from wakeful.proxy.wake_filters import Rule

RULE = Rule(WakeFilter(path=("/healthz",)))


class Asking:
    """A request: what it was told, in order."""

    def __init__(self) -> None:
        self.slot: Slot | None = None
        self.ignored = False
        self.waits = False
        self.over = False
        self.answer: Reply | None = None

    def admitted(self, slot: Slot) -> None:
        assert self.waits, "told twice, or without having asked"
        assert not self.over
        self.waits, self.slot = False, slot

    def refused(self, answer: Reply) -> None:
        assert self.waits, "told twice, or without having asked"
        self.waits, self.over, self.answer = False, True, answer


class Machine(RuleBasedStateMachine):
    """Every instance id is used once, as the runtime promises."""

    @initialize(
        concurrency=st.sampled_from([0, 1, 2, 3, 4, 10]),
        queue=st.integers(0, 6),
        fixed=st.booleans(),
        freeze_after=st.sampled_from([0.0, 0.3, 1.0, None]),
    )
    def begin(self, concurrency: int, queue: int, fixed: bool, freeze_after: float | None) -> None:
        upstreams = (HostPort("h", 1),) if fixed else ()
        template = Template(
            concurrency=concurrency,
            queue=Queue(limit=queue),
            upstreams=upstreams,
            idle=Idle(freeze_after=freeze_after),
        )
        self.concurrency = concurrency
        self.crowd: dict[str, int] = {}  # what instances held when the limit changed
        self.now = 0.0
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.loop = asyncio.new_event_loop()
        self.rolls = 0
        self.throttler = Throttler(
            Revision("a", 1, template),
            self,
            now=0.0,
            new_pool=self.new_pool,
            randrange=self.randrange,
            call_later=lambda delay, call: self.timers.append((self.now + delay, call)),
            clock=lambda: self.now,
            watch=self.watch,
        )
        self.watched = False
        self.frozen: set[str] = set()
        self.requests: list[Asking] = []
        self.published: dict[str, Endpoint] = {}
        self.every: set[str] = set()
        self.slots: dict[str, Slot] = {}
        self.drains: list[str] = []
        self.demands = 0

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self.loop.close()

    def new_pool(self, endpoint: Endpoint) -> Pool:
        return Pool(
            endpoint.host,
            endpoint.port,
            loop=self.loop,
            clock=lambda: self.now,
            known=KnownHeads(),
            watch=lambda: None,
        )

    def randrange(self, n: int) -> int:
        self.rolls += 1
        return self.rolls % n

    # Signals

    def demand(self, revision: str, load: Load) -> None:
        assert load.waiting or self.throttler.template.queue.limit == 0
        self.demands += 1

    def drained(self, revision: str, instance: str) -> None:
        assert instance not in self.drains, "drained twice"
        assert instance not in self.published, "drained while in use"
        if instance in self.slots:
            assert self.slots[instance].active == 0
        self.drains.append(instance)

    def rest(self, revision: str, instance: str, since: float) -> None:
        assert not self.throttler.fixed
        assert instance not in self.frozen, "frozen twice"
        slot = self.slots.get(instance) or self.slot_of(instance)
        assert slot.active == 0, "frozen in use"
        assert since == slot.used
        assert self.now - since >= self.freeze_after
        self.frozen.add(instance)

    def rouse(self, revision: str, instance: str) -> None:
        self.frozen.remove(instance)

    def watch(self) -> None:
        self.watched = True

    @property
    def freeze_after(self) -> float:
        after = self.throttler.template.idle.freeze_after
        return float("inf") if after is None or self.throttler.fixed else after

    def slot_of(self, instance: str) -> Slot:
        (slot,) = (s for s in self.throttler.slots if s.endpoint.instance == instance)
        return slot

    # What may happen

    @rule()
    def rest_idle(self) -> None:
        """The sweep: as long as anything may have to be frozen."""
        if self.watched:
            self.watched = self.throttler.rest_idle(self.now)
        for slot in self.throttler.slots:
            long = self.now - slot.used >= self.freeze_after
            assert slot.frozen == (not slot.active and long)

    @rule()
    def acquire(self) -> None:
        one = Asking()
        before = self.demands
        try:
            one.slot = self.throttler.acquire(one, self.now)
        except Refused as refused:
            one.answer, one.over = refused.answer, True
            full = self.throttler.breaker.waiting >= self.throttler.template.queue.limit
            assert full or self.throttler.outage is not None
            assert self.throttler.breaker.active >= self.throttler.breaker.capacity
            return
        if one.slot is None:
            one.waits = True
            assert self.demands == before + 1
        self.requests.append(one)

    @rule()
    def pass_by(self) -> None:
        one, before = Asking(), self.demands
        one.ignored = True
        try:
            one.slot = self.throttler.pass_by(RULE, self.now)
        except Refused:
            assert self.throttler.breaker.active >= self.throttler.breaker.capacity
        else:
            self.requests.append(one)
        assert self.demands == before

    def holding(self) -> list[Asking]:
        return [one for one in self.requests if one.slot is not None]

    def queued(self) -> list[Asking]:
        return [one for one in self.requests if one.waits]

    @rule(n=st.integers(0, 20))
    def release(self, n: int) -> None:
        if holding := self.holding():
            one = holding[n % len(holding)]
            slot, one.slot, one.over = one.slot, None, True
            assert slot is not None
            self.throttler.release(slot, self.now, one.ignored)

    @rule(n=st.integers(0, 20))
    def leave(self, n: int) -> None:
        if waiting := self.queued():
            one = waiting[n % len(waiting)]
            one.waits, one.over = False, True
            self.throttler.leave(one, self.now)

    @rule(n=st.integers(0, 20))
    def try_elsewhere(self, n: int) -> None:
        if holding := [one for one in self.holding() if not one.ignored]:
            one = holding[n % len(holding)]
            slot = one.slot
            assert slot is not None
            one.slot, one.waits = None, True
            if not self.throttler.try_elsewhere(one, slot):
                assert self.throttler.fixed
                one.slot, one.waits = slot, False
            assert one.waits or one.slot is not slot or self.throttler.fixed

    @rule(new=st.integers(0, 3), gone=st.sets(st.integers(0, 5)), outage=st.booleans())
    def publish(self, new: int, gone: set[int], outage: bool) -> None:
        kept = [name for at, name in enumerate(self.published) if at not in gone]
        added = [f"i{len(self.every) + n}" for n in range(new)]
        self.every.update(added)
        self.published = {name: Endpoint(name, "127.0.0.1", 1) for name in (*kept, *added)}
        why = Outage("start_failed", "no", until=self.now + 5) if outage else None
        self.throttler.publish(Backends(tuple(self.published.values()), why))

    @rule(seconds=st.sampled_from([0.1, 0.3, 6.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        due = [call for at, call in self.timers if at <= self.now]
        self.timers = [(at, call) for at, call in self.timers if at > self.now]
        for call in due:
            call()

    @rule(concurrency=st.sampled_from([0, 1, 2, 5, 10]), queue=st.integers(0, 6))
    def retune(self, concurrency: int, queue: int) -> None:
        self.concurrency = concurrency
        self.crowd = {name: slot.active for name, slot in self.slots.items()}
        template = replace(
            self.throttler.template, concurrency=concurrency, queue=Queue(limit=queue)
        )
        self.throttler.retune(Revision("a", 1, template))

    @rule()
    def sample(self) -> None:
        sample = self.throttler.sample(self.now)
        assert sample.concurrency >= 0
        assert sample.load.active == len(self.holding())

    # What must always be so

    @invariant()
    def it_adds_up(self) -> None:
        if not hasattr(self, "throttler"):
            return
        throttler = self.throttler
        for slot in throttler.slots:
            self.slots.setdefault(slot.endpoint.instance, slot)
        holding, waiting = self.holding(), self.queued()
        assert throttler.breaker.active == len(holding)
        assert throttler.breaker.waiting == len(waiting)
        ignored = [one for one in holding if one.ignored]
        assert throttler.load().ignored == len(ignored)
        assert throttler.stats.in_hand == len(holding) + len(waiting) - len(ignored)
        active: dict[str, int] = {}
        for one in holding:
            assert one.slot is not None
            name = one.slot.endpoint.instance
            self.slots.setdefault(name, one.slot)
            active[name] = active.get(name, 0) + 1
        for name, slot in self.slots.items():
            assert slot.active == active.get(name, 0)
            assert slot.frozen == (name in self.frozen)
            assert not (slot.frozen and slot.active)
            if self.concurrency:
                assert slot.active <= max(self.concurrency, self.crowd.get(name, 0))
        assert set(dict(throttler.load().busy)) <= set(self.published)
        if waiting:  # nobody waits beside a free place
            assert all(slot.active >= throttler.limit for slot in throttler.slots)
        if self.freeze_after < float("inf") and not self.watched:
            assert all(slot.frozen for slot in throttler.slots)
        gone = self.every - set(self.published)
        assert {name for name in gone if not active.get(name)} == set(self.drains)


TestThrottler = Machine.TestCase
TestThrottler.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


def door(freeze_after: float | None = None) -> Machine:
    machine = Machine()
    machine.begin(concurrency=1, queue=2, fixed=False, freeze_after=freeze_after)
    return machine


def test_who_comes_back_from_an_instance_goes_before_those_who_wait() -> None:
    machine = door()
    machine.publish(new=1, gone=set(), outage=False)
    machine.acquire()
    machine.acquire()
    first, second = machine.requests
    slot = first.slot
    assert slot is not None
    assert second.waits
    machine.try_elsewhere(0)
    assert first.waits
    machine.publish(new=1, gone=set(), outage=False)
    assert first.slot is not None
    assert first.slot is not slot
    assert second.waits
    machine.pass_time(0.3)
    assert second.slot is slot
    machine.teardown()


@pytest.mark.parametrize("trusted", [False, True])
def test_an_instance_that_refused_is_left_alone_for_a_while(trusted: bool) -> None:
    machine = door()
    machine.publish(new=1, gone=set(), outage=False)
    machine.acquire()
    machine.try_elsewhere(0)
    machine.pass_time(0.3 if trusted else 0.1)
    assert machine.requests[0].waits is not trusted
    machine.teardown()


def test_an_instance_is_frozen_when_nothing_has_been_in_it_for_long_enough() -> None:
    machine = door(freeze_after=10.0)
    machine.publish(new=1, gone=set(), outage=False)
    machine.pass_time(6.0)
    machine.acquire()
    machine.pass_time(6.0)
    machine.pass_time(6.0)
    machine.rest_idle()
    assert machine.frozen == set()  # it is in use
    machine.release(0)
    machine.pass_time(6.0)
    machine.rest_idle()
    assert machine.frozen == set()
    machine.pass_time(6.0)
    machine.rest_idle()
    assert machine.frozen == {"i0"}
    machine.acquire()
    assert machine.frozen == set()
    machine.teardown()


def test_an_instance_that_may_run_only_during_requests_is_frozen_as_each_ends() -> None:
    machine = door(freeze_after=0.0)
    machine.publish(new=1, gone=set(), outage=False)
    machine.acquire()
    machine.acquire()
    machine.release(0)
    assert machine.frozen == set()  # the next one is in it already
    machine.release(0)
    assert machine.frozen == {"i0"}
    machine.teardown()
