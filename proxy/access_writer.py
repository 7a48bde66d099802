"""The file of the access log, and the thread that writes to it."""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading

log = logging.getLogger(__name__)

# When the reader of the log stands still, requests do not: what is over this
# many batches is dropped and counted.
_BACKLOG = 512


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
        torn = _torn(self._path)
        while (batch := self._batches.get()) is not None:
            if self._moved.is_set() and self._path != "-":
                self._moved.clear()
                torn = _torn(self._path) if self._follow() else torn
            data = b"\n" + batch[0] if torn else batch[0]
            left = memoryview(data)
            try:
                while left:
                    left = left[os.write(self._fd, left) :]
            except OSError:
                self.dropped += bytes(left).count(b"\n")
            if len(left) < len(data):
                torn = bool(left) and data[len(data) - len(left) - 1] != ord("\n")
        if self._path != "-":
            os.close(self._fd)

    def _follow(self) -> bool:
        """Open the path anew. Where that fails the file goes on that there is."""
        try:
            fd = self._open()
        except OSError as error:
            log.error("%s cannot be opened: %s", self._path, error.strerror)
            return False
        os.close(self._fd)
        self._fd = fd
        return True


def _torn(path: str) -> bool:
    """Whether its latest line is there in part: the disk was full."""
    if not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
    except OSError:  # it is empty, or not ours to read
        return False
