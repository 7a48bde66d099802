"""Expect: 100-continue, of clients that wait for a word (RFC 9110 §10.1.1)."""

from __future__ import annotations

import threading

import pytest

from tests.conformance.reading import form, seen
from tests.proxy.harness import Harness, chunks, get
from tests.proxy.wire import PATIENCE, Peer, answering, ok

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
# The head, the body as it is sent, and the wait between them.
ASKS = {
    "a length": (b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\n", b"body"),
    "chunks": (b"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n", chunks(b"bo", b"dy")),
    "an odd case": (b"EXPECT:100-Continue\r\nContent-Length: 4\r\n\r\n", b"body"),
}
POST = b"POST / HTTP/1.1\r\nHost: a.test\r\n"


@pytest.mark.parametrize("case", ASKS)
def test_the_instances_100_is_what_the_client_waits_for(harness: Harness, case: str) -> None:
    def script(peer: Peer) -> None:
        for _ in range(2):
            head = peer.head()
            assert (head.get("Expect") or b"").lower() == b"100-continue"
            peer.sock.setblocking(False)
            with pytest.raises(BlockingIOError):  # of the body there is nothing yet
                peer.sock.recv(1)
            peer.sock.settimeout(PATIENCE)
            peer.send(CONTINUE)
            peer.until(b"dy")
            if head.get("Content-Length") is None:
                peer.until(b"0\r\n\r\n")
            peer.send(ok())

    head, body = ASKS[case]
    backend = harness.backend(script)
    harness.service(backend)
    client = harness.connect()
    for _ in range(2):
        client.send(POST + head)
        assert client.message().start == b"HTTP/1.1 100 Continue"
        client.send(body)
        assert client.message().status == 200
    assert len(backend.connections) == 1


@pytest.mark.parametrize("status", [200, 303, 401, 413, 417, 500])
def test_a_final_answer_in_its_place_is_told_and_the_body_is_never_a_request(
    harness: Harness, status: int
) -> None:
    """The client may leave the body out, or send it all the same: both ends must be clear."""
    answer = b"HTTP/1.1 %d Final\r\nContent-Length: 5\r\n\r\nfinal" % status

    def script(peer: Peer) -> None:
        peer.head()
        peer.send(answer)
        assert peer.rest() == b""

    backend = harness.backend(script)
    harness.service(backend)
    client = harness.connect()
    body = get(b"/smuggled")
    client.send(POST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))
    told = client.message()
    assert seen(told) == form(answer)
    client.send(body)
    if told.get("Connection") == b"close":
        assert client.rest() == b""
    else:  # then the body was read, as a body
        client.send(get(host=b"nobody.test"))
        assert client.message().status == 404
    assert b"/smuggled" not in b"".join(backend.received)


@pytest.mark.parametrize("case", ASKS)
def test_a_client_may_send_its_body_without_having_been_told(harness: Harness, case: str) -> None:
    """An instance may well know nothing of expectations."""

    def script(peer: Peer) -> None:
        peer.head()
        reached.set()
        peer.until(b"dy")
        peer.send(ok())
        peer.ending()

    reached = threading.Event()
    harness.service(harness.backend(script))
    client = harness.connect()
    head, body = ASKS[case]
    client.send(POST + head)
    assert reached.wait(PATIENCE)
    client.send(body)
    assert client.message().status == 200


def test_a_body_sent_at_once_is_a_body(harness: Harness) -> None:
    harness.service(harness.backend(answering(CONTINUE + ok())))
    client = harness.connect()
    for _ in range(2):
        client.send(POST + b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\nbody")
        while (answer := client.message()).status == 100:  # MAY be left out then
            pass
        assert answer.body == b"hello"


def test_an_expectation_without_a_body_changes_nothing(harness: Harness) -> None:
    harness.service(harness.backend(answering(ok())))
    client = harness.connect()
    for _ in range(2):
        client.send(get(fields=b"Expect: 100-continue\r\n"))
        while (answer := client.message()).status == 100:
            pass
        assert answer.body == b"hello"


@pytest.mark.parametrize(
    "value", [b"200-ok", b"100-continue, x", b"100", b"x=y", b"100-continue;a"]
)
def test_another_expectation_is_refused_and_its_body_runs_nothing(
    harness: Harness, value: bytes
) -> None:
    """MAY be 417; forwarding what nobody here can keep would be a promise."""
    backend = harness.backend()
    harness.service(backend)
    client = harness.connect()
    client.send(POST + b"Expect: %b\r\nContent-Length: 4\r\n\r\nbody" % value)
    answer = client.message()
    assert (answer.status, answer.reason) == (417, b"expectation_failed")
    assert answer.get("Connection") == b"close"
    assert client.rest() == b""
    assert backend.requests == 0


def test_http_1_0_has_no_expectations(harness: Harness) -> None:
    """MUST be ignored from HTTP/1.0, to which no 1xx may be sent (§15.2)."""

    def script(peer: Peer) -> None:
        request = peer.message()
        assert request.get("Expect") is None
        peer.send(CONTINUE + ok(request.body))

    harness.service(harness.backend(script))
    client = harness.connect()
    head, body = ASKS["a length"]
    client.send(POST.replace(b"1.1", b"1.0") + head + body)
    answer = client.message()
    assert (answer.status, answer.body) == (200, b"body")


def test_a_refusal_of_our_own_says_what_becomes_of_the_connection(harness: Harness) -> None:
    client = harness.connect()
    client.send(
        b"POST / HTTP/1.1\r\nHost: nobody.test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
    )
    answer = client.message()
    assert answer.status == 404
    assert answer.get("Connection") == b"close"
    assert client.rest() == b""


def test_a_client_waits_for_an_instance_and_not_for_its_start(harness: Harness) -> None:
    """100 from the proxy before there is an instance would be a promise too early."""

    def script(peer: Peer) -> None:
        peer.head()
        peer.send(CONTINUE)
        assert peer.take(4) == b"body"
        peer.send(ok())

    throttler = harness.service()
    client = harness.connect()
    client.send(POST + ASKS["a length"][0])
    harness.wait_for(lambda: throttler.breaker.waiting)
    assert not client.received
    harness.publish(harness.endpoints(harness.backend(script)))
    assert client.message().status == 100
    client.send(b"body")
    assert client.message().status == 200
