"""The file of the access log, and the thread that writes to it."""

from __future__ import annotations

import logging
import os
import sys
import threading
from queue import SimpleQueue

log = logging.getLogger(__name__)

# Bytes. When the reader of the log stands still, requests do not: what is over this is dropped
# and counted.
_BACKLOG = 2**26


class Writer:
    """A thread that owns the file: a full disk or a slow pipe never stops the loop."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._batches: SimpleQueue[tuple[list[bytes], int] | None] = SimpleQueue()
        # The loop's
        self._given = 0  # bytes
        self._refused = 0  # lines
        # The thread's
        self._taken = 0  # bytes
        self._lost = 0  # lines
        self._fd = self._open()
        self._torn = False
        self._moved = threading.Event()
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Lines."""
        return self._refused + self._lost

    def write(self, pieces: list[bytes], lines: int) -> None:
        """``pieces`` are this many lines, and the writer's from now on."""
        size = sum(map(len, pieces))
        if self._given - self._taken + size > _BACKLOG:
            self._refused += lines
            return
        self._given += size
        self._batches.put((pieces, size))

    def reopen(self) -> None:
        self._moved.set()

    def close(self) -> None:
        self._batches.put(None)
        self._thread.join(timeout=2)  # not when its reader stands still; the thread is a daemon

    def _open(self) -> int:
        if self._path == "-":
            return sys.stdout.fileno()
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def _run(self) -> None:
        self._torn = _torn(self._path)
        while (batch := self._batches.get()) is not None:
            if self._moved.is_set() and self._path != "-":
                self._moved.clear()
                if self._follow():
                    self._torn = _torn(self._path)
            pieces, size = batch
            self._append(pieces, size)
            self._taken += size
        if self._path != "-":
            os.close(self._fd)

    def _append(self, pieces: list[bytes], size: int) -> None:
        before = b"\n" if self._torn else b""
        try:
            written = os.writev(self._fd, [before, *pieces])
        except OSError:
            written = 0
        if written == len(before) + size:
            self._torn = False
            return
        data = memoryview(b"".join([before, *pieces]))
        try:
            while written < len(data):
                written += os.write(self._fd, data[written:])
        except OSError:
            self._lost += bytes(data[max(written, len(before)) :]).count(b"\n")
        if written:
            self._torn = data[written - 1] != ord("\n")

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
