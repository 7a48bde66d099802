"""The instances of one revision, from asked-for to gone.

Owns their tasks and says which of them may be given requests. How many there
should be, and which of them may go, is decided elsewhere; so is how a request
finds one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from wakeful.clock import Now
from wakeful.config.model import Revision
from wakeful.events import Backends, Endpoint, Outage, Phases, Start, StartPhase
from wakeful.metrics import Total
from wakeful.runtime.backoff import FRESH, PROVEN_AFTER
from wakeful.runtime.driver import Driver
from wakeful.runtime.ending import Endings
from wakeful.runtime.freezing import Freezing
from wakeful.runtime.instance import Event, Exit, Found, InstanceId, State
from wakeful.runtime.output import Audience
from wakeful.runtime.probe import Prober
from wakeful.runtime.roster import Member, Roster
from wakeful.runtime.spares import Spares
from wakeful.runtime.start import Starter, StartFailed
from wakeful.runtime.turns import Turns

logger = logging.getLogger(__name__)


class Fleet(Roster):
    """Keeps the instances it was told to start alive until they may go, or go by themselves.

    An instance that failed is not replaced from here: ``blocked_until`` says
    when the next start makes sense, and whoever decides on the scale asks for it.
    """

    def __init__(
        self,
        revision: Revision,
        driver: Driver,
        prober: Prober,
        publish: Callable[[Backends], None],
        *,
        now: Now,
        new_id: Callable[[], InstanceId],
        turns: Turns | None = None,
        spares: Spares | None = None,
        audience: Audience | None = None,
    ) -> None:
        super().__init__()
        self.revision = revision
        self._driver = driver
        self._publish = publish
        self._now = now
        self._new_id = new_id
        # All fleets of this host share the turns.
        self._starter = Starter(driver, prober, turns or Turns(), audience, now)
        self._endings = Endings(driver, audience)
        self.freezing = Freezing(driver, spares, now)

        self._tasks: set[asyncio.Task[None]] = set()
        self._backoff = FRESH
        self._trouble: Outage | None = None  # the latest failure, until something starts or is well
        self._published = Backends()
        self.failure = ""  # why the latest start failed, in an operator's words
        self._closing = False
        self._left = False

        # Read at a scrape
        self.starts = 0
        self.starts_failed = 0  # never became ready
        self.crashes = 0  # ended by themselves after they had been ready
        self.became_ready = 0
        self.start_seconds = 0.0  # from asked-for to ready, of those that became ready
        self.start_phases: dict[StartPhase, Total] = {}

    # Called by whoever decides on the scale

    @property
    def blocked_until(self) -> float:
        """No start makes sense before this moment."""
        return self._backoff.until

    @property
    def failing(self) -> bool:
        """The latest starts failed, and none has proved itself since."""
        return self._backoff.failures > 0

    @property
    def outage(self) -> Outage | None:
        """Why nothing can answer now, and nothing is under way that might."""
        if self._trouble is None or self.size or self._counts[State.FROZEN]:
            return None
        if self._trouble.until <= self._now():
            return None
        return self._trouble

    def start(self, count: int) -> None:
        """Begin ``count`` instances. Publishes nothing before it returns."""
        assert not self._closing
        for _ in range(count):
            self._begin(Member(self._new_id(), self._now()))
            self.starts += 1

    def thaw(self, instances: Iterable[str]) -> None:
        """Spares become ready again, at once: they were, and nothing has happened to them."""
        for name in list(instances):
            it = self._members[InstanceId(name)]
            self._step(it, Event.THAW)
            self.freezing.let_run(it)
        self._announce()

    def keep_spares(self, keep: bool) -> None:
        """Whether one that nobody needs may stay, frozen; or that somebody else has paused."""
        self.freezing.wanted = keep
        if not keep:
            for spare in self.spares:
                self._stop_spare(spare, "its revision is gone")
            for paused in self._those(State.PAUSED):
                self._step(self._members[paused], Event.DRAIN)
                if self._members[paused].vacant:
                    self.drained(paused)

    def adopt(self, found: Found) -> None:
        """Take in an instance that runs already; it is ready when its probe passes."""
        if found.instance not in self._members:
            self._begin(Member(found.instance, self._now(), found.address, found=True))

    def drain(self, instances: Iterable[str]) -> None:
        """Take these out of balancing. What starts is called off; what is ready waits for
        ``drained``, which may come from inside ``publish``."""
        for name in list(instances):
            it = self._members.get(InstanceId(name))
            if it is None:
                continue
            if it.state is State.STARTING:
                self._end(it, Event.STOP)
            elif it.state is State.READY:
                self._step(it, Event.DRAIN)
        self._announce()

    async def close(self, *, leave: bool) -> None:
        """Stop every instance and wait until all are gone; or leave them running.

        Assumes that their requests have ended, or may be cut.
        """
        self._closing = True
        self._endings.hurry()
        if leave:
            self._left = True
            for task in self._tasks:
                task.cancel()
            for it in self._members.values():
                if it.state is State.FROZEN:
                    self._step(it, Event.STOP)
                self.freezing.let_run(it)  # whoever finds it must find it running
        else:
            for it in self._members.values():
                self._withdraw(it)
            self._announce()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if leave:
            self._clear()

    # Called by the proxy

    def drained(self, instance: str) -> None:
        """No request is in it any more, and none will be."""
        it = self._members.get(InstanceId(instance))
        if it is None:
            return
        if it.state is State.PAUSED:
            it.vacant = True
            if not it.paused:
                self._return(it)
        if it.state is not State.DRAINING:
            return
        keeps = self.freezing.keeps(self.revision.template.idle)
        if keeps and not it.paused and not self._closing:
            self._keep(it)
        else:
            self._end(it, Event.STOP)

    def rest(self, instance: str, since: float) -> None:
        """Nothing has been in it since then, and it need not run until ``rouse``."""
        it = self._members.get(InstanceId(instance))
        if it is not None and it.state is State.READY and not self._closing:
            it.used = since
            self.freezing.freeze(it, self._runs_on)

    def rouse(self, instance: str) -> None:
        """A request is about to be written to it."""
        it = self._members.get(InstanceId(instance))
        if it is not None:
            self.freezing.let_run(it)

    # Called by the driver

    def _runs_on(self, instance: InstanceId) -> None:
        """It could not be frozen."""
        self.freezing.failed()
        it = self._members.get(instance)
        if it is not None:
            it.frozen = False
            if it.state is State.FROZEN:
                self._stop_spare(instance, "it cannot be frozen")

    def exited(self, exit: Exit) -> None:
        it = self._members.get(exit.instance)
        if it is None:
            return
        if it.state is State.STOPPING:
            self._step(it, Event.EXITED)  # as it was asked to
            return
        if it.state is State.STARTING:
            self._failed(it, Event.EXITED, f"instance exited at start: {exit.detail}")
            return
        it.ended = True
        self.crashes += 1
        if it.state is State.READY and not it.proven:
            # Being ready for a moment each time is a crash loop as well.
            self._failed(it, Event.EXITED, f"instance exited soon after start: {exit.detail}")
            return
        self._end(it, Event.EXITED, f"exited: {exit.detail}")
        self._announce()

    def paused(self, instance: InstanceId, paused: bool) -> None:
        """Somebody else has paused it, or let it run again.

        What is paused is theirs: it gets no request and counts for nothing, and it is not
        stopped while there is a use for its revision. It comes back when nothing is in it.
        """
        it = self._members.get(instance)
        if it is None:
            return
        it.paused = paused
        if not paused and it.state is State.PAUSED and it.vacant:
            self._return(it)
        elif paused and it.state is State.FROZEN:
            self._stop_spare(instance, "somebody else has paused it")
        elif paused and it.state is State.READY and self.freezing.wanted and not self._closing:
            it.vacant = False
            self._withhold(it)
            self._announce()

    def _withhold(self, it: Member) -> None:
        words = "%s: instance %s was paused by somebody else: no request goes there until it runs"
        logger.warning(words, self.revision.name, it.id)
        self._step(it, Event.PAUSE)

    def _return(self, it: Member) -> None:
        logger.info("%s: instance %s runs again", self.revision.name, it.id)
        self.freezing.let_run(it)
        self._step(it, Event.UNPAUSE)
        self._announce()

    # Freezing

    def _keep(self, it: Member) -> None:
        if not it.frozen:
            it.used = self._now()
        self._step(it, Event.FREEZE)
        self.freezing.freeze(it, self._runs_on)
        self.freezing.keep(it, self.revision.template.idle, self._stop_spare)
        logger.info("%s: instance %s is kept, frozen", self.revision.name, it.id)
        self._announce()

    def _stop_spare(self, instance: InstanceId, why: str) -> None:
        logger.info("%s: spare %s is stopped: %s", self.revision.name, instance, why)
        self._end(self._members[instance], Event.STOP)

    # The life of an instance

    def _begin(self, it: Member) -> None:
        self._trouble = None  # the next try begins: whoever asks from now on may wait for it
        self._add(it)
        task = asyncio.create_task(self._live(it), name=it.id)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("%s: instance %s", self.revision.name, task.get_name(), exc_info=error)

    async def _live(self, it: Member) -> None:
        """All of it: come up, be there until it is over, and leave no trace."""
        self._announce()
        try:
            async with asyncio.TaskGroup() as life:
                rise = life.create_task(self._rise(it))
                wrong = await it.over
                rise.cancel()  # an exit, or a drain, in the middle of its start
            if wrong is not None:
                await self._endings.report(self.revision, it.id, wrong)
        finally:
            if not self._left:
                self._withdraw(it)
                self._announce()
                try:
                    await self._endings.stop(self.revision, it.id)
                finally:
                    self._step(it, Event.REMOVED)
                    del self._members[it.id]

    async def _rise(self, it: Member) -> None:
        """Start it and probe it. How this ends goes to ``_became_ready`` or ``_failed``."""
        try:
            phases = await self._starter.rise(self.revision, it, cold=not self._counts[State.READY])
        except StartFailed as failure:
            self._failed(it, Event.STOP, failure.detail, failure.reason)
        except Exception:
            logger.exception("%s: instance %s could not be started", self.revision.name, it.id)
            self._failed(it, Event.STOP, "the instance could not be started")
        else:
            self._became_ready(it, phases)
            await asyncio.sleep(PROVEN_AFTER)
            it.proven = True
            self._backoff = FRESH

    def _became_ready(self, it: Member, phases: Phases) -> None:
        if it.over.done():
            return  # it exited, or was called off, in this very turn of the loop
        now = self._now()
        took = now - it.began
        self.became_ready += 1
        self.start_seconds += took
        self._trouble, self.failure = None, ""
        self._step(it, Event.PROBE_PASSED)
        if it.paused:  # a frozen kernel takes connections, too
            it.vacant = True
            self._withhold(it)
        words = ""
        if not it.found:
            it.start = Start(now, phases)
            words = _in_words(phases)
            for phase, seconds in phases:
                self.start_phases.setdefault(phase, Total()).add(seconds)
        name = self.revision.name
        logger.info("%s: instance %s is ready after %.3f s%s", name, it.id, took, words)
        self._announce()

    def _failed(self, it: Member, event: Event, detail: str, reason: str | None = None) -> None:
        """``detail`` is for clients, ``reason`` for the operator."""
        if it.over.done():
            return
        if it.state is State.STARTING:
            self.starts_failed += 1
        self._backoff = self._backoff.failed(it.began, self._now())
        self._trouble = Outage("start_failed", detail, self._backoff.until)
        self.failure = reason or detail
        self._end(it, event, self.failure)
        self._announce()

    def _end(self, it: Member, event: Event, wrong: str | None = None) -> None:
        self._step(it, event)
        if not it.over.done():  # cancelled, where its task has broken down
            it.over.set_result(wrong)

    def _withdraw(self, it: Member) -> None:
        """Whatever state it is in: from now on it only waits to be stopped."""
        if it.state in (State.READY, State.PAUSED):
            self._step(it, Event.DRAIN)
        if it.state is not State.STOPPING:
            self._end(it, Event.STOP)

    # Helpers

    def _step(self, it: Member, event: Event) -> None:
        if it.state is State.FROZEN:
            self.freezing.release(it)
        super()._step(it, event)

    def _announce(self) -> None:
        """Publish, if there is anything new to say."""
        endpoints = [
            Endpoint(it.id, it.address.host, it.address.port, it.start)
            for it in self._members.values()
            if it.state is State.READY and it.address is not None
        ]
        backends = Backends(
            tuple(endpoints),
            self.outage,
            spares=self._counts[State.FROZEN] > 0,
            ended=tuple([it.id for it in self._members.values() if it.ended]),
        )
        if backends != self._published:
            self._published = backends
            self._publish(backends)


def _in_words(phases: Phases) -> str:
    return f" ({', '.join(f'{phase} {seconds:.3f}' for phase, seconds in phases)})"
