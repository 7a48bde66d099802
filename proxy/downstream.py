"""A client connection: turns its bytes into exchanges, one at a time, in order."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, cast

from wakeful.proxy import forwarding, kernel, reply, request_head, tunnel, wire_form
from wakeful.proxy.chunked import ChunkedReader, TrailersTooLarge
from wakeful.proxy.exchange import NEVER, Exchange
from wakeful.proxy.framing import CHUNKED, BadRequest, RequestHead
from wakeful.proxy.grammar import Malformed

if TYPE_CHECKING:
    from wakeful.proxy.server import DataPlane


# RFC 9112 §2.2: empty lines before a request are skipped; more than these are no accident.
_MOST_EMPTY_LINES: Final = 8
_EMPTY: Final = (b"", b"\r")  # what came of a head that has not begun
_NO_HEAD: Final = RequestHead(b"", b"", "")


class Downstream(asyncio.Protocol):
    """Reads requests ahead of their turn, within bounds, and answers them in order."""

    __slots__ = (
        "_advancing",
        "_ahead",
        "_asked_by",
        "_asks_head",
        "_chunks",
        "_closing",
        "_current",
        "_deaf",
        "_empty_lines",
        "_forwarded",
        "_held",
        "_idle_timeout",
        "_known",
        "_latest",
        "_left",
        "_next",
        "_partial",
        "_plane",
        "_raw",
        "_reading",
        "_receiving",
        "_refusal",
        "_resting",
        "_simple",
        "_transport",
        "_trusted",
        "_unsent",
        "client",
        "deadline",
        "outgoing",
        "peer",
        "said",
        "spare",
        "told",
        "write_paused",
    )

    def __init__(self, plane: DataPlane) -> None:
        # Per connection
        self._plane = plane
        self._known = plane.known_requests
        self._idle_timeout = plane.limits.idle_timeout
        self._transport: asyncio.Transport | None = None
        self.client = ""  # the peer's address
        self.peer = b""  # the same, for a line or a field
        self.told: tuple[object, ...] = ()  # what the access log was told last that may come again
        self.said = b""  # and what it said of that
        self._trusted = False  # the peer is a proxy whose word on who asked is taken
        self._latest = _NO_HEAD  # of the exchange that began last
        self.outgoing = b""  # its head for an instance, but for what names the request
        self._asked_by: tuple[bytes, str, forwarding.Claims] = (b"", "", ())
        self._forwarded = b""  # the fields that say so
        self.deadline = NEVER  # of the connection itself, while no exchange has one
        self.write_paused = False
        self._reading = True
        self._held = False  # the exchange wants no more of the body for now
        self._resting = False  # others are read first
        self._closing = False  # nothing more will be answered on this connection
        # Of a message nothing is here, and nothing is refused, in a queue, or held back: what comes
        # when nothing is being answered begins a request
        self._simple = True
        self._unsent = 0  # bytes of the last answer, when that was looked at last
        # Exchanges: the one being answered, those received behind it, and the one that was
        # answered last, which may begin again while nothing else is here
        self._current: Exchange | None = None
        self.spare: Exchange | None = None
        self._next: deque[Exchange] = deque()
        self._ahead = 0  # bytes read since there is one in _next
        self._advancing = False
        # The message being received
        self._partial = b""  # of a head
        self._empty_lines = 0
        self._asks_head = False  # it is a request for HEAD, also if it is refused
        self._receiving: Exchange | None = None  # its head is here, its body not yet whole
        self._left = 0  # bytes of its body to come, when that has a length
        self._chunks: ChunkedReader | None = None
        self._deaf = False  # after a refusal nothing is a request any more
        self._refusal: reply.Reply | None = None  # answered after what came before it
        self._raw: bytearray | None = None  # bytes behind an upgrade request

    # Called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        peer = transport.get_extra_info("peername")
        self.client = peer[0] if peer else "unknown"
        self.peer = self.client.encode("ascii", "replace")
        self.judge()
        self.deadline = self._plane.clock() + self._idle_timeout
        self._plane.connected(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._plane.connections.discard(self)
        self._transport = None
        self._closing = True
        self._next.clear()
        if self._current is not None:
            self._current.client_lost()
        self.spare = None  # which knows this one

    def eof_received(self) -> None:
        # A client that closed its side is gone, as for nginx, Envoy and Go: a
        # half-close cannot be told from a close, and the request must be cut.
        return None

    def data_received(self, data: bytes) -> None:
        exchange = self.spare
        if exchange is not None and data == exchange.head.raw:  # clients repeat themselves
            self.spare = None
            self._current = exchange
            exchange.begin()
            return
        if self._closing:
            return  # lingering: read, so that the last answer is not lost to a reset
        if self._simple and self._current is None:
            known = self._known
            look_up = known.get
            head = look_up(data) or known.by_fields(data, self._plane.limits.target)
            if head is not None:
                if head is not self._latest:
                    self._prepare(head)
                if exchange is None:
                    exchange = Exchange(self._plane, self, head, True)
                else:
                    self.spare = None
                    exchange.head = head
                self._current = exchange
                exchange.begin()
                return
        self._simple, self.spare = False, None
        if self._raw is not None:
            self._raw += data
            self._update_reading()
            return
        self._feed(data)
        self._remember(data)
        if self._next:
            self._ahead += len(data)
        self._advance()

    def pause_writing(self) -> None:
        self.write_paused, self._simple = True, False
        if self._current is not None:
            self._current.client_paused(True)

    def resume_writing(self) -> None:
        self.write_paused = False
        if self._current is not None:
            self._current.client_paused(False)
        elif self._next or self._refusal is not None:
            self._advance()

    # Called by the exchange

    def write(self, data: bytes) -> None:
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.write(data)

    def write_pieces(self, pieces: list[bytes]) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.writelines(pieces)

    def hold_reading(self, held: bool) -> None:
        """Whether the instance is slower than the client."""
        self._held, self._simple = held, False
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

    def asked_by(self, head: RequestHead) -> str:
        """The address of who asked, as far as it can be known."""
        if self._trusted and head.claims is not None:
            return forwarding.client(self._plane.trusted, self.client, head.claims)
        return self.client

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
        self._closing = True
        return transport

    def exchange_over(self, exchange: Exchange, keep_alive: bool, now: float) -> None:
        """Answered, or given up; the next in line may begin."""
        if exchange is not self._current:
            return  # refused while it waited behind another one
        self._current = None
        if keep_alive and self._simple:
            self.deadline = now + self._idle_timeout
            return
        self.spare = None
        if not self._latest.raw:  # it is not a known one, and may be large
            self._latest, self.outgoing = _NO_HEAD, b""
        if self._partial:
            self.deadline = now + self._plane.limits.head_timeout
        else:
            self.deadline = now + self._idle_timeout
        if not keep_alive:
            self._next.clear()
            self._linger(now)
            return
        if self._raw is not None and exchange.head.upgrade is not None:
            # The instance declined the upgrade: what came behind is HTTP again.
            self._feed(self.take_raw())
        self._held = False
        if self._next or self._refusal is not None or not self._reading:
            self._advance()
        else:
            self._simple = not (self._partial or self._empty_lines or self.write_paused)

    # Called by the data plane

    def judge(self) -> None:
        """Whether its word on who asked is taken, from the next request on."""
        trusted = self._plane.trusted
        self._trusted = bool(trusted) and forwarding.within(trusted, self.client)
        self._latest, self.spare, self.told = _NO_HEAD, None, ()
        if self._current is not None:
            self._simple = False  # nor will it be a spare

    def instance_ended(self, instance: str, final: bool) -> None:
        if self._current is not None:
            self._current.instance_ended(instance, final)

    # Called by the sweep

    def check(self, now: float) -> None:
        exchange = self._current
        if exchange is not None:
            if now >= exchange.deadline:
                exchange.check(now)
            elif not self._reading and self._gone():
                exchange.client_lost()
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

    def _prepare(self, head: RequestHead) -> None:
        """Write what the next exchange sends; its instance and its name are not known yet."""
        self._latest = head
        asked_by = (head.host, head.version, head.claims or () if self._trusted else ())
        if asked_by != self._asked_by:
            self._asked_by = asked_by
            self._forwarded = forwarding.fields(self.peer, *asked_by)
        self.outgoing = wire_form.request(head, self._forwarded)

    def _feed(self, data: bytes) -> None:
        """Take messages apart as far as they are here."""
        if self._chunks is not None:
            data = self._chunks.unread + data
        at, end = 0, len(data)
        try:
            while at < end and self._raw is None and not self._deaf and not self._closing:
                if self._receiving is None:
                    at = self._feed_head(data, at)
                else:
                    at = self._feed_body(self._receiving, data, at)
        except TrailersTooLarge:
            self._break_off(reply.HEAD_TOO_LARGE)
        except Malformed as malformed:
            self._break_off(reply.bad_request(str(malformed)))
        except BadRequest as refused:
            self._break_off(reply.bad_request(str(refused), refused.status, refused.reason))
        else:
            if self._raw is not None:
                self._raw += data[at:]

    def _feed_head(self, data: bytes, at: int) -> int:
        """Read on from ``at``; where the head ends, or ``data`` does."""
        before = len(self._partial)
        if before:
            data, at = self._partial + data, 0
        seen = before
        while data.startswith(b"\r\n", at):
            at, seen = at + 2, 0
            self._empty_lines += 1
            if self._empty_lines > _MOST_EMPTY_LINES:
                raise Malformed("nothing but empty lines")
        self._asks_head = data.startswith(b"HEAD ", at)
        end = data.find(b"\r\n\r\n", at + max(seen - 3, 0)) + 4
        if end < 4:
            self._partial = beginning = data[at:]
            if beginning not in _EMPTY:
                request_head.check_beginning(beginning, seen, self._plane.limits)
            self._watch_head()
            return len(data) - before
        self._partial = b""
        self._empty_lines = 0
        limits = self._plane.limits
        head = request_head.decided(data[at:end], limits, self._trusted)
        chunked = head.framing is CHUNKED
        whole = not chunked and not head.length
        exchange = Exchange(self._plane, self, head, whole)
        self._next.append(exchange)
        if not whole:
            self._receiving = exchange
            self._left = head.length
            if chunked:
                self._chunks = ChunkedReader(limits.head, limits.fields)
        elif head.upgrade is not None:
            self._raw = bytearray()
        return end - before

    def _feed_body(self, exchange: Exchange, data: bytes, at: int) -> int:
        """Read on from ``at``; where the body ends, or ``data`` does."""
        chunks = self._chunks
        if chunks is not None:
            body, rest = chunks.feed(data[at:])
            if chunks.unread:
                self._resting = True
                asyncio.get_running_loop().call_soon(self._rested)
            if body:
                exchange.request_body(body)
            if rest is None:
                return len(data)
            self._receiving = self._chunks = None
            exchange.request_end(chunks.trailers)
            return len(data) - len(rest)
        body = data[at : at + self._left]
        self._left -= len(body)
        exchange.request_body(body)
        if not self._left:
            self._receiving = None
            exchange.request_end([])
        return at + len(body)

    def _rested(self) -> None:
        """All others were read meanwhile."""
        self._resting = False
        if self._chunks is not None:
            self._feed(b"")  # what there is unread
        self._update_reading()

    def _remember(self, data: bytes) -> None:
        """One read that was one request, whole and plain: its fields need no second look."""
        if (
            len(self._next) == 1
            and self._current is None
            and self._receiving is None
            and not self._partial
            and not self._deaf
        ):
            self._known.remember(data, self._next[0].head)

    def _watch_head(self) -> None:
        """A head that has begun must end in time, unless it waits behind others."""
        if self._current is None and not self._next:
            self.deadline = min(
                self.deadline, self._plane.clock() + self._plane.limits.head_timeout
            )

    def _break_off(self, answer: reply.Reply) -> None:
        """Nothing behind this point is ever run as a request."""
        self._deaf = True
        self._partial = b""
        self._chunks = None
        exchange, self._receiving = self._receiving, None
        if exchange is not None and exchange is self._current:
            exchange.request_broken(answer)
            return
        if exchange is not None and self._next:
            self._next.pop()  # its body is malformed, and it has not begun
        self._refusal = answer

    def _advance(self) -> None:
        """Begin exchanges in order, as far as they are answered at once and the answers read."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while (
                self._current is None and self._next and not self._closing and not self.write_paused
            ):
                exchange = self._current = self._next.popleft()
                self._prepare(exchange.head)
                exchange.begin()
        finally:
            self._advancing = False
        if not self._next:
            self._ahead = 0
        refusal = self._refusal
        if refusal and self._current is None and not self._next and not self._closing:
            self._answer_refusal(refusal)
        if self._receiving is not None or self._next or self._raw is not None or not self._reading:
            self._update_reading()

    def _answer_refusal(self, answer: reply.Reply) -> None:
        plane = self._plane
        plane.count_rejected(None, answer.reason)
        self.write(reply.render(answer, head_only=self._asks_head, close=True, date=plane.date()))
        if plane.access is not None:
            plane.access.refusal(self, answer)
        self._linger(plane.clock())

    def _gone(self) -> bool:
        """The client left, and its end is behind bytes that are not read yet."""
        transport = self._transport
        return transport is not None and kernel.ended(transport.get_extra_info("socket"))

    def _update_reading(self) -> None:
        """Read while what is read has somewhere to go."""
        current = self._current
        wanted = self._closing or not (
            self._held
            or self._resting
            or self._ahead > self._plane.limits.buffer
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
                self.deadline = now + self._idle_timeout
                return
            transport.abort()
        elif self._partial not in _EMPTY:
            self._answer_refusal(reply.HEAD_TIMEOUT)
        else:
            self._closing = True
            transport.close()
