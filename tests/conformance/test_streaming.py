"""What comes goes on at once, in whatever size, and is held by nobody on the way."""

from __future__ import annotations

import hashlib
import random
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import Wakeful
from tests.proxy.harness import Harness, chunks, get
from tests.proxy.wire import PATIENCE, Backend, Message, Peer, Script, ok

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
MEGABYTE = 1 << 20


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


# Each piece is sent only when the one before has arrived at the other end.

EVENTS = [b"id: %d\ndata: event %d;\n\n" % (n, n) for n in range(20)]
STREAM = OK + b"Content-Type: text/event-stream\r\n"
DOWN: dict[str, tuple[bytes, list[bytes]]] = {
    "a length": (OK + b"Content-Length: 3\r\n\r\n", [b"x", b"y", b"z"]),
    "chunks": (OK + CHUNKED, [chunk(b"x"), chunk(b"y"), chunk(b"z")]),
    "until the end": (OK + b"\r\n", [b"x", b"y", b"z"]),
    "parts of a chunk": (OK + CHUNKED, [b"3\r\nx", b"y", b"z\r\n"]),
    "parts of a size": (OK + CHUNKED, [chunk(b"x") + b"0", b"1\r\ny\r\n", chunk(b"z")]),
    "events": (STREAM + CHUNKED, [*map(chunk, EVENTS)]),
    "events until the end": (STREAM + b"\r\n", EVENTS),
    "behind hints": (b"HTTP/1.1 103 E\r\n\r\n" + OK + CHUNKED, [chunk(b"x"), chunk(b"y")]),
}


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize("case", DOWN)
def test_an_answer_arrives_as_it_is_sent(harness: Harness, case: str, version: bytes) -> None:
    head, pieces = DOWN[case]
    arrived = threading.Semaphore(0)

    def script(peer: Peer) -> None:
        peer.message()
        for piece in (head, *pieces):
            peer.send(piece)
            assert arrived.acquire(timeout=PATIENCE)
        peer.send(b"0\r\n\r\n" if b"chunked" in head else b"")

    harness.service(harness.backend(script))
    client = harness.connect()
    client.send(get().replace(b"HTTP/1.1", b"HTTP/" + version))
    while client.head().status != 200:
        pass
    arrived.release()
    for piece in pieces:
        data = re.search(rb"id: .*;|[xyz]", piece, re.DOTALL)
        assert data is not None
        client.until(data[0])
        arrived.release()


UP: dict[str, tuple[bytes, list[bytes]]] = {
    "a length": (b"Content-Length: 3\r\n\r\n", [b"x", b"y", b"z"]),
    "chunks": (CHUNKED, [chunk(b"x"), chunk(b"y"), chunk(b"z") + b"0\r\n\r\n"]),
    "parts of a chunk": (CHUNKED, [b"3\r\nx", b"y", b"z\r\n0\r\n\r\n"]),
}


@pytest.mark.parametrize("case", UP)
def test_a_request_arrives_as_it_is_sent(harness: Harness, case: str) -> None:
    fields, pieces = UP[case]
    arrived = threading.Semaphore(0)

    def script(peer: Peer) -> None:
        peer.head()
        arrived.release()
        for letter in (b"x", b"y", b"z"):
            peer.until(letter)
            arrived.release()
        peer.send(ok())
        peer.ending()

    harness.service(harness.backend(script))
    client = harness.connect()
    client.send(b"POST / HTTP/1.1\r\nHost: a.test\r\n" + fields)
    for piece in pieces:
        assert arrived.acquire(timeout=PATIENCE)
        client.send(piece)
    assert client.message().status == 200


