"""The demo services as a client and a proxy meet them: real processes, real sockets."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest

import wakeful.demo

FOLDER = Path(wakeful.demo.__file__).parent
MASK = b"\x11\x22\x33\x44"


class Service:
    """One demo service, started the way the demo starts it: as a file, with $PORT."""

    def __init__(self, name: str, env: dict[str, str]) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.process = subprocess.Popen(
            # -S: without site-packages, as in an image that has nothing but Python.
            [sys.executable, "-S", str(FOLDER / f"{name}.py")],
            env={"PATH": os.environ["PATH"], "PORT": str(self.port), **env},
            cwd="/",
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.first_line = self.process.stdout.readline()

    def get(self, target: str, **more: str) -> tuple[HTTPResponse, str]:
        client = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            client.request(more.get("method", "GET"), target)
            response = client.getresponse()
            return response, response.read().decode()
        finally:
            client.close()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def say(self, request: bytes) -> bytes:
        """Everything the service answers until it closes."""
        with self.connect() as connection:
            connection.sendall(request)
            return b"".join(iter(lambda: connection.recv(65536), b""))

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)


@contextmanager
def running(name: str, **env: str) -> Iterator[Service]:
    service = Service(name, env)
    try:
        yield service
    finally:
        service.process.kill()
        service.process.wait()
        assert service.process.stdout is not None
        service.process.stdout.close()


@pytest.fixture(scope="module")
def echo() -> Iterator[Service]:
    with running("echo") as service:
        yield service


def received(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        assert piece, f"closed after {data!r}"
        data += piece
    return data


# hello


def test_hello_greets_and_says_which_revision_answered_and_how_often() -> None:
    with running("hello", TARGET="Berlin", K_REVISION="hello-00007") as service:
        _, first = service.get("/")
        _, second = service.get("/any/path")

    assert first.startswith("Hello Berlin!\nrevision hello-00007, instance ")
    assert first.endswith(", request 1\n")
    assert second.endswith(", request 2\n")


def test_without_a_target_hello_greets_the_world() -> None:
    with running("hello") as service:
        assert service.get("/")[1].startswith("Hello World!\n")


def test_a_health_check_is_not_counted_as_a_request() -> None:
    with running("hello") as service:
        assert service.get("/healthz")[1] == "ok\n"
        assert service.get("/")[1].endswith(", request 1\n")


# The server that all three share


def test_a_connection_carries_many_requests_and_their_bodies_are_consumed() -> None:
    with running("hello") as service:
        client = HTTPConnection("127.0.0.1", service.port, timeout=10)
        for number in range(1, 4):
            client.request("POST", "/", body=b"x" * 100_000)
            assert client.getresponse().read().endswith(f", request {number}\n".encode())
            assert client.sock is not None  # not closed by the service
        client.close()


def test_pipelined_requests_are_answered_in_order(echo: Service) -> None:
    answers = echo.say(
        b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n"
        b"POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"
        b"GET /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    )

    assert answers.index(b"GET /1 ") < answers.index(b"POST /2 ") < answers.index(b"GET /3 ")
    assert answers.count(b"HTTP/1.1 200 OK\r\n") == 3


def test_the_answer_to_head_has_the_length_and_no_body(echo: Service) -> None:
    answer = echo.say(b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")

    assert b"\r\nContent-Length: 43\r\n" in head + b"\r\n"
    assert body == b""


def test_an_http_1_0_client_gets_an_unchunked_stream_that_ends_by_closing(echo: Service) -> None:
    answer = echo.say(b"POST /stream HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello")
    head, _, body = answer.partition(b"\r\n\r\n")

    assert b"chunked" not in head.lower()
    assert b"\r\nConnection: close" in head
    assert body == b"hello"


def test_a_client_that_expects_100_continue_gets_it_before_it_sends_the_body(
    echo: Service,
) -> None:
    with echo.connect() as connection:
        connection.sendall(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        )
        assert received(connection, 25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"hi")
        assert received(connection, 15) == b"HTTP/1.1 200 OK"


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        ("GET /\r\n", "400"),
        ("GET / HTTP/2.0\r\n", "505"),
        ("GET / HTTP/1.1\r\nno colon\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost : a\r\n", "400"),
        ("POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n", "400"),
        ("POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n", "400"),
        ("POST / HTTP/1.1\r\nContent-Length: -1\r\n", "400"),
        ("POST / HTTP/1.1\r\nContent-Length:\r\n", "400"),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n", "501"),
        ("GET /events?n=many HTTP/1.1\r\n", "400"),
        (f"GET / HTTP/1.1\r\nA: {'a' * 70_000}\r\n", "431"),
    ],
)
def test_a_request_that_cannot_be_understood_is_refused_and_the_connection_closed(
    echo: Service, request_head: str, status: str
) -> None:
    answer = echo.say(f"{request_head}\r\n".encode())

    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"\r\nConnection: close\r\n" in answer


def test_a_broken_chunk_is_refused(echo: Service) -> None:
    answer = echo.say(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n\r\n"
    )

    assert answer.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("name", ["hello", "slow", "echo"])
def test_sigterm_ends_a_service_at_once_though_idle_connections_are_open(name: str) -> None:
    with running(name) as service, service.connect() as used, service.connect() as unused:
        used.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        received(used, 15)
        service.terminate()

        assert service.process.wait(timeout=10) == 0
        assert unused.recv(1) == b""


def test_sigterm_lets_a_running_request_finish_and_closes_its_connection() -> None:
    with running("slow") as service, service.connect() as connection:
        connection.sendall(
            b"POST /?ms=300 HTTP/1.1\r\nHost: a\r\n"
            b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        )
        received(connection, 25)  # it has been asked for the body: the request is in hand
        service.terminate()
        connection.sendall(b"hi")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))

        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"\r\nConnection: close\r\n" in answer
        assert answer.endswith(b"}\n")
        assert service.process.wait(timeout=10) == 0


def test_sigterm_does_not_lose_a_request_that_was_sent_before_it() -> None:
    for _ in range(20):  # the service may be anywhere between accepting and answering
        with running("hello") as service, service.connect() as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            service.terminate()

            assert received(connection, 15) == b"HTTP/1.1 200 OK"


# slow


def test_slow_says_how_many_requests_it_had_in_hand_at_once() -> None:
    with running("slow", K_REVISION="slow-00001") as service, ThreadPoolExecutor(3) as pool:
        alone = json.loads(service.get("/?ms=1")[1])
        together = [json.loads(text) for _, text in pool.map(service.get, ["/?ms=3000"] * 3)]

    assert alone["in_progress"] == alone["most_at_once"] == 1
    assert alone["revision"] == "slow-00001"
    assert sorted(answer["in_progress"] for answer in together) == [1, 2, 3]
    assert {answer["most_at_once"] for answer in together} == {3}
    assert {answer["instance"] for answer in together} == {alone["instance"]}


def test_slow_has_put_down_a_request_by_the_time_its_answer_is_read() -> None:
    with running("slow") as service, ExitStack() as stack:
        clients = [stack.enter_context(service.connect()) for _ in range(2)]
        for turn in range(200):
            client = clients[turn % 2]  # the other one's thread may still be writing
            client.sendall(b"GET /?ms=0 HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = b""
            while not answer.endswith(b"}\n"):
                answer += client.recv(65536)

        assert json.loads(answer.partition(b"\r\n\r\n")[2])["most_at_once"] == 1


def test_slow_does_not_count_a_request_whose_client_hung_up() -> None:
    with running("slow") as service, service.connect() as patient:

        def in_progress() -> int:
            patient.sendall(b"GET /?ms=0 HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = b""
            while not answer.endswith(b"}\n"):
                answer += patient.recv(65536)
            return int(json.loads(answer.partition(b"\r\n\r\n")[2])["in_progress"])

        for _ in range(100):  # its thread may wake before the next one, or after
            with service.connect() as impatient:
                impatient.sendall(b"GET /?ms=60000 HTTP/1.1\r\nHost: a\r\n\r\n")
                while in_progress() == 1:
                    pass  # until the long one is in hand
            assert in_progress() == 1


# echo


def test_echo_says_back_method_target_headers_and_body(echo: Service) -> None:
    client = HTTPConnection("127.0.0.1", echo.port, timeout=10)
    client.request("PUT", "/a/b?c=d", body=b"\x00\xffbody", headers={"X-Thing": "1"})
    said = client.getresponse().read()
    client.close()

    head, _, body = said.partition(b"\n\n")
    assert head.startswith(b"PUT /a/b?c=d HTTP/1.1\n")
    assert b"\nX-Thing: 1" in head
    assert body == b"\x00\xffbody"


def test_echo_understands_a_chunked_body_with_extensions_and_trailers(echo: Service) -> None:
    answer = echo.say(
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        b"3\r\nabc\r\n00A;ext=1\r\n0123456789\r\n0\r\nX-Trailer: t\r\n\r\n"
    )

    assert answer.endswith(b"\n\nabc0123456789")


def test_a_stream_comes_back_while_the_request_is_still_being_sent(echo: Service) -> None:
    with echo.connect() as connection:
        connection.sendall(b"POST /stream HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(65536)
        for piece in (b"one", b"two"):
            connection.sendall(b"3\r\n%b\r\n" % piece)
            assert received(connection, 8) == b"3\r\n%b\r\n" % piece
        connection.sendall(b"0\r\n\r\n")
        assert received(connection, 5) == b"0\r\n\r\n"


def test_a_stream_can_be_larger_than_any_buffer(echo: Service) -> None:
    body = os.urandom(1 << 20) * 8
    request = b"POST /stream HTTP/1.1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(
        body
    )
    with echo.connect() as connection, ThreadPoolExecutor(1) as pool:
        sending = pool.submit(connection.sendall, request + body)
        response = HTTPResponse(connection)
        response.begin()
        assert response.read() == body
        sending.result()


def test_events_arrive_one_by_one_and_end_after_n(echo: Service) -> None:
    response, text = echo.get("/events?n=2")

    assert response.headers["Content-Type"] == "text/event-stream"
    assert text == "id: 1\ndata: event 1\n\nid: 2\ndata: event 2\n\n"


def test_endless_events_end_properly_on_sigterm() -> None:
    with running("echo") as service:
        client = HTTPConnection("127.0.0.1", service.port, timeout=10)
        client.request("GET", "/events")
        response = client.getresponse()
        assert response.readline() == b"id: 1\n"
        service.terminate()
        response.read()  # raises IncompleteRead if the stream is cut
        client.close()
        assert service.process.wait(timeout=10) == 0


# The WebSocket of echo (RFC 6455)


@pytest.fixture
def websocket(echo: Service) -> Iterator[socket.socket]:
    with opened(echo) as connection:
        yield connection


@contextmanager
def opened(service: Service) -> Iterator[socket.socket]:
    with service.connect() as connection:
        # The key and its proof are the example of §1.3.
        connection.sendall(
            b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(1)
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in head
        yield connection


def frame(first: int, payload: bytes) -> bytes:
    if len(payload) < 126:
        size = bytes([0x80 | len(payload)])
    elif len(payload) < 65536:
        size = struct.pack("!BH", 0x80 | 126, len(payload))
    else:
        size = struct.pack("!BQ", 0x80 | 127, len(payload))
    masked = bytes(byte ^ MASK[i % 4] for i, byte in enumerate(payload))
    return bytes([first]) + size + MASK + masked


@pytest.mark.parametrize("payload", [b"", b"Hello", b"\x00\xff" * 100, b"long" * 20_000])
def test_a_websocket_returns_each_frame_unmasked(websocket: socket.socket, payload: bytes) -> None:
    websocket.sendall(frame(0x82, payload))
    size = {0: b"\x00", 5: b"\x05", 200: b"\x7e\x00\xc8", 80_000: struct.pack("!BQ", 127, 80_000)}
    expected = b"\x82" + size[len(payload)] + payload

    assert received(websocket, len(expected)) == expected


def test_a_websocket_answers_a_ping_in_the_middle_of_a_fragmented_message(
    websocket: socket.socket,
) -> None:
    websocket.sendall(frame(0x01, b"Hel") + frame(0x89, b"ping") + frame(0x80, b"lo"))

    assert received(websocket, 15) == b"\x01\x03Hel" + b"\x8a\x04ping" + b"\x80\x02lo"


def test_a_websocket_returns_the_close_code_and_ends(websocket: socket.socket) -> None:
    websocket.sendall(frame(0x88, struct.pack("!H", 1000) + b"bye"))

    assert received(websocket, 4) == b"\x88\x02\x03\xe8"
    assert websocket.recv(1) == b""


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"\x81\x05Hello", 1002),  # not masked
        (frame(0xC1, b"reserved bit"), 1002),
        (frame(0x83, b"reserved opcode"), 1002),
        (frame(0x80, b"continues nothing"), 1002),
        (frame(0x01, b"a") + frame(0x81, b"b"), 1002),  # a message inside a message
        (frame(0x09, b"fragmented ping"), 1002),
        (frame(0x89, b"p" * 126), 1002),
        (struct.pack("!BBQ", 0x82, 0xFF, 1 << 40), 1009),
    ],
)
def test_a_websocket_closes_on_a_frame_that_breaks_the_protocol(
    websocket: socket.socket, sent: bytes, code: int
) -> None:
    websocket.sendall(sent)
    said = b"".join(iter(lambda: websocket.recv(65536), b""))

    assert said.endswith(b"\x88\x02" + struct.pack("!H", code))


def test_sigterm_closes_a_websocket_with_going_away() -> None:
    with running("echo") as service, opened(service) as connection:
        service.terminate()
        assert received(connection, 4) == b"\x88\x02" + struct.pack("!H", 1001)
        assert service.process.wait(timeout=10) == 0


def test_a_plain_request_to_the_websocket_is_told_to_upgrade(echo: Service) -> None:
    response, _ = echo.get("/ws")

    assert response.status == 426
