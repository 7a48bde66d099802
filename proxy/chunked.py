"""The chunked transfer coding, read strictly (RFC 9112 §7.1).

Pure: bytes in, the body's bytes out. A size is hexadecimal digits and nothing
else; every line ends with CR LF; what a chunk carries is followed by CR LF.
Chunk extensions are held to their grammar and dropped.
"""

from __future__ import annotations

import re
from typing import Final

from wakeful.proxy import grammar
from wakeful.proxy.grammar import Malformed
from wakeful.proxy.headers import Headers

# RFC 9112 §7.1.1; a quoted string holds no line end. The blanks are its BWS.
_EXTENSION: Final = (
    rb"[\t ]*+;[\t ]*+%b(?:[\t ]*+=[\t ]*+(?:%b|\"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]"
    rb"|\\[\t\x20-\x7e\x80-\xff])*+\"))?+" % (grammar.TOKEN, grammar.TOKEN)
)
_SIZE_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,16}+)(?:%b)*+" % _EXTENSION)
# Who sends many chunks in little time sends small ones.
_SMALL: Final = {text: size for size in range(256) for text in (b"%x" % size, b"%X" % size)}
_LARGEST: Final = 2**63 - 1
_LONGEST_LINE: Final = 4096

# Chunks that take a few tenths of a millisecond. Of a piece that has more no more are taken apart
# before all other connections were read, and its own is not read before that either: a piece may
# have 50,000 of them, and the loop reads on, up to 32 times, where more is there.
MANY_CHUNKS: Final = 500

# As Go's net/http: so much may stand around a chunk for nothing, and what
# exceeds it is paid for by the body's bytes.
_FREE_OVERHEAD: Final = 16
_MOST_OVERHEAD: Final = 16 * 1024


class TrailersTooLarge(Malformed):
    """More trailers, or longer ones, than may be held."""


class ChunkedReader:
    """Takes one body apart, in whatever pieces it comes."""

    __slots__ = (
        "_answered",
        "_held",
        "_left",
        "_limit",
        "_most_fields",
        "_overhead",
        "most",
        "trailers",
        "unread",
    )

    def __init__(self, limit: int, most_fields: int, *, answered: bool = False) -> None:
        """``limit`` (bytes) and ``most_fields`` bound the trailers.

        In what is ``answered`` blanks behind a size and before a colon are no error.
        """
        self.trailers: Headers = []
        self.most = MANY_CHUNKS  # that are taken apart at once
        self.unread = b""  # of the last piece, which had more
        self._answered = answered
        self._limit = limit
        self._most_fields = most_fields
        self._held = b""  # the beginning of a line, or of the trailers
        self._left = 0  # of the chunk's data and the CR LF behind it; -1 in the trailers
        self._overhead = 0

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        """The body's bytes in ``data``, and what is behind the body once it has ended.

        What it leaves ``unread`` comes first in the next ``data``. Raises Malformed.
        """
        self.unread = b""
        seen = len(self._held)
        if seen:
            data, self._held = self._held + data, b""
        at, end = 0, len(data)
        body: list[bytes] = []
        begun = 0
        while at < end:
            if self._left > 2:
                piece = data[at : at + self._left - 2]
                body.append(piece)
                at += len(piece)
                self._left -= len(piece)
            elif self._left > 0:
                if data[at] != b"\r\n"[-self._left]:
                    raise Malformed("a chunk is not followed by CR LF")
                at += 1
                self._left -= 1
            elif self._left == 0:
                if begun == self.most:
                    self.unread = data[at:]
                    break
                stop = data.find(b"\r\n", at)
                if stop < 0:
                    self._hold(data[at:])
                    break
                begun += 1
                self._begin_chunk(data[at:stop])
                at = stop + 2
                stop = at + self._left
                if self._left > 2 and data[stop - 2 : stop] == b"\r\n":
                    body.append(data[at : stop - 2])  # all of it is here: in one step
                    at, self._left = stop, 0
            else:
                rest = self._end(data[at:], max(seen - at, 0))
                return b"".join(body), rest
        return (body[0] if len(body) == 1 else b"".join(body)), None

    def _begin_chunk(self, line: bytes) -> None:
        length = _SMALL.get(line)
        if length is None:
            if self._answered:
                line = line.rstrip(b"\t ")  # old servers fill up a place of fixed width
            length = _size(line)
        if self._overhead or len(line) > _FREE_OVERHEAD:
            self._overhead = max(self._overhead + len(line) - _FREE_OVERHEAD - length, 0)
            if self._overhead > _MOST_OVERHEAD:
                raise Malformed("the chunks hold more extensions than data")
        self._left = length + 2 if length else -1

    def _end(self, data: bytes, seen: int) -> bytes | None:
        if data[:2] == b"\r\n":
            return data[2:]
        end = data.find(b"\r\n\r\n", max(seen - 3, 0))
        if end < 0:
            if grammar.malformed(data, seen):
                raise Malformed("a trailer field is malformed")
            self._bound(len(data), 0)
            self._held = data
            return None
        read = grammar.response_fields if self._answered else grammar.fields
        self.trailers = read(data[: end + 4])
        self._bound(end, len(self.trailers))
        return data[end + 4 :]

    def _bound(self, size: int, count: int) -> None:
        if size > self._limit or count > self._most_fields:
            raise TrailersTooLarge("the trailers are over the limit")

    def _hold(self, line: bytes) -> None:
        if len(line) > _LONGEST_LINE or b"\n" in line or b"\r" in line[:-1]:
            raise Malformed("the size of a chunk is malformed")
        self._held = line


def _size(line: bytes) -> int:
    size = _SIZE_LINE.fullmatch(line)
    if size is None or len(line) > _LONGEST_LINE:
        raise Malformed("the size of a chunk is malformed")
    length = int(size[1], 16)
    if length > _LARGEST:
        raise Malformed("the size of a chunk is out of range")
    return length
