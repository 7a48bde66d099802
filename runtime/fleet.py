"""The instances of one revision, from asked-for to gone.

Owns their tasks and says which of them may be given requests. How many there
should be, and which of them may go, is decided elsewhere; so is how a request
finds one.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import inf

from wakeful.clock import Now
from wakeful.config.model import Revision
from wakeful.events import Backends, Endpoint, Outage, Phases, Start, StartPhase
from wakeful.metrics import Total
from wakeful.runtime.backoff import FRESH, PROVEN_AFTER
from wakeful.runtime.driver import Driver, DriverError, EngineUnavailable, ImageNotFound
from wakeful.runtime.instance import Address, Event, Exit, Found, InstanceId, State, View, step
from wakeful.runtime.ladder import Spare
from wakeful.runtime.probe import Prober, Probing
from wakeful.runtime.spares import Spares
from wakeful.runtime.turns import Turns

logger = logging.getLogger(__name__)

# A start that takes longer has failed, unless requests are willing to wait longer.
SHORTEST_START_TIMEOUT = 60.0

# What an operator is shown of an instance that failed.
TAIL_LINES = 20
TAIL_TIMEOUT = 5.0

# Between two tries to stop an instance whose engine refuses or does not answer.
FIRST_STOP_RETRY = 1.0
LONGEST_STOP_RETRY = 60.0

# After an instance could not be frozen.
FREEZE_RETRY = 60.0


@dataclass(slots=True, eq=False)
class _Instance:
    id: InstanceId
    began: float  # when it was asked for
    address: Address | None = None
    found: bool = False  # it ran before we did
    state: State = State.STARTING
    start: Start | None = None  # of one that we started, once it is ready
    proven: bool = False  # was ready for PROVEN_AFTER
    frozen: bool = False  # the driver was told so: between two requests, or as a spare
    used: float = 0.0  # when a request last was in it, or might have been
    # Resolved when it has to go: with what went wrong, for an operator, or
    # with None when it goes because nobody needs it.
    over: asyncio.Future[str | None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Fleet:
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
    ) -> None:
        self.revision = revision
        self._driver = driver
        self._prober = prober
        self._publish = publish
        self._now = now
        self._new_id = new_id
        self._turns = turns or Turns()  # to start; all fleets of this host share them
        # Where frozen ones are kept that nobody needs; None: they are stopped.
        self._spares = spares
        self._keeps_spares = True  # as far as this revision is concerned
        self._freezes_from = -inf  # no sooner; after it failed

        self._instances: dict[InstanceId, _Instance] = {}  # oldest first
        self._counts: Counter[State] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._backoff = FRESH
        self._trouble: Outage | None = None  # the latest failure, until something starts or is well
        self._published = Backends()
        self.failure = ""  # why the latest start failed, in an operator's words
        self._closing = False
        # For who waits at that moment; an event is a kilobyte that few fleets ever need.
        self._closed: asyncio.Event | None = None
        self._left = False

        # Read at a scrape
        self.starts = 0
        self.starts_failed = 0  # never became ready
        self.crashes = 0  # ended by themselves after they had been ready
        self.became_ready = 0
        self.freezes = 0
        self.thaws = 0
        self.start_seconds = 0.0  # from asked-for to ready, of those that became ready
        self.start_phases: dict[StartPhase, Total] = {}

    # Called by whoever decides on the scale

    @property
    def starting(self) -> tuple[InstanceId, ...]:
        return self._those(State.STARTING)

    @property
    def ready(self) -> tuple[InstanceId, ...]:
        return self._those(State.READY)

    @property
    def draining(self) -> tuple[InstanceId, ...]:
        return self._those(State.DRAINING)

    @property
    def spares(self) -> tuple[InstanceId, ...]:
        """Frozen, and not needed; the latest used first."""
        frozen = [it for it in self._instances.values() if it.state is State.FROZEN]
        return tuple(it.id for it in sorted(frozen, key=lambda it: it.used, reverse=True))

    @property
    def resting(self) -> int:
        """Those that are ready, and frozen until the next request."""
        ready = (it for it in self._instances.values() if it.state is State.READY)
        return sum(it.frozen for it in ready)

    def views(self) -> list[View]:
        """All of them, oldest first."""
        return [
            View(
                it.id,
                it.state,
                resting=it.frozen and it.state is State.READY,
                since=it.began,
                took=it.start.ready_at - it.began if it.start is not None else None,
            )
            for it in self._instances.values()
        ]

    def __contains__(self, instance: object) -> bool:
        return instance in self._instances

    def count(self, state: State) -> int:
        return self._counts[state]

    @property
    def size(self) -> int:
        """Those that serve, or will: neither draining, nor spare, nor stopping."""
        return self._counts[State.STARTING] + self._counts[State.READY]

    @property
    def returning(self) -> int:
        """Those that were found running, and are being probed."""
        starting = (it for it in self._instances.values() if it.state is State.STARTING)
        return sum(it.found for it in starting) if self._counts[State.STARTING] else 0

    @property
    def gone(self) -> bool:
        """Nothing is left, not even something that is being stopped."""
        return not self._instances

    @property
    def asleep(self) -> bool:
        """Nothing is left but frozen spares."""
        return len(self._instances) == self._counts[State.FROZEN]

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
            self._begin(_Instance(self._new_id(), self._now()))
            self.starts += 1

    def thaw(self, instances: Iterable[str]) -> None:
        """Spares become ready again, at once: they were, and nothing has happened to them."""
        for name in list(instances):
            it = self._instances[InstanceId(name)]
            self._step(it, Event.THAW)
            self._let_run(it)
        self._announce()

    def keep_spares(self, keep: bool) -> None:
        """Whether one that nobody needs may stay, frozen."""
        self._keeps_spares = keep
        if not keep:
            for spare in self.spares:
                self._stop_spare(spare, "its revision is gone")

    def adopt(self, found: Found) -> None:
        """Take in an instance that runs already; it is ready when its probe passes."""
        if found.instance not in self._instances:
            self._begin(_Instance(found.instance, self._now(), found.address, found=True))

    def drain(self, instances: Iterable[str]) -> None:
        """Take these out of balancing. What starts is called off; what is ready waits for
        ``drained``, which may come from inside ``publish``."""
        for name in list(instances):
            it = self._instances.get(InstanceId(name))
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
        if self._closed is not None:
            self._closed.set()
        if leave:
            self._left = True
            for task in self._tasks:
                task.cancel()
            for it in self._instances.values():
                if it.state is State.FROZEN:
                    self._step(it, Event.STOP)
                self._let_run(it)  # whoever finds it must find it running
        else:
            for it in self._instances.values():
                self._withdraw(it)
            self._announce()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if leave:
            self._instances.clear()
            self._counts.clear()

    # Called by the proxy

    def drained(self, instance: str) -> None:
        """No request is in it any more, and none will be."""
        it = self._instances.get(InstanceId(instance))
        if it is None or it.state is not State.DRAINING:
            return
        if self._spares is not None and self._worth_keeping(self._spares):
            self._keep(it, self._spares)
        else:
            self._end(it, Event.STOP)

    def rest(self, instance: str, since: float) -> None:
        """Nothing has been in it since then, and it need not run until ``rouse``."""
        it = self._instances.get(InstanceId(instance))
        if it is not None and it.state is State.READY and not self._closing:
            it.used = since
            self._freeze(it)

    def rouse(self, instance: str) -> None:
        """A request is about to be written to it."""
        it = self._instances.get(InstanceId(instance))
        if it is not None:
            self._let_run(it)

    # Called by the driver

    def _runs_on(self, instance: InstanceId) -> None:
        """It could not be frozen; the next ones could not either, for a while."""
        self._freezes_from = self._now() + FREEZE_RETRY
        it = self._instances.get(instance)
        if it is not None:
            it.frozen = False
            if it.state is State.FROZEN:
                self._stop_spare(instance, "it cannot be frozen")

    def exited(self, exit: Exit) -> None:
        it = self._instances.get(exit.instance)
        if it is None:
            return
        if it.state is State.STOPPING:
            self._step(it, Event.EXITED)  # as it was asked to
            return
        if it.state is State.STARTING:
            self._failed(it, Event.EXITED, f"instance exited at start: {exit.detail}")
            return
        self.crashes += 1
        if it.state is State.READY and not it.proven:
            # Being ready for a moment each time is a crash loop as well.
            self._failed(it, Event.EXITED, f"instance exited soon after start: {exit.detail}")
            return
        self._end(it, Event.EXITED, f"exited: {exit.detail}")
        self._announce()

    # Freezing

    def _freeze(self, it: _Instance) -> None:
        if not it.frozen and self._now() >= self._freezes_from:
            it.frozen = True
            self.freezes += 1
            self._driver.freeze(it.id, self._runs_on)

    def _let_run(self, it: _Instance) -> None:
        if it.frozen:
            it.frozen = False
            self.thaws += 1
            self._driver.thaw(it.id)

    def _worth_keeping(self, spares: Spares) -> bool:
        idle = self.revision.template.idle
        able = idle.freeze_after is not None and self._now() >= self._freezes_from
        wanted = self._keeps_spares and idle.stop_after > 0 and spares.budget > 0
        return able and wanted and not self._closing

    def _keep(self, it: _Instance, spares: Spares) -> None:
        now = self._now()
        if not it.frozen:
            it.used = now
        self._step(it, Event.FREEZE)
        self._freeze(it)
        until = now + self.revision.template.idle.stop_after
        spares.keep(Spare(it.id, it.used, until), self._stop_spare)
        logger.info("%s: instance %s is kept, frozen", self.revision.name, it.id)
        self._announce()

    def _stop_spare(self, instance: InstanceId, why: str) -> None:
        logger.info("%s: spare %s is stopped: %s", self.revision.name, instance, why)
        self._end(self._instances[instance], Event.STOP)

    # The life of an instance

    def _begin(self, it: _Instance) -> None:
        self._trouble = None  # the next try begins: whoever asks from now on may wait for it
        self._instances[it.id] = it
        self._counts[it.state] += 1
        task = asyncio.create_task(self._live(it), name=it.id)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("%s: instance %s", self.revision.name, task.get_name(), exc_info=error)

    async def _live(self, it: _Instance) -> None:
        """All of it: come up, be there until it is over, and leave no trace."""
        self._announce()
        try:
            async with asyncio.TaskGroup() as life:
                rise = life.create_task(self._rise(it))
                wrong = await it.over
                rise.cancel()  # an exit, or a drain, in the middle of its start
            if wrong is not None:
                await self._report(it, wrong)
        finally:
            if not self._left:
                self._withdraw(it)
                self._announce()
                await self._remove(it)

    async def _rise(self, it: _Instance) -> None:
        """Start it and probe it. How this ends goes to ``_became_ready`` or ``_failed``."""
        timeout = max(self.revision.template.queue.timeout, SHORTEST_START_TIMEOUT)
        probe: Probing | None = None
        phases: Phases = ()
        try:
            async with asyncio.timeout(None) as deadline:
                if it.address is None:
                    cold = not self._counts[State.READY]
                    async with self._turns.turn(self.revision.service, cold=cold):
                        # One that waits for its turn has not begun, so it cannot be late.
                        deadline.reschedule(asyncio.get_running_loop().time() + timeout)
                        queued = self._now() - it.began
                        launched = await self._driver.start(self.revision, it.id)
                    it.address = launched.address
                    phases = ((StartPhase.QUEUED, queued), *launched.phases)
                else:
                    deadline.reschedule(asyncio.get_running_loop().time() + timeout)
                started = self._now()
                probe = self._prober(it.address, self.revision.template.readiness)
                await probe.passed()
                listening = (StartPhase.LISTENING, self._now() - started)
        except DriverError as error:
            self._failed(it, Event.STOP, _for_the_client(error, self.revision), str(error))
        except TimeoutError:
            self._failed(it, Event.STOP, self._too_late(timeout, probe))
        except Exception:
            logger.exception("%s: instance %s could not be started", self.revision.name, it.id)
            self._failed(it, Event.STOP, "the instance could not be started")
        else:
            self._became_ready(it, (*phases, listening))
            await asyncio.sleep(PROVEN_AFTER)
            it.proven = True
            self._backoff = FRESH

    def _became_ready(self, it: _Instance, phases: Phases) -> None:
        if it.over.done():
            return  # it exited, or was called off, in this very turn of the loop
        now = self._now()
        took = now - it.began
        self.became_ready += 1
        self.start_seconds += took
        self._trouble, self.failure = None, ""
        self._step(it, Event.PROBE_PASSED)
        words = ""
        if not it.found:
            it.start = Start(now, phases)
            words = _in_words(phases)
            for phase, seconds in phases:
                self.start_phases.setdefault(phase, Total()).add(seconds)
        name = self.revision.name
        logger.info("%s: instance %s is ready after %.3f s%s", name, it.id, took, words)
        self._announce()

    def _failed(self, it: _Instance, event: Event, detail: str, reason: str | None = None) -> None:
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

    def _end(self, it: _Instance, event: Event, wrong: str | None = None) -> None:
        self._step(it, event)
        if not it.over.done():  # cancelled, where its task has broken down
            it.over.set_result(wrong)

    def _withdraw(self, it: _Instance) -> None:
        """Whatever state it is in: from now on it only waits to be stopped."""
        if it.state is State.READY:
            self._step(it, Event.DRAIN)
        if it.state is not State.STOPPING:
            self._end(it, Event.STOP)

    async def _report(self, it: _Instance, wrong: str) -> None:
        lines: list[str] = []
        try:
            async with asyncio.timeout(TAIL_TIMEOUT):
                lines = await self._driver.tail(it.id, TAIL_LINES)
        except (DriverError, TimeoutError) as error:
            logger.debug("%s: no output of instance %s: %s", self.revision.name, it.id, error)
        output = "".join(f"\n  | {line}" for line in lines)
        logger.warning("%s: instance %s: %s%s", self.revision.name, it.id, wrong, output)

    async def _remove(self, it: _Instance) -> None:
        """Stop it. One that the engine does not let us stop is not forgotten but tried again."""
        retry = FIRST_STOP_RETRY
        try:
            while True:
                try:
                    await self._driver.stop(it.id, self.revision.template.stop_grace)
                    break
                except DriverError as error:
                    logger.warning(
                        "%s: instance %s cannot be stopped: %s", self.revision.name, it.id, error
                    )
                if self._closing or await self._closes_within(retry):
                    break
                retry = min(2 * retry, LONGEST_STOP_RETRY)
        finally:
            self._step(it, Event.REMOVED)
            del self._instances[it.id]

    async def _closes_within(self, seconds: float) -> bool:
        if self._closed is None:
            self._closed = asyncio.Event()
        try:
            async with asyncio.timeout(seconds):
                return await self._closed.wait()
        except TimeoutError:
            return False

    # Helpers

    def _step(self, it: _Instance, event: Event) -> None:
        if it.state is State.FROZEN and self._spares is not None:
            self._spares.release(it.id)
        self._counts[it.state] -= 1
        it.state = step(it.state, event)
        self._counts[it.state] += 1

    def _announce(self) -> None:
        """Publish, if there is anything new to say."""
        endpoints = tuple(
            Endpoint(it.id, it.address.host, it.address.port, it.start)
            for it in self._instances.values()
            if it.state is State.READY and it.address is not None
        )
        backends = Backends(endpoints, self.outage, spares=self._counts[State.FROZEN] > 0)
        if backends != self._published:
            self._published = backends
            self._publish(backends)

    def _those(self, state: State) -> tuple[InstanceId, ...]:
        return tuple(it.id for it in self._instances.values() if it.state is state)

    def _too_late(self, timeout: float, probe: Probing | None) -> str:
        if probe is None:
            return f"the instance was not started within {timeout:g}s"
        port = self.revision.template.port
        return f"did not listen on port {port} within {timeout:g}s: {probe.last_failure}"


def _in_words(phases: Phases) -> str:
    return f" ({', '.join(f'{phase} {seconds:.3f}' for phase, seconds in phases)})"


def _for_the_client(error: DriverError, revision: Revision) -> str:
    """What failed, without what only concerns the operator: paths, engines, registries."""
    if isinstance(error, ImageNotFound):
        return f'image "{revision.template.image}" not found'
    if isinstance(error, EngineUnavailable):
        return "the container engine does not answer"
    return "the instance could not be started"
