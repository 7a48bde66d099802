"""Connections in memory, for a data plane whose loop and time a test moves by hand.

Transports, their sockets, and the making of connections: what is foreign to the
data plane, and nothing of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, TypeVar, cast

import httptools

from wakeful.clock import SimulatedLoop
from wakeful.proxy.downstream import Downstream

T = TypeVar("T")

# Behind every head that goes to an instance, and in no body here.
HEAD_END = b"-01\r\n\r\n"


FRAMES = b"\x81frames"
# What an instance says besides bytes: the end of its connection, and a switch.
END = b"END"
SWITCH = b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + FRAMES


class Socket:
    """What the kernel says of a connection (struct tcp_info), and is told."""

    ESTABLISHED, CLOSE, CLOSE_WAIT = 1, 7, 8

    def __init__(self) -> None:
        self.state = self.ESTABLISHED

    def getsockopt(self, *_: int) -> bytes:
        return bytes((self.state,))

    def setsockopt(self, *_: object) -> None: ...

    def fileno(self) -> int:
        return -1  # as of one that is closed: how much waits to be sent cannot be asked


class Wire(asyncio.Transport):
    """A connection in memory; as unforgiving as asyncio's and uvloop's, whichever is more so."""

    HIGH = 50

    def __init__(self, loop: Loop, protocol: asyncio.Protocol, delay: int) -> None:
        super().__init__()
        self._loop = loop
        self._protocol: asyncio.BaseProtocol = protocol
        self._delay = delay  # turns of the loop from an end to its announcement
        self._socket = Socket()
        self.written = bytearray()
        # Towards the other side
        self.stuck = False  # the other side takes nothing
        self._unsent = 0
        self._asked_to_pause = False
        self._eof_written = False
        # From the other side
        self._incoming = bytearray()
        self._paused = False
        self._ended = False
        self._end_read = False
        self._closed = False  # what is written now is answered with a reset
        self._reset = False
        # The end
        self._closing = False
        self._losing = False
        self.lost = False

    # Called by the proxy

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"socket": self._socket, "peername": ("192.0.2.1", 1)}.get(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            if not self._unsent:
                self._lose(None)

    def abort(self) -> None:
        self._break(None)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._must_be_alive()
        if self._eof_written:
            raise RuntimeError("Cannot call write() after write_eof()")
        if self._losing:
            return
        self.written += data
        if self._closed or self._reset:
            self._socket.state = Socket.CLOSE
            self._reset = True
            self._look()
        elif self.stuck:
            self._unsent += len(data)
            if self._unsent > self.HIGH and not self._asked_to_pause:
                self._asked_to_pause = True
                self._protocol.pause_writing()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._must_be_alive()
        self._eof_written = True

    def get_write_buffer_size(self) -> int:
        return self._unsent

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        self._look()

    # Done by the other side

    @property
    def over(self) -> bool:
        """Either side has ended it."""
        return self._closing or self._closed or self._reset

    def send(self, data: bytes) -> None:
        if not self._ended and not self._reset:
            self._incoming += data
            self._look()

    def leave(self, how: str) -> None:
        if how == "reset" or (how == "close" and self._unsent):
            # To close a socket with bytes in it that nobody read is to reset it.
            self._reset = True
            self._socket.state = Socket.CLOSE
        else:
            self._ended = True
            self._closed |= how == "close"
            if self._socket.state == Socket.ESTABLISHED:
                self._socket.state = Socket.CLOSE_WAIT
        self._look()

    def take(self) -> None:
        """Read what the proxy could not get rid of."""
        self.stuck, self._unsent = False, 0
        if self._asked_to_pause:
            self._asked_to_pause = False
            self._protocol.resume_writing()
        if self._closing and not self._losing:
            self._lose(None)

    # Done by the loop

    def _look(self) -> None:
        self._loop.call_soon(self._read)

    def _read(self) -> None:
        if self._reset and self._unsent:
            self._break(ConnectionResetError())  # its writer sees it, whether it reads or not
        if self._paused or self._closing:
            return
        protocol = self._protocol
        assert isinstance(protocol, asyncio.Protocol)
        if self._incoming:
            data = bytes(self._incoming)
            self._incoming.clear()
            protocol.data_received(data)
            self._look()
        elif self._ended and not self._end_read:
            self._end_read = True
            if not protocol.eof_received():
                self.close()
            self._look()
        elif self._reset:
            self._break(ConnectionResetError())

    def _break(self, error: Exception | None) -> None:
        self._closing = True
        self._unsent = 0
        self._lose(error)

    def _lose(self, error: Exception | None) -> None:
        if not self._losing:
            self._losing = True
            self._loop.call_soon(self._call_lost, error, self._delay)

    def _call_lost(self, error: Exception | None, turns: int) -> None:
        if turns > 1:
            self._loop.call_soon(self._call_lost, error, turns - 1)
            return
        self.lost = True
        self._protocol.connection_lost(error)

    def _must_be_alive(self) -> None:
        if self.lost:
            raise RuntimeError("unable to perform operation on a closed transport")


class Client(Wire):
    """A client's connection, and what it is about to send on it."""

    def __init__(self, loop: Loop, protocol: Downstream, delay: int) -> None:
        super().__init__(loop, protocol, delay)
        self.downstream = protocol
        self.owes: list[bytes] = []

    def say(self, pieces: list[bytes], host: bytes) -> None:
        self.owes = [piece.replace(b"a.test", host) for piece in pieces]
        self.go_on()

    def go_on(self) -> None:
        self.send(self.owes.pop(0))


