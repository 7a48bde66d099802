"""Answers that come before their request is whole: the client may still be sending."""

from __future__ import annotations

import pytest

from tests.conformance.reading import form, goes_on_as_it_says, seen
from tests.proxy.harness import Harness, get, post
from tests.proxy.wire import Peer

NO = b"HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nhello"
UNFINISHED = {
    "length": b"Content-Length: 1000000\r\n\r\npart",
    "chunked": b"Transfer-Encoding: chunked\r\n\r\nfffff\r\npart",
}


@pytest.mark.parametrize("ends", [False, True], ids=["goes on", "ends"])
@pytest.mark.parametrize("framing", UNFINISHED)
def test_an_early_answer_reaches_a_client_that_is_still_sending(
    harness: Harness, framing: str, ends: bool
) -> None:
    """RFC 9112 §9.5, §9.6: whole, with the end announced, and no reset takes it away."""

    def script(peer: Peer) -> None:
        peer.until(b"part")
        peer.send(NO)
        if ends:
            peer.end()
        assert peer.ending() in ("end", "reset")

    backend = harness.backend(script)
    harness.service(backend)
    client = harness.connect()
    client.send(b"POST / HTTP/1.1\r\nHost: a.test\r\n" + UNFINISHED[framing])
    for _ in range(5):
        client.send(b"x" * 100_000)
    answer = client.message()
    assert seen(answer) == form(NO)
    assert answer.get("Connection") == b"close"
    client.send(get())  # nothing behind the answer is a request any more
    assert client.rest() == b""
    assert backend.requests == 1


def test_an_answer_to_a_body_that_an_instance_would_not_read_is_told(harness: Harness) -> None:
    """Its end comes as a reset, and at the same moment as more of the body."""

    def script(peer: Peer) -> None:
        peer.until(b"part")
        release = harness.stall()
        peer.send(NO)
        peer.reset()
        client.send(b"x" * 100_000)
        release()

    client = harness.connect()
    harness.service(harness.backend(script))
    client.send(b"POST / HTTP/1.1\r\nHost: a.test\r\n" + UNFINISHED["length"])
    answer = client.message()
    assert answer.status in (413, 502)  # the kernel may have thrown the answer away
    assert answer.get("Connection") == b"close"
    assert client.rest() == b""


def test_an_answer_may_begin_before_the_request_ends(harness: Harness) -> None:
    """An instance may answer as it reads; the exchange then lasts until both have ended."""

    def script(peer: Peer) -> None:
        peer.until(b"one")
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        peer.until(b"two")
        peer.send(b"3\r\ntwo\r\n0\r\n\r\n")
        peer.ending()

    harness.service(harness.backend(script))
    client = harness.connect()
    client.send(post(b"onetwo")[:-3])
    answer = client.head()
    assert answer.status == 200
    client.until(b"one")
    client.send(b"two")
    client.until(b"two")
    client.until(b"0\r\n\r\n")
    goes_on_as_it_says(client, answer)
