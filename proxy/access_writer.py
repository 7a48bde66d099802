"""The file of the access log, and the thread that writes to it."""

from __future__ import annotations

import os
import queue
import sys
import threading

# When the reader of the log stands still, requests do not: what is over this
# many batches is dropped and counted.
_BACKLOG = 1024


class Writer:
    """A thread that owns the file: a full disk or a slow pipe never stops the loop."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.dropped = 0
        self._batches: queue.Queue[tuple[bytes, int] | None] = queue.Queue(_BACKLOG)
        self._fd = self._open()
        self._moved = threading.Event()
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self._thread.start()

    def write(self, data: bytes, lines: int) -> None:
        try:
            self._batches.put_nowait((data, lines))
        except queue.Full:
            self.dropped += lines

    def reopen(self) -> None:
        self._moved.set()

    def close(self) -> None:
        try:
            self._batches.put(None, timeout=1)
        except queue.Full:
            return  # its reader stands still; the thread is a daemon
        self._thread.join(timeout=2)

    def _open(self) -> int:
        if self._path == "-":
            return sys.stdout.fileno()
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def _run(self) -> None:
        while (batch := self._batches.get()) is not None:
            if self._moved.is_set() and self._path != "-":
                self._moved.clear()
                os.close(self._fd)
                self._fd = self._open()
            data, lines = memoryview(batch[0]), batch[1]
            try:
                while data:
                    data = data[os.write(self._fd, data) :]
            except OSError:
                self.dropped += lines
        if self._path != "-":
            os.close(self._fd)
