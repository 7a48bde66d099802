"""A client connection: turns its bytes into exchanges, one at a time, in order."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, cast

import httptools

from wakeful.proxy import framing, reply, tunnel
from wakeful.proxy.exchange import NEVER, Exchange
from wakeful.proxy.framing import BadRequest, Framing, Headers, RequestHead
from wakeful.proxy.known import known_request, remember_request

if TYPE_CHECKING:
    from wakeful.proxy.server import DataPlane


class Downstream(asyncio.Protocol):
    """Parses requests ahead of their turn; what it holds of them is one read at most."""

    __slots__ = (
        "_advancing",
        "_closing",
        "_current",
        "_fed",
        "_forwarded",
        "_forwarded_host",
        "_headers",
        "_held",
        "_in_head",
        "_next",
        "_parser",
        "_peer",
        "_plane",
        "_raw",
        "_read",
        "_reading",
        "_receiving",
        "_refusal",
        "_resumed",
        "_target",
        "_transport",
        "_unsent",
        "client",
        "deadline",
        "write_paused",
    )

    def __init__(self, plane: DataPlane) -> None:
        # Per connection
        self._plane = plane
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        self._peer = b""
        self.client = ""  # the peer's address, for the access log
        self._forwarded_host: bytes | None = None
        self._forwarded = b""
        self.deadline = NEVER  # of the connection itself, while no exchange has one
        self.write_paused = False
        self._reading = True
        self._held = False  # the exchange wants no more of the body for now
        self._closing = False  # nothing more will be answered on this connection
        self._unsent = 0  # bytes of the last answer, when that was looked at last
        # Exchanges: the one being answered, and those received behind it
        self._current: Exchange | None = None
        self._next: deque[Exchange] = deque()
        self._advancing = False
        # The message being received
        self._receiving: Exchange | None = None
        self._in_head = False
        self._fed = 0  # bytes read since the read in which this head began
        self._read = 0  # bytes of the latest read
        self._target = b""
        self._headers: Headers = []
        self._refusal: reply.Reply | None = None  # answered after what came before it
        self._resumed: Exchange | None = None  # continues behind a synthetic head
        self._raw: bytearray | None = None  # bytes behind an upgrade request

    # Called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        peer = transport.get_extra_info("peername")
        self.client = peer[0] if peer else "unknown"
        self._peer = self.client.encode("ascii", "replace")
        self.deadline = self._plane.clock() + self._plane.limits.idle_timeout
        self._plane.connected(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._plane.connections.discard(self)
        self._transport = None
        self._parser = None  # breaks the cycle of bound methods
        self._closing = True
        self._next.clear()
        if self._current is not None:
            self._current.client_lost()

    def eof_received(self) -> None:
        # A client that closed its side is gone, as for nginx, Envoy and Go: a
        # half-close cannot be told from a close, and the request must be cut.
        return None

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return  # lingering: read, so that the last answer is not lost to a reset
        if self._raw is not None:
            self._raw += data
            self._update_reading()
            return
        if not self._in_head and self._receiving is None and self._parser is not None:
            head = known_request(data, self._plane.known_requests, self._plane.limits.target)
            if head is not None:
                exchange = Exchange(self._plane, self, head, whole=True)
                if self._current is None and not self._next:
                    self._current = exchange  # the usual case, without the queue
                    exchange.begin()
                    return
                self._next.append(exchange)
            else:
                self._feed(data)
                self._remember(data)
        else:
            self._feed(data)
        self._advance()

    def pause_writing(self) -> None:
        self.write_paused = True
        if self._current is not None:
            self._current.client_paused(True)

    def resume_writing(self) -> None:
        self.write_paused = False
        if self._current is not None:
            self._current.client_paused(False)

    # Called by the parser

    def on_message_begin(self) -> None:
        self._in_head = True
        self._fed = 0
        self._target = b""
        self._headers = []

    def on_url(self, target: bytes) -> None:
        self._target += target  # arrives in pieces when it spans two reads
        if len(self._target) > self._plane.limits.target:
            self._refuse(reply.URI_TOO_LONG)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._in_head = False
        headers, self._headers = self._headers, []  # what follows are trailers
        limits = self._plane.limits
        if len(headers) > limits.fields or self._read + self._fed > limits.head:
            self._bound(headers)
        self._fed = 0
        if self._resumed is not None:
            self._receiving, self._resumed = self._resumed, None
            return
        parser = self._parser
        assert parser is not None
        try:
            head = framing.request_head(
                parser.get_method(),
                self._target,
                parser.get_http_version(),
                headers,
                parser.should_upgrade(),
            )
        except BadRequest as error:
            self._refuse(reply.bad_request(str(error), error.status, error.reason))
            raise
        self._receiving = exchange = Exchange(self._plane, self, head)
        self._next.append(exchange)

    def on_body(self, data: bytes) -> None:
        exchange = self._receiving
        if exchange is not None:
            exchange.request_body(data)

    def on_message_complete(self) -> None:
        exchange = self._receiving
        parser = self._parser
        if exchange is None or parser is None:
            return
        if parser.should_upgrade() and exchange.head.framing is not Framing.NONE:
            return  # the parser gives up at an upgrade; its body is read behind a synthetic head
        trailers, self._headers = self._headers, []
        if trailers:
            self._bound(trailers)
        self._receiving = None
        exchange.request_end(trailers)

    # Called by the exchange

    def write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def hold_reading(self, held: bool) -> None:
        """Whether the instance is slower than the client."""
        self._held = held
        if held or not self._reading:
            self._update_reading()

    def cut(self, *, reset: bool) -> None:
        """End a response that cannot be completed so that the client sees it.

        With ``reset`` also where the end of the connection would look like
        the end of the body.
        """
        self._closing = True
        if self._transport is not None:
            if reset:
                tunnel.reset(self._transport)
            else:
                self._transport.close()

    def forwarded(self, host: bytes) -> bytes:
        """The fields that tell an instance who asked, and the end of its head.

        Whatever the client claimed in these fields was dropped: no proxy in
        front is trusted.
        """
        if host != self._forwarded_host:
            peer = self._peer
            node = b'"[%b]"' % peer if b":" in peer else peer
            self._forwarded_host = host
            self._forwarded = (
                b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: %b\r\n"
                b'Forwarded: for=%b;host="%b";proto=http\r\nVia: 1.1 wakeful\r\n\r\n'
            ) % (peer, host, node, host)
        return self._forwarded

    def take_raw(self) -> bytes:
        raw, self._raw = self._raw, None
        return bytes(raw or b"")

    def detach(self, last: bytes) -> asyncio.Transport:
        """Write the head of the switch and leave the connection to a tunnel."""
        transport = self._transport
        assert transport is not None
        transport.write(last)
        self._plane.connections.discard(self)
        self._transport = None
        self._parser = None
        self._closing = True
        return transport

    def exchange_over(self, exchange: Exchange, keep_alive: bool, now: float) -> None:
        """Answered, or given up; the next in line may begin."""
        if exchange is not self._current:
            return  # refused while it waited behind another one
        self._current = None
        self.deadline = now + self._plane.limits.idle_timeout
        if not keep_alive:
            self._next.clear()
            self._linger(now)
            return
        if self._raw is not None and exchange.head.upgrade is not None:
            # The instance declined the upgrade: what came behind is HTTP again.
            raw = self.take_raw()
            self._parser = httptools.HttpRequestParser(self)
            self._feed(raw)
        self._held = False
        if self._next or self._refusal is not None or not self._reading:
            self._advance()

    # Called by the sweep

    def check(self, now: float) -> None:
        exchange = self._current
        if exchange is not None:
            if now >= exchange.deadline:
                exchange.check(now)
        elif now >= self.deadline:
            self._expire(now)

    def close_if_idle(self) -> None:
        """wakeful is stopping: a connection without a request has nothing to finish."""
        if self._closing:
            return
        if self._current is None and not self._next and self._transport is not None:
            self._closing = True
            self._transport.close()

    # Private

    def _feed(self, data: bytes) -> None:
        parser = self._parser
        if parser is None:
            return
        self._read = len(data)
        if self._in_head:
            self._fed += len(data)
        receiving = self._receiving
        received = receiving.received if receiving is not None else 0
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self._break_off(self._refusal or reply.bad_request(str(error) or "not HTTP/1.1"))
        if self._parser is not None:
            if self._in_head:
                self._watch_head()
            elif receiving is not None and receiving is self._receiving:
                self._watch_framing(len(data) if receiving.received == received else 0)

    def _remember(self, data: bytes) -> None:
        """One read that was one request, whole and plain: its fields need no second look."""
        if (
            len(self._next) == 1
            and self._current is None
            and self._receiving is None
            and not self._in_head
            and self._parser is not None
            and self._refusal is None
        ):
            remember_request(data, self._next[0].head, self._plane.known_requests)

    def _watch_head(self) -> None:
        """A head that has begun must end, in bounded space and time."""
        limits = self._plane.limits
        if self._fed > limits.head:
            self._break_off(reply.HEAD_TOO_LARGE)
            return
        if self._current is None and not self._next:
            self.deadline = min(self.deadline, self._plane.clock() + limits.head_timeout)

    def _watch_framing(self, size: int) -> None:
        """What stands between the bytes of a body, and its trailers, must end like a head."""
        self._fed = self._fed + size if size else 0
        if self._fed > self._plane.limits.head:
            self._break_off(reply.HEAD_TOO_LARGE)

    def _break_off(self, answer: reply.Reply) -> None:
        """Nothing behind this point is ever run as a request."""
        self._parser = None
        exchange, self._receiving = self._receiving, None
        if exchange is not None and exchange is self._current:
            self._refusal = None
            exchange.request_broken(answer)
            return
        if exchange is not None and self._next:
            self._next.pop()  # its body is malformed, and it has not begun
        self._refusal = answer

    def _upgrade(self, rest: bytes) -> None:
        exchange = self._next[-1] if self._next else self._current
        assert exchange is not None
        if exchange.head.upgrade is not None:
            self._parser = None
            self._raw = bytearray(rest)
            return
        # The switch is not offered to the instance, so the bytes behind the
        # head are this message's body and the next message: read on behind a
        # head that says only how the body is framed.
        self._parser = httptools.HttpRequestParser(self)
        head = exchange.head
        if head.framing is not Framing.NONE:
            self._resumed = exchange
            self._feed(_synthetic(head))
        if rest:
            self._feed(rest)

    def _bound(self, fields: Headers) -> None:
        limits = self._plane.limits
        size = sum(len(name) + len(value) + 4 for name, value in fields)
        if len(fields) > limits.fields or size > limits.head:
            self._refuse(reply.HEAD_TOO_LARGE)

    def _refuse(self, answer: reply.Reply) -> None:
        self._refusal = answer
        raise BadRequest(answer.detail)

    def _advance(self) -> None:
        """Begin exchanges in order, as far as they are answered at once."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._current is None and self._next and not self._closing:
                exchange = self._current = self._next.popleft()
                exchange.begin()
        finally:
            self._advancing = False
        if self._refusal is not None and self._current is None and not self._closing:
            self._answer_refusal(self._refusal)
        if self._receiving is not None or self._next or self._raw is not None or not self._reading:
            self._update_reading()

    def _answer_refusal(self, answer: reply.Reply) -> None:
        plane = self._plane
        plane.count_rejected(None, answer.reason)
        self.write(reply.render(answer, head_only=False, close=True, date=plane.date()))
        if plane.access is not None:
            plane.access.refusal(self, answer)
        self._linger(plane.clock())

    def _update_reading(self) -> None:
        """Read while what is read has somewhere to go."""
        current = self._current
        wanted = self._closing or not (
            self._held
            or self._next
            or (current is not None and current.wants_body_paused)
            or (self._raw is not None and len(self._raw) > self._plane.limits.buffer)
        )
        if wanted != self._reading:
            transport = self._transport
            if transport is not None and not transport.is_closing():
                self._reading = wanted
                if wanted:
                    transport.resume_reading()
                else:
                    transport.pause_reading()

    def _linger(self, now: float) -> None:
        """Send the last answer and the end; then read for a while what still comes.

        RFC 9112 §9.6: closing at once could reset the connection and take the
        answer from the client's hands.
        """
        self._closing = True
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self.deadline = now + self._plane.limits.linger
        if transport.can_write_eof():
            transport.write_eof()
        self._update_reading()

    def _expire(self, now: float) -> None:
        transport = self._transport
        if transport is None:
            return
        if self._closing:
            unsent = transport.get_write_buffer_size()
            if unsent and unsent != self._unsent:
                # A slow reader still takes the last answer.
                self._unsent = unsent
                self.deadline = now + self._plane.limits.idle_timeout
                return
            transport.abort()
        elif self._in_head:
            self._answer_refusal(reply.HEAD_TIMEOUT)
        else:
            self._closing = True
            transport.close()


def _synthetic(head: RequestHead) -> bytes:
    if head.framing is Framing.CHUNKED:
        return b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    return b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % head.length