class Served(Wire):
    """A connection as the instance sees it: what it was asked, and what it has answered."""

    def __init__(self, loop: Loop, protocol: asyncio.Protocol, delay: int, instance: int) -> None:
        super().__init__(loop, protocol, delay)
        self.instance = instance
        self.owes: list[bytes] = []
        self._parser = httptools.HttpRequestParser(self)
        self._heads = 0
        self._whole = 0
        self._answered = 0
        self.switched = False
        self._mad = False  # it talked nonsense, and may have answered by that

    def write(self, data: bytes | bytearray | memoryview) -> None:
        super().write(data)
        if self.switched or self._losing:
            return
        if self._heads == self._whole:  # else it is more of a body, whatever is in it
            assert HEAD_END in data, "a body without its request"
            self._parser = httptools.HttpRequestParser(self)
            # Any method will do, but for llhttp it must be a registered one.
            data = b"GET / HTTP/1.1\r\n" + bytes(data).partition(b"\r\n")[2]
        with suppress(httptools.HttpParserUpgrade):
            self._parser.feed_data(data)

    def on_headers_complete(self) -> None:
        self._heads += 1

    def on_message_complete(self) -> None:
        self._whole += 1

    @property
    def unanswered(self) -> int:
        """Requests that are in the instance."""
        gone = self._losing or self._closed or self._reset
        return 0 if gone or self._mad else self._heads - self._answered

    @property
    def asked(self) -> bool:
        return self.unanswered > 0 and not self.owes and not self.switched

    @property
    def may_switch(self) -> bool:
        return b"Upgrade: websocket" in self.written[self._last_line :]

    @property
    def _last_line(self) -> int:
        """Of the request line that came last, where its version is."""
        return self.written.rfind(b" HTTP/1.1\r\n")

    def answer(self, pieces: list[bytes]) -> None:
        if self.written[: self._last_line].endswith(b"HEAD /"):
            heads = [piece for piece in pieces if piece.startswith(b"HTTP/")]
            pieces = [head.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" for head in heads]
        self.owes = list(pieces)
        self.go_on()

    def talk_nonsense(self, data: bytes) -> None:
        self._mad = True
        self.send(data)

    def go_on(self) -> None:
        piece = self.owes.pop(0)
        if piece is END:
            self.leave("close")
            return
        self.send(piece)
        if piece is SWITCH:
            self.switched = True
        elif not self.owes:
            self._answered += 1


class Dial:
    """A connection to an instance that is being made."""

    def __init__(self, instance: int, made: asyncio.Future[int]) -> None:
        self.instance = instance
        self.made = made  # with the delay of its end

    def end(self, delay: int | None) -> None:
        if delay is None:
            self.made.set_exception(ConnectionRefusedError())
        else:
            self.made.set_result(delay)


class Loop(SimulatedLoop):
    """Turns when it is told to, and asks the test for every connection."""

    def __init__(self) -> None:
        super().__init__()
        self.dials: list[Dial] = []
        self.served: list[Served] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.reported: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _, context: self.reported.append(context))
        self.set_task_factory(self._new_task)

    def turn(self, times: int) -> None:
        for _ in range(times):
            self.call_soon(self.stop)
            self.run_forever()

    def forward(self, seconds: float) -> None:
        self._jumping.elapsed += seconds

    def dialling(self) -> list[Dial]:
        return [one for one in self.dials if not one.made.done()]

    async def create_connection(  # type: ignore[override]  # as much of it as a pool asks for
        self, factory: Callable[[], asyncio.Protocol], host: str, port: int
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        dial = Dial(port, self.create_future())
        self.dials.append(dial)
        delay = await dial.made
        protocol = factory()
        wire = Served(self, protocol, delay, port)
        self.served.append(wire)
        protocol.connection_made(wire)
        try:
            await asyncio.sleep(0)  # what the instance does meanwhile is seen before the return
        except BaseException:
            wire.close()
            raise
        return wire, protocol

    def _new_task(self, loop: asyncio.AbstractEventLoop, coro: Any, **named: Any) -> Any:
        task = asyncio.Task(coro, loop=loop, **named)
        self.tasks.append(task)
        return task


class InOrder(set[T]):
    """Iterated in the order of arrival, so that the same rules always do the same."""

    def __init__(self) -> None:
        super().__init__()
        self._order: dict[T, None] = {}

    def add(self, one: T) -> None:
        super().add(one)
        self._order[one] = None

    def discard(self, one: object) -> None:
        super().discard(one)
        self._order.pop(cast(T, one), None)

    def __iter__(self) -> Iterator[T]:
        return iter(self._order)


# How long the loop runs on after something has happened: the next may come at any point.
