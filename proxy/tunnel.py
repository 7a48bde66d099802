"""Two connections joined into one pipe, after a switch of protocols (RFC 9110 §7.8)."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from math import inf
from typing import Final

from wakeful.proxy.websocket import GOING_AWAY, Frames

_NO_LINGER: Final = struct.pack("ii", 1, 0)


class Tunnel:
    """A client's connection and an instance's, each passed on to the other.

    Ends when both directions have, or after ``idle_timeout`` seconds (0 =
    never) in which nothing passed. ``closed`` is called once, with the bytes
    that went up and the bytes that came down. ``frames`` follows what the
    instance sends, where the protocol is WebSocket.
    """

    def __init__(
        self,
        client: asyncio.Transport,
        instance: asyncio.Transport,
        closed: Callable[[Tunnel, int, int], None],
        *,
        now: float,
        idle_timeout: float,
        frames: Frames | None = None,
    ) -> None:
        self._closed = closed
        self._open = 2
        self._idle_timeout = idle_timeout
        self._passed = 0  # when it was checked last
        self._silent_since = now
        self._leave_by = inf
        # Each transport's protocol is the end that reads from it.
        up = _End(self, instance)
        down = _End(self, client) if frames is None else _FramedEnd(self, client, frames)
        self._up, self._down = up, down
        up.other, down.other = down, up

    def open(self, behind: bytes) -> None:
        """Begin, with what the client already sent after its request."""
        client, instance = self._down.sink, self._up.sink
        client.set_protocol(self._up)
        instance.set_protocol(self._down)
        if behind:
            self._up.data_received(behind)
        client.resume_reading()
        instance.resume_reading()

    def check(self, now: float) -> None:
        """End it when nothing has passed for too long, or its time is over. For the sweep."""
        passed = self._up.passed + self._down.passed
        if passed != self._passed:
            self._passed = passed
            self._silent_since = now
        idle = 0 < self._idle_timeout <= now - self._silent_since
        if idle or now >= self._leave_by:
            for sink in (self._up.sink, self._down.sink):
                if sink.get_write_buffer_size():
                    reset(sink)  # what it has not taken by now it never will
                else:
                    sink.close()

    def go_away(self, by: float) -> None:
        """Its instance is to go: say so where the protocol has a word for it, and end ``by`` then.

        A WebSocket client that is told so closes in good order, and the
        instance sees that.
        """
        if self._leave_by == inf:
            self._leave_by = by
            self._down.go_away()

    def cut(self) -> None:
        reset(self._down.sink)

    def one_closed(self) -> None:
        self._open -= 1
        if self._open == 0:
            self._closed(self, self._up.passed, self._down.passed)


def reset(transport: asyncio.Transport) -> None:
    """End a connection so that the other side sees an error, not an end of the data."""
    sock = transport.get_extra_info("socket")
    if sock is not None and not transport.is_closing():
        # An abort alone only drops what was not sent yet, and ends in good order.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()


class _End(asyncio.Protocol):
    """Reads from one connection and writes to the other one, ``sink``."""

    other: _End

    def __init__(self, tunnel: Tunnel, sink: asyncio.Transport) -> None:
        self._tunnel = tunnel
        self.sink = sink
        self.passed = 0
        self.ended = False

    def data_received(self, data: bytes) -> None:
        self.passed += len(data)
        self.sink.write(data)

    def go_away(self) -> None:
        """Nothing can be said in a protocol that is not known."""

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
        self._tunnel.one_closed()

    # The transport that this end reads from asks its own writer to pause: that
    # is the other end, which reads from our sink.

    def pause_writing(self) -> None:
        if not self.sink.is_closing():
            self.sink.pause_reading()

    def resume_writing(self) -> None:
        if not self.sink.is_closing():
            self.sink.resume_reading()


class _FramedEnd(_End):
    """Passes WebSocket frames on, until the client was told that their sender goes away.

    What the instance sends after that is dropped, its own goodbye included:
    nothing may follow a close frame (RFC 6455 §5.5.1).
    """

    def __init__(self, tunnel: Tunnel, sink: asyncio.Transport, frames: Frames) -> None:
        super().__init__(tunnel, sink)
        self._frames = frames
        self._going = self._told = False

    def data_received(self, data: bytes) -> None:
        self.passed += len(data)
        if self._told:
            return
        end = self._frames.feed(data)
        if self._going and end:
            self._tell(data[:end])
        else:
            self.sink.write(data)

    def go_away(self) -> None:
        self._going = True
        if self._frames.between:
            self._tell(b"")

    def _tell(self, before: bytes) -> None:
        self._told = True
        if not (self.ended or self.sink.is_closing()):  # else the client has its end already
            self.sink.write(before + GOING_AWAY)
