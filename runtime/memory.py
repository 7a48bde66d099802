"""A driver whose instances are entries in a dictionary and timers on the loop.

Runs the simulator and tests: each start follows a Script, and time is the
loop's, so under wakeful.clock.SimulatedLoop hours of it take milliseconds.
Nothing listens at its addresses; its probes are told instead.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

from wakeful.config.model import Readiness, Revision
from wakeful.events import Phases, StartPhase
from wakeful.runtime.driver import DriverError, EngineUnavailable, OutputGone, Turn
from wakeful.runtime.instance import Address, Exit, Found, InstanceId, Launched, Usage
from wakeful.runtime.output import NO_TIME, STDOUT, Asked, Line


@dataclass(frozen=True, slots=True)
class Script:
    """What happens to one start. Durations are seconds."""

    pull: float = 0.0  # before its turn
    start: float = 0.25  # from its turn until start() returns, or fails
    failure: DriverError | None = None  # what start() raises
    listen: float | None = 0.1  # from then until it passes its probe; None: never
    lifetime: float | None = None  # from then until it ends by itself; 0: at once
    ending: str = "exit code 1"  # of a lifetime
    goodbye: float = 0.0  # from SIGTERM until it ends; longer than the grace: it is killed
    output: tuple[str, ...] = ()
    memory: int = 64 * 2**20  # bytes
    freezable: bool = True


@dataclass(frozen=True, slots=True)
class Started:
    at: float
    instance: InstanceId
    revision: str


@dataclass(frozen=True, slots=True)
class Stopped:
    at: float
    instance: InstanceId


@dataclass(slots=True, eq=False)
class _Running:
    found: Found
    script: Script
    listens_at: float | None
    frozen: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    end: asyncio.TimerHandle | None = None
    said: list[str] = field(default_factory=list)
    news: asyncio.Event | None = None  # for who waits for more to be said


class MemoryDriver:
    """Scripted: ``upcoming`` scripts are used first, then ``default``."""

    name = "memory"
    freezer = "a flag"
    sandboxes_ready = None

    def __init__(self, default: Script | Callable[[Revision], Script] = Script()) -> None:
        self.default = default
        self.upcoming: deque[Script] = deque()
        self.available = True  # False: nothing answers where the engine should be
        self.starts: list[Started] = []  # that had their turns, in order, with the loop's time
        self.stops: list[Stopped] = []
        self._instances: dict[InstanceId, _Running] = {}  # until stopped
        self._by_address: dict[Address, _Running] = {}
        self._exited: Callable[[Exit], None] | None = None
        self._paused: Callable[[InstanceId, bool], None] | None = None

    # The Driver protocol

    async def open(
        self,
        exited: Callable[[Exit], None],
        paused: Callable[[InstanceId, bool], None] | None = None,
    ) -> None:
        self._require_engine()
        self._exited, self._paused = exited, paused

    async def start(
        self, revision: Revision, instance: InstanceId, turn: Turn = nullcontext
    ) -> Launched:
        script = self._next_script(revision)
        pulled: Phases = ()
        if script.pull:
            await asyncio.sleep(script.pull)
            pulled = ((StartPhase.PULL, script.pull),)
        async with turn():
            address = await self._start(revision, instance, script)
        return Launched(address, (*pulled, (StartPhase.START, script.start)))

    async def _start(self, revision: Revision, instance: InstanceId, script: Script) -> Address:
        loop = asyncio.get_running_loop()
        self.starts.append(Started(loop.time(), instance, revision.name))
        await asyncio.sleep(script.start)
        self._require_engine()
        if script.failure is not None:
            raise script.failure.with_traceback(None)  # it would collect one for each start

        now = loop.time()
        address = Address(instance, revision.template.port)
        running = _Running(
            Found(instance, revision.service, revision.name, address),
            script,
            None if script.listen is None else now + script.listen,
            said=list(script.output),
        )
        self._instances[instance] = running
        self._by_address[address] = running
        if script.lifetime is not None:
            running.end = loop.call_later(script.lifetime, self._end, running, script.ending)
        return address

    async def stop(self, instance: InstanceId, grace: float) -> None:
        self.stops.append(Stopped(asyncio.get_running_loop().time(), instance))
        running = self._instances.get(instance)
        if running is None:
            return
        if not running.ended.is_set():
            running.frozen, running.listens_at = False, None
            polite = running.script.goodbye <= grace
            await asyncio.sleep(min(running.script.goodbye, grace))
            self._end(running, "exit code 0" if polite else "killed by signal 9")
        self._instances.pop(instance, None)
        self._by_address.pop(running.found.address, None)

    def freeze(self, instance: InstanceId, failed: Callable[[InstanceId], None]) -> None:
        running = self._instances.get(instance)
        if running is None or running.ended.is_set():
            return
        if running.script.freezable:
            running.frozen = True
        else:
            asyncio.get_running_loop().call_soon(failed, instance)

    def thaw(self, instance: InstanceId) -> None:
        running = self._instances.get(instance)
        if running is not None:
            running.frozen = False

    async def usage(self, instance: InstanceId) -> Usage:
        self._require_engine()
        running = self._instances.get(instance)
        return Usage(None if running is None else running.script.memory, None)

    async def tail(self, instance: InstanceId, lines: int) -> list[str]:
        running = self._instances.get(instance)
        return running.said[-lines:] if running and lines > 0 else []

    async def output(self, instance: InstanceId, asked: Asked) -> AsyncGenerator[list[Line], None]:
        running = self._instances.get(instance)
        if running is None:
            raise OutputGone(f"{instance} is not there")
        if asked.since is not None:
            raise DriverError("what is in memory has no times")
        at = 0 if asked.tail is None else max(0, len(running.said) - asked.tail)
        while True:
            new, at = running.said[at:], len(running.said)
            if new:
                yield [Line(text.encode(), STDOUT, NO_TIME, True) for text in new]
            elif not asked.follow or running.ended.is_set():
                return
            else:
                running.news = running.news or asyncio.Event()
                await running.news.wait()

    async def instances(self) -> list[Found]:
        self._require_engine()
        living = [r for r in self._instances.values() if not r.ended.is_set()]
        for running in living:
            running.frozen = False
        return [running.found for running in living]

    def expect(self, revisions: Sequence[Revision]) -> None:
        """There is nothing to prepare."""

    async def moved(self, revisions: Sequence[Revision]) -> list[Revision]:
        return []

    async def close(self) -> None:
        self._exited = None

    # The script's side

    def say(self, instance: InstanceId, text: str) -> None:
        """A line that the instance writes now."""
        running = self._instances[instance]
        running.said.append(text)
        self._tell(running)

    def crash(self, instance: InstanceId, detail: str = "exit code 1") -> None:
        """End a running instance now, as if by itself."""
        self._end(self._instances[instance], detail)

    def pause(self, instance: InstanceId, paused: bool = True) -> None:
        """Freeze a running instance, as if by somebody else; or let it run again."""
        self._instances[instance].frozen = paused
        if self._paused is not None:
            self._paused(instance, paused)

    def probe(self, address: Address, readiness: Readiness) -> MemoryProbe:
        """A Prober for the addresses of this driver."""
        return MemoryProbe(self, address)

    def listens_at(self, address: Address) -> float | None:
        """When the instance there passes its probe; None when it never will."""
        running = self._by_address.get(address)
        if running is None or running.ended.is_set() or running.frozen:
            return None
        return running.listens_at

    def frozen(self, instance: InstanceId) -> bool:
        """It does not run, and answers nothing."""
        running = self._instances.get(instance)
        return running is not None and running.frozen

    def _next_script(self, revision: Revision) -> Script:
        if self.upcoming:
            return self.upcoming.popleft()
        return self.default(revision) if callable(self.default) else self.default

    def _end(self, running: _Running, detail: str) -> None:
        if running.ended.is_set():
            return
        running.ended.set()
        self._tell(running)
        if running.end is not None:
            running.end.cancel()
        if self._exited is not None:
            self._exited(Exit(running.found.instance, detail))

    def _tell(self, running: _Running) -> None:
        if running.news is not None:
            running.news.set()
            running.news = None

    def _require_engine(self) -> None:
        if not self.available:
            raise EngineUnavailable("the memory engine is switched off")


class MemoryProbe:
    """Passes when the script says that the instance listens."""

    last_failure = "connection refused"

    def __init__(self, driver: MemoryDriver, address: Address) -> None:
        self._driver = driver
        self._address = address

    async def passed(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            listens_at = self._driver.listens_at(self._address)
            if listens_at is None:
                await asyncio.sleep(3600)  # cancelled by a deadline or an exit, as any probe
            elif listens_at > loop.time():
                await asyncio.sleep(listens_at - loop.time())
            else:
                return
