"""Whatever comes in: no exception reaches the loop, and nothing is left behind.

What an instance got of it is read again by a parser that is not ours, and there
is only one way to read it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, pairwise

import httptools
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.proxy.harness import Harness, chunks, get, old, post
from tests.proxy.wire import Backend, Ended, Peer, ok
from wakeful.events import Endpoint
from wakeful.proxy import server

pytestmark = pytest.mark.no_cover  # traced it takes three times as long, to cover what others do

UPGRADE = b"Connection: Upgrade\r\nUpgrade: %b\r\n"
REQUESTS = [
    get(),
    get(host=b"nobody.test"),
    get(fields=b"Connection: close\r\n"),
    old(get()),
    get(fields=UPGRADE % b"websocket") + b"frames",
    get(fields=UPGRADE % b"h2c"),
    get(fields=b"TE: trailers\r\nConnection: TE, X-Own\r\nX-Own: 1\r\n"),
    get(fields=b"Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n"),
    get(fields=b"Host: b.test\r\n"),
    post(b"some body", chunked=True, fields=b"Content-Length: 9\r\n"),
    post(b"some body", fields=b"Content-Length: 9\r\n"),
    post(b"some body")[:-4],  # and what comes next is the rest of it
    post(b"some body"),
    post(b"some body", chunked=True),
    post(b"some body", chunked=True)[:-2] + b"X-T: 1\r\n\r\n",
    post(b"some body", chunked=True, fields=UPGRADE % b"h2c"),
    post(b"some body", fields=b"Expect: 100-continue\r\n"),
    b"HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n",
    b"GET http://a.test/ HTTP/1.1\r\nHost: x\r\n\r\n",
    b"CONNECT a.test:1 HTTP/1.1\r\nHost: a.test\r\n\r\n",
]
ANSWERS = [
    ok(),
    ok(fields=b"Date: x\r\n"),
    ok(b""),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(b"abc", trailers=b"X: 1\r\n"),
    b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.1 204 No\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" + ok(),
    b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nframes",
    b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc",
]


@st.composite
def mutated(draw: st.DrawFn, messages: list[bytes]) -> bytes:
    data = bytearray(b"".join(draw(st.lists(st.sampled_from(messages), min_size=1, max_size=4))))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        match draw(st.integers(0, 3)):
            case 0:
                data[at : at + 1] = draw(st.binary(max_size=3))
            case 1:
                del data[at : at + draw(st.integers(0, 20))]
            case 2:
                data[at:at] = draw(
                    st.sampled_from([b"\r\n", b"\n", b":", b" ", b"0", b"\x00", b","])
                )
            case _:
                other = draw(st.integers(0, len(data)))
                data[at:at] = data[min(at, other) : max(at, other)][:200]
    return bytes(data)


STREAMS = st.one_of(mutated(REQUESTS), mutated(REQUESTS), st.binary(max_size=200))
ENDINGS = st.sampled_from(["close", "reset", "end", "stay"])


class Instance:
    """Answers each read with the next of its answers, good or not."""

    def __init__(self, answers: list[bytes]) -> None:
        self.answers = answers
        self.answered: dict[Peer, bytes] = {}

    def script(self, peer: Peer) -> None:
        for answer in self.answers:
            peer._more()
            self.answered[peer] = self.answered.get(peer, b"") + answer
            peer.send(answer)


Field = tuple[bytes, bytes]

# Of one connection each; of RFC 9110 §7.6.1, less the pair that asks for a switch.
HOP_BY_HOP = {b"keep-alive", b"proxy-connection", b"te"}
FRAMING = {b"content-length", b"transfer-encoding"}
# llhttp knows no method but those that are registered, and no byte above ASCII
# in a target; so it is shown a plain line in place of one that is in order.
LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) (?:/[\x21-\x7e\x80-\xff]*|\*) HTTP/1\.1")
PLAIN_LINE = b"POST / HTTP/1.1\r\n"


class Reading:
    """One request in the eyes of httptools, which is strict, and not ours."""

    def __init__(self) -> None:
        self.fields: list[Field] = []
        self.trailers: list[Field] = []
        self.headed = self.whole = False

    def on_header(self, name: bytes, value: bytes) -> None:
        (self.trailers if self.headed else self.fields).append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.headed = True

    def on_message_complete(self) -> None:
        self.whole = True

    def all(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key == name]


def requests(data: bytes, switched: bool) -> Iterator[Reading]:
    """What an instance got on one connection: requests, of which the last may be a part.

    Where the instance ``switched`` protocols, anything may be behind the request for it.
    """
    while data:
        line, end, data = data.partition(b"\r\n")
        if not end:
            return
        assert LINE.fullmatch(line), line
        request = Reading()
        parser = httptools.HttpRequestParser(request)
        parser.feed_data(PLAIN_LINE)
        at = 0
        try:
            while at < len(data) and not request.whole:
                at += 1
                parser.feed_data(data[at - 1 : at])
        except httptools.HttpParserUpgrade:
            if switched:
                at = len(data)
        data = data[at:]
        if request.headed:
            yield request


def assert_unambiguous(request: Reading) -> None:
    names = [name for name, _ in request.fields]
    assert len(request.all(b"host")) == 1
    assert request.all(b"host") != [b""]
    assert len(FRAMING.intersection(names)) <= 1
    assert len(request.all(b"content-length")) <= 1
    assert request.all(b"transfer-encoding") in ([], [b"chunked"])
    assert HOP_BY_HOP.isdisjoint(names)
    assert request.all(b"connection") in ([], [b"Upgrade"])
    assert len(request.all(b"upgrade")) == len(request.all(b"connection"))
    for name, _ in request.trailers:
        assert name not in HOP_BY_HOP | FRAMING | {b"host", b"connection", b"upgrade"}


def heads(sent: bytes) -> int:
    """At most so many requests begin in what a client sent."""
    return min(sent.count(b"\r\n\r\n"), len(re.findall(rb" HTTP/[0-9]\.[0-9]\r\n", sent)))


class Fuzzed:
    """A data plane in which every example has an instance of its own."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self._instances = 0
        harness.service(max_request_body=100)

    @contextmanager
    def instance(self, answers: list[bytes]) -> Iterator[Callable[[], Iterator[Reading]]]:
        """Call what it is for the requests that came; after it, nothing more will come."""
        instance = Instance(answers)
        backend = Backend(instance.script)
        self._instances += 1
        self.harness.publish([Endpoint(f"i{self._instances}", "127.0.0.1", backend.port)])
        try:
            yield lambda: chain.from_iterable(
                requests(bytes(peer.received), b" 101" in instance.answered.get(peer, b""))
                for peer in backend.connections
            )
        finally:
            self.harness.publish([])
            backend.join()


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[Fuzzed]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "_SWEEP_SECONDS", 0.01)
        harness = Harness()
        yield Fuzzed(harness)
        harness.close()