def test_trailers_of_a_request_arrive_behind_its_body(harness: Harness) -> None:
    """RFC 9110 §6.5: with like names in order, and with their announcement."""

    def script(peer: Peer) -> None:
        while True:
            request = peer.message()
            assert (request.get("Trailer"), request.body) == (b"X-Sum", b"hello")
            assert request.trailers == ((b"X-Sum", b"1"), (b"X-End", b""), (b"X-Sum", b"2"))
            peer.send(ok())

    harness.service(harness.backend(script))
    client = harness.connect()
    trailers = b"X-Sum: 1\r\nX-End:\r\nX-Sum: 2\r\n"
    for _ in range(2):
        client.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nTrailer: X-Sum\r\n" + CHUNKED)
        client.send(chunks(b"he", b"llo", trailers=trailers))
        assert client.message().status == 200


# Large bodies, and what became of them.

BLOCK = random.Random(1).randbytes(MEGABYTE)
BLOCKS = 100


def blocks() -> Iterator[bytes]:
    for n in range(BLOCKS):
        yield BLOCK[n:] + BLOCK[:n]


def large(peer: Peer, head: bytes, *, chunked: bool) -> None:
    length = b"Content-Length: %d\r\n\r\n" % (MEGABYTE * BLOCKS)
    peer.send(head + (CHUNKED if chunked else length))
    for block in blocks():
        peer.send(chunk(block) if chunked else block)
    if chunked:
        peer.send(b"0\r\n\r\n")


def digest(peer: Peer, head: Message) -> str:
    """Of a body, in a digest and a length; it is not kept."""
    digest, size = hashlib.sha256(), 0
    for left in _sizes(peer, head):
        while left:
            data = peer.take(min(left, 65536))
            del peer.received[: peer._taken]
            peer._taken = 0
            digest.update(data)
            left -= len(data)
            size += len(data)
    return f"{size} {digest.hexdigest()}"


def _sizes(peer: Peer, head: Message) -> Iterator[int]:
    if (length := head.get("Content-Length")) is not None:
        yield int(length)
        return
    assert head.get("Transfer-Encoding") == b"chunked"
    while size := int(peer.until(b"\r\n"), 16):
        yield size
        assert peer.take(2) == b"\r\n"
    assert peer.take(2) == b"\r\n"


def _wanted() -> str:
    digest = hashlib.sha256()
    for block in blocks():
        digest.update(block)
    return f"{MEGABYTE * BLOCKS} {digest.hexdigest()}"


WANTED = _wanted()


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_hundred_megabytes_come_down_as_they_were(harness: Harness, chunked: bool) -> None:
    def script(peer: Peer) -> None:
        peer.message()
        large(peer, OK, chunked=chunked)
        peer.ending()

    harness.service(harness.backend(script))
    client = harness.get()
    assert digest(client, client.head()) == WANTED


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_hundred_megabytes_go_up_as_they_were(harness: Harness, chunked: bool) -> None:
    harness.service(harness.backend(lambda peer: peer.send(ok(digest(peer, peer.head()).encode()))))
    client = harness.connect()
    large(client, b"POST / HTTP/1.1\r\nHost: a.test\r\n", chunked=chunked)
    assert client.message().body.decode() == WANTED


@pytest.mark.parametrize("up", [False, True], ids=["down", "up"])
def test_a_hundred_thousand_chunks_of_one_byte_are_a_body(harness: Harness, up: bool) -> None:
    body = BLOCK[:100_000]
    framed = b"".join(map(chunk, (body[at : at + 1] for at in range(len(body))))) + b"0\r\n\r\n"

    def script(peer: Peer) -> None:
        request = peer.message()
        assert request.body == (body if up else b"")
        peer.send(ok() if up else OK + CHUNKED + framed)

    harness.service(harness.backend(script))
    client = harness.connect()
    client.send(b"POST / HTTP/1.1\r\nHost: a.test\r\n" + CHUNKED + framed if up else get())
    assert client.message().body == (b"hello" if up else body)


# A proxy in a process of its own, and what it holds while somebody is slow.

HOLDS = 20 * MEGABYTE
PENDING = 200 * MEGABYTE


