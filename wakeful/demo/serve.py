"""A small HTTP/1.1 server for the demo services: standard library only, and quick to start.

Owns connections, the framing of messages (RFC 9112) and leaving on SIGTERM;
what is answered is up to the handler. One thread per connection. It does
without http.server, because those imports take longer than everything else
in a cold start of these services: 45 ms of 75 ms, where this file takes 4 ms.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
import time
import traceback

TYPE_CHECKING = False  # typing is one of the imports to do without
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

INSTANCE = f"{os.uname().nodename}-{os.getpid()}"

_PIECE = 64 * 1024  # read at once
_LONGEST_HEAD = 64 * 1024
_LONGEST_LINE = 8 * 1024  # of a chunk's size or a trailer field
_LINGER = 1.0
# Tells that the client closed while a request runs. Elsewhere than on Linux
# only a connection that is closed both ways is noticed.
_HUNG_UP = getattr(select, "POLLRDHUP", 0)


def serve(handle: Callable[[Exchange], None]) -> None:
    """Answer on 0.0.0.0:$PORT until SIGTERM, then finish what runs and return."""
    port = int(os.environ.get("PORT", "8080"))
    leaving = Leaving()
    connections = Count()
    with socket.create_server(("0.0.0.0", port), backlog=1024) as listener:
        listener.setblocking(False)
        print(f"{INSTANCE} listens on port {port}", flush=True)
        arrivals = select.poll()
        arrivals.register(listener, select.POLLIN)
        arrivals.register(leaving.fd, select.POLLIN)
        last = False
        while not last:
            arrivals.poll()
            last = leaving.asked  # before accepting, so that whoever came earlier is let in
            while connection := _accept(listener):
                connections.add(1)
                threading.Thread(
                    target=_converse, args=(connection, handle, leaving, connections), daemon=True
                ).start()
    connections.wait_for_none()


class Leaving:
    """SIGTERM (or Ctrl-C) as a flag, and as a descriptor that wakes whoever polls it.

    The descriptor stays readable, so nobody can miss the moment by looking late.
    """

    def __init__(self) -> None:
        self.asked = False
        self.fd, wakeup = os.pipe()
        os.set_blocking(wakeup, False)
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGINT, self._ask)
        signal.set_wakeup_fd(wakeup)

    def _ask(self, *_: object) -> None:
        if self.asked:
            os._exit(1)  # asked twice: at once
        self.asked = True


class Count:
    """How many there are, and a way to wait until there are none."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0

    def add(self, n: int) -> None:
        with self._changed:
            self._count += n
            self._changed.notify_all()

    def wait_for_none(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._count == 0)


class Refused(Exception):
    """A request that cannot be answered as asked; the connection ends with it."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


class Gone(Exception):
    """The client closed in the middle of something."""


class Wire:
    """The bytes of one connection."""

    def __init__(self, connection: socket.socket, leaving: Leaving) -> None:
        self._connection = connection
        self._leaving = leaving
        self._ahead = b""  # read and not yet used
        self._idle = select.poll()
        self._idle.register(connection, select.POLLIN)
        self._idle.register(leaving.fd, select.POLLIN)

    @property
    def leaving(self) -> bool:
        return self._leaving.asked

    def wait(self) -> bool:
        """Wait for the client's next bytes; False when it is time to leave instead."""
        if self._ahead:
            return True
        awake = [fd for fd, _ in self._idle.poll()]
        return self._connection.fileno() in awake

    def closed(self, within: float) -> bool:
        """Whether the client hangs up within so many seconds; any thread may ask."""
        hung_up = select.poll()  # its own, because one cannot be polled by two threads
        hung_up.register(self._connection, _HUNG_UP)
        return bool(hung_up.poll(within * 1000))

    def some(self, limit: int = _PIECE) -> bytes:
        """At least one byte, and no more than the limit."""
        if not self._ahead:
            self._read()
        piece, self._ahead = self._ahead[:limit], self._ahead[limit:]
        return piece

    def exactly(self, size: int) -> bytes:
        while len(self._ahead) < size:
            self._read()
        piece, self._ahead = self._ahead[:size], self._ahead[size:]
        return piece

    def until(self, mark: bytes, limit: int) -> bytes:
        """What comes before the mark, which is dropped."""
        while (end := self._ahead.find(mark, 0, limit)) < 0:
            if len(self._ahead) >= limit:
                raise Refused("431 Request Header Fields Too Large")
            self._read()
        piece, self._ahead = self._ahead[:end], self._ahead[end + len(mark) :]
        return piece

    def write(self, data: bytes) -> None:
        self._connection.sendall(data)

    def linger(self) -> None:
        """Let the client read the last answer (RFC 9112 §9.6).

        Closing at once while it still sends would reset the connection, and
        the reset may overtake the answer.
        """
        self._connection.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + _LINGER
        while (left := deadline - time.monotonic()) > 0:
            self._connection.settimeout(left)
            if not self._connection.recv(_PIECE):
                return

    def _read(self) -> None:
        data = self._connection.recv(_PIECE)
        if not data:
            raise Gone
        self._ahead += data


