"""The messages that cross from one owner to another: immutable, plain values.

The proxy tells the scaler what it sees (Sample, Load); the fleets tell the
proxy where requests may go (Backends). The seam is message-shaped on purpose:
data-plane workers may become processes of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, auto
from typing import TypeAlias


class StartPhase(StrEnum):
    """What a cold start consists of, in the order in which it happens."""

    PULL = auto()  # waits for its image
    QUEUED = auto()  # waits for its turn to be started
    SANDBOX = auto()  # is given a network
    CREATE = auto()
    START = auto()
    LISTENING = auto()  # from started until its readiness probe passed
    FIRST_BYTE = auto()  # from a request being sent to it until the head of its answer


Phases: TypeAlias = tuple[tuple[StartPhase, float], ...]  # seconds; only those that there were


@dataclass(frozen=True, slots=True)
class Start:
    """How an instance of ours came up."""

    ready_at: float  # a moment on the monotonic clock
    phases: Phases


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A ready instance, or a fixed upstream, as the proxy sees it."""

    instance: str
    host: str
    port: int
    start: Start | None = None  # None: it ran before we did


@dataclass(frozen=True, slots=True)
class Outage:
    """Why a revision cannot have an instance now, and when it is tried again."""

    reason: str  # an X-Wakeful-Reason
    detail: str  # for the client; says what, never the instance's output
    until: float  # a moment on the monotonic clock


@dataclass(frozen=True, slots=True)
class Backends:
    """Everything the proxy may use for one revision, published whole."""

    endpoints: tuple[Endpoint, ...] = ()
    outage: Outage | None = None
    spares: bool = False  # frozen ones are there to be had at once
    # Instances that have ended: nothing more will come from them, and their
    # connections need not have said so.
    ended: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Load:
    """What one revision has in its hands at this moment."""

    active: int = 0  # requests inside instances
    waiting: int = 0  # requests without a slot yet
    busy: tuple[tuple[str, int], ...] = ()  # instance -> requests in it, only where there are any
    ignored: int = 0  # of those active: what a wake filter matched, which is no activity


@dataclass(frozen=True, slots=True)
class Sample:
    """One revision's traffic over the last second or so, integrated exactly."""

    concurrency: float = 0.0  # average number of requests held, waiting included
    requests: float = 0.0  # arrivals
    load: Load = Load()


IDLE = Sample()
