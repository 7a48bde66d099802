"""Short calls of the engine's API, against an engine of a few lines on a Unix socket."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import requests
from docker.errors import APIError, NotFound

from wakeful.runtime.docker_calls import Calls, with_parameters
from wakeful.runtime.docker_client import new_client

PATIENCE = 10.0
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class Engine:
    """Answers each request with the next of its answers; an empty one ends the connection."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answers: list[bytes] = []
        self.asked: list[bytes] = []
        self.connections = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(PATIENCE)

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                connection.settimeout(PATIENCE)
                with connection:
                    self._converse(connection)

    def _converse(self, connection: socket.socket) -> None:
        while request := _request(connection):
            self.asked.append(request)
            answer = self.answers.pop(0)
            connection.sendall(answer)
            if not answer or b"Connection: close" in answer or b"HTTP/1.0" in answer:
                break


def _request(connection: socket.socket) -> bytes:
    seen = b""
    while b"\r\n\r\n" not in seen:
        data = connection.recv(65536)
        if not data:
            return b""
        seen += data
    head, _, body = seen.partition(b"\r\n\r\n")
    sizes = [line[15:] for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")]
    while sizes and len(body) < int(sizes[0]):
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(tmp_path / "engine.sock")
    yield engine
    engine.close()


@pytest.fixture
def calls(engine: Engine) -> Iterator[Calls]:
    calls = Calls(str(engine.path))
    yield calls
    calls.close()


def ask(calls: Calls, method: str = "GET", body: bytes = b"") -> requests.Response:
    return calls.call(method, "/v1.41/x", {"User-Agent": "us"}, body, PATIENCE)


def test_an_answer_is_one_of_requests_own(engine: Engine, calls: Calls) -> None:
    engine.answers = [
        b"HTTP/1.1 404 Not Found\r\nX-A: b\r\nContent-Length: 17\r\n\r\n"
        + b'{"message": "\xc3\xa4"}'
    ]
    answer = ask(calls)
    assert (answer.status_code, answer.reason) == (404, "Not Found")
    assert answer.headers["x-a"] == "b"
    assert answer.json() == {"message": "ä"}
    with pytest.raises(requests.HTTPError, match="404 Client Error"):
        answer.raise_for_status()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n[1,\r\n2\r\n2]\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\n[1,2]",
        b"HTTP/1.0 200 OK\r\n\r\n[1,2]",  # to the end of the connection
    ],
    ids=["chunks", "length", "end"],
)
def test_whatever_tells_its_length_the_answer_is_whole(
    answer: bytes, engine: Engine, calls: Calls
) -> None:
    engine.answers = [answer, OK]
    assert ask(calls).json() == [1, 2]
    assert ask(calls).json() == {}


def test_what_is_sent_is_a_request_with_its_body(engine: Engine, calls: Calls) -> None:
    engine.answers = [b"HTTP/1.1 204 No Content\r\n\r\n", OK]
    assert ask(calls, "POST", b"{}").status_code == 204
    ask(calls)
    posted, got = engine.asked
    assert posted.startswith(b"POST /v1.41/x HTTP/1.1\r\n")
    assert b"\r\nHost: localhost\r\n" in posted
    assert b"\r\nUser-Agent: us\r\n" in posted
    assert posted.endswith(b"\r\nContent-Length: 2\r\n\r\n{}")
    assert b"Content-Length" not in got


def test_a_connection_is_kept_and_replaced_when_the_engine_has_closed_it(
    engine: Engine, calls: Calls
) -> None:
    engine.answers = [OK, OK]
    ask(calls), ask(calls)
    assert engine.connections == 1
    engine.answers = [OK.replace(b"\r\n", b"\r\nConnection: close\r\n", 1), OK]
    ask(calls), ask(calls)
    assert engine.connections == 2


def test_one_that_was_closed_while_it_idled_is_not_written_to(tmp_path: Path) -> None:
    first = Engine(tmp_path / "engine.sock")
    calls = Calls(str(first.path))
    first.answers = [OK]
    ask(calls)
    (kept,) = calls._idle
    kept.shutdown(socket.SHUT_WR)  # the engine sees the end of it, and closes
    first.close()
    first.path.unlink()
    second = Engine(first.path)
    second.answers = [OK]
    assert ask(calls, "POST").json() == {}
    assert len(second.asked) == 1
    calls.close()
    second.close()