class Exchange:
    """One request and its answer."""

    def __init__(self, wire: Wire, head: bytes) -> None:
        self.wire = wire
        lines = head.decode("latin-1").split("\r\n")
        try:
            self.method, self.target, self.version = lines[0].split(" ")
        except ValueError:
            raise Refused("400 Bad Request") from None
        if self.version not in ("HTTP/1.1", "HTTP/1.0"):
            raise Refused("505 HTTP Version Not Supported")
        self.headers = [_field(line) for line in lines[1:]]
        self.path, _, query = self.target.partition("?")
        self.query = dict(_parameter(part) for part in query.split("&") if part)
        self._body = self._pieces(*self._framing())
        self._body_begun = self._body_ended = False
        self._answered = self._chunked = False
        # Only HTTP/1.1 keeps a connection unasked, and nobody who asks in 1.0 needs it here.
        self.keep_alive = self.version == "HTTP/1.1" and "close" not in self.tokens("connection")

    def header(self, name: str) -> str:
        """Every value of a field, joined as RFC 9110 §5.3 allows; empty when it is absent."""
        return ", ".join(value for key, value in self.headers if key.lower() == name)

    def tokens(self, name: str) -> list[str]:
        return [token.strip() for token in self.header(name).lower().split(",") if token.strip()]

    def number(self, parameter: str, default: int, most: int) -> int:
        """A number from the query."""
        text = self.query.get(parameter, str(default))
        if not (text.isascii() and text.isdigit()) or int(text[:9]) > most:
            raise Refused("400 Bad Request")
        return int(text)

    def body(self) -> Iterator[bytes]:
        """The request's body, in pieces, as it arrives."""
        if not self._body_begun:
            self._body_begun = True
            if "100-continue" in self.tokens("expect"):
                self.wire.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return self._body

    def answer(
        self, body: bytes, status: str = "200 OK", content_type: str = "text/plain; charset=utf-8"
    ) -> None:
        fields = f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
        head = self._begin(status, fields)
        self.wire.write(head if self.method == "HEAD" else head + body)

    def stream(self, content_type: str) -> None:
        """Begin an answer whose length is not known yet; go on with send, then end."""
        fields = f"Content-Type: {content_type}\r\n"
        if self.version == "HTTP/1.1":
            self._chunked = self.method != "HEAD"
            fields += "Transfer-Encoding: chunked\r\n"
        self.wire.write(self._begin("200 OK", fields))

    def send(self, piece: bytes) -> None:
        if self._chunked:
            self.wire.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        elif self.method != "HEAD":
            self.wire.write(piece)

    def end(self) -> None:
        if self._chunked:
            self.wire.write(b"0\r\n\r\n")

    def switch(self, protocol: str, fields: str) -> Wire:
        """Leave HTTP behind: what follows on the wire is the handler's own."""
        self._answered, self.keep_alive = True, False
        head = f"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n"
        self.wire.write(f"{head}{fields}\r\n".encode("latin-1"))
        return self.wire

    def fail(self, status: str) -> None:
        """Say what went wrong if that is still possible; the connection ends either way."""
        self.keep_alive = False
        if not self._answered:
            self._body_begun = True  # unread: it may never come
            self.answer(f"{status}\n".encode(), status)

    @property
    def reusable(self) -> bool:
        return self.keep_alive and self._body_ended

    def _begin(self, status: str, fields: str) -> bytes:
        if not self._body_begun:
            for _ in self.body():
                pass
        self._answered = True
        fields += time.strftime("Date: %a, %d %b %Y %H:%M:%S GMT\r\n", time.gmtime())
        self.keep_alive = self.keep_alive and not self.wire.leaving
        if not self.keep_alive:
            fields += "Connection: close\r\n"
        return f"HTTP/1.1 {status}\r\n{fields}\r\n".encode("latin-1")

    def _framing(self) -> tuple[bool, int]:
        """Whether the body is chunked, and its length when it is not (RFC 9112 §6.3)."""
        names = [name.lower() for name, _ in self.headers]
        if "transfer-encoding" in names:
            # With a length as well, or in HTTP/1.0, two readers may disagree on where it ends.
            if "content-length" in names or self.version == "HTTP/1.0":
                raise Refused("400 Bad Request")
            if self.tokens("transfer-encoding") != ["chunked"]:
                raise Refused("501 Not Implemented")
            return True, 0
        length = self.header("content-length") if "content-length" in names else "0"
        if not (length.isascii() and length.isdigit() and len(length) < 19):
            raise Refused("400 Bad Request")
        return False, int(length)

    def _pieces(self, chunked: bool, length: int) -> Iterator[bytes]:
        while chunked and (length := self._chunk_size()):
            yield from self._sized(length)
            if self.wire.exactly(2) != b"\r\n":
                raise Refused("400 Bad Request")
        if chunked:
            while self.wire.until(b"\r\n", _LONGEST_LINE):
                pass  # a trailer field
        else:
            yield from self._sized(length)
        self._body_ended = True

    def _chunk_size(self) -> int:
        digits = self.wire.until(b"\r\n", _LONGEST_LINE).partition(b";")[0].strip()
        if not digits or len(digits) > 15 or digits.strip(b"0123456789abcdefABCDEF"):
            raise Refused("400 Bad Request")
        return int(digits, 16)

    def _sized(self, length: int) -> Iterator[bytes]:
        while length:
            piece = self.wire.some(min(length, _PIECE))
            length -= len(piece)
            yield piece


