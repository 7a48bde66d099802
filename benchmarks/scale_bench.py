"""One wakeful of many services, without listeners and engines: what a second of it costs.

Routes, throttlers, autoscaler and fleets are the real ones. Instances are the
memory driver's, requests are placed as an exchange places them, and time is
simulated, so that only the processor is measured.
"""

from __future__ import annotations

import asyncio
import gc
import random
import sys
import tempfile
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median

from wakeful.admin.scrape import render
from wakeful.clock import run_simulated
from wakeful.config.load import Loaded, loads
from wakeful.config.model import Revision, Service
from wakeful.deploy import Deployments
from wakeful.events import Load
from wakeful.proxy import reply
from wakeful.proxy.server import DataPlane
from wakeful.proxy.throttler import Slot, Throttler
from wakeful.runtime.memory import MemoryDriver, Script
from wakeful.scaler.autoscaler import Autoscaler
from wakeful.state import StateDirectory

IN_HAND = 3  # requests of each active service, one of which is another one each second
_SAMPLE = 1000  # services, at most, of which memory is traced where that takes long
_ASLEEP_AFTER = 90  # seconds without a request


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of one service that sleeps."""

    configuration: float  # the file's text, its nodes, and the Service made of them
    state: float  # what the state directory remembers
    revision: float
    scaler: float
    throttler: float  # its deployment, and its place in the table of routes
    slept: float  # the rest, once it has woken and sleeps again

    @property
    def beyond(self) -> float:
        """All but the configuration, of one that was never asked for."""
        return self.state + self.revision + self.scaler + self.throttler


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of one processor."""

    median: float
    most: float


@dataclass(frozen=True, slots=True)
class Scale:
    services: int
    active: int
    load: float  # seconds of processor time for the file
    take_over: float  # and from there to routes
    tick: Cost  # a pulse with decisions
    pulse: Cost  # one without, every second time
    rest: Cost  # a pulse while everything sleeps, with or without a tick
    scrape: float
    scrape_piece: float  # the longest time that a scrape keeps requests waiting
    memory: Memory


