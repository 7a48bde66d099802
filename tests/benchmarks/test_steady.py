"""Requests at a constant rate, and what of them is measured."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks import steady
from benchmarks.steady import Sample

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Server:
    """Answers from the moment on when so many requests have come."""

    def __init__(self, together: int = 1, answer: bytes = ANSWER) -> None:
        self._missing = together
        self._lock = threading.Lock()
        self._enough = threading.Event()
        self._answer = answer
        self.answered = threading.Semaphore(0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        # The load ends when it ends, perhaps in the middle of this.
        with client, suppress(ConnectionError):
            while client.recv(65536):
                with self._lock:
                    self._missing -= 1
                    if self._missing <= 0:
                        self._enough.set()
                self._enough.wait()
                client.sendall(self._answer[:30])
                client.sendall(self._answer[30:])
                self.answered.release()


@contextmanager
def loaded(folder: Path, rate: int, *ports: int) -> Iterator[None]:
    """While this lasts; afterwards there are samples in the folder."""
    file = folder / "samples"
    command = [sys.executable, steady.__file__, str(file), "x.test", str(rate), *map(str, ports)]
    with subprocess.Popen(command) as load:
        try:
            yield
        finally:
            load.send_signal(signal.SIGTERM)
            assert load.wait(30) == 0


def samples(folder: Path) -> list[Sample]:
    return sorted(steady.read(folder / "samples"), key=lambda each: each.at)


def test_every_port_gets_its_requests_at_equal_distances_in_turn(tmp_path: Path) -> None:
    with closing(Server()) as one, closing(Server()) as other:
        with loaded(tmp_path, 200, one.port, other.port):
            for _ in range(20):
                assert one.answered.acquire(timeout=30)
                assert other.answered.acquire(timeout=30)
        seen = samples(tmp_path)

        assert [each.port for each in seen[:4]] == [one.port, other.port] * 2
        gaps = [late.at - early.at for early, late in pairwise(seen)]
        assert gaps == pytest.approx([1 / 400] * len(gaps))
        good = [each for each in seen if each.seconds is not None]
        assert len(good) >= 40
        assert all(each.seconds is not None and each.seconds > 0 for each in good)


def test_a_request_does_not_wait_for_the_answer_to_the_one_before(tmp_path: Path) -> None:
    with closing(Server(together=10)) as server:
        with loaded(tmp_path, 100, server.port):
            for _ in range(10):
                assert server.answered.acquire(timeout=30)
        first = samples(tmp_path)[:10]
        # The first of them waited for all the others to be sent.
        waits = [each.seconds for each in first if each.seconds is not None]
        assert len(waits) == 10
        assert waits[0] > 9 / 100


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nno", b""], ids=["503", "closed"]
)
def test_what_is_not_answered_with_200_has_failed(tmp_path: Path, answer: bytes) -> None:
    with closing(Server(answer=answer)) as server:
        with loaded(tmp_path, 100, server.port):
            for _ in range(3):
                assert server.answered.acquire(timeout=30)
        assert {each.seconds for each in samples(tmp_path)} == {None}


def test_what_nobody_listens_for_has_failed(tmp_path: Path) -> None:
    with closing(Server()) as gone:
        port = gone.port
    with closing(Server()) as server:
        with loaded(tmp_path, 100, server.port, port):
            assert server.answered.acquire(timeout=30)
            assert server.answered.acquire(timeout=30)
        assert {each.seconds for each in samples(tmp_path) if each.port == port} == {None}
