"""Too much, too long, or no HTTP at all: refused within bounds, and nobody else notices."""

from __future__ import annotations

import random
import resource
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from tests.conformance.reading import CUT, REFUSED, seen
from tests.proxy.harness import Harness, get
from tests.proxy.wire import PATIENCE, Ended, Peer, answering, ok
from wakeful.proxy.throttler import Throttler

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a.test\r\n"
KILO = 1024
MEGA = 1024 * 1024


def others_are_served(harness: Harness) -> None:
    assert harness.get(host=b"a.test").message().status == 200


# What a head may be: the largest that must pass, and what must not.

LARGE = {
    "a target of 8,000 bytes": get(b"/" + b"x" * 7_978),  # RFC 9112 §3: RECOMMENDED
    "a query of 8,000 bytes": get(b"/?" + b"x" * 7_977),
    "a field of 8 KiB": get(fields=b"X: %b\r\n" % (b"x" * 8192)),
    "cookies of 16 KiB": get(fields=b"Cookie: %b\r\n" % (b"a=b; " * 3276)),
    "a hundred fields": get(fields=b"".join(b"X-%d: %d\r\n" % (n, n) for n in range(100))),
}


@pytest.mark.parametrize("case", LARGE)
def test_a_large_head_is_a_head(harness: Harness, case: str) -> None:
    backend = harness.backend()
    harness.service(backend)
    client = harness.connect()
    client.send(LARGE[case])
    assert client.message().status == 200
    for line in LARGE[case].split(b"\r\n"):
        assert line.strip() in backend.received[0]


TOO_LARGE: dict[str, tuple[bytes, tuple[int, ...]]] = {
    # RFC 9112 §3: MUST be 414; RFC 6585 §5 for the rest; 400 and 501 are as clear.
    "a target": (get(b"/" + b"x" * 100_000), (414,)),
    "a method": (b"X" * 100_000 + b" / HTTP/1.1\r\nHost: a.test\r\n\r\n", (400, 414, 431, 501)),
    "a version": (b"GET / HTTP/1." + b"1" * 100_000 + b"\r\n\r\n", (400, 414, 431, 505)),
    "a name": (get(fields=b"X" * 100_000 + b": 1\r\n"), (400, 431)),
    "a value": (get(fields=b"X: %b\r\n" % (b"x" * 100_000)), (400, 431)),
    "a host": (get(host=b"a" * 100_000), (400, 431)),
    "ten thousand fields": (get(fields=b"X: 1\r\n" * 10_000), (400, 431)),
    "a thousand fields": (get(fields=b"X: 1\r\n" * 1_000), (400, 431)),
    "a megabyte": (get(fields=b"X: %b\r\n" % (b"x" * 1000) * 1000), (400, 431)),
    "white space": (get(fields=b"X:%b\r\n" % (b" " * 100_000)), (400, 431)),
}


@pytest.mark.parametrize("case", TOO_LARGE)
def test_a_head_that_is_too_large_is_refused(harness: Harness, case: str) -> None:
    request, allowed = TOO_LARGE[case]
    backend = harness.backend()
    harness.service(backend)
    for size in (len(request), 4 * KILO):
        client = harness.connect()
        for at in range(0, len(request), size):
            client.send(request[at : at + size])
            if at < 100_000:
                harness.beat()
        answer = client.message()
        assert answer.status in allowed
        assert answer.get("Connection") == b"close"
        assert client.rest() == b""
    assert backend.requests == 0
    others_are_served(harness)


# Without end: said over and over until whoever says it is cut off.

ENDLESS_UP: dict[str, tuple[bytes, bytes]] = {
    "a target": (b"GET /", b"x"),
    "a field": (get()[:-2] + b"X: ", b"x"),
    "fields": (get()[:-2], b"X: 1\r\n"),
    "empty lines": (b"", b"\r\n"),
    "a chunk's extension": (POST + CHUNKED + b"5;", b"x"),
    "extensions of a chunk": (POST + CHUNKED + b"5", b";a=b"),
    "a quoted extension": (POST + CHUNKED + b'5;a="', b"x"),
    "a size of zeros": (POST + CHUNKED, b"0"),
    "a trailer": (POST + CHUNKED + b"0\r\nX: ", b"x"),
    "trailers": (POST + CHUNKED + b"0\r\n", b"X: 1\r\n"),
}


