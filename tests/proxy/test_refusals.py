"""Requests that are refused before any instance sees them, and what comes behind them."""

from __future__ import annotations

import pytest

from tests.proxy.conftest import Launch
from tests.proxy.harness import Harness, chunks, get, post
from tests.proxy.wire import Peer
from wakeful.proxy.limits import Limits

CASES = {
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "empty host": (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: a.test\r\nHost: a.test\r\n\r\n", 400),
    "host list": (b"GET / HTTP/1.1\r\nHost: a.test, b.test\r\n\r\n", 400),
    "host with a path": (b"GET / HTTP/1.1\r\nHost: a.test/x\r\n\r\n", 400),
    "host with a user": (b"GET / HTTP/1.1\r\nHost: u@a.test\r\n\r\n", 400),
    "host with a space": (b"GET / HTTP/1.1\r\nHost: a.test b\r\n\r\n", 400),
    "connect": (b"CONNECT a.test:80 HTTP/1.1\r\nHost: a.test\r\n\r\n", 501),
    "not http": (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
    "http/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "http/0.9": (b"GET /\r\n\r\n", 400),
    "relative target": (b"GET x HTTP/1.1\r\nHost: a.test\r\n\r\n", 400),
    "other scheme": (b"GET ftp://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n", 400),
    "star": (b"GET * HTTP/1.1\r\nHost: a.test\r\n\r\n", 400),
    "space before colon": (get(fields=b"X : 1\r\n"), 400),
    "folded field": (get(fields=b"X: 1\r\n 2\r\n"), 400),
    "bare line feed": (b"GET / HTTP/1.1\nHost: a.test\n\n", 400),
    "nul in a value": (get(fields=b"X: \x00\r\n"), 400),
    "length and coding": (post(b"abc", fields=b"Transfer-Encoding: chunked\r\n"), 400),
    "two lengths": (post(b"abc", fields=b"Content-Length: 3\r\n"), 400),
    "length list": (get(fields=b"Content-Length: 3, 3\r\n") + b"abc", 400),
    "signed length": (get(fields=b"Content-Length: +3\r\n") + b"abc", 400),
    "negative length": (get(fields=b"Content-Length: -3\r\n"), 400),
    "hex length": (get(fields=b"Content-Length: 0x3\r\n") + b"abc", 400),
    "huge length": (get(fields=b"Content-Length: 99999999999999999999\r\n"), 400),
    "gzip coding": (get(fields=b"Transfer-Encoding: gzip, chunked\r\n") + chunks(b"x"), 501),
    "identity coding": (get(fields=b"Transfer-Encoding: identity\r\n"), 400),
    "chunked twice": (
        get(fields=b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n") + chunks(b"x"),
        400,
    ),
    "obscured coding": (get(fields=b"Transfer-Encoding: xchunked\r\n") + chunks(b"x"), 400),
}


@pytest.mark.parametrize("case", CASES)
def test_a_request_in_bad_form_is_refused_and_nothing_behind_it_is_run(
    harness: Harness, case: str
) -> None:
    backend = harness.backend()
    harness.service(backend)
    message, status = CASES[case]
    client = harness.connect()
    client.send(message + get(b"/smuggled") * 3)
    answer = client.message()
    assert answer.status == status
    assert answer.get("Connection") == b"close"
    client.send(get(b"/later"))
    assert client.ending() in ("end", "reset")
    assert backend.requests == 0


@pytest.mark.parametrize("case", CASES)
def test_a_refusal_waits_for_the_answers_before_it(harness: Harness, case: str) -> None:
    backend = harness.backend()
    harness.service(backend)
    client = harness.connect()
    client.send(get() + get() + CASES[case][0])
    assert [client.message().status for _ in range(3)] == [200, 200, CASES[case][1]]
    assert client.ending() == "end"
    assert backend.requests == 2


@pytest.mark.parametrize(
    "bad",
    [
        b"xyz\r\n",
        b"-1\r\n",
        b"5 \r\nhello\r\n",
        b"5\r\nhelloX",
        b"5\nhello\n",
        b"5;\x00\r\nhello\r\n",
    ],
)
def test_a_bad_chunk_in_the_middle_leaves_the_instance_with_an_incomplete_message(
    harness: Harness, bad: bytes
) -> None:
    whole = []

    def script(peer: Peer) -> None:
        whole.append(peer.message())

    backend = harness.backend(script)
    harness.service(backend)
    client = harness.connect()
    client.send(post(b"first", chunked=True)[:-5])
    harness.wait_for(lambda: b"first" in b"".join(backend.received))
    client.send(bad + b"0\r\n\r\n" + get(b"/smuggled"))
    answer = client.message()
    assert (answer.status, answer.reason) == (400, b"bad_request")
    assert client.ending() in ("end", "reset")
    backend.join()
    assert whole == []
    assert backend.requests == 1


def test_a_bad_chunk_behind_a_waiting_exchange_is_answered_in_turn(harness: Harness) -> None:
    backend = harness.backend()
    harness.service(backend)
    client = harness.connect()
    client.send(get() + post(b"first", chunked=True)[:-5] + b"xyz\r\n" + get(b"/smuggled"))
    assert client.message().status == 200
    assert client.message().status == 400
    assert client.ending() == "end"
    assert backend.requests == 1


def test_a_body_over_the_limit_that_goes_bad_in_the_same_read_is_refused_once(
    harness: Harness,
) -> None:
    backend = harness.backend()
    harness.service(backend, max_request_body=10)
    client = harness.connect()
    client.send(post(b"1234", chunked=True)[:-5])
    harness.wait_for(lambda: backend.requests)
    client.send(b"a\r\n1234567890\r\nxyz\r\n" + get(b"/smuggled"))
    assert client.message().status == 400  # a read is taken apart before it is counted
    assert client.ending() in ("end", "reset")
    assert backend.requests == 1


LIMITS = Limits(target=100, head=4000, fields=20)


def test_a_head_must_have_room_for_its_target() -> None:
    with pytest.raises(ValueError, match="a head holds its target"):
        Limits(target=100, head=99)


def test_too_many_fields_are_refused(launch: Launch) -> None:
    harness = launch(limits=LIMITS)
    harness.service(harness.backend())
    client = harness.connect()
    client.send(get(fields=b"X: 1\r\n" * 19))
    assert client.message().status == 200
    client.send(get(fields=b"X: 1\r\n" * 20) + get())
    answer = client.message()
    assert (answer.status, answer.reason) == (431, b"head_too_large")
    assert client.ending() == "end"


@pytest.mark.parametrize("pieces", [1, 40])
def test_a_large_head_is_refused_however_it_arrives(launch: Launch, pieces: int) -> None:
    harness = launch(limits=LIMITS)
    backend = harness.backend()
    harness.service(backend)
    client = harness.connect()
    head = get(fields=b"".join(b"X-%02d: %b\r\n" % (n, b"v" * 400) for n in range(10)))
    size = len(head) // pieces + 1
    for at in range(0, len(head), size):
        client.send(head[at : at + size])
        harness.beat()
    assert client.message().status == 431
    assert client.ending() in ("end", "reset")
    assert backend.requests == 0


@pytest.mark.parametrize(
    "start", [b"GET / HTTP/1.1\r\nHost: a.test\r\nX: ", b"GET / HTTP/1.1\r\nX"]
)
def test_a_field_without_end_is_refused(launch: Launch, start: bytes) -> None:
    harness = launch(limits=LIMITS)
    client = harness.connect()
    client.send(start)
    for _ in range(6):
        harness.beat()
        client.send(b"x" * 1000)
    assert client.message().status == 431


def test_trailers_are_bounded_like_a_head(launch: Launch) -> None:
    harness = launch(limits=LIMITS)
    backend = harness.backend()
    harness.service(backend)
    for trailers in (b"X: 1\r\n" * 21, b"X: %b\r\n" % (b"v" * 5000)):
        client = harness.connect()
        client.send(post(b"body", chunked=True)[:-2] + trailers + b"\r\n")
        assert client.message().status == 431


@pytest.mark.parametrize("piece", [b"X: 1\r\n" * 100, b"v" * 1000])
def test_trailers_without_end_are_refused(launch: Launch, piece: bytes) -> None:
    """Nothing of them is a body, so no limit on bodies ends them."""
    harness = launch(limits=LIMITS)
    harness.service(harness.backend())
    client = harness.connect()
    client.send(post(b"body", chunked=True)[:-2] + b"X: ")
    for _ in range(12):
        harness.beat()
        client.send(piece)
    assert client.message().status == 431


def test_a_long_target_is_refused(launch: Launch) -> None:
    harness = launch(limits=LIMITS)
    harness.service(harness.backend())
    client = harness.connect()
    client.send(get(b"/" + b"x" * 99))
    assert client.message().status == 200
    client.send(get(b"/" + b"x" * 99))  # its head is known now
    assert client.message().status == 200
    client.send(get(b"/" + b"x" * 100))
    answer = client.message()
    assert (answer.status, answer.reason) == (414, b"uri_too_long")
    assert client.ending() == "end"


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_refused(harness: Harness, chunked: bool) -> None:
    backend = harness.backend()
    throttler = harness.service(backend, max_request_body=100)
    client = harness.connect()
    client.send(post(b"x" * 100, chunked=chunked))
    assert client.message().status == 200
    client.send(post(b"x" * 101, chunked=chunked))
    answer = client.message()
    assert (answer.status, answer.reason) == (413, b"body_too_large")
    assert backend.requests == 1
    assert throttler.counters.rejected == {"body_too_large": 1}


def test_a_body_that_grows_over_the_limit_is_cut_short(harness: Harness) -> None:
    backend = harness.backend()
    harness.service(backend, max_request_body=100)
    client = harness.connect()
    client.send(post(b"x" * 60, chunked=True)[:-5])
    harness.wait_for(lambda: backend.received and backend.received[0].endswith(b"x\r\n"))
    client.send(b"3c\r\n%b\r\n0\r\n\r\n" % (b"x" * 60))
    assert client.message().status == 413
    assert client.ending() in ("end", "reset")
    harness.wait_for(lambda: harness.plane.in_hand() == 0)
    assert backend.received[0].count(b"x") < 120


def test_refusals_are_counted_by_their_reason(harness: Harness) -> None:
    client = harness.connect()
    client.send(get(host=b"nobody.test") + b"BAD\r\n\r\n")
    assert client.message().status == 404
    assert client.message().status == 400
    assert harness.plane.unrouted == {"no_route": 1, "bad_request": 1}
