"""One conversation with the proxy, and every byte that an instance got of it.

The instance is a strict reader of its own: it takes a request only in a form
that no two parsers can read differently, and any other fails the test.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from enum import StrEnum, auto
from typing import Protocol

import pytest

from tests.proxy.harness import Harness, get
from tests.proxy.wire import Backend, Ended, Message, Peer
from wakeful.config.model import Revision, Template
from wakeful.events import Endpoint
from wakeful.proxy import server
from wakeful.proxy.server import RouteTo

Field = tuple[bytes, bytes]

# What is sent, then everything that may become of it: a status to refuse it
# with, or the request that the instance may see instead.
Row = tuple[bytes, *tuple[int | bytes, ...]]


def named(**tables: Mapping[str, Row]) -> dict[str, Row]:
    """The rows of several tables in one, each under its table's name and its own."""
    return {f"{kind}: {name}": row for kind, rows in tables.items() for name, row in rows.items()}


# These are sent behind every case. If anything of the case is taken for the
# end of it too early, or too late, they are not answered as they should be.
BEHIND = get(b"/behind", fields=b"Connection: close\r\n") * 3
_BEHIND_AS_FORWARDED = get(b"/behind")
_PLAIN = get(b"/before")

_DRIPPED = 120

NAMES = ("a.test", "a-b.test", "127.0.0.1", "[::1]", "[2001:db8::7]")


class Arrival(StrEnum):
    """How a case comes to the proxy."""

    AT_ONCE = auto()  # in one read with what is behind it
    AFTER_A_PLAIN_ONE = auto()  # in a read of its own, on a connection that was used
    BYTE_BY_BYTE = auto()  # what of it is short


