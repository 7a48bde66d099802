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

# Seconds for which a connection is taken to be in steady use. One that idled for longer may have
# been ended: the kernel is asked, since the loop, which is told of that too, may be just about to
# be. Under load, when every call counts, none idles that long.
_RECENT: Final = 0.01


class Connecting(Protocol):
    """A request that needs a connection."""

    @property
    def repeatable(self) -> bool:
        """Whether it may be sent again, should the connection it is sent over be dead."""

    def connected(self, upstream: Upstream) -> None: ...
    def connect_failed(self, error: OSError) -> None: ...


class Pool:
    """Idle connections, and the making of new ones.

    Of connections in steady use the one that idled longest is taken: epoll reports sockets in
    the order in which it did last, so that otherwise whoever asked first in one round of the
    loop had the last answer in the next, which costs the slowest requests a tenth. Of all others
    the latest used is taken, so that those that are too many come of age.
    """

    __slots__ = (
        "_clock",
        "_closed",
        "_fresh",
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
        # Idle ones, each of the two in the order in which they began to be, and the first of the
        # second after the last of the first.
        self._idle: deque[Upstream] = deque()
        self._fresh: deque[Upstream] = deque()  # not known to have idled for long
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._watched = False  # something sees to it that close_idle is called
        self.doubted = 0.0  # what was kept since before may be dead, and nobody can tell

    def __len__(self) -> int:
        """Idle connections."""
        return len(self._idle) + len(self._fresh)

    def take(self, now: float, waiter: Connecting) -> Upstream | None:
        """An idle connection that is still open, as far as is known here."""
        fresh, idle = self._fresh, self._idle
        while fresh:
            upstream = fresh.popleft()
            if now - upstream.idle_since > _RECENT:
                idle.append(upstream)
            elif not upstream.transport.is_closing():
                return upstream
        while idle:
            upstream = idle.pop()
            if upstream.transport.is_closing():
                continue
            if self._good_for(waiter, upstream):
                return upstream
            upstream.close()
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
        self._fresh.append(upstream)
        if self._watched:  # as it mostly is, and never once closed
            return
        if self._closed:
            self._fresh.pop().close()
        else:
            self._watched = True
            self._watch()

    def lost(self, upstream: Upstream) -> None:
        """An idle connection was closed by the other side."""
        for kept in (self._idle, self._fresh):
            if upstream in kept:
                kept.remove(upstream)

    def close_idle(self, before: float) -> bool:
        """Close what has idled since ``before``; True while any are left."""
        for kept in (self._idle, self._fresh):
            while kept and kept[0].idle_since < before:
                kept.popleft().close()
        self._watched = len(self) > 0
        return self._watched

    def close(self) -> None:
        """Idle connections close now, those in use when they are given back."""
        self._closed = True
        self.close_idle(float("inf"))

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
