"""A unix socket in front of the engine's, which a test can cut, mend and slow down."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path

import pytest

# The docker package drops the socket of a connect that failed without closing it.
failed_connects_leak = pytest.mark.filterwarnings("ignore:unclosed <socket.socket.*family=1,")

_EVENTS = b"/events"


class Relay:
    """Lets a driver lose its engine without anybody else noticing."""

    def __init__(self, path: Path, target: str) -> None:
        self.delay = 0.0  # seconds that each call is held up
        self.deaf = False  # nobody is let hear of events
        self.held: bytes | None = None  # what has this in its path gets no further, until the cut
        self.holds = threading.Event()
        self._path = path
        self._target = target
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._hearing: list[socket.socket] = []  # those of streams of events
        self._threads: list[threading.Thread] = []
        self._ended = threading.Event()  # nothing is held up any more
        self._listener: socket.socket | None = None

    def mend(self) -> None:
        self._ended.clear()
        self._path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._path))
        self._listener.listen(64)
        self._run(self._accept, self._listener)

    def cut(self) -> None:
        """Every connection breaks, and a new one is refused."""
        assert self._listener is not None
        self._ended.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()  # which accepts, and may be just about to add two sockets
        self._break(self._sockets)
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        for one in (self._listener, *self._sockets):
            one.close()
        self._sockets.clear()
        self._hearing.clear()

    def deafen(self) -> None:
        """Streams of events break, and new ones do at once; all other calls go through."""
        self.deaf = True
        self._break(self._hearing)

    def _break(self, sockets: list[socket.socket]) -> None:
        with self._lock:
            for one in sockets:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                here, _ = listener.accept()
            except OSError:
                return
            there = socket.socket(socket.AF_UNIX)
            there.connect(self._target)
            with self._lock:
                self._sockets += [here, there]
            self._run(self._ask, here, there)
            self._run(self._copy, there, here)

    def _ask(self, here: socket.socket, there: socket.socket) -> None:
        with suppress(OSError):
            while data := here.recv(65536):
                line = data.partition(b"\r\n")[0]
                if self.held is not None and self.held in line:
                    self.holds.set()
                    self._ended.wait()
                    break
                if _EVENTS in line:
                    with self._lock:
                        self._hearing.append(here)
                    if self.deaf:
                        self._break([here])
                        break
                self._ended.wait(self.delay)
                there.sendall(data)
        with suppress(OSError):
            there.shutdown(socket.SHUT_WR)

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def _run(self, work: object, *arguments: object) -> None:
        assert callable(work)
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()
