from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from wakeful.runtime.docker_engine import docker_answers


@contextmanager
def answering(address: Path, response: bytes | None) -> Iterator[None]:
    """Somebody on a unix socket who answers one request, or none."""
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(address))
        listener.listen()
        left = threading.Event()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                if response is None:
                    left.wait(10)
                else:
                    connection.sendall(response)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            left.set()
            thread.join()


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "engine.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    return path


def test_an_engine_that_answers_its_ping_needs_no_reason(address: Path) -> None:
    with answering(address, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"):
        assert docker_answers() is None


def test_no_socket_is_said_to_be_none(address: Path) -> None:
    assert docker_answers() == f"there is no unix://{address}"


def test_a_socket_that_nobody_serves_is_said_not_to_answer(address: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as abandoned:
        abandoned.bind(str(address))
    assert docker_answers() == f"unix://{address} does not answer: connection refused"


def test_somebody_else_on_the_socket_is_not_an_engine(address: Path) -> None:
    with answering(address, b"220 mail ready\r\n"):
        assert docker_answers() == f"what listens at unix://{address} is not a Docker engine"


def test_an_engine_that_hangs_is_given_up(address: Path) -> None:
    with answering(address, None):
        assert docker_answers(timeout=0.05) == f"unix://{address} did not answer within 0.05 s"


def test_an_engine_over_tcp_is_asked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        host = f"tcp://127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setenv("DOCKER_HOST", host)
        assert docker_answers() == f"{host} does not answer: connection refused"


@pytest.mark.parametrize("host", ["ssh://somewhere", "tcp://", "tcp://a:port", "nonsense"])
def test_an_address_that_is_none_is_said_to_be(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    reason = docker_answers()
    assert reason is not None
    assert reason.startswith(f"DOCKER_HOST {host!r} is not understood: ")