@pytest.mark.parametrize("case", ENDLESS_UP)
def test_what_a_client_says_without_end_is_cut_off(harness: Harness, case: str) -> None:
    """Within a megabyte; what is read and dropped behind a refusal counts for nothing."""
    head, piece = ENDLESS_UP[case]
    backend = harness.backend()
    harness.service(backend)
    client = harness.connect()
    with suppress(OSError):
        client.send(head)
        for _ in range(16):
            client.send(piece * (64 * KILO // len(piece)))
    with suppress(ConnectionResetError):
        came = client.rest()
        assert not came or came[9:12] in (b"400", b"413", b"414", b"431")
    assert not any(data.endswith(b"0\r\n\r\n") for data in backend.received)
    others_are_served(harness)


ENDLESS_DOWN: dict[str, tuple[bytes, bytes]] = {
    "a phrase": (b"HTTP/1.1 200 ", b"x"),
    "a field": (OK + b"X: ", b"x"),
    "fields": (OK, b"X: 1\r\n"),
    "a name": (OK, b"x"),
    "empty lines": (b"", b"\r\n"),
    "interim answers": (b"", b"HTTP/1.1 103 E\r\n\r\n"),
    "interim fields": (b"HTTP/1.1 103 E\r\n", b"X: 1\r\n"),
    "a chunk's extension": (OK + CHUNKED + b"5;", b"x"),
    "a size of zeros": (OK + CHUNKED, b"0"),
    "a trailer": (OK + CHUNKED + b"0\r\nX: ", b"x"),
    "trailers": (OK + CHUNKED + b"0\r\n", b"X: 1\r\n"),
}


@pytest.mark.parametrize("case", ENDLESS_DOWN)
def test_what_an_instance_says_without_end_is_cut_off(harness: Harness, case: str) -> None:
    head, piece = ENDLESS_DOWN[case]

    def script(peer: Peer) -> None:
        if b"/endless" not in peer.message().start:
            peer.send(ok())
            return
        peer.send(head)
        for _ in range(256):  # 16 MiB
            peer.send(piece * (64 * KILO // len(piece)))
        believed.append(case)

    believed: list[str] = []
    harness.service(harness.backend(script))
    client = harness.get(b"/endless")
    assert last_word(client) in (REFUSED, CUT)
    assert not believed
    others_are_served(harness)


def last_word(client: Peer) -> bytes:
    try:
        while (answer := client.message()).status == 103:
            pass
    except (Ended, ConnectionResetError):
        return CUT
    return REFUSED if answer.status == 502 else seen(answer)


# No HTTP at all.

_RANDOM = random.Random(20261123)
GARBAGE: dict[str, bytes] = {
    "TLS": bytes.fromhex("16030100a5010000a10303") + _RANDOM.randbytes(160),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000"),
    "HTTP/0.9": b"GET /\r\n",
    "HTTP/0.9 with a version": b"GET / HTTP/0.9\r\n\r\n",
    "HTTP/3": b"GET / HTTP/3.0\r\nHost: a.test\r\n\r\n",
    "an answer": ok(),
    "SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
    "SMTP": b"EHLO a.test\r\n",
    "RTSP": b"OPTIONS rtsp://a.test/ RTSP/1.0\r\nCSeq: 1\r\n\r\n",
    "SOCKS 4": b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00",
    "SOCKS 5": b"\x05\x01\x00",
    "Redis": b"*1\r\n$4\r\nPING\r\n",
    "PROXY 1": b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + get(),
    "PROXY 2": b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + b"\x01" * 12 + get(),
    "ICAP": b"OPTIONS icap://a.test/ ICAP/1.0\r\nHost: a.test\r\n\r\n",
    "UTF-16": get().decode().encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + get(),
    "zeros": b"\0" * 1000,
    "line ends": b"\r\n" * 1000,
    "LF only": b"\n" * 1000,
    "CR only": b"\r" * 1000,
    "white space": b" " * 1000 + get(),
    "colons": b":\r\n" * 100 + b"\r\n",
    "JSON": b'{"method": "GET"}\r\n\r\n',
} | {f"random bytes {n}": _RANDOM.randbytes(300) + b"\r\n\r\n" for n in range(8)}


@pytest.mark.parametrize("case", GARBAGE)
def test_what_is_no_http_is_refused_or_given_up_and_runs_nothing(
    harness: Harness, case: str
) -> None:
    backend = harness.backend()
    harness.service(backend)
    client = harness.connect()
    client.send(GARBAGE[case])
    harness.beat()
    harness.clock.forward(100)  # it may have looked like the beginning of something
    with suppress(ConnectionResetError):
        came = client.rest()
        assert not came or came[9:12] in (b"400", b"408", b"414", b"431", b"501", b"505")
        assert came.count(b"HTTP/1.1 ") <= 1
    assert backend.requests == 0
    others_are_served(harness)


# Many.


LEAVING: dict[str, tuple[bytes, Callable[[Peer], None]]] = {
    "a close": (b"", Peer.close),
    "a reset": (b"", Peer.reset),
    "half a head": (get()[:-2], Peer.close),
    "half a head and a reset": (get()[:-2], Peer.reset),
    "a request": (get(), Peer.close),
    "a request and a reset": (get(), Peer.reset),
    "half an upload": (POST + CHUNKED + b"9\r\nhello", Peer.reset),
}


@pytest.mark.parametrize("case", LEAVING)
def test_five_hundred_clients_that_leave_at_once_leave_nothing(harness: Harness, case: str) -> None:
    said, leave = LEAVING[case]
    throttler = harness.service(harness.backend(), concurrency=10)
    for _ in range(500):
        client = harness.connect()
        client.send(said)
        leave(client)
    harness.wait_for(lambda: not harness.plane.connections)
    harness.wait_for(lambda: idle(throttler))
    others_are_served(harness)


def idle(throttler: Throttler) -> bool:
    return throttler.breaker.active == throttler.breaker.waiting == 0


# Both ends of each are in this process.
IDLE = 10_000 if resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 20_500 else 2_000


def test_thousands_of_idle_connections_are_in_nobodys_way(harness: Harness) -> None:
    backend = harness.backend()
    harness.service(backend)
    resting = [harness.connect() for _ in range(IDLE)]
    harness.wait_for(lambda: len(harness.plane.connections) == IDLE)
    for _ in range(20):
        client = harness.connect()
        for _ in range(10):
            client.send(get())
            assert client.message().status == 200
        client.close()
    assert len(backend.connections) == 1
    resting[-1].send(get())
    assert resting[-1].message().status == 200
    harness.clock.forward(100)
    for one in resting:
        assert one.ending() == "end"


def test_a_thousand_requests_at_once_are_answered_in_their_order(harness: Harness) -> None:
    """RFC 9112 §9.3.2."""

    def script(peer: Peer) -> None:
        while True:
            peer.send(ok(peer.message().start.split(b" ")[1]))

    harness.service(harness.backend(script))
    client = harness.connect()
    requests = b"".join(get(b"/%d" % n) for n in range(1_000))
    sender = threading.Thread(target=client.send, args=(requests,), daemon=True)
    sender.start()
    assert [client.message().body for _ in range(1_000)] == [b"/%d" % n for n in range(1_000)]
    sender.join(PATIENCE)


# A client that reads nothing.


class Deaf:
    """Sends requests without end, and reads none of their answers."""

    def __init__(self, harness: Harness, request: bytes, times: int) -> None:
        self._harness = harness
        self._client = harness.connect(receive_buffer=4096)
        self._requests = request * times
        self._sender = threading.Thread(target=self._send, daemon=True)
        self._sender.start()

    def _send(self) -> None:
        with suppress(OSError):
            self._client.send(self._requests)

    def calm(self, count: Callable[[], int]) -> int:
        """How far it came when nothing moves any more."""
        last, calm = -1, 0
        while calm < 20:
            self._harness.sweep()
            now = self._harness.call(count)
            calm, last = (calm + 1, last) if now == last else (0, now)
        return last

    def leave(self) -> None:
        self._client.close()
        self._sender.join(PATIENCE)


MANY = 50_000


def test_answers_of_our_own_are_not_heaped_up_for_a_client_that_reads_nothing(
    harness: Harness,
) -> None:
    """What the kernel takes is some 4 MB; these would be more than 10."""
    deaf = Deaf(harness, get(host=b"nobody.test"), MANY)
    answered = deaf.calm(lambda: harness.plane.unrouted.get("no_route", 0))
    deaf.leave()
    assert 0 < answered < MANY


def test_answers_of_an_instance_are_not_heaped_up_for_a_client_that_reads_nothing(
    harness: Harness,
) -> None:
    backend = harness.backend(answering(ok(b"x" * 10_000)))
    throttler = harness.service(backend)
    deaf = Deaf(harness, get(), 4_000)
    harness.wait_for(lambda: throttler.counters.durations, "the first answer")
    answered = deaf.calm(lambda: sum(throttler.counters.durations[(b"GET", 200)].counts))
    deaf.leave()
    assert 0 < answered < 4_000


DEAF: dict[str, tuple[bytes, int, int]] = {
    "one large answer": (get(), 1, 16 * MEGA),
    "large answers": (get(), 100, 16 * MEGA),
    "small answers": (get(), 4_000, 10_000),
    "answers of our own": (get(host=b"nobody.test"), MANY, 0),
}


@pytest.mark.parametrize("case", DEAF)
def test_a_client_that_reads_nothing_is_given_up_in_the_end(harness: Harness, case: str) -> None:
    """However many requests it has sent: their times do not add up."""
    request, times, size = DEAF[case]
    throttler = harness.service(harness.backend(answering(ok(b"x" * size))), timeout=60.0)
    deaf = Deaf(harness, request, times)
    deaf.calm(lambda: sum(len(peer.received) for peer in harness._backends[0].connections))
    for _ in range(10):
        harness.clock.forward(100)
        harness.sweep()
    left = harness.call(lambda: len(harness.plane.connections))
    deaf.leave()
    assert not left
    harness.wait_for(lambda: idle(throttler))
