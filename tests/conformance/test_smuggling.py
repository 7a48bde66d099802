"""Known attacks, whole: a second request that one reader sees and another does not.

What each of them needs is in test_framing and test_chunked; here are the streams as
they are sent (Linhart 2005; Kettle 2019, 2022, 2025; "Funky chunks" 2025), and the
ways in which a stream may be cut into reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.conformance.recording import (
    BEHIND,
    Proxy,
    Recording,
    Row,
    as_the_client_sent_it,
    assert_allowed,
    assert_forwarded,
    running_proxy,
    written,
)
from tests.proxy.harness import get, post
from tests.proxy.wire import Backend, Ended, Peer


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    with running_proxy() as proxy:
        yield proxy


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n"
OPEN = b"GET /smuggled HTTP/1.1\r\nX: "  # takes the next request's first line into a field


def asking(*lines: bytes, body: bytes = b"", start: bytes = b"POST /p HTTP/1.1") -> bytes:
    fields = b"".join(b"%b\r\n" % line for line in lines)
    return b"%b\r\nHost: a.test\r\n%b\r\n%b" % (start, fields, body)


def length(body: bytes) -> bytes:
    return b"Content-Length: %d" % len(body)


CHUNKED = b"Transfer-Encoding: chunked"
IN_ONE_CHUNK = b"%x\r\n%b\r\n0\r\n\r\n"
CL_TE = b"0\r\n\r\n" + SMUGGLED
TE_CL = IN_ONE_CHUNK % (len(SMUGGLED), SMUGGLED)
AS_BODY = asking(length(SMUGGLED), body=SMUGGLED)
UPGRADE = (b"Connection: Upgrade", b"Upgrade: websocket")
H2C = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk")

ATTACKS: dict[str, Row] = {
    "CL.TE": (asking(length(CL_TE), CHUNKED, body=CL_TE), 400),
    "CL.TE, open end": (asking(b"Content-Length: 6", CHUNKED, body=b"0\r\n\r\nG"), 400),
    "TE.CL": (asking(b"Content-Length: 4", CHUNKED, body=TE_CL), 400),
    "TE.CL, coding first": (asking(CHUNKED, b"Content-Length: 4", body=TE_CL), 400),
    "TE.TE, one is hidden": (
        asking(b"Content-Length: 4", CHUNKED, b"Transfer-encoding: cow", body=TE_CL),
        400,
    ),
    "TE.TE, one is indented": (
        asking(CHUNKED, b" Transfer-Encoding: x", body=TE_CL), 400, 501,
    ),
    "TE.TE, one is quoted": (
        asking(b"Content-Length: 4", b'Transfer-Encoding: "chunked"', CHUNKED, body=TE_CL),
        400, 501,
    ),
    "CL.CL": (asking(b"Content-Length: 0", length(SMUGGLED), body=SMUGGLED), 400),
    "CL.CL, second is short": (
        asking(length(SMUGGLED), b"Content-Length: 0", body=SMUGGLED), 400,
    ),
    # The instance must read the body as a body: strictly, that is what it gets.
    "CL.0": (AS_BODY, AS_BODY),
    "CL.0, open end": (asking(length(OPEN), body=OPEN), asking(length(OPEN), body=OPEN)),
    "TE.0": (
        asking(CHUNKED, body=TE_CL, start=b"OPTIONS /p HTTP/1.1"),
        asking(CHUNKED, body=TE_CL, start=b"OPTIONS /p HTTP/1.1"),
    ),
    "0.CL, space before the colon": (
        asking(b"Content-Length : %d" % len(SMUGGLED), body=SMUGGLED), 400,
    ),
    "0.CL, in a fold": (
        asking(b"X: a", b" " + length(SMUGGLED), body=SMUGGLED), 400,
    ),
    "0.CL, underscore": (
        asking(b"Content_Length: 3", start=b"GET /p HTTP/1.1"), 400,
        asking(start=b"GET /p HTTP/1.1"),
    ),
    "TE.0, underscore": (
        asking(b"Transfer_Encoding: chunked", start=b"GET /p HTTP/1.1"), 400,
        asking(start=b"GET /p HTTP/1.1"),
    ),
    # CVE-2016-5385: in the environment of a CGI program it is HTTP_PROXY.
    "httpoxy": (
        asking(b"Proxy: http://b.test", start=b"GET /p HTTP/1.1"), 400,
        asking(start=b"GET /p HTTP/1.1"),
    ),
    "httpoxy in the trailers": (
        asking(CHUNKED, body=b"0\r\nProxy: http://b.test\r\n\r\n"), 400,
        asking(CHUNKED, body=b"0\r\n\r\n"),
    ),
    "0.CL, behind LF": (asking(b"X: a\n" + length(SMUGGLED), body=SMUGGLED), 400, AS_BODY),
    "TERM.EXT": (
        asking(CHUNKED, body=b"2;\nxx\r\n" + IN_ONE_CHUNK % (len(CL_TE), CL_TE)), 400,
    ),
    "EXT.TERM": (
        asking(CHUNKED, body=b"%x;\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)), 400,
    ),
    "TERM.SPILL": (asking(CHUNKED, body=b"5\r\nAAAAA\n2\r\nXX\r\n0\r\n\r\n" + SMUGGLED), 400),
    "SPILL.TERM": (asking(CHUNKED, body=b"5\r\nAAAAAXX2\r\n45\r\n0\r\n\r\n" + SMUGGLED), 400),
    "ONE.TWO": (asking(CHUNKED, body=b"2\n\nxx\r\n45\r\n0\r\n\r\n" + SMUGGLED), 400),
    "TWO.ONE": (asking(CHUNKED, body=b"2\r\rxx\r\n45\r\n0\r\n\r\n" + SMUGGLED), 400),
    "a request in the trailers": (asking(CHUNKED, body=b"0\r\n" + SMUGGLED), 400),
    "a length in the trailers": (
        asking(CHUNKED, body=b"0\r\nContent-Length: 3\r\n\r\n"), 400,
        asking(CHUNKED, body=b"0\r\n\r\n"),
    ),
    "a request in a fold": (asking(b"X: a", b" " + SMUGGLED[:-4]), 400),
    "line ends in an escape": (
        asking(start=b"GET /p%20HTTP/1.1%0d%0aHost:%20b.test HTTP/1.1"),
        asking(start=b"GET /p%20HTTP/1.1%0d%0aHost:%20b.test HTTP/1.1"),
    ),
    "a method that is a request": (b"GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r" + asking(), 400),
    # Upgrade: what is behind the head is this request's body, and then the next request.
    "Upgrade and a length": (asking(*UPGRADE, length(SMUGGLED), body=SMUGGLED), 400, AS_BODY,
        asking(*UPGRADE, length(SMUGGLED), body=SMUGGLED)),
    "Upgrade and chunks": (asking(*UPGRADE, CHUNKED, body=TE_CL), 400, asking(CHUNKED, body=TE_CL),
        asking(*UPGRADE, CHUNKED, body=TE_CL)),
    "Upgrade and a broken chunk": (asking(*UPGRADE, CHUNKED, body=b"5\nhello\n0\r\n\r\n"), 400),
    "Upgrade, and both": (asking(*UPGRADE, CHUNKED, b"Content-Length: 4", body=TE_CL), 400),
    "Upgrade that is declined": (
        asking(*UPGRADE, start=b"GET /p HTTP/1.1"),
        asking(*UPGRADE, start=b"GET /p HTTP/1.1"),
        asking(start=b"GET /p HTTP/1.1"),
    ),
    "h2c": (asking(*H2C, start=b"GET /p HTTP/1.1"), asking(start=b"GET /p HTTP/1.1")),
    "h2c in another case": (
        asking(b"connection: UPGRADE", b"upgrade: H2C", start=b"GET /p HTTP/1.1"),
        asking(start=b"GET /p HTTP/1.1"),
    ),
    "h2c in a list": (
        asking(b"Connection: Upgrade", b"Upgrade: websocket, h2c", start=b"GET /p HTTP/1.1"),
        asking(start=b"GET /p HTTP/1.1"),
        asking(b"Connection: Upgrade", b"Upgrade: websocket", start=b"GET /p HTTP/1.1"),
    ),
    "h2c and a body": (asking(*H2C, length(SMUGGLED), body=SMUGGLED), AS_BODY),
    # Expect (Kettle 2025): the body is read as its framing says, whatever is expected.
    "Expect of a GET with a body": (
        asking(b"Expect: 100-continue", length(SMUGGLED), body=SMUGGLED, start=b"GET /p HTTP/1.1"),
        asking(b"Expect: 100-continue", length(SMUGGLED), body=SMUGGLED, start=b"GET /p HTTP/1.1"),
    ),
    "Expect of a length of zero": (
        asking(b"Expect: 100-continue", b"Content-Length: 0"),
        asking(b"Expect: 100-continue", b"Content-Length: 0"),
        asking(b"Content-Length: 0"),
    ),
    "Expect, twice": (
        asking(b"Expect: 100-continue", b"Expect: 100-continue", length(SMUGGLED), body=SMUGGLED),
        400, 417,
        asking(b"Expect: 100-continue", length(SMUGGLED), body=SMUGGLED),
        asking(b"Expect: 100-continue", b"Expect: 100-continue", length(SMUGGLED), body=SMUGGLED),
    ),
    "Expect, one known and one not": (
        asking(b"Expect: 100-continue", b"Expect: x", length(SMUGGLED), body=SMUGGLED), 400, 417,
        asking(b"Expect: 100-continue", b"Expect: x", length(SMUGGLED), body=SMUGGLED),
    ),
}  # fmt: skip
ATTACKS |= {
    f"Expect: {value!r}": (
        asking(b"Expect:" + value, length(SMUGGLED), body=SMUGGLED), 400, 417,
        asking(b"Expect:" + value, length(SMUGGLED), body=SMUGGLED),
        AS_BODY,
    )
    for value in (b" y 100-continue", b" 100-continue y", b" 100", b' "100-continue"',
        b" 100-continue;x", b" 100-continued")
}  # fmt: skip
# RFC 9110 §5.6.1.2, §10.1.1: a list, whose empty elements MUST be ignored.
ATTACKS |= {
    f"Expect: {value!r}": (
        asking(b"Expect:" + value, length(SMUGGLED), body=SMUGGLED),
        asking(b"Expect:" + value, length(SMUGGLED), body=SMUGGLED),
        asking(b"Expect: 100-continue", length(SMUGGLED), body=SMUGGLED) if value else AS_BODY,
    )
    for value in (b"", b" 100-continue, 100-continue", b" ,100-continue", b" 100-Continue ,")
}
ATTACKS |= {
    f"Expect: {value!r}": (asking(b"Expect:" + value, length(SMUGGLED), body=SMUGGLED), 400)
    for value in (b" 100-continue\x00", b"\n 100-continue", b" 100-contin\rue", b"\x0b100-continue")
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_there_is_one_request_or_none(proxy: Proxy, attack: str) -> None:
    message = ATTACKS[attack][0]
    for outcome in proxy.outcomes(message):
        assert_allowed(outcome, ATTACKS[attack], begun=CHUNKED in message)


# However a stream is cut into reads, it means the same.

WHOLE: dict[str, tuple[bytes, bytes]] = {
    "no body": (get(b"/p", fields=b"X: a\r\n"), get(b"/p", fields=b"X: a\r\n")),
    "an empty line first": (b"\r\n" + get(b"/p"), get(b"/p")),
    "a length": (post(b"body"), post(b"body")),
    "chunks": (
        asking(b"X-A: 1", CHUNKED, body=b"2;x=1\r\nbo\r\n002\r\ndy\r\n0\r\nX-Sum: 1\r\n\r\n"),
        asking(b"X-A: 1", CHUNKED, body=b"4\r\nbody\r\n0\r\nX-Sum: 1\r\n\r\n"),
    ),
    "absolute-form": (
        b"GET http://a.test/p?q HTTP/1.1\r\nHost: b.test\r\nConnection: X-A\r\nX-A: 1\r\n\r\n",
        get(b"/p?q"),
    ),
    "an Upgrade that is not offered": (
        asking(*H2C, length(SMUGGLED), body=SMUGGLED),
        AS_BODY,
    ),
}


@pytest.mark.parametrize("case", WHOLE)
def test_a_request_in_two_reads_is_the_same_at_every_cut(proxy: Proxy, case: str) -> None:
    message, form = WHOLE[case]
    recording = Recording()
    cuts = range(1, len(message))
    with proxy.instance(Backend(recording.script)):
        client = proxy.harness.connect()
        for cut in cuts:
            client.send(message[:cut])
            proxy.harness.beat()
            client.send(message[cut:])
            assert client.message().status == 200
        client.close()
    assert [as_the_client_sent_it(one) for one in recording.requests] == [written(form)] * len(cuts)


BROKEN = {
    "both framings": (asking(b"Content-Length: 3", CHUNKED), {400}),
    "two lengths": (asking(b"Content-Length: 3", b"Content-Length: 4"), {400}),
    "a fold": (asking(b"X: a", b" Content-Length: 3")[:-2] + b"Y: 1\r\n\r\n", {400}),
    "no host": (b"GET /p HTTP/1.1\r\nX-Host: a.test\r\n\r\n", {400}),
    "unknown coding": (asking(b"Transfer-Encoding: chunked, identity"), {400, 501}),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_refusal_in_two_reads_is_the_same_at_every_cut(proxy: Proxy, case: str) -> None:
    message, statuses = BROKEN[case]
    recording = Recording()
    backend = Backend(recording.script)
    with proxy.instance(backend):
        for cut in range(1, len(message)):
            client = proxy.harness.connect()
            client.send(message[:cut])
            proxy.harness.beat()
            client.send(message[cut:] + BEHIND)
            assert client.message().status in statuses
            assert client.rest() == b""
            client.close()
    assert backend.received == []


@pytest.mark.parametrize("cut", range(1, 20))
def test_a_pipeline_in_two_reads_is_the_same_at_every_nth_cut(proxy: Proxy, cut: int) -> None:
    stream = get(b"/0") + post(b"1" * 10) + post(b"2" * 10, chunked=True) + get(b"/3")
    at = len(stream) * cut // 20
    recording = Recording()
    with proxy.instance(Backend(recording.script)):
        client = proxy.harness.connect()
        client.send(stream[:at])
        proxy.harness.beat()
        client.send(stream[at:])
        assert [client.message().status for _ in range(4)] == [200] * 4
        client.close()
    assert [(one.line, one.body) for one in recording.requests] == [
        (b"GET /0 HTTP/1.1", b""),
        (b"POST / HTTP/1.1", b"1" * 10),
        (b"POST / HTTP/1.1", b"2" * 10),
        (b"GET /3 HTTP/1.1", b""),
    ]


# In a read of its own it would be a request that was seen before.
INNER = get(b"/smuggled")
INSIDE = {
    "a length": ([post(INNER)[: -len(INNER)], INNER], post(INNER)),
    "the second half of a length": ([post(b"x" + INNER)[: -len(INNER)], INNER], post(b"x" + INNER)),
    "a chunk": (
        [post(b"", chunked=True)[:-5] + b"%x\r\n" % len(INNER), INNER, b"\r\n0\r\n\r\n"],
        post(INNER, chunked=True),
    ),
    "a field": (
        [b"GET /p HTTP/1.1\r\nX: ", INNER],
        b"GET /p HTTP/1.1\r\nX: GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n",
    ),
}


@pytest.mark.parametrize("case", INSIDE)
def test_a_request_seen_before_is_none_within_another(proxy: Proxy, case: str) -> None:
    reads, form = INSIDE[case]
    recording = Recording()
    with proxy.instance(Backend(recording.script)):
        client = proxy.harness.connect()
        for _ in range(2):
            client.send(INNER)
            assert client.message().status == 200
        for read in reads:
            client.send(read)
            proxy.harness.beat()
        assert client.message().status == 200
        client.send(BEHIND)
        assert client.message().get("X-Asked") == b"GET /behind HTTP/1.1"
        assert client.rest() == b""
        client.close()
    seen = [as_the_client_sent_it(one) for one in recording.requests]
    assert seen == [written(one) for one in (INNER, INNER, form, get(b"/behind"))]


def test_requests_in_front_of_a_refused_one_are_answered_and_none_behind_it(proxy: Proxy) -> None:
    outcome = proxy.converse(get(b"/0") + post(b"abc") + ATTACKS["CL.TE"][0] + SMUGGLED)
    assert [answer.status for answer in outcome.answers] == [200, 200, 400]
    assert [one.line for one in outcome.requests] == [b"GET /0 HTTP/1.1", b"POST / HTTP/1.1"]


# The instance answers before it has the body (Kettle 2022, pause-based): the rest of
# it is still the body, and no request of this connection or another's.


@pytest.mark.parametrize("expect", [b"", b"Expect: 100-continue\r\n"])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_behind_an_early_answer_is_no_request(
    proxy: Proxy, chunked: bool, expect: bytes
) -> None:
    def script(peer: Peer) -> None:
        peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        peer.rest()

    head, mark, body = post(SMUGGLED, chunked=chunked, fields=expect).partition(b"\r\n\r\n")
    early = Backend(script)
    with proxy.instance(early):
        client = proxy.harness.connect()
        client.send(head + mark)
        answers = [client.message()]
        with suppress(ConnectionError):  # it may have ended, and may say so
            client.send(body + BEHIND)
        with suppress(Ended, ConnectionError):
            while True:
                answers.append(client.message())
        client.close()
    assert [answer.status for answer in answers] == [200]
    heads = b"".join(early.received)
    assert heads.count(b" HTTP/1.1\r\n") - heads.count(SMUGGLED) == 1
    assert b"/behind" not in heads


def test_a_body_cut_short_is_no_part_of_the_next_request(proxy: Proxy) -> None:
    """The client leaves in the middle; its instance's connection is not used again."""
    recording = Recording()
    backend = Backend(recording.script)
    with proxy.instance(backend):
        client = proxy.harness.connect()
        client.send(post(b"x" * 100)[:-50])
        proxy.harness.wait_for(lambda: backend.received and backend.received[0].endswith(b"x" * 50))
        client.close()
        proxy.harness.wait_for(lambda: proxy.harness.plane.in_hand() == 0)
        other = proxy.harness.get(b"/next")
        assert other.message().get("X-Asked") == b"GET /next HTTP/1.1"
        other.close()
    assert [one.line for one in recording.requests] == [b"GET /next HTTP/1.1"]
    assert len(backend.connections) == 2