@pytest.mark.parametrize("part", [b"", OK[:20], OK[:-1], b"nonsense\r\n\r\n"])
def test_half_an_answer_is_an_error_and_nothing_is_asked_again(
    part: bytes, engine: Engine, calls: Calls
) -> None:
    engine.answers = [part, OK]
    original = engine._converse

    def once(connection: socket.socket) -> None:
        engine.asked.append(_request(connection))
        connection.sendall(engine.answers.pop(0))

    engine._converse = once  # type: ignore[method-assign]
    with pytest.raises(requests.ConnectionError):
        ask(calls, "POST")
    assert len(engine.asked) == 1
    engine._converse = original  # type: ignore[method-assign]
    assert ask(calls).json() == {}


def test_an_engine_that_says_nothing_is_not_waited_for_for_ever(
    engine: Engine, calls: Calls
) -> None:
    over = threading.Event()

    def silent(connection: socket.socket) -> None:
        over.wait(PATIENCE)

    engine._converse = silent  # type: ignore[method-assign]
    with pytest.raises(requests.Timeout):
        calls.call("GET", "/", {}, b"", 0.05)
    over.set()


def test_no_engine_is_the_systems_own_error(tmp_path: Path) -> None:
    with pytest.raises(requests.ConnectionError) as caught:
        ask(Calls(str(tmp_path / "none")))
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_parameters_are_those_that_are_given() -> None:
    assert with_parameters("/x", None) == "/x"
    assert with_parameters("/x", {"a": None}) == "/x"
    assert with_parameters("/x", {"a": 1, "b": "c d", "e": ["f", "g"]}) == "/x?a=1&b=c+d&e=f&e=g"


def test_the_docker_package_asks_by_it(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{engine.path}")
    client = new_client("1.41")
    message = b'{"message": "no such container: x"}'
    engine.answers = [
        b"HTTP/1.1 201 Created\r\nContent-Length: 11\r\n\r\n" + b'{"Id": "i"}',
        b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%b" % (len(message), message),
        b"HTTP/1.1 409 Conflict\r\nContent-Length: %d\r\n\r\n%b" % (len(message), message),
        OK,
    ]
    assert client.create_container_from_config({"Image": "i"}, "n")["Id"] == "i"  # type: ignore[no-untyped-call]
    with pytest.raises(NotFound, match="no such container: x"):
        client.inspect_container("x")
    with pytest.raises(APIError):
        client.remove_container("x", v=True, force=True)
    client.kill("x", "SIGTERM")
    client.close()
    lines = [asked.partition(b" HTTP/1.1\r\n")[0].decode() for asked in engine.asked]
    assert lines == [
        "POST /v1.41/containers/create?name=n",
        "GET /v1.41/containers/x/json",
        "DELETE /v1.41/containers/x?v=True&link=False&force=True",
        "POST /v1.41/containers/x/kill?signal=SIGTERM",
    ]
    assert engine.connections == 1
    assert engine.asked[0].endswith(b'{"Image": "i"}')


def test_threads_that_share_it_have_connections_of_their_own(tmp_path: Path) -> None:
    path, both = tmp_path / "engine.sock", threading.Barrier(2, timeout=PATIENCE)

    def serve(connection: socket.socket) -> None:
        with connection:
            asked = _request(connection)
            both.wait()  # until the other one has asked too
            body = asked.split(b" ")[1]
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    with socket.socket(socket.AF_UNIX) as listener, ThreadPoolExecutor(4) as threads:
        listener.bind(str(path))
        listener.listen()
        calls = Calls(str(path))
        asking = [
            threads.submit(calls.call, "GET", target, {}, b"", PATIENCE) for target in ("/1", "/2")
        ]
        serving = [threads.submit(serve, listener.accept()[0]) for _ in asking]
        assert [each.result(PATIENCE).text for each in asking] == ["/1", "/2"]
        for each in serving:
            each.result(PATIENCE)
        calls.close()