@dataclass(frozen=True, slots=True)
class Request:
    """What a strict reader makes of a request; order counts among fields of one name."""

    line: bytes
    fields: tuple[Field, ...]
    framing: str
    body: bytes
    trailers: tuple[Field, ...]

    def all(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def without(self, name: bytes, value: bytes) -> Request:
        """Less the last field of that name and value."""
        fields = list(self.fields)
        last = max(
            at for at, (key, held) in enumerate(fields) if (key.lower(), held) == (name, value)
        )
        del fields[last]
        return replace(self, fields=tuple(fields))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the client was answered, until the proxy ended the connection, and what was asked."""

    arrival: Arrival
    answers: list[Message]
    requests: list[Request]  # those that the instance got whole
    raw: bytes  # all that it got


class Source(Protocol):
    def until(self, mark: bytes) -> bytes: ...
    def take(self, size: int) -> bytes: ...


_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_LINE = re.compile(_TOKEN + rb" [\x21-\x7e\x80-\xff]+ HTTP/1\.1")
_FIELD = re.compile(rb"(" + _TOKEN + rb"):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*")
_HOST = re.compile(rb"[^\s,/@]+")
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}")


def read_request(source: Source) -> Request:
    """One whole request in unambiguous form; anything else is an AssertionError."""
    line, *lines = source.until(b"\r\n\r\n")[:-4].split(b"\r\n")
    assert _LINE.fullmatch(line), line
    fields = _fields(lines)
    lengths = [value for name, value in fields if name.lower() == b"content-length"]
    codings = [value for name, value in fields if name.lower() == b"transfer-encoding"]
    hosts = [value for name, value in fields if name.lower() == b"host"]
    assert len(hosts) == 1, hosts
    assert _HOST.fullmatch(hosts[0]), hosts
    assert len(lengths) + len(codings) <= 1, (lengths, codings)
    framing, body = "", b""
    trailers: tuple[Field, ...] = ()
    if lengths:
        assert re.fullmatch(rb"0|[1-9][0-9]{0,18}", lengths[0]), lengths
        framing, body = "length", source.take(int(lengths[0]))
    elif codings:
        assert codings == [b"chunked"], codings
        framing, body = "chunked", b"".join(_chunks(source))
        trailers = _trailers(source)
    rest = [
        one for one in fields if one[0].lower() not in (b"content-length", b"transfer-encoding")
    ]
    return Request(line, tuple(sorted(rest, key=_name)), framing, body, trailers)


def _name(field: Field) -> bytes:
    return field[0].lower()


def _fields(lines: list[bytes]) -> list[Field]:
    found = []
    for line in lines:
        match = _FIELD.fullmatch(line)
        assert match, line
        found.append((match[1], match[2]))
    return found


def _chunks(source: Source) -> Iterator[bytes]:
    while True:
        line = source.until(b"\r\n")[:-2]
        assert _CHUNK_SIZE.fullmatch(line), line
        size = int(line, 16)
        if not size:
            return
        yield source.take(size)
        assert source.take(2) == b"\r\n"


def _trailers(source: Source) -> tuple[Field, ...]:
    lines = []
    while line := source.until(b"\r\n")[:-2]:
        lines.append(line)
    return tuple(_fields(lines))


class Text:
    """Bytes that are all there."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def until(self, mark: bytes) -> bytes:
        return self.take(self._data.index(mark, self._at) + len(mark) - self._at)

    def take(self, size: int) -> bytes:
        start, self._at = self._at, self._at + size
        assert self._at <= len(self._data)
        return self._data[start : self._at]


def written(message: bytes) -> Request:
    """The one request that ``message`` is."""
    source = Text(message)
    request = read_request(source)
    assert source._at == len(message), "there is more behind it"
    return request


def as_the_client_sent_it(request: Request) -> Request:
    """Less what the proxy must add to each request, which must be there."""
    (host,) = request.all(b"host")
    ours = [
        (b"x-forwarded-for", b"127.0.0.1"),
        (b"x-forwarded-proto", b"http"),
        (b"x-forwarded-host", host),
    ]
    for name, value in ours:
        assert request.all(name) == [value], request
        request = request.without(name, value)
    # RFC 7239 §4: the parameters have no order
    (forwarded,) = request.all(b"forwarded")
    assert {b"for=127.0.0.1", b'host="%b"' % host, b"proto=http"} == set(forwarded.split(b";"))
    request = request.without(b"forwarded", forwarded)
    assert re.fullmatch(rb"1\.[01] wakeful", request.all(b"via")[-1])
    request = request.without(b"via", request.all(b"via")[-1])
    for name, made in ((b"x-request-id", _MADE_ID), (b"traceparent", _MADE_TRACE)):
        (value,) = request.all(name)
        if made.fullmatch(value):
            request = request.without(name, value)
    return request


_MADE_ID = re.compile(rb"[0-9a-f]{32}")
_MADE_TRACE = re.compile(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-01")


class Recording:
    """An instance that answers every request with the request line it got."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def script(self, peer: Peer) -> None:
        while True:
            request = read_request(peer)
            self.requests.append(request)
            peer.send(b"HTTP/1.1 200 OK\r\nX-Asked: %b\r\nContent-Length: 0\r\n\r\n" % request.line)


class Proxy:
    """A data plane in which every conversation has an instance of its own."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self._conversations = 0
        revision = Revision("a", 1, Template())
        route = RouteTo("a", NAMES, ((100, revision),))
        harness.call(lambda: harness.plane.route([route]))

    @contextmanager
    def instance(self, backend: Backend) -> Iterator[Backend]:
        """``backend`` is the one there is; after it, all that it will ever get is there."""
        self._conversations += 1
        self.harness.publish([Endpoint(f"i{self._conversations}", "127.0.0.1", backend.port)])
        try:
            yield backend
            self.harness.wait_for(lambda: self.harness.plane.in_hand() == 0)
        finally:
            self.harness.publish([])
            backend.join()

    def outcomes(self, message: bytes) -> Iterator[Outcome]:
        """Of ``message``, in every way in which it may arrive."""
        for arrival in Arrival:
            yield self.converse(message, arrival)

    def converse(self, message: bytes, arrival: Arrival = Arrival.AT_ONCE) -> Outcome:
        """``message`` and BEHIND, to the end of the connection."""
        recording = Recording()
        with self.instance(Backend(recording.script)) as backend:
            client = self.harness.connect()
            try:
                answers = self._exchange(client, message, arrival)
            finally:
                client.close()
        raw = b"".join(backend.received)
        if arrival is not Arrival.AFTER_A_PLAIN_ONE:
            return Outcome(arrival, answers, recording.requests, raw)
        before, *requests = recording.requests
        assert as_the_client_sent_it(before) == written(_PLAIN)
        assert answers[0].get("X-Asked") == b"GET /before HTTP/1.1"
        return Outcome(arrival, answers[1:], requests, raw.partition(b"\r\n\r\n")[2])

    def _exchange(self, client: Peer, message: bytes, arrival: Arrival) -> list[Message]:
        answers = []
        match arrival:
            case Arrival.AT_ONCE:
                client.send(message + BEHIND)
            case Arrival.AFTER_A_PLAIN_ONE:
                client.send(_PLAIN)
                answers.append(client.message())
                client.send(message)
                self.harness.beat()
                client.send(BEHIND)
            case Arrival.BYTE_BY_BYTE:
                client.send(message[:-_DRIPPED])
                client.drip(message[-_DRIPPED:], lambda: self.harness.call(lambda: None))
                client.send(BEHIND)
        with suppress(Ended):
            while True:
                answers.append(client.message())
        assert client.rest() == b"", "an answer that is not whole"
        return [answer for answer in answers if answer.status >= 200]


@contextmanager
def running_proxy() -> Iterator[Proxy]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "_SWEEP_SECONDS", 0.01)
        harness = Harness()
        yield Proxy(harness)
        harness.close()


# What must be true of an outcome


def assert_allowed(outcome: Outcome, row: Row, *, begun: bool = False) -> None:
    """One of what the row allows became of it, and nothing else did.

    ``begun``: its head is in order, so an instance may have got a part of it.
    """
    statuses = {one for one in row[1:] if isinstance(one, int)}
    forms = [one for one in row[1:] if isinstance(one, bytes)]
    if outcome.requests or not statuses:
        assert_forwarded(outcome, *forms)
    elif begun:
        assert_broken_off(outcome, statuses)
    else:
        assert_refused(outcome, statuses)


def assert_forwarded(outcome: Outcome, *forms: bytes) -> None:
    """The instance got one of ``forms`` and the request behind it, and answered both."""
    wanted = [[written(form), written(_BEHIND_AS_FORWARDED)] for form in forms]
    seen = [as_the_client_sent_it(request) for request in outcome.requests]
    assert seen in wanted, outcome
    assert _asked(outcome) == [(200, request.line) for request in seen], outcome


def assert_forwarded_and_closed(outcome: Outcome, *forms: bytes) -> None:
    """The instance got one of ``forms``; the client was told that it was the last, and it was."""
    wanted = [[written(form)] for form in forms]
    seen = [as_the_client_sent_it(request) for request in outcome.requests]
    assert seen in wanted, outcome
    assert _asked(outcome) == [(200, seen[0].line)], outcome
    assert outcome.answers[0].get("Connection") == b"close", outcome


def assert_refused(outcome: Outcome, statuses: set[int]) -> None:
    """No instance got a byte of it, nor of anything behind it."""
    assert outcome.raw == b"", outcome
    _assert_one_refusal(outcome, statuses)


def assert_broken_off(outcome: Outcome, statuses: set[int]) -> None:
    """What an instance got is no whole request, and nothing of what was behind it."""
    assert outcome.requests == [], outcome
    assert b"/behind" not in outcome.raw, outcome
    assert b"/smuggled" not in outcome.raw, outcome
    assert outcome.raw.count(b" HTTP/1.1\r\n") <= 1, outcome
    _assert_one_refusal(outcome, statuses)


def _assert_one_refusal(outcome: Outcome, statuses: set[int]) -> None:
    assert [{answer.status} <= statuses for answer in outcome.answers] == [True], outcome
    assert outcome.answers[0].get("Connection") == b"close", outcome


def _asked(outcome: Outcome) -> list[tuple[int, bytes | None]]:
    return [(answer.status, answer.get("X-Asked")) for answer in outcome.answers]
