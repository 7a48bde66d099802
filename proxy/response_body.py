"""An answer on its way to the client, once its head is decided.

What one read from the instance brought is kept for one write. Pure: the exchange writes it.
"""

from __future__ import annotations

from wakeful.proxy.framing import CHUNKED, UNTIL_CLOSE, ResponseHead
from wakeful.proxy.headers import Headers, trailer_fields


class ResponseBody:
    """Framed as the client can read it. An answer that came whole needs none of these."""

    __slots__ = ("_chunked", "_out", "close_framed", "done", "head", "passed_at")

    def __init__(self, head: ResponseHead, lines: list[bytes], close_framed: bool) -> None:
        """``lines`` are the head as the client gets it."""
        self.head = head
        self.close_framed = close_framed  # the end of the connection is the end of the body
        self._chunked = head.framing in (CHUNKED, UNTIL_CLOSE) and not close_framed
        self.done = False  # all of it came
        self.passed_at = 0.0  # when something of it came last, if there is a limit to that
        self._out = lines

    def add(self, data: bytes) -> None:
        if self._chunked:
            self._out += (b"%x\r\n" % len(data), data, b"\r\n")
        else:
            self._out.append(data)

    def end(self, trailers: Headers) -> None:
        self.done = True
        if self._chunked:
            self._out += (b"0\r\n", trailer_fields(trailers, self.head.nominated), b"\r\n")

    def take(self) -> list[bytes]:
        out, self._out = self._out, []
        return out
