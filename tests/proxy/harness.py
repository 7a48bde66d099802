"""A data plane on a loop of its own, and the proof that a test left nothing in it."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any, TypeVar

import uvloop

from tests.proxy.wire import PATIENCE, Backend, Peer, Script, answering, ok
from wakeful.config.model import AccessLog as LogSettings
from wakeful.config.model import HostPort, Network, Queue, Revision, Template
from wakeful.events import Backends, Endpoint, Load, Outage
from wakeful.proxy.access import AccessLog
from wakeful.proxy.known import KnownHeads, KnownRequests
from wakeful.proxy.limits import Limits
from wakeful.proxy.server import DataPlane, RouteTo
from wakeful.proxy.throttler import Throttler

T = TypeVar("T")


class Clock:
    """The machine's monotonic clock, and what a test moved it forward by."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self._ahead

    def forward(self, seconds: float) -> None:
        self._ahead += seconds


class Recorder:
    """Signals: what the scaler would have been told."""

    def __init__(self) -> None:
        self.demands: list[tuple[str, Load]] = []
        self.drains: list[tuple[str, str]] = []
        self.frozen: set[str] = set()
        self.roused: list[str] = []

    def demand(self, revision: str, load: Load) -> None:
        self.demands.append((revision, load))

    def drained(self, revision: str, instance: str) -> None:
        self.drains.append((revision, instance))

    def rest(self, revision: str, instance: str, since: float) -> None:
        self.frozen.add(instance)

    def rouse(self, revision: str, instance: str) -> None:
        self.frozen.remove(instance)
        self.roused.append(instance)