def measure(services: int, active: int, pulses: int) -> Scale:
    """In a process of its own, so that no size inherits the heap of another."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(_measure, services, active, pulses).result()


def definition(services: int) -> str:
    command = "command: [python3, app.py, --port, $PORT]"
    lines = (f"  service-{number}: {{{command}}}" for number in range(services))
    return "\n".join(("runtime: process", "services:", *lines, ""))


def _measure(services: int, active: int, pulses: int) -> Scale:
    text = definition(services)
    with _Clock() as load:
        loaded = loads(text, Path("/"))
    with tempfile.TemporaryDirectory(prefix="wakeful-scale-") as folder:
        state = StateDirectory(Path(folder))
        state.open()
        try:
            return run_simulated(_measured(loaded, state, active, pulses, load))
        finally:
            state.close()


async def _measured(
    loaded: Loaded, state: StateDirectory, active: int, pulses: int, load: _Clock
) -> Scale:
    it = await _House.empty()
    services = list(loaded.config.services.values())
    with _Clock() as take_over:
        revisions = state.revisions(services, {})
        it.route(services, revisions)
    _settle()

    rest = [it.pulse()[1] async for _ in _seconds(pulses)]
    await it.occupy(revisions[:active])
    ticks, others = await it.traffic(pulses)
    pieces = list(it.scrape())
    await it.end()

    count = min(len(services), _SAMPLE)
    memory = await _memory(count, state)
    return Scale(
        services=len(services),
        active=active,
        load=load.seconds,
        take_over=take_over.seconds,
        tick=_cost(ticks),
        pulse=_cost(others),
        rest=_cost(rest),
        scrape=sum(pieces),
        scrape_piece=max(pieces),
        memory=memory,
    )


async def _memory(count: int, state: StateDirectory) -> Memory:
    """By kind, of services that are configured one kind of object after the other."""
    text = definition(count)
    with _traced() as grown:
        loaded = loads(text, Path("/"))
        configuration = grown() + sys.getsizeof(text)
        fresh = StateDirectory(state.path)
        services = list(loaded.config.services.values())
        revisions = fresh.revisions(services, {})
        named = [Revision(one.service, one.generation, one.template) for one in revisions]
        both = grown()
        del named
        remembered = grown()
        it = await _House.empty()
        empty = grown()
        it.know(revisions)
        known = grown()
        it.route(services, revisions)
        routed = grown()
        await it.visit(revisions)
        slept = grown()
        await it.end()
    each = both - remembered  # the revisions once more, and nothing else
    return Memory(
        configuration=configuration / count,
        state=(remembered - configuration - each) / count,
        revision=each / count,
        scaler=(known - empty) / count,
        throttler=(routed - known) / count,
        slept=(slept - routed) / count,
    )


class _House:
    """A data plane and an autoscaler as App puts them together."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.driver = MemoryDriver(Script(start=0.1, listen=0.0))
        self.plane = DataPlane(self, clock=loop.time)
        self.scaler = Autoscaler(self.driver, self.driver.probe, self.plane.publish, now=loop.time)
        self.deployments = Deployments(
            self.plane, self.scaler, now=loop.time, settled=lambda service: None
        )
        self.plane.randrange = random.Random(1).randrange
        self._held: list[_Request] = []

    @classmethod
    async def empty(cls) -> _House:
        it = cls()
        await it.driver.open(it.scaler.exited)
        return it

    def know(self, revisions: Sequence[Revision]) -> None:
        for revision in revisions:
            self.scaler.add(revision)

    def route(self, services: Sequence[Service], revisions: Sequence[Revision]) -> None:
        self.deployments.apply(services, "localhost", {one.service: one for one in revisions}, {})

    # Signals of the data plane

    def demand(self, revision: str, load: Load) -> None:
        self.scaler.demand(revision, load)

    def drained(self, revision: str, instance: str) -> None:
        self.scaler.drained(revision, instance)

    def rest(self, revision: str, instance: str, since: float) -> None:
        self.scaler.rest(revision, instance, since)

    def rouse(self, revision: str, instance: str) -> None:
        self.scaler.rouse(revision, instance)

    # What is measured

    def pulse(self) -> tuple[bool, float]:
        """Whether decisions were taken, and the processor's seconds."""
        before = self.scaler.decisions
        with _Clock() as clock:
            now = self.plane.clock()
            self.scaler.observe(now, self.plane.samples(now))
            self.deployments.check()
        return self.scaler.decisions > before, clock.seconds

    def scrape(self) -> Iterator[float]:
        """The processor's seconds for each piece of the page."""
        pieces = render(
            self.plane, self.scaler, self.deployments.standings(), {}, self.driver.name, None
        )
        more = True
        while more:
            with _Clock() as clock:
                more = next(pieces, None) is not None
            yield clock.seconds

    # Traffic

    async def occupy(self, revisions: Sequence[Revision]) -> None:
        """Instances run, with requests in them that stay."""
        for revision in revisions:
            throttler = self.plane.throttlers[revision.name]
            self._held += [_Request(self.plane, throttler) for _ in range(IN_HAND)]
        await asyncio.sleep(1)

    async def traffic(self, pulses: int) -> tuple[list[float], list[float]]:
        """What pulses with and without decisions took."""
        ticks: list[float] = []
        others: list[float] = []
        for _ in range(2 * pulses):
            for at in range(0, len(self._held), IN_HAND):
                request = self._held[at]
                request.end()
                self._held[at] = _Request(self.plane, request.throttler)
            await asyncio.sleep(1)
            decided, seconds = self.pulse()
            (ticks if decided else others).append(seconds)
        return ticks, others

    async def visit(self, revisions: Sequence[Revision]) -> None:
        """One request to each, and time to fall asleep again."""
        await self.occupy(revisions)
        for request in self._held:
            request.end()
        self._held.clear()
        async for _ in _seconds(_ASLEEP_AFTER):
            self.pulse()
        assert self.scaler.awake == ()
        # The driver's own diary is nothing that wakeful keeps.
        self.driver.starts.clear()
        self.driver.stops.clear()

    async def end(self) -> None:
        self.plane.close()
        await self.scaler.close(leave=False)


class _Request:
    """Placed, counted and ended as an exchange does it."""

    def __init__(self, plane: DataPlane, throttler: Throttler) -> None:
        self.throttler = throttler
        self._now = plane.clock
        if not throttler.awake:
            plane.wake(throttler, plane.clock())
        self._slot = throttler.acquire(self, plane.clock())

    def admitted(self, slot: Slot) -> None:
        self._slot = slot

    def refused(self, answer: reply.Reply) -> None:
        raise AssertionError(answer.detail)

    def end(self) -> None:
        assert self._slot is not None
        self.throttler.counters.count(b"GET", 200, 0.01, 0, 100)
        self.throttler.release(self._slot, self._now())


class _Clock:
    """The processor's time in a block."""

    seconds = 0.0

    def __enter__(self) -> _Clock:
        self._began = time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.process_time() - self._began


async def _seconds(count: int) -> AsyncIterator[None]:
    for _ in range(count):
        await asyncio.sleep(1)
        yield


@contextmanager
def _traced() -> Iterator[Callable[[], float]]:
    """Bytes that were allocated since, and are still in use."""

    def grown() -> float:
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before

    tracemalloc.start()
    try:
        before = 0.0
        before = grown()
        yield grown
    finally:
        tracemalloc.stop()


def _settle() -> None:
    """As wakeful.serve does when the start is over."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def _cost(seconds: list[float]) -> Cost:
    return Cost(median(seconds), max(seconds))