def _field(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    # RFC 9112 §5.1 and §5.2: no space before the colon, no folded lines.
    if not colon or not name or name != name.strip() or "\n" in line or "\r" in line:
        raise Refused("400 Bad Request")
    return name, value.strip(" \t")


def _parameter(part: str) -> tuple[str, str]:
    name, _, value = part.partition("=")
    return name, value


def _accept(listener: socket.socket) -> socket.socket | None:
    try:
        connection, _ = listener.accept()
    except BlockingIOError:
        return None
    connection.setblocking(True)  # some systems hand the listener's mode on
    return connection


def _converse(
    connection: socket.socket,
    handle: Callable[[Exchange], None],
    leaving: Leaving,
    connections: Count,
) -> None:
    """The life of one connection, on its own thread."""
    try:
        with connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            wire = Wire(connection, leaving)
            while wire.wait():
                if not _exchange(wire, handle):
                    wire.linger()
                    break
    except (Gone, OSError):
        pass  # the client left; there is nobody to tell
    finally:
        connections.add(-1)


def _exchange(wire: Wire, handle: Callable[[Exchange], None]) -> bool:
    """Answer one request; whether the connection can carry another."""
    exchange: Exchange | None = None
    try:
        exchange = Exchange(wire, wire.until(b"\r\n\r\n", _LONGEST_HEAD))
        if exchange.path == "/healthz":
            exchange.answer(b"ok\n")
        else:
            handle(exchange)
    except Refused as refused:
        if exchange is None:
            head = f"HTTP/1.1 {refused.status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            wire.write(head.encode())
            return False
        exchange.fail(refused.status)
    except (Gone, OSError):
        raise
    except Exception:
        traceback.print_exc(file=sys.stderr)
        if exchange is not None:
            exchange.fail("500 Internal Server Error")
    return exchange is not None and exchange.reusable