class Harness:
    """A DataPlane to throw sockets at."""

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        log: LogSettings | None = None,
        trusted: Sequence[Network] = (),
    ) -> None:
        self.clock = Clock()
        self.signals = Recorder()
        self.reported: list[dict[str, Any]] = []  # to the loop's exception handler
        self._routes: list[RouteTo] = []
        self._backends: list[Backend] = []
        self._clients: list[Peer] = []
        self._loop = uvloop.new_event_loop()
        self._loop.set_exception_handler(lambda _, context: self.reported.append(context))
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.plane: DataPlane = self.run(self._start(limits, log, trusted))
        self.port = self.plane.port

    async def _start(
        self, limits: Limits | None, log: LogSettings | None, trusted: Sequence[Network]
    ) -> DataPlane:
        access = AccessLog(log, asyncio.get_running_loop()) if log else None
        plane = DataPlane(
            self.signals, access=access, limits=limits, trusted=trusted, clock=self.clock
        )
        # The second of a head is a known one, so that whatever comes twice takes both ways.
        plane.known_requests = KnownRequests(on_sight=True)
        plane.known_responses = KnownHeads(on_sight=True)
        await plane.listen(HostPort("127.0.0.1", 0))
        return plane

    # On the loop

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(main, self._loop).result(PATIENCE)

    def spawn(self, main: Coroutine[Any, Any, T]) -> Callable[[], T]:
        """Started; call what is returned for the result."""
        future = asyncio.run_coroutine_threadsafe(main, self._loop)
        return lambda: future.result(PATIENCE)

    def call(self, function: Callable[[], T]) -> T:
        async def main() -> T:
            return function()

        return self.run(main())

    def beat(self) -> None:
        """The loop has read what was there to be read."""
        for _ in range(2):
            self.call(lambda: None)

    def sweep(self) -> None:
        """Deadlines were held against the clock as it is now."""
        for _ in range(2):
            last = self.call(lambda: self.plane._sweeping)
            if last is not None:  # else there is nothing to look after
                self.wait_for(partial(self._swept, last), "a sweep")

    def _swept(self, last: asyncio.TimerHandle) -> bool:
        return self.plane._sweeping is not last

    def stall(self) -> Callable[[], None]:
        """Hold the loop; what happens until the release is seen by it all at once."""
        held, release = threading.Event(), threading.Event()

        def hold() -> None:
            held.set()
            release.wait(PATIENCE)

        self._loop.call_soon_threadsafe(hold)
        assert held.wait(PATIENCE)
        return release.set

    def wait_for(self, condition: Callable[[], object], what: str = "") -> None:
        """Look, on the loop, until it is so."""
        end = time.monotonic() + PATIENCE
        while not self.call(condition):
            assert time.monotonic() < end, f"never came true: {what or condition}"
            time.sleep(0.002)

    # Services

    def backend(self, script: Script | None = None) -> Backend:
        backend = Backend(script or answering(ok()))
        self._backends.append(backend)
        return backend

    def service(
        self,
        *backends: Backend | int,
        host: str = "a.test",
        outage: Outage | None = None,
        **template: Any,
    ) -> Throttler:
        """A service at ``host`` whose instances i0, i1, ... are ``backends``, or ports."""
        template.setdefault("queue", Queue(limit=1000, timeout=60.0))
        name = host.partition(".")[0]
        revision = Revision(name, 1, Template(**template))
        self._routes.append(RouteTo(name, (host,), ((100, revision),)))
        self.call(lambda: self.plane.route(self._routes))
        self.publish(self.endpoints(*backends), name=name, outage=outage)
        return self.plane.throttlers[revision.name]

    def fixed(self, *ports: int, **template: Any) -> Throttler:
        """A service of addresses that are never started nor stopped."""
        upstreams = tuple(HostPort("127.0.0.1", port) for port in ports)
        return self.service(*ports, upstreams=upstreams, **template)

    def publish(
        self,
        instances: Iterable[Endpoint],
        *,
        name: str = "a",
        outage: Outage | None = None,
        ended: tuple[str, ...] = (),
    ) -> None:
        backends = Backends(tuple(instances), outage, ended=ended)
        self.call(lambda: self.plane.publish(f"{name}-00001", backends))

    @staticmethod
    def endpoints(*backends: Backend | int) -> tuple[Endpoint, ...]:
        return tuple(
            Endpoint(f"i{at}", "127.0.0.1", one.port if isinstance(one, Backend) else one)
            for at, one in enumerate(backends)
        )

    # Clients

    def connect(self, *, receive_buffer: int = 0) -> Peer:
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            sock.connect(("127.0.0.1", self.port))
        except OSError:
            sock.close()
            raise
        peer = Peer(sock)
        self._clients.append(peer)
        return peer

    def get(self, path: bytes = b"/", host: bytes = b"a.test", fields: bytes = b"") -> Peer:
        """A connection of its own with one GET on it."""
        client = self.connect()
        client.send(get(path, host, fields))
        return client

    # The end

    def close(self) -> None:
        """Nothing may be left: no place held, no request, connection or task, no exception."""
        try:
            for client in self._clients:
                client.close()
            self.wait_for(self._empty, f"nothing in hand: {self.call(self._left)}")
            self.call(self.plane.close)
            for backend in self._backends:
                backend.join()
            self.wait_for(lambda: len(asyncio.all_tasks()) == 1, "no task is left")
            self.call(gc.collect)  # a task whose exception nobody took reports it now
            assert self.reported == []
        finally:
            self.call(self.plane.close)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(PATIENCE)
            self._loop.close()

    def _empty(self) -> bool:
        return not self.plane.connections and not any(self._left().values())

    def _left(self) -> dict[str, tuple[int, ...]]:
        return {
            one.name: left
            for one in self.plane.throttlers.values()
            if any(
                left := (
                    one.breaker.active,
                    one.breaker.waiting,
                    one.stats.in_hand,
                    len(one._retired),
                    sum(slot.active for slot in one.slots),
                )
            )
        }


def get(path: bytes = b"/", host: bytes = b"a.test", fields: bytes = b"") -> bytes:
    return b"GET %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (path, host, fields)


def post(body: bytes, *, chunked: bool = False, fields: bytes = b"") -> bytes:
    if chunked:
        framing, framed = b"Transfer-Encoding: chunked", chunks(body)
    else:
        framing, framed = b"Content-Length: %d" % len(body), body
    return b"POST / HTTP/1.1\r\nHost: a.test\r\n%b\r\n%b\r\n%b" % (framing, fields, framed)


def old(request: bytes) -> bytes:
    """The same of a client that speaks HTTP/1.0."""
    return request.replace(b"HTTP/1.1", b"HTTP/1.0", 1)


def chunks(*bodies: bytes, trailers: bytes = b"") -> bytes:
    parts = [b"%x\r\n%b\r\n" % (len(body), body) for body in bodies if body]
    return b"".join((*parts, b"0\r\n", trailers, b"\r\n"))
