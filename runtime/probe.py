"""Readiness: whether an instance that was started may be given requests.

A probe asks again and again until the instance passes. How long that may take,
and what an exit in the middle means, is for whoever awaits it.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import ClassVar, Protocol

from wakeful.config.model import HostPort, Readiness
from wakeful.runtime.instance import Address


class Probing(Protocol):
    """One instance, asked until it is ready."""

    @property
    def last_failure(self) -> str:
        """Why it is not ready yet, for an operator."""

    async def passed(self) -> None:
        """Return when the instance passes. A refusal never raises: cancel it instead."""


# How a fleet makes probes: Probe itself, or MemoryDriver.probe.
Prober = Callable[[Address, Readiness], Probing]

# An unanswered SYN is sent again only after a second (RFC 6298 §2), so while
# an instance is young a new attempt is quicker than waiting for an old one.
_YOUNG = 2.0
_YOUNG_CONNECT_TIMEOUT = 0.1

# Attempts per second of all probes together. One costs some 40 µs when it is
# refused, so this bounds probing to a tenth of one core.
_BUDGET = 2000

# An answer that is not success yet made the application work; do not drive it.
_PAUSE_AFTER_ANSWER = 0.01

# What a probe reads of a response whose status it already knows: leaving at
# once would reset the connection under the application's last write.
_COURTESY_SECONDS = 0.02
_COURTESY_BYTES = 65536

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: [^\r\n]*)?\r?\n")
_CONTENT_LENGTH = re.compile(rb"\ncontent-length:[ \t]*([0-9]+)[ \t]*\r?\n", re.IGNORECASE)


async def ready(address: Address, readiness: Readiness) -> None:
    """Return when the instance passes; never raises for refusals."""
    await Probe(address, readiness).passed()


def pause(elapsed: float, running: int) -> float:
    """How long to wait between two attempts, ``elapsed`` seconds after the first.

    Every millisecond here is added to a cold start, so the first ones are
    close together; and ``running`` probes share one budget.
    """
    if elapsed < 0.2:
        wanted = 0.002
    elif elapsed < 2.0:
        wanted = 0.01
    elif elapsed < 10.0:
        wanted = 0.025
    else:
        wanted = 0.05
    return max(wanted, running / _BUDGET)


class Refused(Exception):
    """An attempt failed; the message says how."""


class Probe:
    """Asks one instance over TCP, or with GET when the service names a path."""

    running: ClassVar[int] = 0  # in this process

    def __init__(self, address: Address, readiness: Readiness) -> None:
        self.address = address
        self.readiness = readiness
        self.last_failure = "not tried yet"

    async def passed(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        Probe.running += 1
        try:
            while True:
                elapsed = loop.time() - began
                try:
                    return await self._attempt(elapsed)
                except Answered as answer:
                    self.last_failure = str(answer)
                    shortest = _PAUSE_AFTER_ANSWER
                except Refused as refusal:
                    self.last_failure = str(refusal)
                    shortest = 0.0
                await asyncio.sleep(max(shortest, pause(elapsed, Probe.running)))
        finally:
            Probe.running -= 1

    async def _attempt(self, elapsed: float) -> None:
        timeout = self.readiness.timeout
        connect_timeout = min(timeout, _YOUNG_CONNECT_TIMEOUT) if elapsed < _YOUNG else timeout
        try:
            async with asyncio.timeout(connect_timeout):
                sock = await _connect(self.address)
        except TimeoutError:
            raise Refused("connect timed out") from None

        path = self.readiness.path
        with sock:
            if path is None:
                if self.address.forwarded:
                    with suppress(TimeoutError):  # silent, but nobody has closed it
                        async with asyncio.timeout(timeout):
                            await _listens(sock, self.address)
                return
            try:
                async with asyncio.timeout(timeout):
                    await _get(sock, self.address, path)
            except TimeoutError:
                raise Answered(f"GET {path} timed out") from None


class Answered(Refused):
    """The instance answered, and it was not success."""


async def _connect(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        # Not sock_connect: uvloop's resolves each address in a thread, also one in digits.
        error = sock.connect_ex((address.host, address.port))
        if error == errno.EINPROGRESS:
            await _writable(sock)
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))
        # A connect to a free port of our own machine may be given that same
        # port as its source and so reach itself (simultaneous open, RFC 9293
        # §3.5): it succeeds, and nobody listens.
        if sock.getsockname()[:2] == sock.getpeername()[:2]:
            raise Refused("connection refused")
    except OSError as error:
        sock.close()
        raise Refused(_words(error)) from None
    except BaseException:
        sock.close()
        raise
    return sock


async def _writable(sock: socket.socket) -> None:
    """Or failed."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    loop.add_writer(sock, _done, future)
    try:
        await future
    finally:
        loop.remove_writer(sock)


def _done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def _listens(sock: socket.socket, address: Address) -> None:
    """Whether somebody is behind a forwarder that takes connections by itself.

    It closes them when nobody is; any answer is a sign of life. The request is
    a "ping" or "no-op" (RFC 9110 §9.3.7). Raises Refused.
    """
    try:
        answer = await _exchange(sock, address, "OPTIONS *")
    except OSError as error:
        raise Refused(_words(error)) from None
    if not answer:
        raise Refused("connection refused behind the published port")
    await _read_rest(sock, answer)


async def _get(sock: socket.socket, address: Address, path: str) -> None:
    """One HTTP exchange; raises Refused unless it is answered with 2xx or 3xx."""
    try:
        answer = await _exchange(sock, address, f"GET {path}")
    except OSError as error:
        raise Answered(f"GET {path}: {_words(error)}") from None

    status_line = _STATUS_LINE.match(answer)
    if status_line is None:
        nothing = "closed without an answer" if not answer else "answered, but not in HTTP/1"
        raise Answered(f"GET {path}: {nothing}")
    await _read_rest(sock, answer)
    status = int(status_line[1])
    if not 200 <= status < 400:
        raise Answered(f"GET {path} answered {status}")


async def _exchange(sock: socket.socket, address: Address, request: str) -> bytes:
    """The first line that is answered, with what came behind it; nothing when it was closed."""
    head = (
        f"{request} HTTP/1.1\r\n"
        f"Host: {HostPort(address.host, address.port)}\r\n"
        "User-Agent: wakeful-probe\r\n"
        "Accept: */*\r\n"
        "Connection: close\r\n\r\n"
    )
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, head.encode("latin-1", "replace"))
    return await _read_status_line(sock)


async def _read_status_line(sock: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    answer = b""
    while b"\n" not in answer and len(answer) < 4096:
        data = await loop.sock_recv(sock, 4096)
        if not data:
            break
        answer += data
    return answer


async def _read_rest(sock: socket.socket, answer: bytes) -> None:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_COURTESY_SECONDS):
            while len(answer) < _COURTESY_BYTES and not _complete(answer):
                data = await loop.sock_recv(sock, 16384)
                if not data:
                    return
                answer += data
    except OSError:  # TimeoutError is one
        return


def _complete(answer: bytes) -> bool:
    end = re.search(rb"\r?\n\r?\n", answer)
    if end is None:
        return False
    length = _CONTENT_LENGTH.search(answer, 0, end.end())
    return length is not None and len(answer) - end.end() >= int(length[1])


def _words(error: OSError) -> str:
    # Not error.strerror: asyncio puts "Connect call failed ..." there.
    return os.strerror(error.errno).lower() if error.errno else str(error)