def test_clients_that_share_an_instances_connection_get_their_own_answers(proxy: Proxy) -> None:
    recording = Recording()
    backend = Backend(recording.script)
    with proxy.instance(backend):
        for turn in range(10):
            client = proxy.harness.connect()
            client.send(post(SMUGGLED, chunked=bool(turn % 2)))
            assert client.message().get("X-Asked") == b"POST / HTTP/1.1"
            client.send(get(b"/%d" % turn))
            assert client.message().get("X-Asked") == b"GET /%d HTTP/1.1" % turn
            client.close()
    assert len(recording.requests) == 20
    assert len(backend.connections) == 1


@pytest.mark.parametrize("body", [b"", b"x", b"x" * 100_000], ids=len)
@pytest.mark.parametrize("chunked", [False, True])
def test_what_is_sent_on_is_framed_once(proxy: Proxy, body: bytes, chunked: bool) -> None:
    message = post(body, chunked=chunked)
    assert_forwarded(proxy.converse(message), message)


def test_the_reader_of_these_tests_knows_two_framings_when_it_sees_them() -> None:
    for message in (
        asking(b"Content-Length: 0", CHUNKED, body=b"0\r\n\r\n"),
        asking(b"Content-Length: 0", b"Content-Length: 0"),
        asking(b"Content-Length: +3", body=b"abc"),
        asking(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"),
        asking(CHUNKED, body=b"0x0\r\n\r\n"),
        asking(b"X : a"),
        asking(b"X: a\rb"),
        asking(b"X: a", b" b"),
    ):
        with pytest.raises(AssertionError):
            written(message)
