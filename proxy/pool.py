"""Keep-alive connections to one endpoint."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from wakeful.proxy.framing import ResponseHead
from wakeful.proxy.kernel import ended
from wakeful.proxy.known import KnownHeads
from wakeful.proxy.upstream import Upstream

# Container addresses answer in well under a millisecond, or not at all.
CONNECT_TIMEOUT: Final = 5.0

# Seconds after which the kernel is asked whether an idle connection was ended: the loop, which
# is told of that too, may be just about to be. Under load, when every call counts, none idles
# that long.
_RECENT: Final = 0.01


class Connecting(Protocol):
    """A request that needs a connection."""

    @property
    def repeatable(self) -> bool:
        """Whether it may be sent again, should the connection it is sent over be dead."""

    def connected(self, upstream: Upstream) -> None: ...
    def connect_failed(self, error: OSError) -> None: ...


class Pool:
    """Idle connections, the latest used first; and the making of new ones."""

    __slots__ = (
        "_clock",
        "_closed",
        "_host",
        "_idle",
        "_known",
        "_loop",
        "_port",
        "_tasks",
        "_watch",
        "_watched",
        "doubted",
    )

    def __init__(
        self,
        host: str,
        port: int,
        *,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float],
        known: KnownHeads[ResponseHead],
        watch: Callable[[], None],
    ) -> None:
        self._host = host
        self._port = port
        self._loop = loop
        self._clock = clock
        self._known = known
        self._watch = watch  # told when something idles that close_idle must see to
        self._idle: deque[Upstream] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._watched = False  # something sees to it that close_idle is called
        self.doubted = 0.0  # what was kept since before may be dead, and nobody can tell

    def take(self, now: float, waiter: Connecting) -> Upstream | None:
        """An idle connection that is still open, as far as is known here."""
        idle = self._idle
        while idle:
            upstream = idle.pop()
            transport = upstream.transport
            if transport.is_closing():
                continue
            if now - upstream.idle_since > _RECENT and not self._good_for(waiter, upstream):
                transport.close()
                continue
            return upstream
        return None

    def connect(self, waiter: Connecting) -> asyncio.Task[None]:
        """Open a connection for ``waiter``; cancelling the task gives it up."""
        task = self._loop.create_task(self._connect(waiter))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def give(self, upstream: Upstream, now: float) -> None:
        """Take back a connection whose exchange ended cleanly; if it is closing, take() sees it."""
        upstream.exchange = None
        upstream.idle_since = now
        self._idle.append(upstream)
        if self._watched:  # as it mostly is, and never once closed
            return
        if self._closed:
            self._idle.pop().close()
        else:
            self._watched = True
            self._watch()

    def lost(self, upstream: Upstream) -> None:
        """An idle connection was closed by the other side."""
        if upstream in self._idle:
            self._idle.remove(upstream)

    def close_idle(self, before: float) -> bool:
        """Close what has idled since ``before``; True while any are left."""
        while self._idle and self._idle[0].idle_since < before:
            self._idle.popleft().close()
        self._watched = bool(self._idle)
        return self._watched

    def close(self) -> None:
        """Idle connections close now, those in use when they are given back."""
        self._closed, self._watched = True, False
        while self._idle:
            self._idle.pop().close()

    def _good_for(self, waiter: Connecting, upstream: Upstream) -> bool:
        """Of one that has idled for a while."""
        if ended(upstream.transport.get_extra_info("socket")):
            return False
        return upstream.idle_since >= self.doubted or waiter.repeatable

    async def _connect(self, waiter: Connecting) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                _, upstream = await self._loop.create_connection(
                    lambda: Upstream(self, self._known), self._host, self._port
                )
        except OSError as error:  # TimeoutError is one
            waiter.connect_failed(error)
        else:
            waiter.connected(upstream)
