"""Where one WebSocket frame ends and the next begins (RFC 6455 §5.2).

A proxy passes frames on as bytes. Only to say goodbye on behalf of an instance
must it know that it stands between two of them.
"""

from __future__ import annotations

from typing import Final

# FIN, opcode 8, not masked, two bytes: 1001, "going away" (§5.5.1, §7.4.1).
GOING_AWAY: Final = b"\x88\x02\x03\xe9"

_LONGEST_HEAD: Final = 14  # two bytes, an 8-byte length, a mask


class Frames:
    """Follows the frames of one direction, however they are cut into pieces."""

    __slots__ = ("_head", "_left")

    def __init__(self) -> None:
        self._head = b""  # of a frame, as far as it has come
        self._left = 0  # bytes of its payload that are still to come

    @property
    def between(self) -> bool:
        """Whether the last frame is whole and the next has not begun."""
        return not self._left and not self._head

    def feed(self, data: bytes) -> int:
        """Take in a piece; returns behind which of its bytes the first whole frame ends, or 0."""
        at, first = 0, 0
        while at < len(data):
            if not self._left:
                at = self._read_head(data, at)
            passed = min(self._left, len(data) - at)
            self._left -= passed
            at += passed
            if not first and self.between:
                first = at
        return first

    def _read_head(self, data: bytes, at: int) -> int:
        known = len(self._head)
        head = self._head + data[at : at + _LONGEST_HEAD - known]
        size = _head_size(head)
        if len(head) < size:
            self._head = head
            return len(data)
        self._head = b""
        self._left = _payload(head)
        return at + size - known


def _head_size(head: bytes) -> int:
    if len(head) < 2:
        return 2
    length = head[1] & 0x7F
    return 2 + {126: 2, 127: 8}.get(length, 0) + (4 if head[1] & 0x80 else 0)


def _payload(head: bytes) -> int:
    length = head[1] & 0x7F
    if length < 126:
        return length
    return int.from_bytes(head[2 : 4 if length == 126 else 10])