class Proxy:
    """``wakeful run`` before one fixed address."""

    def __init__(self, directory: Path, script: Script) -> None:
        self.backend = Backend(script)
        self._wakeful = Wakeful(
            directory, {"a": {"upstreams": [f"127.0.0.1:{self.backend.port}"]}}
        ).start()

    def connect(self) -> Peer:
        return Peer(socket.create_connection(("127.0.0.1", self._wakeful.port)))

    def resident(self, name: str = "VmRSS") -> int:
        """In bytes; VmHWM for the most there ever was."""
        status = Path(f"/proc/{self._wakeful.pid}/status").read_text()
        (found,) = re.findall(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
        return int(found) * 1024

    def end(self) -> None:
        self._wakeful.end()
        self.backend.join()


Start = Callable[[Script], Proxy]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Proxy] = []

    def start(script: Script) -> Proxy:
        started.append(Proxy(tmp_path, script))
        return started[-1]

    yield start
    for proxy in started:
        proxy.end()


def send_until_refused(peer: Peer, size: int) -> int:
    """How much the other side takes before it takes no more for a while."""
    sent = 0
    peer.sock.settimeout(0.3)
    try:
        while sent < size:
            sent += peer.sock.send(BLOCK[: size - sent])
    except TimeoutError:
        pass
    peer.sock.settimeout(PATIENCE)
    return sent


def send_rest(peer: Peer, size: int) -> None:
    while size:
        size -= peer.sock.send(BLOCK[:size])


def discard(peer: Peer, size: int) -> None:
    size -= len(peer.received) - peer._taken
    while size:
        size -= len(peer.sock.recv(min(size, MEGABYTE)))


HEAD = b"GET / HTTP/1.1\r\nHost: a.localhost\r\n\r\n"


def test_a_client_that_reads_slowly_costs_the_proxy_little(start: Start) -> None:
    def script(peer: Peer) -> None:
        peer.message()
        peer.send(ok())
        peer.message()
        peer.send(OK + b"Content-Length: %d\r\n\r\n" % PENDING)
        taken.append(send_until_refused(peer, PENDING))
        full.set()
        send_rest(peer, PENDING - taken[0])
        peer.ending()

    taken: list[int] = []
    full = threading.Event()
    proxy = start(script)
    client = proxy.connect()
    client.send(HEAD)
    assert client.message().status == 200
    before = proxy.resident()
    client.send(HEAD)
    assert full.wait(PATIENCE)
    assert taken[0] < PENDING
    client.head()
    discard(client, PENDING)
    assert proxy.resident("VmHWM") - before < HOLDS
    client.close()


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_an_instance_that_reads_slowly_costs_the_proxy_little(start: Start, chunked: bool) -> None:
    """A chunk of 200 MB is no larger than its pieces."""

    def script(peer: Peer) -> None:
        peer.message()
        peer.send(ok())
        head = peer.head()
        assert full.wait(PATIENCE)
        for left in _sizes(peer, head):
            while left:
                size = min(left, 65536)
                peer.take(size)
                del peer.received[: peer._taken]
                peer._taken = 0
                left -= size
        peer.send(ok())

    full = threading.Event()
    proxy = start(script)
    client = proxy.connect()
    client.send(HEAD)
    assert client.message().status == 200
    before = proxy.resident()
    client.send(b"POST / HTTP/1.1\r\nHost: a.localhost\r\n")
    client.send(
        CHUNKED + b"%x\r\n" % PENDING if chunked else b"Content-Length: %d\r\n\r\n" % PENDING
    )
    sent = send_until_refused(client, PENDING)
    assert sent < PENDING
    full.set()
    send_rest(client, PENDING - sent)
    client.send(b"\r\n0\r\n\r\n" if chunked else b"")
    assert client.message().status == 200
    assert proxy.resident("VmHWM") - before < HOLDS
    client.close()
