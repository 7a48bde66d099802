"""One simulation: the data plane's throttlers and the autoscaler, on a clock of its own.

What decides and what counts is the product's: ``DataPlane`` with its throttlers,
``Autoscaler``, fleets, turns to start. What is made up is what they meet: a
request is a moment and a time for which it holds its place, an instance is a
time until it is ready (``runtime/memory.py``).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from heapq import heappop, heappush
from itertools import count
from math import inf
from random import Random

from wakeful.app import PULSE
from wakeful.clock import Now, SimulatedLoop, run_simulated
from wakeful.config.model import Config, Revision, Service
from wakeful.deploy import fixed_backends, hosts_of
from wakeful.events import Backends
from wakeful.host import frozen_memory
from wakeful.proxy import reply
from wakeful.proxy.reply import Reply
from wakeful.proxy.server import DataPlane, RouteTo
from wakeful.proxy.throttler import Refused, Slot, Throttler
from wakeful.runtime.driver import Driver
from wakeful.runtime.instance import InstanceId
from wakeful.runtime.ladder import Spare
from wakeful.runtime.memory import MemoryDriver, Script
from wakeful.runtime.spares import ASSUMED_MEMORY, Spares
from wakeful.runtime.turns import Turns
from wakeful.scaler.autoscaler import Autoscaler
from wakeful.simulate.course import Course, Ledger, Stretch
from wakeful.simulate.traffic import Arrival, Traffic

# Of a container's start the part for which the engine is at it, and with it a turn
# of `simultaneous-starts`; in the rest its program comes up. As measured; see README.
_ENGINE_SHARE = 0.88

_NEVER = Arrival(inf, "", 0.0)
_NO_TURN = -1

# To zero, after the averages are: steps down by half each tick, from however many.
_LAST_STEPS = 30.0


def tail(services: Sequence[Service]) -> float:
    """Seconds after the traffic in which everything that may go has gone."""
    scales = [service.template.scale for service in services]
    return _LAST_STEPS + max(
        (scale.window + scale.down_delay + scale.retention for scale in scales), default=0.0
    )


def simulate(
    config: Config, traffic: Traffic, start_times: Sequence[float], *, until: float, seed: int
) -> list[Course]:
    """What becomes of the traffic, by service; the same inputs give the same answer.

    Ends ``until`` seconds after it began, or when the last request is over if
    that is later. Each start takes one of ``start_times``, drawn at random.
    """
    with _quiet():
        return run_simulated(_Simulation.run(config, traffic, start_times, until, seed))


class _Simulation:
    """Takes the part of the clients and of the host; the events of its loop are requests."""

    def __init__(
        self, config: Config, traffic: Traffic, start_times: Sequence[float], seed: int
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time
        self._random = Random(seed)
        self._start_times = start_times
        self._arrivals: Iterator[Arrival] = traffic.arrivals()
        self._next = next(self._arrivals, _NEVER)
        self._due: list[tuple[float, int, _Visit]] = []  # a heap
        self._turns = count()  # of what is due at the same moment

        self._driver = MemoryDriver(self._script)
        self._spares = _Spares(self._driver, frozen_memory(config), now=self._now)
        numbers = count(1)
        self._scaler = Autoscaler(
            self._driver,
            self._driver.probe,
            self._publish,
            now=self._now,
            new_id=lambda revision: InstanceId(f"{revision.service}-{next(numbers)}"),
            turns=Turns(config.simultaneous_starts),
            spares=self._spares,
            wall=lambda: traffic.begins + self._now(),
        )
        self._plane = DataPlane(self._scaler, clock=self._now)
        self._plane.randrange = self._random.randrange
        services = [config.services[name] for name in traffic.services]
        revisions = [Revision(one.name, 1, one.template) for one in services]
        self._ledgers = {revision.name: Ledger(revision.service) for revision in revisions}
        self._plane.route(
            RouteTo(one.name, hosts_of(one, config.domain), ((100, revision),))
            for one, revision in zip(services, revisions, strict=True)
        )
        self._doors = {
            one.service: (self._plane.throttlers[one.name], self._ledgers[one.name])
            for one in revisions
        }
        for revision in revisions:
            if revision.template.upstreams:
                self._plane.publish(revision.name, fixed_backends(revision))
            else:
                self._scaler.add(revision)

    @classmethod
    async def run(
        cls,
        config: Config,
        traffic: Traffic,
        start_times: Sequence[float],
        until: float,
        seed: int,
    ) -> list[Course]:
        it = cls(config, traffic, start_times, seed)
        await it._driver.open(it._scaler.exited)
        assert isinstance(it._loop, SimulatedLoop)
        it._loop.feed(it)
        try:
            while it._now() < until or it._next is not _NEVER or it._plane.in_hand():
                await asyncio.sleep(PULSE)
                it._pulse()
            return it._courses()
        finally:
            await it._scaler.close(leave=True)

    # Called by the loop, between its timers

    def upcoming(self) -> float:
        due = self._due
        if due and due[0][0] <= self._next.at:
            return due[0][0]
        return self._next.at

    def happen(self) -> None:
        # A place that comes free at this moment is there for who comes at this moment.
        if self._due and self._due[0][0] <= self._next.at:
            _, turn, visit = heappop(self._due)
            if turn == visit.turn:
                self._is_due(visit)
        else:
            arrival, self._next = self._next, next(self._arrivals, _NEVER)
            self._arrive(arrival)

    # The life of a request

    def _arrive(self, arrival: Arrival) -> None:
        throttler, ledger = self._doors[arrival.service]
        ledger.requests += 1
        visit = _Visit(self, arrival, throttler, ledger)
        try:
            slot = self._find_place(visit, throttler)
        except Refused as refused:
            ledger.reject(refused.answer.reason)
            return
        if slot is not None:
            self.begin(visit, slot)
            return
        template = throttler.template
        visit.cold = not throttler.slots
        ledger.queued(throttler.breaker.waiting)
        self._expect(visit, arrival.at + min(template.queue.timeout, template.timeout))

    def _find_place(self, visit: _Visit, throttler: Throttler) -> Slot | None:
        """As an exchange does: a place, or None and a turn in the queue. Raises Refused."""
        now, asker = self._now(), visit.arrival.asker
        if throttler.filters is not None and asker is not None:
            rule = throttler.filters.match(asker.head, asker.asked_by)
            if rule is not None:
                slot = throttler.pass_by(rule, now)
                visit.ignored = True
                self._wake(throttler, now)
                return slot
        self._wake(throttler, now)
        return throttler.acquire(visit, now)

    def _wake(self, throttler: Throttler, now: float) -> None:
        if not throttler.awake:
            self._plane.wake(throttler, now)

    def begin(self, visit: _Visit, slot: Slot) -> None:
        now, arrival = self._now(), visit.arrival
        visit.slot = slot
        visit.ledger.admit(now - arrival.at, visit.cold)
        over = now + arrival.seconds
        if not arrival.tunnel:
            over = min(over, arrival.at + visit.throttler.template.timeout)
        self._expect(visit, over)

    def _expect(self, visit: _Visit, due: float) -> None:
        visit.due, visit.turn = due, next(self._turns)
        heappush(self._due, (due, visit.turn, visit))

    def _is_due(self, visit: _Visit) -> None:
        now, throttler, arrival = self._now(), visit.throttler, visit.arrival
        template = throttler.template
        if visit.slot is not None:
            if arrival.tunnel or visit.due < arrival.at + template.timeout:
                visit.ledger.answered += 1
            else:
                visit.ledger.reject(reply.REQUEST_TIMEOUT.reason)
            throttler.release(visit.slot, now, visit.ignored)
            return
        throttler.leave(visit, now)
        if template.timeout < template.queue.timeout:
            visit.ledger.reject(reply.REQUEST_TIMEOUT.reason)
        elif throttler.slots:
            visit.ledger.reject(reply.QUEUE_TIMEOUT.reason)
        else:
            visit.ledger.reject(reply.COLD_START_TIMEOUT.reason)

    # Between the proxy and the scaler

    def _publish(self, revision: str, backends: Backends) -> None:
        self._ledgers[revision].ready.set(self._now(), len(backends.endpoints))
        self._plane.publish(revision, backends)

    def _pulse(self) -> None:
        now = self._now()
        samples = self._plane.samples(now)
        self._scaler.observe(now, samples)
        for revision, sample in samples.items():
            self._ledgers[revision].sample(now, sample.concurrency, sample.load.waiting)
        for revision, ledger in self._ledgers.items():
            ledger.desired.set(now, self._scaler.desired(revision))

    # The host

    def _script(self, revision: Revision) -> Script:
        """Called at the beginning of each start."""
        self._ledgers[revision.name].desired.set(self._now(), self._scaler.desired(revision.name))
        seconds = self._random.choice(self._start_times)
        engine = _ENGINE_SHARE * seconds if revision.template.image is not None else 0.0
        return Script(start=engine, listen=seconds - engine, memory=ASSUMED_MEMORY)

    # What came of it

    def _courses(self) -> list[Course]:
        now = self._now()
        ended = {stop.instance: stop.at for stop in self._driver.stops}
        lives: dict[str, list[Stretch]] = {name: [] for name in self._ledgers}
        spares: dict[str, list[Stretch]] = {name: [] for name in self._ledgers}
        thaws: Counter[str] = Counter()
        for start in self._driver.starts:
            end = ended.get(start.instance, now)
            lives[start.revision].append((start.at, end))
            for began, over in self._spares.stretches.get(start.instance, ()):
                spares[start.revision].append((began, min(over, end)))
                thaws[start.revision] += over < end
        courses = {
            name: ledger.course(now, lives[name], spares[name])
            for name, ledger in self._ledgers.items()
        }
        for status in self._scaler.statuses():
            courses[status.revision] = replace(
                courses[status.revision],
                cold_starts=status.cold_starts,
                starts=status.starts,
                starts_failed=status.starts_failed,
                thaws=thaws[status.revision],
            )
        return list(courses.values())


class _Visit:
    """One request: waiting for a place, or holding one."""

    __slots__ = (
        "arrival",
        "cold",
        "due",
        "ignored",
        "ledger",
        "simulation",
        "slot",
        "throttler",
        "turn",
    )

    def __init__(
        self, simulation: _Simulation, arrival: Arrival, throttler: Throttler, ledger: Ledger
    ) -> None:
        self.simulation = simulation
        self.arrival = arrival
        self.throttler = throttler
        self.ledger = ledger
        self.slot: Slot | None = None
        self.due = inf  # when it gives up waiting, or is over
        self.turn = _NO_TURN  # of what is due, this is meant
        self.cold = False  # waits with no instance ready
        self.ignored = False  # falls under a wake filter

    # Called by the throttler

    def admitted(self, slot: Slot) -> None:
        self.simulation.begin(self, slot)

    def refused(self, answer: Reply) -> None:
        self.turn = _NO_TURN
        self.ledger.reject(answer.reason)


class _Spares(Spares):
    """Remembers when which instance was one."""

    def __init__(self, driver: Driver, budget: int, *, now: Now) -> None:
        super().__init__(driver, budget, now=now)
        self._clock = now
        self.stretches: dict[InstanceId, list[Stretch]] = {}

    def keep(self, spare: Spare, stop: Callable[[InstanceId, str], None]) -> None:
        self.stretches.setdefault(spare.instance, []).append((self._clock(), inf))
        super().keep(spare, stop)

    def release(self, instance: InstanceId) -> None:
        began, _ = self.stretches[instance].pop()
        self.stretches[instance].append((began, self._clock()))
        super().release(instance)


@contextmanager
def _quiet() -> Iterator[None]:
    """Nobody is there for whom what happens to the instances would be news."""
    log = logging.getLogger("wakeful")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)
