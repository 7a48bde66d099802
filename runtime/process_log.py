"""The file that a process writes to: read, followed, and cut when it has grown too long."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from wakeful.runtime.output import MIXED, NO_TIME, NOTE, Asked, Line, Splitter

_LIMIT = 8 * 1024 * 1024
_READ = 16 * 1024  # some 200 lines: they are taken apart on the loop, between requests
_BLOCK = 64 * 1024  # of what is searched for the last lines
_TAIL_BYTES = 256 * 1024
_POLL = 0.2  # seconds between two looks at a file that is followed
_CUT = Line(
    b"its log had grown too long and was cut, with what was not read yet", NOTE, NO_TIME, True
)

InThread = Callable[..., Awaitable[Any]]


class ProcessLog:
    """For threads, but for ``lines``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.Lock()  # so that nobody reads across a cut
        self.cuts = 0
        self.cut_at = 0  # the length that it had, the last time

    def trim(self) -> None:
        with suppress(OSError), self.lock:
            size = self.path.stat().st_size
            if size > _LIMIT:
                os.truncate(self.path, 0)  # its writers append, so they go on at the new end
                self.cuts, self.cut_at = self.cuts + 1, size

    def last(self, lines: int) -> list[str]:
        """The last lines, as far as they are not very long."""
        if lines <= 0:
            return []
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - _TAIL_BYTES))
                text = file.read(_TAIL_BYTES).decode("utf-8", "replace")
        except FileNotFoundError:
            return []
        return text.splitlines()[-lines:]

    async def lines(
        self, asked: Asked, ended: asyncio.Event, in_thread: InThread
    ) -> AsyncGenerator[list[Line], None]:
        """Until its process has ``ended``, if it is followed. Raises OSError."""
        reader, splitter = _Reader(self, in_thread), Splitter()
        try:
            end = await reader.begin(asked.tail)
            while asked.follow or reader.at < end:
                over = ended.is_set()  # looked at first: what was written by then is still read
                data, lost = await reader.read(None if asked.follow else end)
                if lost:
                    yield [*_lines(splitter.end()), _CUT]
                if lines := _lines(splitter.feed(data)):
                    yield lines
                if not data:
                    if over or not asked.follow:
                        break
                    while not ended.is_set() and not reader.behind():  # noqa: ASYNC110 (no event)
                        await asyncio.sleep(_POLL)
            if rest := _lines(splitter.end()):
                yield rest
        finally:
            reader.close()


class _Reader:
    """Holds the file open: it can be read to its end after it was removed."""

    def __init__(self, log: ProcessLog, in_thread: InThread) -> None:
        self.at = 0
        self._log = log
        self._in_thread = in_thread
        self._file = log.path.open("rb", buffering=0)
        self._cuts = log.cuts
        self._reading: asyncio.Future[Any] | None = None  # in a thread, which cannot be cancelled

    async def begin(self, tail: int | None) -> int:
        """Go to where the last lines begin; where they end."""
        self.at, end = await self._call(_beginning, self._file.fileno(), tail)
        return int(end)

    async def read(self, end: int | None) -> tuple[bytes, bool]:
        """What comes next, and whether something before it was lost."""
        at, data, lost = await self._call(self._read, end)
        self.at = at + len(data)
        return data, lost

    def behind(self) -> bool:
        """Whether there is more to read; looked up on the loop, as it costs nothing."""
        return os.fstat(self._file.fileno()).st_size != self.at

    def close(self) -> None:
        if self._reading is None or self._reading.done():
            self._file.close()
        else:
            self._reading.add_done_callback(self._late)

    def _late(self, reading: asyncio.Future[Any]) -> None:
        self._file.close()
        if not reading.cancelled():
            reading.exception()  # nobody asks for it any more

    def _read(self, end: int | None) -> tuple[int, bytes, bool]:
        with self._log.lock:
            at, lost, cuts = self.at, False, self._log.cuts - self._cuts
            if cuts:
                self._cuts += cuts
                at, lost = 0, cuts > 1 or self._log.cut_at > at
            size = _READ if end is None else min(_READ, end - at)
            return at, os.pread(self._file.fileno(), size, at), lost

    async def _call(self, function: Callable[..., Any], *arguments: object) -> Any:
        self._reading = asyncio.ensure_future(self._in_thread(function, *arguments))
        return await asyncio.shield(self._reading)


def _beginning(fd: int, tail: int | None) -> tuple[int, int]:
    """The offsets of the last ``tail`` lines and of their end."""
    end = os.fstat(fd).st_size
    if tail is None:
        return 0, end
    # The end of the last line is no beginning of another one.
    at = end - 1 if os.pread(fd, 1, max(0, end - 1)) == b"\n" else end
    if tail == 0:
        return end, end
    while at > 0:
        start = max(0, at - _BLOCK)
        block = os.pread(fd, at - start, start)
        found = len(block)
        while tail and (found := block.rfind(b"\n", 0, found)) >= 0:
            tail -= 1
        if not tail:
            return start + found + 1, end
        at = start
    return 0, end


def _lines(pieces: list[tuple[bytes, bool]]) -> list[Line]:
    return [Line(text, MIXED, NO_TIME, whole) for text, whole in pieces]
