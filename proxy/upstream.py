"""A connection to an instance: turns its bytes into calls on one exchange."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Final, Protocol, cast

from wakeful.proxy import grammar
from wakeful.proxy.chunked import ChunkedReader
from wakeful.proxy.framing import CHUNKED, LENGTH, NONE, UNTIL_CLOSE, ResponseHead
from wakeful.proxy.grammar import Malformed
from wakeful.proxy.headers import Headers
from wakeful.proxy.kernel import unread
from wakeful.proxy.known import KnownHeads, remember_response

if TYPE_CHECKING:
    from wakeful.proxy.pool import Pool

# Of what an instance may make the proxy hold: bytes of heads, and of trailers and their fields.
_MAX_HEAD: Final = 256 * 1024
_MAX_TRAILERS: Final = 64 * 1024
_MAX_TRAILER_FIELDS: Final = 128

_NO_HEAD: Final = ResponseHead(0, b"")


class Answered(Protocol):
    """The exchange a connection works for."""

    def interim_response(self, status: int, phrase: bytes, headers: Headers) -> None: ...
    def response_head(
        self, status: int, phrase: bytes, version: str, headers: Headers
    ) -> ResponseHead | None: ...
    def response_known(self, head: ResponseHead) -> None: ...
    def response_whole(self, head: ResponseHead, body: bytes) -> None: ...
    def response_body(self, data: bytes) -> None: ...
    def response_end(self, trailers: Headers) -> None: ...
    def response_flush(self) -> None: ...
    def switched(self, headers: Headers, rest: bytes) -> None: ...
    def upstream_broken(self, detail: str) -> None: ...
    def upstream_lost(self, clean: bool) -> None: ...
    def upstream_paused(self, paused: bool) -> None: ...
    @property
    def wants_answer_paused(self) -> bool: ...


class Upstream(asyncio.Protocol):
    """Belongs to its pool while idle, to one exchange while in use."""

    __slots__ = (
        "_chunks",
        "_head",
        "_interim",
        "_known",
        "_latest",
        "_left",
        "_memorable",
        "_partial",
        "_pool",
        "discarded",
        "exchange",
        "idle_since",
        "transport",
    )

    def __init__(self, pool: Pool, known: KnownHeads[ResponseHead]) -> None:
        # Per connection
        self._pool = pool
        self._known = known
        self.transport: asyncio.Transport  # from connection_made on, which comes first
        self.idle_since = 0.0  # 0: it never was
        self.discarded = False  # what was sent last was thrown away, and nothing of an answer came
        # Per exchange
        self.exchange: Answered | None = None
        self._memorable = True  # its head may be a known one: it comes first, and not to HEAD
        self._latest = _NO_HEAD  # while memorable, if it was known and came with all of its body
        self._partial = b""  # of a head
        self._interim = 0  # bytes of 1xx heads, until the answer itself
        self._head: ResponseHead | None = None  # of the message whose body is being received
        self._left = 0  # bytes of that body to come, when it has a length
        self._chunks: ChunkedReader | None = None

    def expect_head(self) -> None:
        """The next answer is one to HEAD: without a body, whatever its head says."""
        self._memorable, self._latest = False, _NO_HEAD

    def detach(self) -> asyncio.Transport:
        """Leave the transport to a tunnel."""
        self.exchange = None
        return self.transport

    @property
    def reused(self) -> bool:
        """Has answered a request before."""
        return self.idle_since > 0.0

    @property
    def is_open(self) -> bool:
        """As far as is known here."""
        return not self.transport.is_closing()

    @property
    def heard(self) -> bool:
        """Anything came of an answer that is not whole."""
        return self._head is not None or bool(self._partial) or self._interim > 0

    @property
    def is_unread(self) -> bool:
        """Nothing of an answer came, and what was sent last is not with the instance."""
        return not self.heard and unread(self.transport.get_extra_info("socket"))

    def close(self) -> None:
        self.transport.close()

    def abort(self) -> None:
        """Cut at once: the instance learns that nobody waits for its answer."""
        self.exchange = None
        self.transport.abort()

    # Called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            self.abort()  # bytes that nobody asked for: what follows cannot be trusted
            return
        latest = self._latest
        body = data.removeprefix(latest.raw)
        if body is not data and len(body) == latest.length:  # instances repeat themselves
            exchange.response_whole(latest, body)
        elif self._head is not None:
            self._read_body(exchange, self._head, data)
        else:
            self._read_answer(exchange, data)

    def eof_received(self) -> None:
        self.discarded = self.is_unread

    def connection_lost(self, exc: Exception | None) -> None:
        if isinstance(exc, OSError):  # reset, or nobody there any more
            self.discarded = not self.heard
        if self._chunks is not None:
            self._chunks.most = sys.maxsize  # there is no later
            self._read_on()
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

    # Private

    def _rested(self) -> None:
        """All others were read meanwhile."""
        self._read_on()
        if self.is_open and not (self.exchange is not None and self.exchange.wants_answer_paused):
            self.transport.resume_reading()

    def _read_on(self) -> None:
        """What of the body was here and had to wait."""
        exchange, head = self.exchange, self._head
        if exchange is not None and head is not None and self._chunks is not None:
            self._read_body(exchange, head, b"")

    def _read_answer(self, exchange: Answered, data: bytes) -> None:
        beginning, end, body = data.partition(b"\r\n\r\n")
        head = self._known.get(beginning) if end and self._memorable else None
        if head is None:
            self._read_head(exchange, data)
        elif len(body) == head.length:
            self._latest = head
            exchange.response_whole(head, body)
        else:
            self._memorable = False
            exchange.response_known(head)
            self._begin_body(exchange, head, body)

    def _read_head(self, exchange: Answered, data: bytes) -> None:
        memorable, self._memorable = self._memorable, False
        self._latest = _NO_HEAD
        seen = len(self._partial)
        rest = self._partial + data if seen else data
        while True:
            end = rest.find(b"\r\n\r\n", max(seen - 3, 0)) + 4
            if self._interim + (end if end >= 4 else len(rest)) > _MAX_HEAD:
                exchange.upstream_broken("the head of the answer is too large")
                return
            if end < 4:
                self._partial = rest
                if grammar.malformed(rest, seen):
                    exchange.upstream_broken("the head of the answer is malformed")
                return
            self._partial = b""
            try:
                status, phrase, version, headers = grammar.response(rest[:end])
            except Malformed as error:
                exchange.upstream_broken(str(error))
                return
            seen, rest = 0, rest[end:]
            if status == 101:
                exchange.switched(headers, rest)
                return
            if not 100 <= status < 200:
                break
            # 100, 103 and the like are not the answer yet.
            self._interim += end
            exchange.interim_response(status, phrase, headers)
            if self.exchange is not exchange:
                return
        head = exchange.response_head(status, phrase, version, headers)
        if head is not None:
            if memorable and not self._interim:
                remember_response(data, head, self._known)
            self._interim = 0
            self._begin_body(exchange, head, rest)

    def _begin_body(self, exchange: Answered, head: ResponseHead, data: bytes) -> None:
        self._head, self._latest = head, _NO_HEAD
        self._left = head.length if head.framing is LENGTH else 0
        self._chunks = None
        if head.framing is CHUNKED:
            self._chunks = ChunkedReader(_MAX_TRAILERS, _MAX_TRAILER_FIELDS, answered=True)
        if data or head.framing is NONE or (head.framing is LENGTH and not self._left):
            self._read_body(exchange, head, data)
        else:
            exchange.response_flush()  # the client need not wait for the body

    def _read_body(self, exchange: Answered, head: ResponseHead, data: bytes) -> None:
        rest: bytes | None
        trailers: Headers = []
        if self._chunks is not None:
            try:
                data, rest = self._chunks.feed(self._chunks.unread + data)
            except Malformed as error:
                exchange.upstream_broken(str(error))
                return
            trailers = self._chunks.trailers
            if self._chunks.unread:
                self.transport.pause_reading()
                asyncio.get_running_loop().call_soon(self._rested)
        elif head.framing is UNTIL_CLOSE:
            rest = None
        else:
            rest = data[self._left :] if len(data) >= self._left else None
            data = data[: self._left]
            self._left -= len(data)
        if data:
            exchange.response_body(data)
        if rest is None:
            exchange.response_flush()
            return
        self._head = None
        self._memorable = True
        exchange.response_end(trailers)
        if rest:
            exchange.upstream_broken("bytes beyond the end of the answer")
        else:
            exchange.response_flush()
