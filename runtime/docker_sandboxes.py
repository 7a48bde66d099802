"""The stock of network sandboxes that instances are put into.

Most of what an engine does when it starts a container on a bridge is the network.
Here that is done beforehand: a start takes a sandbox that is ready, or does without
one. Sandboxes are made in the background, when no start is under way.

Each is used once, and goes with its instance. Given to another it would bring along
what the first left in it: connections in TIME_WAIT on the port that is to be bound,
rules and routes where the service has the right to make them, and peers that know its
address as somebody else's.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress

from wakeful.runtime import docker_sandbox as sandboxes
from wakeful.runtime.docker_client import DockerClient
from wakeful.runtime.docker_forgotten import runs
from wakeful.runtime.docker_sandbox import Sandbox, Seen
from wakeful.runtime.driver import DriverError
from wakeful.runtime.instance import InstanceId
from wakeful.runtime.sandbox_stock import MEMORY, MOST, wanted

log = logging.getLogger(__name__)

_QUIET = 0.5  # seconds since one was last asked for: until then an instance comes up
_LONGEST_QUIET = 3.0  # that this is waited for
_FIRST_RETRY = 1.0
_LONGEST_RETRY = 60.0
_CLOSE_PATIENCE = 10.0


class DockerSandboxes:
    """Those of ``owner``, on ``network``; ``lost`` hears of instances whose sandbox has ended."""

    def __init__(
        self,
        client: DockerClient,
        owner: str,
        network: str,
        lost: Callable[[InstanceId, str], None],
    ) -> None:
        self._client = client
        self._owner = owner
        self._network = network
        self._lost = lost
        self._used = False  # by any service
        self._ready: deque[Sandbox] = deque()
        self._taken: dict[InstanceId, Sandbox] = {}
        self._ended: set[str] = set()  # of those taken
        self._asked: deque[float] = deque(maxlen=10 * MOST)  # when one was, in the loop's time
        self._changed = asyncio.Event()
        self._making: asyncio.Future[Sandbox] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._removals: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Find those that running instances are in, and remove the others. Raises DriverError."""
        seen = await self._client.call(sandboxes.seen, self._owner)
        self._taken.update(seen.taken)
        self._discard(self._strays(seen))
        self._keeper = asyncio.create_task(self._keep(), name="network sandboxes")

    def use(self, used: bool) -> None:
        """Whether any service may ask for one from now on."""
        if used != self._used:
            self._used = used
            self._changed.set()

    def take(self, instance: InstanceId) -> Sandbox | None:
        """One that is ready, the same until ``release``; None when there is none."""
        if instance in self._taken:
            return self._taken[instance]
        self._asked.append(asyncio.get_running_loop().time())
        self._changed.set()
        if not self._ready:
            return None
        sandbox = self._taken[instance] = self._ready.popleft()
        return sandbox

    async def release(self, instance: InstanceId) -> None:
        """It has ended and is removed: so is its sandbox. Raises DriverError."""
        sandbox = self._taken.get(instance)
        if sandbox is not None:
            await self._client.call(sandboxes.remove, sandbox.id)
            self._taken.pop(instance, None)
            self._ended.discard(sandbox.id)

    @property
    def ready(self) -> int:
        return len(self._ready)

    def holder_of(self, instance: InstanceId) -> Sandbox | None:
        return self._taken.get(instance)

    def holds(self, instance: InstanceId) -> bool:
        """Whether the network that it was given is still there, as far as anybody has heard."""
        sandbox = self._taken.get(instance)
        return sandbox is None or sandbox.id not in self._ended

    async def gave_way(self, instance: InstanceId) -> bool:
        """Whether it cannot have been started because its sandbox has ended. Raises DriverError."""
        sandbox = self._taken.get(instance)
        return sandbox is not None and not await self._client.call(runs, sandbox.id)

    def died(self, container: str, detail: str) -> None:
        for sandbox in list(self._ready):
            if sandbox.id == container:
                log.warning("a network sandbox ended: %s", detail)
                self._ready.remove(sandbox)
                self._discard([container])
                self._changed.set()
        for instance, sandbox in list(self._taken.items()):
            if sandbox.id == container:
                self._ended.add(container)
                # It runs on, but nothing reaches it any more.
                self._lost(instance, f"its network sandbox ended: {detail}")

    async def reconcile(self) -> None:
        """Find those that ended unseen, and remove those of nobody. Raises DriverError."""
        known = [*self._ready, *self._taken.values()]
        if not (known or self._used):
            return
        if self._making is not None:
            await asyncio.wait([self._making])  # until then it looks like a stray
        seen = await self._client.call(sandboxes.seen, self._owner)
        for sandbox in known:
            if sandbox.id not in seen.running:
                self.died(sandbox.id, "nobody saw how")
        if self._making is None:
            self._discard(self._strays(seen))

    async def close(self) -> None:
        """Remove those that nobody is in."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        if self._making is not None:
            with suppress(DriverError):
                self._ready.append(await self._making)
        self._discard_ready(0)
        with suppress(DriverError, TimeoutError):
            async with asyncio.timeout(_CLOSE_PATIENCE):
                seen = await self._client.call(sandboxes.seen, self._owner)
                self._discard(self._strays(seen))
        if self._removals:
            await asyncio.wait(self._removals, timeout=_CLOSE_PATIENCE)

    # Keeping the stock

    async def _keep(self) -> None:
        retry = 0.0
        while True:
            # A burst is forgotten some time; with one in stock there is nothing to forget.
            with suppress(TimeoutError):
                async with asyncio.timeout(retry or (MEMORY if len(self._ready) > 1 else None)):
                    await self._changed.wait()
            self._changed.clear()
            try:
                while len(self._ready) < self._wanted():
                    await self._make_when_quiet()
            except DriverError as error:
                level = logging.DEBUG if retry else logging.WARNING
                log.log(level, "cannot make a network sandbox: %s", error)
                retry = min(2 * retry, _LONGEST_RETRY) or _FIRST_RETRY
            else:
                retry = 0.0
            self._discard_ready(self._wanted())

    def _wanted(self) -> int:
        return wanted(self._asked, asyncio.get_running_loop().time()) if self._used else 0

    async def _make_when_quiet(self) -> None:
        """An engine that makes one meanwhile is no faster at starting an instance."""
        now = asyncio.get_running_loop().time
        end = now() + _LONGEST_QUIET
        while self._asked:
            left = min(self._asked[-1] + _QUIET, end) - now()
            if left <= 0:
                break
            await asyncio.sleep(left)
        self._making = asyncio.ensure_future(
            self._client.call(sandboxes.make, self._owner, self._network)
        )
        try:
            # A thread cannot be cancelled; close() waits for what it makes.
            sandbox = await asyncio.shield(self._making)
        except DriverError:
            self._making = None
            raise
        self._making = None
        self._ready.append(sandbox)
        log.debug("%d network sandboxes are ready", len(self._ready))

    def _strays(self, seen: Seen) -> frozenset[str]:
        """Those that nobody knows: of a former wakeful, or of an engine that was ended when it
        had made one and had not said so."""
        known = (*self._ready, *self._taken.values(), *seen.taken.values())
        return (seen.running | seen.ended) - {sandbox.id for sandbox in known}

    def _discard_ready(self, keep: int) -> None:
        surplus = [self._ready.popleft().id for _ in range(len(self._ready) - keep)]
        self._discard(surplus)

    def _discard(self, containers: Iterable[str]) -> None:
        for container in containers:
            task = asyncio.create_task(self._remove(container))
            self._removals.add(task)
            task.add_done_callback(self._removals.discard)

    async def _remove(self, container: str) -> None:
        try:
            await self._client.call(sandboxes.sweep, container)
        except DriverError as error:
            log.warning("cannot remove network sandbox %.12s: %s", container, error)
