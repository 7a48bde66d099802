"""A switch of protocols (RFC 9110 §7.8): whether an instance may, and what the client is told."""

from __future__ import annotations

from dataclasses import dataclass

from wakeful.proxy.framing import BadResponse, RequestHead, response_head, was_offered
from wakeful.proxy.headers import Headers
from wakeful.proxy.websocket import Frames


@dataclass(frozen=True, slots=True)
class Switch:
    """To the protocols that the instance chose."""

    lines: tuple[bytes, ...]
    chosen: tuple[bytes, ...]

    def head(self, more: bytes) -> bytes:
        """For the client, with ``more`` field lines."""
        upgrade = b"Connection: Upgrade\r\nUpgrade: %b\r\n\r\n" % b", ".join(self.chosen)
        return b"".join((*self.lines, more, upgrade))

    def frames(self, rest: bytes) -> Frames | None:
        """What follows the instance's WebSocket frames, of which ``rest`` came behind its head."""
        if [value.lower() for value in self.chosen] != [b"websocket"]:
            return None
        frames = Frames()
        frames.feed(rest)
        return frames


def switch(asked: RequestHead, headers: Headers) -> Switch:
    """What a 101 with these fields means to who asked so. Raises BadResponse."""
    if asked.upgrade is None:
        raise BadResponse("a switch of protocols that nobody asked for")
    chosen = [value for name, value in headers if name.lower() == b"upgrade"]
    if not was_offered(asked.upgrade, chosen):
        raise BadResponse("a switch to a protocol that was not offered")
    head = response_head(asked, 101, b"Switching Protocols", "1.1", headers)
    return Switch((head.status_line, *head.fields), tuple(chosen))
