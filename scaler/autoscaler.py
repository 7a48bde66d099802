"""The loop: what the proxy reports goes in, instances start and drain.

Owns which revisions there are and which of them are awake, and decides when
each is looked at; what is then done about it is in ``revision_scaler``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from math import inf

from wakeful.clock import Now
from wakeful.config.model import Revision
from wakeful.events import IDLE, Backends, Load, Sample
from wakeful.runtime.driver import Driver
from wakeful.runtime.fleet import Fleet
from wakeful.runtime.instance import Exit, Found, InstanceId, State, View, new_instance_id
from wakeful.runtime.output import Audience
from wakeful.runtime.probe import Prober
from wakeful.runtime.spares import Spares
from wakeful.runtime.turns import Turns
from wakeful.scaler.belonging import Belonging
from wakeful.scaler.bounds import Bounds, initial_scale
from wakeful.scaler.remembered import Remembered
from wakeful.scaler.revision_scaler import RevisionScaler
from wakeful.scaler.revision_status import RevisionStatus
from wakeful.scaler.timetable import Timetable

logger = logging.getLogger(__name__)

TICK = 2.0  # seconds between two decisions; Knative's tick-interval

# observe() comes about once a second; one that comes this early is still the tick.
_EARLY = 0.5

# A process that was suspended for longer has nothing to say about the time between.
_LONGEST_SAMPLE = 3600.0


class Autoscaler:
    """Keeps every revision at the number of instances its traffic needs.

    A revision sleeps until something asks for it, and costs nothing then: ticks
    touch only those that are awake, which are those that have instances,
    requests, or traffic in their window.

    Initial scale: Knative starts ``scale.initial`` instances of every new
    revision to see whether it works. Here, on start-up, that would wake
    everything that sleeps; so with ``min-instances: 0`` the initial scale is
    what the first activation starts (at least), and only revisions with
    ``min-instances`` above zero start at once.

    The maximum bounds starting and ready instances. Those that drain or stop
    take nothing new, and do not count, as in Knative.

    Revisions that answer from fixed upstreams have nothing to scale, and are
    not for it.
    """

    def __init__(
        self,
        driver: Driver,
        prober: Prober,
        publish: Callable[[str, Backends], None],
        *,
        now: Now,
        new_id: Callable[[Revision], InstanceId] = new_instance_id,
        turns: Turns | None = None,
        spares: Spares | None = None,
        audience: Audience | None = None,
        wall: Now = time.time,
    ) -> None:
        self._driver = driver
        self._prober = prober
        self._publish = publish
        self._now = now
        self._new_id = new_id
        self._spares = spares  # the frozen instances of this host that nobody needs
        self._audience = audience  # of what instances write
        self._turns = turns or Turns()  # to start an instance, for this whole host

        self._timetable = Timetable(self._follow, wall)

        self._known: dict[str, RevisionScaler] = {}
        self._awake: dict[str, RevisionScaler] = {}
        self._belonging = Belonging()
        self._asking: set[str] = set()  # are answered in the next turn of the loop
        self._observed = -inf
        self._ticked = -inf
        self._second = 0  # counts for the windows; see _seconds_since
        self._closed = False

        # Read at a scrape
        self.decisions = 0

    # Called when the configuration changes, and at the beginning and the end

    def add(self, revision: Revision) -> None:
        """From now on it may be asked for; one that was retired lives on.

        Its minimum is started in the next turn of the loop, so that what is
        adopted in this one counts.
        """
        it = self._known.get(revision.name)
        if it is None:
            it = self._known[revision.name] = RevisionScaler(revision, self._new_fleet)
        else:
            it.retune(revision)
        it.retire(False)
        it.follow(self._timetable.put(revision.name, revision.template.schedule))
        if max(revision.template.min_instances, it.scheduled) > 0:
            asyncio.get_running_loop().call_soon(self._start_minimum, it)

    def bring_up(self, revision: str, instances: int) -> None:
        """Have so many (at least its initial scale) ready before anybody asks for them.

        Where they cannot start this is tried again, with the fleet's back-off,
        until ``arrived`` or ``retire``.
        """
        it = self._known[revision]
        it.awaited = max(instances, initial_scale(Bounds.of(it.revision.template)))
        asyncio.get_running_loop().call_soon(self._start_minimum, it)

    def arrived(self, revision: str) -> None:
        """What was brought up is given its requests now."""
        self._known[revision].arrived(self._now())

    def adopt(self, found: Found) -> bool:
        """Take over an instance that runs already; False when its revision is not known."""
        it = self._known.get(found.revision)
        if it is None or self._closed:
            return False
        self._belonging.add(found.instance, it)
        it.adopt(found, self._now())
        self._sort(it)
        return True

    def remember(self) -> dict[str, Remembered]:
        """What the next process should know of those that are awake."""
        now = self._now()
        known = {name: it.remember(now, self._second) for name, it in self._awake.items()}
        return {name: was for name, was in known.items() if was is not None}

    def recall(self, remembered: Mapping[str, Remembered], gap: float) -> None:
        """Go on where another process was ``gap`` seconds ago. Call this after ``adopt``."""
        now = self._now()
        for name, was in remembered.items():
            it = self._known.get(name)
            if it is not None and it.recall(was, gap, now, self._second):
                logger.info("%s: goes on with the averages of %.1f s ago", name, gap)

    def retire(self, revision: str) -> None:
        """No route leads to it any more: it serves what it holds, queue included, and is
        then forgotten. Call this after the routes have changed, so that nothing new comes."""
        it = self._known.get(revision)
        if it is not None:
            self._timetable.drop(revision)
            it.retire(True)
            if it.fleet is not None and not it.fleet.gone:
                it.wake(self._now())  # until its spares are gone
            self._sort(it)

    async def close(self, *, leave: bool) -> None:
        """Stop every instance and wait for that, or leave them running for the next wakeful."""
        self._closed = True
        self._timetable.close()
        fleets = [it.fleet for it in self._known.values() if it.fleet is not None]
        await asyncio.gather(*(fleet.close(leave=leave) for fleet in fleets))

    # Called by the proxy

    def demand(self, revision: str, load: Load) -> None:
        """A request would have to queue. Acted on in the next turn of the loop.

        So a thousand requests that arrive in one turn are one decision, and
        nothing happens to the proxy while it is in the middle of counting them.
        """
        it = self._known.get(revision)
        if it is None or self._closed:
            return
        it.load = load
        if revision not in self._asking and not it.satisfied(load):
            self._asking.add(revision)
            asyncio.get_running_loop().call_soon(self._answer, it)

    def drained(self, revision: str, instance: str) -> None:
        it = self._known.get(revision)
        if it is not None and it.fleet is not None:
            it.fleet.drained(instance)

    def rest(self, revision: str, instance: str, since: float) -> None:
        it = self._known.get(revision)
        if it is not None and it.fleet is not None:
            it.fleet.rest(instance, since)

    def rouse(self, revision: str, instance: str) -> None:
        it = self._known.get(revision)
        if it is not None and it.fleet is not None:
            it.fleet.rouse(instance)

    def observe(self, now: float, samples: Mapping[str, Sample]) -> None:
        """Once a second: what each revision did since the last time; not named, nothing."""
        if self._closed:
            return
        for name, sample in samples.items():
            it = self._known.get(name)
            if it is not None and not it.awake and (sample.load.active or sample.load.waiting):
                it.wake(now)
                self._sort(it)

        seconds = self._seconds_since(now)
        self._second += seconds
        tick = now - self._ticked >= TICK - _EARLY
        if tick:
            self._ticked = now
        for name, it in list(self._awake.items()):
            it.record(samples.get(name, IDLE), self._second, seconds)
            if tick or it.retired:
                self._decide(it, now)

    # Called by the driver

    def exited(self, exit: Exit) -> None:
        it = self._belonging.of(exit.instance)
        if it is not None:
            it.exited(exit, self._now(), replace=not self._closed)

    def paused(self, instance: InstanceId, paused: bool) -> None:
        it = self._belonging.of(instance)
        if it is not None and not self._closed:
            it.paused(instance, paused, self._now())
            self._sort(it)

    # Called to show what is

    def __contains__(self, revision: object) -> bool:
        """False as soon as it is forgotten."""
        return revision in self._known

    @property
    def awake(self) -> tuple[str, ...]:
        return tuple(self._awake)

    @property
    def waiting_starts(self) -> int:
        """Instances that wait for their turn to be started."""
        return self._turns.waiting

    def desired(self, revision: str) -> int:
        """How many instances it should have, all rules applied; none when it is not known."""
        it = self._known.get(revision)
        return it.desired if it is not None else 0

    def ready(self, revision: str) -> int:
        """How many of its instances may be given requests."""
        it = self._known.get(revision)
        return 0 if it is None or it.fleet is None else it.fleet.count(State.READY)

    def status(self, revision: str) -> RevisionStatus | None:
        """None when it is not known, or not any more."""
        it = self._known.get(revision)
        return None if it is None else it.status()

    @property
    def frozen_memory(self) -> int:
        """Bytes of all frozen spares together."""
        return self._spares.memory if self._spares is not None else 0

    @property
    def frozen_memory_limit(self) -> int:
        return self._spares.budget if self._spares is not None else 0

    def statuses(self) -> Iterator[RevisionStatus]:
        """Of those known at the first of them, each as it is when it is asked for."""
        for it in list(self._known.values()):
            yield it.status()

    def instances(self) -> Iterator[tuple[Revision, View]]:
        """All there are, whatever their state."""
        for it in list(self._known.values()):
            for view in it.fleet.views() if it.fleet is not None else ():
                yield it.revision, view

    # Called by the timetable

    def _follow(self, revision: str, minimum: int) -> None:
        it = self._known[revision]
        it.follow(minimum)
        logger.info("%s: at least %d instances, by its schedule", revision, minimum)
        if minimum:
            self._start_minimum(it)

    # Looking at one revision

    def _answer(self, it: RevisionScaler) -> None:
        self._asking.discard(it.revision.name)
        if not self._closed:
            it.answer(self._now())
            self._sort(it)

    def _start_minimum(self, it: RevisionScaler) -> None:
        if not self._closed and not it.retired:
            now = self._now()
            it.wake(now)
            self._decide(it, now)

    def _decide(self, it: RevisionScaler, now: float) -> None:
        self.decisions += 1
        it.decide(now, self._second)
        self._sort(it)

    def _sort(self, it: RevisionScaler) -> None:
        """Awake, asleep, or to be forgotten."""
        name = it.revision.name
        if it.awake:
            self._awake[name] = it
            return
        self._awake.pop(name, None)
        if it.retired and name not in self._asking:
            self._known.pop(name, None)

    def _new_fleet(self, revision: Revision) -> Fleet:
        return Fleet(
            revision,
            self._driver,
            self._prober,
            partial(self._publish, revision.name),
            now=self._now,
            new_id=partial(self._name_one, revision),
            turns=self._turns,
            spares=self._spares,
            audience=self._audience,
        )

    def _name_one(self, revision: Revision) -> InstanceId:
        instance = self._new_id(revision)
        self._belonging.add(instance, self._known[revision.name])
        return instance

    def _seconds_since(self, now: float) -> int:
        """How many of the windows' seconds the samples of this observation cover.

        Counted, not read off the clock: two observations a little less than a
        second apart would else share a bucket now and then, and double it.
        """
        elapsed, self._observed = now - self._observed, now
        return max(1, round(min(elapsed, _LONGEST_SAMPLE))) if elapsed != inf else 1
