"""What an instance writes, as lines; who asks for which of them, and who hears of more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from wakeful.config.model import Revision
from wakeful.runtime.instance import InstanceId

# Bytes of a line that are handed on together; engines cut lines at the same length.
PIECE = 16 * 1024

STDOUT, STDERR = b"stdout", b"stderr"
MIXED = b"-"  # nobody kept which of the two it was
NOTE = b"note"  # not the instance's: what its driver has to say
NO_TIME = b"-"


class Line(NamedTuple):
    """A line, or one piece of a long one. Made for each: a tuple is the cheapest."""

    text: bytes  # without its end
    stream: bytes
    time: bytes  # when it was written, by RFC 3339
    whole: bool  # False: the line goes on in the next one of the same stream


@dataclass(frozen=True, slots=True)
class Asked:
    """Which lines somebody wants of an instance."""

    tail: int | None = None  # of those that there are, the last; None: all
    since: float | None = None  # seconds since 1970; older ones are left out
    follow: bool = False  # also those that come, until it has ended


class Audience(Protocol):
    """Hears of instances whose output may be read."""

    def came(self, revision: Revision, instance: InstanceId) -> None:
        """It was started, and may be writing already."""

    def failed(
        self, revision: Revision, instance: InstanceId, wrong: str, last: Sequence[str]
    ) -> None:
        """It is about to be removed, with its output, of which ``last`` was the end."""


class Splitter:
    """Cuts bytes into lines, and what is longer than a piece into pieces."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[tuple[bytes, bool]]:
        """What is complete now: text, and whether its line ends there."""
        *lines, rest = (self._rest + data).split(b"\n")
        found: list[tuple[bytes, bool]] = []
        for line in lines:
            *pieces, last = _pieces(line)
            found += ((piece, False) for piece in pieces)
            found.append((last, True))
        *pieces, self._rest = _pieces(rest)
        found += ((piece, False) for piece in pieces)
        return found

    def end(self) -> list[tuple[bytes, bool]]:
        """What is left of a last line without an end."""
        rest, self._rest = self._rest, b""
        return [(rest, True)] if rest else []


def _pieces(line: bytes) -> list[bytes]:
    """At least one, which is empty for an empty line."""
    return [line[at : at + PIECE] for at in range(0, len(line), PIECE)] or [line]
