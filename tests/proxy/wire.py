"""HTTP on plain sockets, as a strict reader sees it: nothing here knows the proxy."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

PATIENCE = 8.0  # whoever waits this long for one thing has met a bug


@dataclass(frozen=True, slots=True)
class Message:
    """A request or a response, taken apart."""

    start: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes = b""
    trailers: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def status(self) -> int:
        return int(self.start.split(b" ")[1])

    def all(self, name: str) -> list[bytes]:
        wanted = name.lower().encode()
        return [value for key, value in self.fields if key.lower() == wanted]

    def get(self, name: str) -> bytes | None:
        """The field's value; it must not be there twice."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} is there {len(values)} times"
        return values[0] if values else None

    @property
    def reason(self) -> bytes | None:
        return self.get("X-Wakeful-Reason")


class Ended(Exception):
    """The other side ended the connection before the message was whole."""


class Peer:
    """One end of a connection; remembers every byte that came."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.received = bytearray()
        self._taken = 0

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def drip(self, data: bytes, beat: Callable[[], None]) -> None:
        """One byte at a time, each of them read before the next is sent."""
        for at in range(len(data)):
            self.send(data[at : at + 1])
            beat()

    def close(self) -> None:
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def end(self) -> None:
        """Nothing more will be sent, but there is still somebody to answer."""
        self.sock.shutdown(socket.SHUT_WR)

    # Reading

    def _more(self) -> None:
        data = self.sock.recv(65536)
        if not data:
            raise Ended
        self.received += data

    def take(self, size: int) -> bytes:
        while len(self.received) - self._taken < size:
            self._more()
        start, self._taken = self._taken, self._taken + size
        return bytes(self.received[start : self._taken])

    def until(self, mark: bytes) -> bytes:
        while (at := self.received.find(mark, self._taken)) < 0:
            self._more()
        return self.take(at + len(mark) - self._taken)

    def rest(self) -> bytes:
        """Everything up to an orderly end; a reset is raised."""
        with suppress(Ended):
            while True:
                self._more()
        return self.take(len(self.received) - self._taken)

    def ending(self) -> str:
        """Read to the end: how was it?"""
        try:
            self.rest()
        except ConnectionResetError:
            return "reset"
        return "end"

    def head(self) -> Message:
        """Up to the empty line, whatever follows it."""
        lines = self.until(b"\r\n\r\n")[:-4].split(b"\r\n")
        return Message(lines[0], _fields(lines[1:]))

    def message(self, *, bodiless: bool = False) -> Message:
        """One whole message; ``bodiless`` for an answer to HEAD."""
        head = self.head()
        length, coding = head.get("Content-Length"), head.get("Transfer-Encoding")
        response = head.start.startswith(b"HTTP/")
        if bodiless or (response and (head.status < 200 or head.status in (204, 304))):
            return head
        assert length is None or coding is None
        if coding is not None:
            assert coding.lower() == b"chunked"
            return self._chunked(head)
        if length is not None:
            return Message(head.start, head.fields, self.take(int(length)))
        return Message(head.start, head.fields, self.rest()) if response else head

    def _chunked(self, head: Message) -> Message:
        body = b""
        while size := int(self.until(b"\r\n"), 16):
            body += self.take(size)
            assert self.take(2) == b"\r\n"
        trailers: list[bytes] = []
        while line := self.until(b"\r\n")[:-2]:
            trailers.append(line)
        return Message(head.start, head.fields, body, _fields(trailers))


def _fields(lines: list[bytes]) -> tuple[tuple[bytes, bytes], ...]:
    pairs = []
    for line in lines:
        name, colon, value = line.partition(b":")
        assert colon, f"not a field: {line!r}"
        pairs.append((name, value.strip(b" \t")))
    return tuple(pairs)


Script = Callable[[Peer], None]


def ok(body: bytes = b"hello", fields: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (fields, len(body), body)


def answering(*answers: bytes) -> Script:
    """Keep-alive: each request in turn is read whole and answered; the last one for ever."""

    def script(peer: Peer) -> None:
        turn = 0
        while True:
            peer.message()
            peer.send(answers[min(turn, len(answers) - 1)])
            turn += 1

    return script


@dataclass(eq=False)
class Backend:
    """An instance that does what its script says, on every connection anew.

    The connection is closed when the script returns.
    """

    script: Script = field(default_factory=lambda: answering(ok()))
    connections: list[Peer] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = int(self._listener.getsockname()[1])
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @property
    def received(self) -> list[bytes]:
        """What came, per connection."""
        return [bytes(peer.received) for peer in self.connections]

    @property
    def requests(self) -> int:
        """Request heads that came, on all connections."""
        return sum(data.count(b" HTTP/1.1\r\n") for data in self.received)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(PATIENCE)
        self._listener.close()

    def join(self) -> None:
        """Wait for every script to end; a failed assertion in one fails the test."""
        self.close()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a script of a backend never ended"
        for failure in self.failures:
            raise failure

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            peer = Peer(sock)
            self.connections.append(peer)
            thread = threading.Thread(target=self._run, args=(peer,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self, peer: Peer) -> None:
        try:
            self.script(peer)
        except (Ended, ConnectionError):
            pass
        except OSError as error:
            if peer.sock.fileno() >= 0:
                self.failures.append(error)
        except BaseException as failure:
            self.failures.append(failure)
        finally:
            peer.close()


def unused_port() -> int:
    """A port that refuses connections."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
