"""Two connections joined into one pipe, after a switch of protocols (RFC 9110 §7.8)."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Final

_NO_LINGER: Final = struct.pack("ii", 1, 0)


def join(
    client: asyncio.Transport,
    instance: asyncio.Transport,
    behind: bytes,
    closed: Callable[[int, int], None],
) -> None:
    """Pass bytes both ways, with back-pressure, until both directions have ended.

    ``behind`` is what the client already sent after its request. ``closed`` is
    called once, with the bytes that went up and the bytes that came down.
    """
    up, down = _End(instance), _End(client)
    up.other, down.other = down, up
    done = _Closing(up, down, closed)
    up.done = down.done = done
    # Each transport's protocol is the end that reads from it.
    client.set_protocol(up)
    instance.set_protocol(down)
    if behind:
        up.data_received(behind)
    client.resume_reading()
    instance.resume_reading()


def reset(transport: asyncio.Transport) -> None:
    """End a connection so that the other side sees an error, not an end of the data."""
    sock = transport.get_extra_info("socket")
    if sock is not None and not transport.is_closing():
        # An abort alone only drops what was not sent yet, and ends in good order.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()


class _Closing:
    """Counts the ends that are gone; reports once, when both are."""

    def __init__(self, up: _End, down: _End, closed: Callable[[int, int], None]) -> None:
        self._up = up
        self._down = down
        self._closed = closed
        self._open = 2

    def one(self) -> None:
        self._open -= 1
        if self._open == 0:
            self._closed(self._up.passed, self._down.passed)


class _End(asyncio.Protocol):
    """Reads from one connection and writes to the other one, ``sink``."""

    other: _End
    done: _Closing

    def __init__(self, sink: asyncio.Transport) -> None:
        self.sink = sink
        self.passed = 0
        self.ended = False

    def data_received(self, data: bytes) -> None:
        self.passed += len(data)
        self.sink.write(data)

    def eof_received(self) -> bool:
        self.ended = True
        if self.other.ended:
            self.sink.close()
            return False
        if self.sink.can_write_eof() and not self.sink.is_closing():
            self.sink.write_eof()
        return True  # the other direction may go on

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            reset(self.sink)  # a reset must not look like an orderly end
        elif not self.sink.is_closing():
            self.sink.close()
        self.done.one()

    # The transport that this end reads from asks its own writer to pause: that
    # is the other end, which reads from our sink.

    def pause_writing(self) -> None:
        if not self.sink.is_closing():
            self.sink.pause_reading()

    def resume_writing(self) -> None:
        if not self.sink.is_closing():
            self.sink.resume_reading()
