"""A connection to an instance: turns its bytes into calls on one exchange."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol, cast

import httptools

from wakeful.proxy.framing import Headers, ResponseHead
from wakeful.proxy.kernel import closed_unread
from wakeful.proxy.known import KnownHeads, remember_response

if TYPE_CHECKING:
    from wakeful.proxy.pool import Pool

_MAX_HEAD = 256 * 1024


class Answered(Protocol):
    """The exchange a connection works for."""

    answering: bool  # the head of the final response was received

    @property
    def response(self) -> ResponseHead | None: ...
    def response_known(self, head: ResponseHead) -> None: ...
    def response_whole(self, head: ResponseHead, body: bytes) -> None: ...
    def interim_response(self, status: int, phrase: bytes, headers: Headers) -> None: ...
    def response_head(
        self, status: int, phrase: bytes, version: str, headers: Headers, persistent: bool
    ) -> None: ...
    def response_body(self, data: bytes) -> None: ...
    def response_end(self, trailers: Headers) -> None: ...
    def response_flush(self) -> None: ...
    def switched(self, rest: bytes) -> None: ...
    def upstream_broken(self, detail: str) -> None: ...
    def upstream_lost(self, clean: bool) -> None: ...
    def upstream_paused(self, paused: bool) -> None: ...


class Upstream(asyncio.Protocol):
    """Belongs to its pool while idle, to one exchange while in use."""

    __slots__ = (
        "_fed",
        "_fresh",
        "_headers",
        "_in_body",
        "_interim",
        "_known",
        "_left",
        "_parser",
        "_phrase",
        "_pool",
        "discarded",
        "exchange",
        "idle_since",
        "reused",
        "transport",
    )

    def __init__(self, pool: Pool, known: KnownHeads[ResponseHead]) -> None:
        # Per connection
        self._pool = pool
        self._known = known
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self.transport: asyncio.Transport | None = None
        self.idle_since = 0.0
        self.reused = False  # has answered a request before
        self.discarded = False  # what was sent last was thrown away, and nothing of an answer came
        # Per exchange
        self.exchange: Answered | None = None
        self._phrase = b""
        self._headers: Headers = []
        self._fed = 0  # bytes read since the request or since the last of the body
        self._in_body = False
        self._interim = False  # a 1xx came before the answer
        self._fresh = False  # nothing of the answer was read, and it is not one to HEAD
        self._left = 0  # bytes of a body behind a known head; the parser does not see them

    def begin(self, exchange: Answered, method: bytes) -> asyncio.Transport:
        self.exchange = exchange
        self._fed = 0
        self._fresh = method != b"HEAD"
        self._interim = False
        assert self.transport is not None
        return self.transport

    def release(self, reusable: bool, now: float) -> None:
        """The exchange is over: back to the pool, or closed."""
        self.exchange = None
        transport = self.transport
        if reusable and transport is not None and not transport.is_closing():
            self.reused = True
            self._pool.give(self, now)
        else:
            self.abort()

    def expect_no_body(self) -> None:
        """The message ended with its head although its fields announce a body (HEAD)."""
        self._parser = httptools.HttpResponseParser(self)

    def take_headers(self) -> Headers:
        """The fields of the 101 that was just parsed."""
        headers, self._headers = self._headers, []
        return headers

    def detach(self) -> asyncio.Transport:
        """Leave the transport to a tunnel."""
        self.exchange = None
        self._parser = None
        assert self.transport is not None
        return self.transport

    @property
    def closing(self) -> bool:
        """Ended already, though ``connection_lost`` is still to come."""
        return self.transport is None or self.transport.is_closing()

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """Cut at once: the instance learns that nobody waits for its answer."""
        if self.transport is not None:
            self.transport.abort()

    # Called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        parser = self._parser
        if exchange is None or parser is None:
            self.abort()  # bytes that nobody asked for: what follows cannot be trusted
            return
        fresh, self._fresh = self._fresh, False
        if self._left:
            self._count_down(exchange, data)
            return
        if fresh and (end := data.find(b"\r\n\r\n") + 4) > 3:
            head = self._known.get(data[:end])
            if head is not None:
                if len(data) - end == head.length:
                    exchange.response_whole(head, data[end:])
                    return
                exchange.response_known(head)
                self._left = head.length
                self._count_down(exchange, data[end:])
                return
        self._fed += len(data)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            exchange.switched(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError as error:
            # A HEAD answer replaces its parser when it ends; what a dead
            # parser still says about the rest of the bytes is not about it.
            if self.exchange is exchange:
                exchange.upstream_broken(str(error) or type(error).__name__)
        if self.exchange is exchange:
            if self._fed > _MAX_HEAD:
                exchange.upstream_broken("the head of the answer, or its trailers, are too large")
                return
            if not exchange.answering:
                return
            if fresh and not self._interim and (decided := exchange.response) is not None:
                remember_response(data, decided, self._known)
            exchange.response_flush()

    def eof_received(self) -> None:
        sock = self.transport.get_extra_info("socket") if self.transport else None
        self.discarded = not self._fed and closed_unread(sock)

    def connection_lost(self, exc: Exception | None) -> None:
        self._parser = None  # breaks the cycle of bound methods
        if isinstance(exc, (ConnectionResetError, BrokenPipeError)):
            self.discarded = not self._fed
        exchange, self.exchange = self.exchange, None
        if exchange is None:
            self._pool.lost(self)
        else:
            exchange.upstream_lost(exc is None)

    def pause_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.upstream_paused(True)

    def resume_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.upstream_paused(False)

    # Called by the parser

    def on_message_begin(self) -> None:
        self._phrase = b""
        self._headers = []
        self._in_body = False

    def on_status(self, phrase: bytes) -> None:
        self._phrase += phrase

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        exchange, parser = self.exchange, self._parser
        if exchange is None or parser is None:
            return
        status = parser.get_status_code()
        headers = self._headers
        if 100 <= status < 200:
            self._interim = True
            if status != 101:
                exchange.interim_response(status, self._phrase, headers)
            return
        self._headers = []  # what follows are trailers
        self._in_body = True
        exchange.response_head(
            status, self._phrase, parser.get_http_version(), headers, parser.should_keep_alive()
        )

    def on_body(self, data: bytes) -> None:
        self._fed = 0
        if self.exchange is not None:
            self.exchange.response_body(data)

    def on_message_complete(self) -> None:
        if self._in_body and self.exchange is not None:
            self._in_body = False
            self.exchange.response_end(self._headers)

    # Private

    def _count_down(self, exchange: Answered, data: bytes) -> None:
        """Body bytes behind a known head: only their number matters."""
        left = self._left - len(data)
        if left >= 0:
            self._left = left
            exchange.response_body(data)
            if not left:
                exchange.response_end([])
            exchange.response_flush()
            return
        body, self._left = data[: self._left], 0
        exchange.response_body(body)
        exchange.response_end([])
        exchange.upstream_broken("bytes beyond the end of the answer")
