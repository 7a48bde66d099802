"""One request and its response: from a decided head to a released slot.

Owns nothing for longer than the exchange: a place with the throttler, then a
slot, then an upstream connection. All of them are let go in ``_finish``, which
every path out goes through exactly once.
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from wakeful.proxy import cold_start, framing, reply, retry, wire_form
from wakeful.proxy.framing import UNTIL_CLOSE, RequestHead, ResponseHead
from wakeful.proxy.headers import Headers
from wakeful.proxy.identities import missing
from wakeful.proxy.reply import Reply
from wakeful.proxy.request_body import RequestBody
from wakeful.proxy.response_body import ResponseBody
from wakeful.proxy.retry import Again
from wakeful.proxy.switch import switch
from wakeful.proxy.throttler import Refused, Slot, Throttler
from wakeful.proxy.traffic import choose
from wakeful.proxy.tunnel import Tunnel
from wakeful.proxy.unusual import Unusual
from wakeful.proxy.upstream import Upstream
from wakeful.proxy.wake_filters import Rule

if TYPE_CHECKING:
    from wakeful.config.model import Template
    from wakeful.proxy.downstream import Downstream
    from wakeful.proxy.server import DataPlane

NEVER: Final = float("inf")

# Seconds in which an instance that is ending has closed all its connections. (Its end itself is
# usually known within that time, and then nobody waits for it.)
_DOUBT: Final = 0.25

_LARGE: Final = 16 * 1024  # bytes of a piece that is cheaper to write apart than to copy


class Stage(Enum):
    """How far the exchange has come; each stage holds what the one before held, and more."""

    NEW = auto()
    WAITING = auto()  # in the throttler's queue
    PLACED = auto()  # holds a slot, waits for a connection
    SENT = auto()  # its head was written to an instance
    DOUBTED = auto()  # was reset; goes elsewhere if the instance is not there any more
    CROSSED = auto()  # its connection was closed; goes over another if the instance is there
    ANSWERING = auto()  # the response's head was received
    TUNNEL = auto()
    OVER = auto()


# Looked up once: by way of the class each costs 60 ns on the path of a request.
_NEW: Final = Stage.NEW
_WAITING: Final = Stage.WAITING
_PLACED: Final = Stage.PLACED
_SENT: Final = Stage.SENT
_DOUBTED: Final = Stage.DOUBTED
_CROSSED: Final = Stage.CROSSED
_ANSWERING: Final = Stage.ANSWERING
_TUNNEL: Final = Stage.TUNNEL
_OVER: Final = Stage.OVER

_ASKING: Final = (_DOUBTED, _CROSSED)  # by a connection, whether the instance is there
_AFTER_LOSS: Final = {
    Again.OVER_ANOTHER: _PLACED,
    Again.IF_GONE: _DOUBTED,
    Again.IF_ALIVE: _CROSSED,
}


class Exchange:
    """Between one client connection and, in time, one instance."""

    __slots__ = (
        "_body",
        "_connecting",
        "_keep_alive",
        "_response",
        "_slot",
        "_stage",
        "_throttler",
        "_upstream",
        "admitted_at",
        "deadline",
        "downstream",
        "head",
        "identity",
        "plane",
        "received",
        "sent",
        "started",
        "status",
        "unusual",
    )

    def __init__(
        self, plane: DataPlane, downstream: Downstream, head: RequestHead, whole: bool
    ) -> None:
        self.plane = plane
        self.downstream = downstream
        self.head = head
        self.received = 0  # body bytes from the client
        self.unusual: Unusual | None = None
        self._stage = _NEW
        self._throttler: Throttler | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._upstream: Upstream | None = None
        self._body: RequestBody | None = None if whole else RequestBody(head)
        self._response: ResponseBody | None = None  # once its head is here, without all of it
        self._keep_alive = head.keep_alive
        # From begin on
        self.started: float  # when its turn came on the client's connection
        self.deadline: float  # while it is not over
        self.status: int  # of the final response, once its head was decided
        self.sent: int  # body bytes to the client
        self.identity: bytes  # of our making, for a request that came without one
        self._slot: Slot | None
        self.admitted_at: float  # while it has a slot: since when

    # Called by the downstream

    def begin(self) -> None:
        """Route, find a place, and go; what came of a body is kept.

        One that was plain from its beginning to its end may begin again, as the next
        request, with another head if that is plain as well: nobody else knows of it any more, and
        what is not set here is as it was made. To make another costs a twelfth of a request.
        """
        self.identity = b""
        self._slot = None
        plane, head = self.plane, self.head
        clock = plane.clock  # in two steps: as a method it is looked for in the class first
        now = self.started = clock()
        routes = plane.routes
        known = routes.known
        route = known(head.host) or routes.match(head.host)
        if route is None:
            self._throttler = None
            self._answer(reply.NO_ROUTE)
            return
        throttler = route.only
        if throttler is None:
            throttler = choose(route.shares, plane.randrange(100))
        self._throttler = throttler
        if not head.ordinary and self._ends_here(throttler):
            return
        if throttler.filters is not None:
            rule = throttler.filters.match(head, self.downstream.asked_by)
            if rule is not None:
                self._unusually().ignored = rule
                self._pass_by(rule, now)
                return
        if not throttler.awake:
            plane.wake(throttler, now)
        try:
            slot = throttler.acquire(self, now, head)
        except Refused as refused:
            self._answer(refused.answer)
            return
        if slot is not None:
            self._place(slot, now, now + throttler.patience)
            return
        template = throttler.template
        self._stage = _WAITING
        if not throttler.slots:
            self._unusually().cold = True
        self.deadline = self.started + min(template.queue.timeout, template.timeout)

    def request_body(self, data: bytes) -> None:
        self.received += len(data)
        if self._throttler is not None:  # else begin() will see it
            longest = self._throttler.template.max_request_body
            if longest is not None and self.received > longest:
                self._fail(reply.BODY_TOO_LARGE)
                return
        body = self._body
        assert body is not None
        self._send(body, body.framed(data), len(data))

    def request_end(self, trailers: Headers) -> None:
        body = self._body
        assert body is not None
        last = body.end(trailers)
        if last:
            self._send(body, last, 0)

    def request_broken(self, answer: Reply) -> None:
        """The rest of the body makes no sense: the instance must not take it for whole."""
        self._keep_alive = False
        self._fail(answer)

    def client_lost(self) -> None:
        """Nobody is there to answer: the instance learns it at once."""
        if self._stage is not _OVER:
            if self._stage is not _ANSWERING:
                self.status = 499  # nginx's word for it, in the access log only
                self.sent = 0
            self._keep_alive = False
            self._finish(reusable=False)

    def client_paused(self, paused: bool) -> None:
        upstream = self._written_to
        if upstream is not None and upstream.is_open:
            if paused:
                upstream.transport.pause_reading()
            else:
                upstream.transport.resume_reading()

    @property
    def wants_body_paused(self) -> bool:
        """Holds as many body bytes as it may before an instance takes them."""
        body = self._body
        if body is None or self._written_to is not None:
            return False
        return body.size > self.plane.limits.buffer

    # Called by the throttler

    def admitted(self, slot: Slot) -> None:
        now = self.plane.clock()
        if self.unusual is not None:
            self.unusual.sent_at = now  # unless it needs a connection first
        self._place(slot, now, self._answer_due(now))

    def refused(self, answer: Reply) -> None:
        self._stage = _NEW  # the throttler has forgotten it already
        self._answer(answer)

    # Called by the pool

    @property
    def repeatable(self) -> bool:
        return retry.possible(self.head.method, self._body, self.plane.limits.buffer)

    def connected(self, upstream: Upstream) -> None:
        self._connecting = None
        if self._stage is _PLACED:
            if self.unusual is not None:
                self.unusual.sent_at = self.plane.clock()
            self._dispatch(upstream)
            return
        if self._stage in _ASKING:
            # It may be ending just now: its kernel closes one socket after the other, and the one
            # that takes connections need not be the first.
            self._upstream = upstream
            self.deadline = min(self.deadline, self.plane.clock() + _DOUBT)
        else:
            upstream.abort()

    def connect_failed(self, error: OSError) -> None:
        self._connecting = None
        if self._stage is _CROSSED:
            self._fail(reply.UPSTREAM_FAILED)
        elif self._stage is not _OVER:
            self._try_elsewhere(reply.UPSTREAM_UNREACHABLE)

    # Called by the upstream

    def interim_response(self, status: int, phrase: bytes, headers: Headers) -> None:
        """100, 103 and the like travel on to whoever can understand them."""
        if self._stage is not _SENT or self.head.version != "1.1":
            return
        try:
            interim = framing.response_head(self.head, status, phrase, "1.1", headers)
        except framing.BadResponse as error:
            self.upstream_broken(str(error))
            return
        self.downstream.write(b"".join((interim.status_line, *interim.fields, b"\r\n")))

    def response_head(
        self, status: int, phrase: bytes, version: str, headers: Headers
    ) -> ResponseHead | None:
        """What the head means; None when the exchange is over because of it."""
        try:
            head = framing.response_head(self.head, status, phrase, version, headers)
        except framing.BadResponse as error:
            self.upstream_broken(str(error))
            return None
        self.response_known(head)
        return head

    def response_known(self, head: ResponseHead) -> None:
        """The head is decided; it may be shared with other exchanges."""
        assert self._throttler is not None
        close_framed = framing.is_close_framed(head, self.head.version)
        if close_framed:
            self._keep_alive = False
        lines = self._begin_response(head)
        response = self._response = ResponseBody(head, lines, close_framed)
        template = self._throttler.template
        self.deadline = self.started + template.timeout
        if template.response_idle_timeout:
            response.passed_at = self.plane.clock()
            self._watch_silence(template)

    def response_whole(self, head: ResponseHead, body: bytes) -> None:
        """A known head and all of its body came in one read."""
        if self.head.plain and self.unusual is None and not self.plane.draining:
            self.status, self.sent = head.status, head.length
            downstream = self.downstream
            downstream.write(head.block + body)
            downstream.spare = self
            self._finish(True)
            return
        lines = self._begin_response(head)
        self.sent = head.length
        lines.append(body)
        self.downstream.write(b"".join(lines))
        self._finish(self._body is None or self._body.done)

    def response_body(self, data: bytes) -> None:
        assert self._response is not None
        self.sent += len(data)
        self._response.add(data)

    def response_end(self, trailers: Headers) -> None:
        assert self._response is not None
        self._response.end(trailers)

    def response_flush(self) -> None:
        """One read from the instance is parsed: one write to the client."""
        response = self._response
        assert response is not None
        if response.passed_at:
            response.passed_at = self.plane.clock()  # the deadline follows when it has come
        self._flush(response)
        if response.done:
            body = self._body
            self._finish(response.head.reusable and (body is None or body.done))

    def switched(self, headers: Headers, rest: bytes) -> None:
        """101: from here on the two connections are one pipe."""
        upstream = self._upstream
        if self._stage is not _SENT or upstream is None:
            self.upstream_broken("a switch of protocols that nobody asked for")
            return
        try:
            to = switch(self.head, headers)
        except framing.BadResponse as error:
            self.upstream_broken(str(error))
            return
        self._stage = _TUNNEL
        self.status = 101
        self.deadline = NEVER
        client = self.downstream.detach(to.head(self._observe_cold_start()) + rest)
        self.sent = len(rest)
        behind = self.downstream.take_raw()
        self.received += len(behind)
        assert self._throttler is not None
        joined = Tunnel(
            client,
            upstream.detach(),
            self._tunnel_closed,
            now=self.plane.clock(),
            idle_timeout=self._throttler.template.tunnel_idle_timeout,
            frames=to.frames(rest),
        )
        assert self._slot is not None
        self.plane.tunnelled(joined, self._throttler, self._slot.endpoint.instance)
        joined.open(behind)

    def upstream_broken(self, detail: str) -> None:
        """What the instance sent makes no message: nothing more of it is believed."""
        if self._stage is _OVER:
            return
        self.plane.log_broken(self._throttler, self._slot, detail)
        response = self._response
        if response is not None and response.done:
            # The client's answer is whole; only the connection is spoilt.
            self._flush(response)
            self._finish(reusable=False)
        else:
            self._fail(reply.BAD_RESPONSE)

    def upstream_lost(self, clean: bool) -> None:
        upstream, self._upstream = self._upstream, None
        if self._stage is _OVER:
            return
        response = self._response
        if response is not None:
            if response.head.framing is UNTIL_CLOSE and clean:
                self.response_end([])
                self.response_flush()
            else:
                self._fail(reply.UPSTREAM_FAILED)
            return
        assert upstream is not None
        assert self._slot is not None
        again = self._again(upstream, discarded=upstream.discarded)
        ended = self.plane.has_ended(self._slot.endpoint.instance)
        if again is Again.NOWHERE or (again is Again.IF_ALIVE and ended):
            self._fail(reply.UPSTREAM_FAILED)
        elif ended:
            self._try_elsewhere(reply.UPSTREAM_FAILED)
        else:
            if again is Again.IF_ALIVE:
                self._unusually().crossed = True
            self._connect_again(_AFTER_LOSS[again])

    def upstream_paused(self, paused: bool) -> None:
        self.downstream.hold_reading(paused)

    @property
    def wants_answer_paused(self) -> bool:
        """The client is slower than the instance."""
        return self.downstream.write_paused

    # Called by the data plane

    def instance_ended(self, instance: str, final: bool) -> None:
        """If it was this one's: no answer will come from there, nor the end of one.

        ``final``: what it had sent before has come by now.
        """
        if self._slot is None or self._slot.endpoint.instance != instance:
            return
        if self._stage is _CROSSED:
            self._fail(reply.UPSTREAM_FAILED)
        elif self._stage is _PLACED or self._stage is _DOUBTED:  # nothing of it was read
            if self._connecting is not None:
                self._connecting.cancel()
                self._connecting = None
            self._try_elsewhere(reply.UPSTREAM_UNREACHABLE)
        elif final:
            upstream = self._upstream
            if (
                self._stage is _SENT
                and upstream is not None
                and upstream.is_unread
                and self._again(upstream, discarded=True) is not Again.NOWHERE
            ):
                self._upstream = None
                upstream.abort()
                self._try_elsewhere(reply.UPSTREAM_FAILED)
            else:
                self._fail(reply.UPSTREAM_FAILED)

    # Called by the sweep

    def check(self, now: float) -> None:
        """A deadline of this exchange has passed."""
        assert self._throttler is not None
        template = self._throttler.template
        if self._stage is _WAITING:
            if now >= self.started + template.queue.timeout:
                warm = bool(self._throttler.slots)
                self._fail(reply.QUEUE_TIMEOUT if warm else reply.COLD_START_TIMEOUT)
            else:
                self._fail(reply.REQUEST_TIMEOUT)
        elif now >= self.started + template.timeout:
            self._fail(reply.REQUEST_TIMEOUT)
        elif self._stage in _ASKING and self._upstream is not None:
            self._asked(self._upstream, now)
        elif self._stage is _ANSWERING and self._watch_silence(template) > now:
            pass  # something came since the deadline was set, or the limit is another now
        else:
            self._fail(reply.RESPONSE_TIMEOUT)

    def _watch_silence(self, template: Template) -> float:
        """The next deadline of an answer, as its last sign of life gives it."""
        response = self._response
        self.deadline = self.started + template.timeout
        if template.response_idle_timeout and response is not None and response.passed_at:
            due = response.passed_at + template.response_idle_timeout
            self.deadline = min(self.deadline, due)
        return self.deadline

    # Private: towards the instance

    def _ends_here(self, throttler: Throttler) -> bool:
        """Whether it may not go on to an instance; then it is answered."""
        head = self.head
        if head.last_hop:
            self._throttler = None
            self._answer(reply.last_hop(head.method))
            return True
        longest = throttler.template.max_request_body
        if longest is not None and max(head.length, self.received) > longest:
            self._answer(reply.BODY_TOO_LARGE)
            return True
        return False

    def _pass_by(self, rule: Rule, now: float, otherwise: Reply | None = None) -> None:
        """It is no activity: an instance that has room for it now may answer, or we do."""
        throttler = self._throttler
        assert throttler is not None
        try:
            slot = throttler.pass_by(rule, now)
        except Refused as refused:
            self._answer(otherwise or refused.answer)
            return
        if not throttler.awake:
            self.plane.wake(throttler, now)  # or nobody would hear that the instance is in use
        self._place(slot, now, self._answer_due(now))

    def _answer_due(self, now: float) -> float:
        """When the answer must have begun, of a request that may have waited until now."""
        assert self._throttler is not None
        return min(now + self._throttler.patience, self.started + self._throttler.template.timeout)

    def _place(self, slot: Slot, now: float, deadline: float) -> None:
        self._slot = slot
        self.admitted_at = now
        self.deadline = deadline
        upstream = slot.pool.take(now, self)
        if upstream is not None:
            self._dispatch(upstream)
        else:
            self._stage = _PLACED
            self._connecting = slot.pool.connect(self)

    def _dispatch(self, upstream: Upstream) -> None:
        """Write the head, with whatever of the body is here, at once."""
        self._stage = _SENT
        self._upstream = upstream
        head, downstream = self.head, self.downstream
        upstream.exchange = self
        self.identity, names = next(self.plane.identities)
        if head.ordinary:
            message = downstream.outgoing + names
        else:
            message = self._other_message(upstream, names)
        upstream.transport.write(message)
        if downstream.write_paused:
            upstream.transport.pause_reading()

    def _other_message(self, upstream: Upstream, names: bytes) -> bytes:
        """As much of a request that is no ordinary one as is here."""
        head, downstream = self.head, self.downstream
        if head.is_head:
            upstream.expect_head()
        if head.has_request_id:
            self.identity = b""
        if head.has_request_id or head.has_traceparent:
            names = missing(
                names, has_request_id=head.has_request_id, has_traceparent=head.has_traceparent
            )
        kept = self._body.take(self.plane.limits.buffer) if self._body is not None else []
        if kept:
            downstream.hold_reading(False)  # before the write, which may ask otherwise
        return b"".join((downstream.outgoing, names, *kept))

    @property
    def _written_to(self) -> Upstream | None:
        return None if self._stage in _ASKING else self._upstream

    def _send(self, body: RequestBody, framed: bytes, size: int) -> None:
        if self._stage is _OVER:
            return
        upstream = self._written_to
        if upstream is not None:
            body.replayable = False
            upstream.transport.write(framed)
        else:
            body.keep(framed, size)

    def _again(self, upstream: Upstream, *, discarded: bool) -> Again:
        if upstream.heard or (self.unusual is not None and self.unusual.crossed):
            return Again.NOWHERE  # it was read, or may have been before
        return retry.after_loss(
            self.head.method,
            self._body,
            discarded=discarded,
            reused=upstream.reused,
            after=self.plane.clock() - self.admitted_at,
        )

    def _try_elsewhere(self, otherwise: Reply) -> None:
        """Nothing of it was read here: another instance may have the request."""
        assert self._throttler is not None
        assert self._slot is not None
        slot, unusual = self._slot, self._unusually()
        unusual.attempts += 1
        self.downstream.hold_reading(False)  # what this request still brings is kept
        if self._upstream is not None:
            self._upstream.abort()
            self._upstream = None
        template = self._throttler.template
        if unusual.attempts >= retry.MOST_ATTEMPTS:
            self._fail(otherwise)
            return
        if unusual.ignored is not None:
            now = self.plane.clock()
            self._stage, self._slot = _NEW, None
            self._throttler.suspect(slot)
            self._throttler.release(slot, now, ignored=True)
            self._pass_by(unusual.ignored, now, otherwise)
            return
        self._stage, self._slot = _WAITING, None
        self.deadline = self.started + template.timeout
        if not self._throttler.try_elsewhere(self, slot):
            self._stage, self._slot = _PLACED, slot
            self._fail(otherwise)

    def _asked(self, upstream: Upstream, now: float) -> None:
        """A moment ago the instance took the connection that was to tell whether it is there."""
        if self._stage is _DOUBTED:
            if upstream.is_open:  # so it lives: the reset was its own doing
                self._fail(reply.UPSTREAM_FAILED)
            else:
                self._try_elsewhere(reply.UPSTREAM_UNREACHABLE)
            return
        self.deadline = self._answer_due(self.admitted_at)
        if not upstream.is_open:  # it ended, with the request in it
            self._fail(reply.UPSTREAM_FAILED)
        elif now >= self.deadline:
            self._fail(reply.RESPONSE_TIMEOUT)
        else:
            self._dispatch(upstream)

    def _connect_again(self, stage: Stage) -> None:
        """Over a fresh connection, or only to see whether there is one (``stage``)."""
        assert self._slot is not None
        self._stage = stage
        self.downstream.hold_reading(False)  # what this request still brings is kept
        self._connecting = self._slot.pool.connect(self)

    # Private: towards the client

    def _begin_response(self, head: ResponseHead) -> list[bytes]:
        """Its head as the client gets it."""
        version = self.head.version
        self._stage = _ANSWERING
        self.status, self.sent = head.status, 0
        if (self._body is not None and not self._body.done) or self.plane.draining:
            # An instance that answers before it took the whole request may leave
            # what is left with nowhere to go, and the client may never stop.
            self._keep_alive = False
        lines = wire_form.response(head, version, self._keep_alive, self.plane.date)
        timing = self._observe_cold_start()
        return wire_form.with_fields(lines, timing) if timing else lines

    def _answer(self, answer: Reply) -> None:
        """An answer of our own, in place of an instance's."""
        plane = self.plane
        self.status = answer.status
        self._unusually().reason = answer.reason
        body = self._body
        if (body is not None and not body.done) or plane.draining or self.head.version != "1.1":
            self._keep_alive = False
        plane.count_rejected(self._throttler, answer.reason)
        message = reply.render(
            answer,
            head_only=self.head.is_head,
            close=not self._keep_alive,
            date=plane.date(),
        )
        self.sent = len(message) - (message.index(b"\r\n\r\n") + 4)
        self.downstream.write(message)
        self._finish(reusable=False)

    def _fail(self, answer: Reply) -> None:
        """End it from any stage: with a reply while that is possible, else by a visible cut."""
        if self._stage is _OVER:
            return
        response = self._response
        if response is None and self._stage is not _TUNNEL:
            self._answer(answer)
            return
        self._unusually().reason = answer.reason
        if response is not None:
            self._flush(response)
        self._keep_alive = False
        self.downstream.cut(reset=response is not None and response.close_framed)
        self._finish(reusable=False)

    def _flush(self, response: ResponseBody) -> None:
        out = response.take()
        if len(out) > 1 and max(map(len, out)) > _LARGE:
            self.downstream.write_pieces(out)
        elif out:
            self.downstream.write(b"".join(out))

    def _tunnel_closed(self, closed: Tunnel, received: int, sent: int) -> None:
        del self.plane.tunnels[closed]
        self.received += received
        self.sent += sent
        self._upstream = None
        self._finish(reusable=False)

    def _unusually(self) -> Unusual:
        if self.unusual is None:
            self.unusual = Unusual()
        return self.unusual

    def _observe_cold_start(self) -> bytes:
        """Count it, if it was one; the field lines that the answer gets for it."""
        unusual = self.unusual
        if unusual is None or not unusual.cold:
            return b""
        throttler, slot = self._throttler, self._slot
        assert throttler is not None
        assert slot is not None
        now = self.plane.clock()
        first_byte, total = now - unusual.sent_at, now - self.started
        throttler.counters.cold_starts.observe(total)
        start = slot.endpoint.start
        if start is None or start.ready_at < self.started:
            return b""  # what it waited for was no start
        if not slot.tried:
            slot.tried = True
            throttler.counters.first_bytes.add(first_byte)
        if not throttler.template.cold_start_headers:
            return b""
        return cold_start.fields(start.phases, first_byte, total)

    def _finish(self, reusable: bool) -> None:
        """The one way out: connection, slot and place are given back, and it is counted."""
        stage, self._stage = self._stage, _OVER
        plane = self.plane
        clock = plane.clock
        now = clock()
        downstream, upstream, slot = self.downstream, self._upstream, self._slot
        if upstream is not None:
            if reusable and slot is not None:
                if downstream.write_paused:
                    self.client_paused(False)
                slot.pool.give(upstream, now)
            else:
                upstream.abort()
            self._upstream = None
        elif self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        throttler = self._throttler
        if throttler is not None:
            if slot is not None:
                unusual = self.unusual
                throttler.release(slot, now, unusual is not None and unusual.ignored is not None)
            elif stage is _WAITING:
                throttler.leave(self, now)
            throttler.counters.count(
                self.head.method, self.status, now - self.started, self.received, self.sent
            )
        access = plane.access
        if access is not None:
            access.record(self, throttler, slot, now)
        downstream.exchange_over(self, self._keep_alive, now)
