"""Doing to wakeful what the schedule says, and noting what that may have cost."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import requests
from docker.api.client import APIClient
from docker.errors import APIError

from benchmarks.chaos_engine import Engine
from benchmarks.chaos_load import KINDS, Load
from benchmarks.chaos_notes import Notes
from benchmarks.chaos_record import Cause, Trouble
from benchmarks.chaos_schedule import Event
from benchmarks.chaos_wakeful import Wakeful

T = TypeVar("T")

_AFTER_DEPLOY = 25.0  # seconds until the old revision's WebSockets are told, at the latest
_LOOKING = 5.0  # seconds in which something busy is looked for
_ROLLED_OUT = "upload"
_TRIES = 5  # for what could not be done even once
_BURST = 3.0  # seconds that a burst is given
_SIGKILL = "SIGKILL"


@dataclass(frozen=True, slots=True)
class _Target:
    container: str
    sandbox: str  # whose network it has; or empty
    service: str
    instance: str  # as it signs its notes


class Events:
    """Carries them out, one after the other."""

    def __init__(
        self, engine: Engine, wakeful: Wakeful, load: Load, notes: Notes, seed: int
    ) -> None:
        self.troubles: list[Trouble] = []
        self.done: Counter[Event] = Counter()
        self.missed: Counter[Event] = Counter()  # there was nothing to do it to
        self._engine = engine
        self._wakeful = wakeful
        self._load = load
        self._notes = notes
        self._chance = random.Random(f"events {seed}")
        self._client = engine.client()
        self._behind: list[asyncio.Task[None]] = []  # what ends later
        self._frozen: set[str] = set()  # containers that are paused now
        self._acts: dict[Event, Callable[[], Awaitable[bool]]] = {
            Event.KILL: lambda: self._strike(_kill),
            Event.REMOVE: lambda: self._strike(_remove),
            Event.SANDBOX: lambda: self._strike(_kill_sandbox, sandboxed=True),
            Event.PAUSE: self._pause,
            Event.FREEZE: self._freeze,
            Event.ENGINE_STOP: lambda: self._restart(engine.stop, keep=True),
            Event.ENGINE_KILL: lambda: self._restart(engine.kill, keep=True),
            Event.ENGINE_STOP_ALL: lambda: self._restart(engine.stop, keep=False),
            Event.ENGINE_KILL_ALL: lambda: self._restart(engine.kill, keep=False),
            Event.WAKEFUL_KILL: self._kill_wakeful,
            Event.WAKEFUL_STOP: lambda: self._stop_wakeful(leave=False),
            Event.WAKEFUL_LEAVE: lambda: self._stop_wakeful(leave=True),
            Event.DEPLOY: lambda: self._deploy(rolled_out=False),
            Event.ROLLOUT: lambda: self._deploy(rolled_out=True),
            Event.BURST: self._burst,
        }

    async def run(self, schedule: Sequence[tuple[float, Event]]) -> None:
        began = time.monotonic()
        for at, event in schedule:
            await asyncio.sleep(began + at - time.monotonic())
            await self._do(event)
        for event in Event:
            for _ in range(_TRIES):
                if not self.done[event]:
                    await self._do(event)
        await asyncio.gather(*self._behind)

    async def _do(self, event: Event) -> None:
        counts = self.done if await self._acts[event]() else self.missed
        counts[event] += 1

    def close(self) -> None:
        self._client.close()

    # Containers

    async def _strike(
        self, act: Callable[[APIClient, _Target], None], *, sandboxed: bool = False
    ) -> bool:
        target = await self._busy(sandboxed=sandboxed)
        if target is None:
            return False
        began = time.monotonic()
        if sandboxed:  # its network goes first: what is written to it then gets no answer at all
            self._note(Cause.STOPPED, began, target)
        done = await self._on_engine(act, target)
        self._note(Cause.KILLED, began, target)
        return done

    async def _pause(self) -> bool:
        """And resumed: what is inside has to wait, and nothing may be lost."""
        target = await self._busy()
        if target is None or not await self._on_engine(_pause, target):
            return False
        self._frozen.add(target.container)

        async def resume() -> None:
            await asyncio.sleep(self._chance.uniform(1, 4))
            while True:
                with suppress(requests.ConnectionError):  # the engine is away just now
                    await self._on_engine(_unpause, target)
                    break
                await asyncio.sleep(0.1)
            self._frozen.discard(target.container)

        self._behind.append(asyncio.create_task(resume()))
        return True

    async def _freeze(self) -> bool:
        """What is inside comes to nothing, as if it had been killed."""
        target = await self._busy()
        if target is None:
            return False
        began = time.monotonic()
        if not await self._on_engine(_pause, target):
            return False
        self._frozen.add(target.container)
        self._note(Cause.STOPPED, began, target)
        return True

    async def _busy(self, *, sandboxed: bool = False) -> _Target | None:
        """A container with requests in it, by what it has noted itself."""
        deadline = time.monotonic() + _LOOKING
        while time.monotonic() < deadline:
            owner = self._wakeful.owner
            targets = await asyncio.to_thread(_targets, self._client, owner)
            busy = self._notes.busy()
            found = [
                each
                for each in targets
                if each.instance in busy
                and each.container not in self._frozen
                and (each.sandbox or not sandboxed)
            ]
            if found:
                return self._chance.choice(sorted(found, key=lambda each: each.service))
            await asyncio.sleep(0.1)
        return None

    async def _on_engine(self, act: Callable[[APIClient, _Target], None], target: _Target) -> bool:
        """False when it was on its way out by then."""
        try:
            await asyncio.to_thread(act, self._client, target)
        except APIError as error:
            if error.status_code not in (404, 409, 500):
                raise
            return False
        return True

    # The engine

    async def _restart(self, end: Callable[[], None], *, keep: bool) -> bool:
        if not keep:
            await asyncio.to_thread(self._engine.keep, False)
        # Also one that lets containers live ends those that it is just starting.
        with self._noting(Cause.ENGINE), self._noting(Cause.KILLED):
            await self._end_and_start(end, keep=keep)
        if not keep:
            await asyncio.to_thread(self._engine.keep, True)
        return True

    async def _end_and_start(self, end: Callable[[], None], *, keep: bool) -> None:
        await asyncio.to_thread(end)
        await asyncio.sleep(self._chance.uniform(0.1, 2))
        await asyncio.to_thread(lambda: self._engine.start(keep=keep))

    # wakeful

    async def _kill_wakeful(self) -> bool:
        with self._noting(Cause.CRASHED):
            await self._wakeful.kill()
            await asyncio.sleep(self._chance.uniform(0, 1))
            await self._wakeful.start(leave=self._wakeful.leaves)
        return True

    async def _stop_wakeful(self, *, leave: bool) -> bool:
        if self._wakeful.leaves is not leave:
            # Which of the two is said when it starts.
            with self._noting(Cause.RESTARTED):
                await self._wakeful.stop()
                await self._wakeful.start(leave=leave)
            await asyncio.sleep(1)
        with self._noting(Cause.RESTARTED):
            code = await self._wakeful.stop()
            await self._wakeful.start(leave=self._chance.random() < 0.5)
        if code:
            raise RuntimeError(f"wakeful ended with {code}")
        return True

    async def _deploy(self, *, rolled_out: bool) -> bool:
        services = [kind.service for kind in KINDS if (kind.service == _ROLLED_OUT) is rolled_out]
        service = self._chance.choice(services)
        now = time.monotonic()
        self.troubles.append(Trouble(Cause.DEPLOYED, now, now + _AFTER_DEPLOY, service))
        self._wakeful.deploy(service)
        return True

    async def _burst(self) -> bool:
        count = self._chance.randrange(20, 40)
        chance = random.Random(self._chance.random())
        burst = asyncio.create_task(self._load.burst(count, chance))
        self._behind.append(burst)
        await asyncio.wait([burst], timeout=_BURST)  # or the next event has it all to itself
        return True

    def _note(self, cause: Cause, began: float, target: _Target) -> None:
        trouble = Trouble(cause, began, time.monotonic(), target.service, target.instance)
        self.troubles.append(trouble)

    @contextmanager
    def _noting(self, cause: Cause) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.troubles.append(Trouble(cause, began, time.monotonic()))


def _targets(client: APIClient, owner: str) -> list[_Target]:
    labels = [f"wakeful.owner={owner}"]
    found: list[dict[str, Any]] = client.containers(filters={"label": labels, "status": "running"})
    targets = []
    for each in found:
        service = each["Labels"].get("wakeful.service")
        if service is not None:
            mode, _, sandbox = each["HostConfig"]["NetworkMode"].partition(":")
            sandbox = sandbox if mode == "container" else ""
            # The name of the host it is on, cut as the engine cuts it.
            targets.append(_Target(each["Id"], sandbox, service, (sandbox or each["Id"])[:12]))
    return targets


def _kill(client: APIClient, target: _Target) -> None:
    client.kill(target.container, _SIGKILL)


def _remove(client: APIClient, target: _Target) -> None:
    client.remove_container(target.container, force=True)


def _kill_sandbox(client: APIClient, target: _Target) -> None:
    client.kill(target.sandbox, _SIGKILL)


def _pause(client: APIClient, target: _Target) -> None:
    client.pause(target.container)


def _unpause(client: APIClient, target: _Target) -> None:
    client.unpause(target.container)
