"""What an engine sends of a container's output, taken apart.

By the Engine API, "Attach to a container", stream format: a header of eight bytes before
each line, or nothing of the kind where the container has a terminal. Each line begins
with its time, which is asked for.
"""

from __future__ import annotations

from wakeful.runtime.output import NO_TIME, NOTE, PIECE, STDERR, STDOUT, Line, Splitter

_HEADER = 8
_STREAMS = {0: STDOUT, 1: STDOUT, 2: STDERR, 3: NOTE}  # 3: the engine could not go on reading
_STAMP = 64  # bytes that a time may take at most, with the space behind it


class BadFrame(Exception):
    """This is no output in frames."""


class Frames:
    """Of a container without a terminal. What it holds is less than a piece and one feed."""

    def __init__(self) -> None:
        self._data = b""
        self._left = 0  # bytes of the frame begun that are still to come
        self._stream = b""
        self._time: bytes | None = None  # of that frame, once it is known

    def feed(self, data: bytes) -> list[Line]:
        """The lines that are complete now. Raises BadFrame."""
        data, at = self._data + data, 0
        lines: list[Line] = []
        while True:
            if not self._left:
                if len(data) - at < _HEADER:
                    break
                self._begin(data[at : at + _HEADER])
                at += _HEADER
            some = data[at : at + self._left]
            if len(some) < self._left and len(some) < PIECE + _STAMP:
                break
            at += len(some)
            self._left -= len(some)
            lines += self._lines(some)
        self._data = data[at:]
        return lines

    def _begin(self, header: bytes) -> None:
        stream = _STREAMS.get(header[0])
        if stream is None or header[1:4] != b"\0\0\0":
            raise BadFrame
        self._stream, self._time = stream, None
        self._left = int.from_bytes(header[4:], "big")

    def _lines(self, text: bytes) -> list[Line]:
        if self._time is None:
            self._time = NO_TIME
            if self._stream is not NOTE:
                self._time, _, text = text.partition(b" ")
        # A line each, by whoever made them; but a line feed inside must not pass for an end.
        *ended, rest = text.split(b"\n")
        lines = [Line(one, self._stream, self._time, True) for one in ended]
        if rest:
            lines.append(Line(rest, self._stream, self._time, False))
        return lines


class RawLines:
    """Of a container with a terminal, where the two streams are one."""

    def __init__(self) -> None:
        self._splitter = Splitter()
        self._time: bytes | None = None  # of the line begun

    def feed(self, data: bytes) -> list[Line]:
        return self._timed(self._splitter.feed(data))

    def end(self) -> list[Line]:
        return self._timed(self._splitter.end())

    def _timed(self, pieces: list[tuple[bytes, bool]]) -> list[Line]:
        lines = []
        for text, whole in pieces:
            if self._time is None:
                self._time, _, text = text.partition(b" ")
            if whole:
                text = text.removesuffix(b"\r")
            lines.append(Line(text, STDOUT, self._time, whole))
            if whole:
                self._time = None
        return lines
