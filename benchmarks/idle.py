"""What a client connection costs that was used once, is kept open, and asks for nothing."""

from __future__ import annotations

import resource
import select
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.children import CannotMeasure
from benchmarks.peers import HOST
from benchmarks.targets import Target

_MANY, _FEWER = 10_000, 2_000
_OTHER_FILES = 500  # descriptors for everything else
_PATIENCE = 60.0  # below the 75 s after which nginx and wakeful close what is idle
_SETTLE = 1.0


@dataclass(frozen=True, slots=True)
class Idle:
    version: str
    connections: int
    rss_before: int  # bytes, with no client connected
    rss_with: int  # with all of them

    @property
    def bytes_each(self) -> float:
        return (self.rss_with - self.rss_before) / self.connections


def possible() -> int:
    """How many connections to open if nobody says."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = hard in (resource.RLIM_INFINITY, -1) or hard >= _MANY + _OTHER_FILES
    return _MANY if enough else _FEWER


def allow(connections: int) -> None:
    """Let this program, and those it starts from now on, have so many connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHER_FILES
    if soft in (resource.RLIM_INFINITY, -1) or soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        raise CannotMeasure(
            f"{connections} idle connections need {wanted} descriptors, the limit is {hard}"
        ) from None


def measure(target: Target, connections: int) -> Idle:
    """The proxy has just been started: one that served a crowd has memory to spare."""
    assert target.child is not None
    try:
        with _connected(target.port, 1):
            pass  # what the first of all requests needs is not counted
        time.sleep(_SETTLE)
        before = target.child.rss()
        with _connected(target.port, connections) as clients:
            time.sleep(_SETTLE)
            rss = target.child.rss()
            _expect_all_open(clients)
            for client in (clients[0], clients[-1]):
                _ask(client, 0)
            with _connected(target.port, 1):
                pass  # and somebody new is answered beside them
    except OSError as error:
        raise CannotMeasure(
            f"{connections} idle connections: {error}\n{target.child.output()}"
        ) from None
    return Idle(target.version, connections, before, rss)


@contextmanager
def _connected(port: int, count: int) -> Iterator[list[socket.socket]]:
    """Connections that have been answered once each."""
    clients: list[socket.socket] = []
    deadline = time.monotonic() + _PATIENCE
    try:
        while len(clients) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"after {_PATIENCE:.0f} s there were only {len(clients)}")
            clients.append(socket.create_connection(("127.0.0.1", port), timeout=10))
            _ask(clients[-1], len(clients))
        yield clients
    finally:
        for client in clients:
            client.close()


def _ask(client: socket.socket, number: int) -> None:
    """Not in the words of the others: a proxy may remember a head, and clients differ."""
    request = (
        f"GET /?page={number} HTTP/1.1\r\nHost: {HOST}\r\nAccept: */*\r\n"
        f"User-Agent: Mozilla/5.0 (X11; rv:{number}.0)\r\nCookie: id={number}\r\n\r\n"
    )
    client.sendall(request.encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += _received(client)
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *fields = head.lower().split(b"\r\n")
    lengths = [int(field[15:]) for field in fields if field.startswith(b"content-length:")]
    if not status.startswith(b"http/1.1 200") or not lengths:
        raise ConnectionError(f"an answer began with {head[:200]!r}")
    missing = lengths[0] - len(body)
    while missing > 0:
        missing -= len(_received(client))


def _received(client: socket.socket) -> bytes:
    data = client.recv(65536)
    if not data:
        raise ConnectionError("a connection was closed")
    return data


def _expect_all_open(clients: Sequence[socket.socket]) -> None:
    poll = select.poll()
    for client in clients:
        poll.register(client, select.POLLIN)
    if over := poll.poll(0):  # nothing was asked, so there is nothing to read but the end
        raise ConnectionError(f"{len(over)} were closed")
