"""The body of a request, on its way to an instance.

What came is kept while no instance takes it and, where it is small and whole, for as long
as it may have to be written again. Pure: the exchange writes it.
"""

from __future__ import annotations

from wakeful.proxy.framing import CHUNKED, RequestHead
from wakeful.proxy.headers import Headers, trailer_fields


class RequestBody:
    """Framed as an instance is told it is. A request without a body has none of these."""

    __slots__ = ("_head", "_kept", "done", "replayable", "size")

    def __init__(self, head: RequestHead) -> None:
        self._head = head
        self._kept: list[bytes] = []
        self.size = 0  # bytes of the body that came while no instance took it
        self.done = False  # all of it came
        self.replayable = True  # all that came is kept

    def framed(self, data: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), data) if self._head.framing is CHUNKED else data

    def end(self, trailers: Headers) -> bytes:
        """All of it came; what says so to an instance."""
        self.done = True
        if self._head.framing is not CHUNKED:
            return b""
        return b"0\r\n%b\r\n" % trailer_fields(trailers, self._head.nominated)

    def keep(self, framed: bytes, size: int) -> None:
        """``size`` bytes of the body, and their framing, have nowhere to go yet."""
        self._kept.append(framed)
        self.size += size

    def take(self, longest: int) -> list[bytes]:
        """What is to be written behind the head, and is kept on if it is no longer than that."""
        kept = self._kept
        if kept and not (self.done and self.size <= longest):
            self._kept = []
            self.replayable = False
        return kept
