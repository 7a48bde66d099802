"""The docker package's client as we set it up, against an engine that is a socket of the test's."""

from __future__ import annotations

import http.server
import json
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from wakeful.runtime.docker_client import new_client


class Engine(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Answers every GET with an empty object, and counts who comes."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, path: Path) -> None:
        self.connections = 0
        self._latest: socket.socket | None = None
        super().__init__(str(path), _Answer)

    def get_request(self) -> tuple[object, str]:  # type: ignore[override]
        self.connections += 1
        self._latest, _ = super().get_request()
        return self._latest, "a client"

    def drop(self) -> None:
        """Close the latest connection, as an engine does that is restarted."""
        assert self._latest is not None
        self._latest.shutdown(socket.SHUT_RDWR)


class _Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = json.dumps({}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    with Engine(tmp_path / "engine.sock") as engine:
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/engine.sock")
        serving = threading.Thread(target=engine.serve_forever, args=(0.02,))
        serving.start()
        yield engine
        engine.shutdown()
        serving.join()


def test_calls_about_many_containers_share_one_connection(engine: Engine) -> None:
    with closing(new_client("1.41")) as client:
        for number in range(30):
            client.inspect_container(f"container-{number}")
        assert engine.connections == 1


def test_a_connection_that_the_engine_has_closed_is_replaced(engine: Engine) -> None:
    with closing(new_client("1.41")) as client:
        client.inspect_container("one")
        engine.drop()
        client.inspect_container("two")
        assert engine.connections == 2
