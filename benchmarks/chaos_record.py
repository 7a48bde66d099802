"""What is written down under chaos, by three sides: clients, instances, and whoever does it.

All times are seconds of the one monotonic clock of the host.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, auto


class Outcome(StrEnum):
    """Of one request, as its client saw it."""

    ANSWERED = auto()  # all of it, and right
    REFUSED = auto()  # by wakeful, with a reason
    TOLD = auto()  # a WebSocket that was closed in good order because its instance goes
    CUT = auto()  # the connection ended before the answer did
    UNCONNECTED = auto()  # nobody listened
    WRONG = auto()  # answered, but not with what was asked for


class Cause(StrEnum):
    """Of what may be missing in the ledger."""

    KILLED = auto()  # an instance, or all of them (no instance is named)
    STOPPED = auto()  # an instance, so that nothing resets: paused for good, or its network is gone
    ENGINE = auto()  # was away
    CRASHED = auto()  # wakeful was killed, until it listened again
    RESTARTED = auto()  # wakeful was told to end, until it listened again
    DEPLOYED = auto()  # a service: what is joined to the old revision is told to go


@dataclass(frozen=True, slots=True)
class Sent:
    """A request, by its client."""

    id: str
    service: str
    method: str
    began: float
    finished: float
    outcome: Outcome
    reason: str = ""  # wakeful's, of a refusal; else what was seen


@dataclass(frozen=True, slots=True)
class Note:
    """A line of an instance."""

    at: float
    service: str
    instance: str
    what: str
    id: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """What was done, from when until when; to one instance or service, or to all."""

    cause: Cause
    began: float
    ended: float
    service: str = ""
    instance: str = ""
