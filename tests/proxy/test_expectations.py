"""Interim answers and Expect: what may be said before the answer (RFC 9110 §10.1.1, §15.2)."""

from __future__ import annotations

from tests.proxy.harness import Harness, get, old, post
from tests.proxy.wire import Peer, ok

EXPECT = b"Expect: 100-continue\r\n"


def test_a_client_that_waits_for_100_gets_the_instances(harness: Harness) -> None:
    def script(peer: Peer) -> None:
        head = peer.head()
        assert head.get("Expect") == b"100-continue"
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert peer.take(4) == b"body"
        peer.send(ok())

    harness.service(harness.backend(script))
    client = harness.connect()
    client.send(post(b"body", fields=EXPECT)[:-4])
    assert client.message().start == b"HTTP/1.1 100 Continue"
    client.send(b"body")
    assert client.message().status == 200


def test_a_final_answer_instead_of_100_ends_the_exchange_and_the_body_goes_nowhere(
    harness: Harness,
) -> None:
    def script(peer: Peer) -> None:
        peer.head()
        peer.send(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")
        assert peer.rest() == b""

    backend = harness.backend(script)
    harness.service(backend)
    client = harness.connect()
    client.send(post(b"body", fields=EXPECT)[:-4])
    answer = client.message()
    assert (answer.status, answer.body) == (403, b"no")
    client.send(b"body" + get())
    assert client.ending() in ("end", "reset")
    assert backend.requests == 1


def test_an_unknown_expectation_is_refused(harness: Harness) -> None:
    backend = harness.backend()
    harness.service(backend)
    client = harness.connect()
    client.send(post(b"body", fields=b"Expect: 200-ok\r\n"))
    answer = client.message()
    assert (answer.status, answer.reason) == (417, b"expectation_failed")
    assert client.ending() == "end"
    assert backend.requests == 0


def test_an_expectation_from_http_1_0_is_ignored(harness: Harness) -> None:
    def script(peer: Peer) -> None:
        request = peer.message()
        assert request.get("Expect") is None
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n" + ok(request.body))

    harness.service(harness.backend(script))
    client = harness.connect()
    client.send(post(b"body", fields=EXPECT).replace(b"HTTP/1.1", b"HTTP/1.0", 1))
    answer = client.message()
    assert (answer.status, answer.body) == (200, b"body")


def test_early_hints_travel_on_with_their_fields(harness: Harness) -> None:
    def script(peer: Peer) -> None:
        while True:
            peer.message()
            peer.send(
                b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: X-A\r\nX-A: 1\r\n\r\n"
            )
            peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n" + ok())

    backend = harness.backend(script)
    harness.service(backend)
    client = harness.connect()
    for _ in range(2):
        client.send(get())
        first, second, last = client.message(), client.message(), client.message()
        assert (first.status, first.fields) == (103, ((b"Link", b"</a>"),))
        assert (second.status, second.fields) == (103, ((b"Link", b"</b>"),))
        assert (last.status, last.body) == (200, b"hello")
    assert len(backend.connections) == 1


def test_early_hints_are_kept_from_http_1_0(harness: Harness) -> None:
    def script(peer: Peer) -> None:
        peer.message()
        peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok())

    harness.service(harness.backend(script))
    client = harness.connect()
    client.send(old(get()))
    assert client.message().status == 200


def test_endless_interim_answers_are_cut_off(harness: Harness) -> None:
    def script(peer: Peer) -> None:
        peer.message()
        while True:
            peer.send(b"HTTP/1.1 103 Early Hints\r\nX: %b\r\n\r\n" % (b"x" * 1000))

    harness.service(harness.backend(script))
    client = harness.get()
    while (answer := client.message()).status == 103:
        pass
    assert (answer.status, answer.reason) == (502, b"bad_response")


def test_interim_answers_to_one_request_do_not_count_for_the_next(harness: Harness) -> None:
    def script(peer: Peer) -> None:
        while True:
            peer.message()
            for _ in range(100):
                peer.send(b"HTTP/1.1 103 Early Hints\r\nX: %b\r\n\r\n" % (b"x" * 1000))
            peer.send(ok())

    harness.service(harness.backend(script))
    client = harness.connect()
    for _ in range(4):  # which are more than one may have
        client.send(get())
        while (answer := client.message()).status == 103:
            pass
        assert answer.status == 200