@settings(
    max_examples=int(os.environ.get("WAKEFUL_FUZZ_EXAMPLES", "300")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    stream=STREAMS,
    cuts=st.lists(st.integers(0, 300), max_size=3),
    answers=st.lists(st.one_of(mutated(ANSWERS), st.sampled_from(ANSWERS)), min_size=1, max_size=3),
    ending=ENDINGS,
)
def test_no_bytes_from_either_side_do_harm(
    fuzzed: Fuzzed,
    stream: bytes,
    cuts: list[int],
    answers: list[bytes],
    ending: str,
) -> None:
    harness = fuzzed.harness
    with fuzzed.instance(answers) as arrived:
        client = harness.connect()
        marks = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
        try:
            for start, end in pairwise(marks):
                client.send(stream[start:end])
                harness.beat()
            if ending == "reset":
                client.reset()
            elif ending == "end":
                client.end()
            elif ending == "close":
                client.close()
            else:
                client.send(get())
                harness.beat()
                harness.clock.forward(301)
                client.head()
        except (OSError, Ended):
            pass  # refused, cut or waited for in vain: as long as it is let go
        client.close()
        harness._clients.clear()
        harness.clock.forward(301)
        harness.wait_for(harness._empty, "nothing in hand")
        assert harness.reported == []
    count = 0
    for request in arrived():
        assert_unambiguous(request)
        count += 1
    assert count <= heads(stream + get() if ending == "stay" else stream)
