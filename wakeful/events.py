"""The messages that cross from one owner to another: immutable, plain values.

The proxy tells the scaler what it sees (Sample, Load); the fleets tell the
proxy where requests may go (Backends). The seam is message-shaped on purpose:
data-plane workers may become processes of their own.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A ready instance, or a fixed upstream, as the proxy sees it."""

    instance: str
    host: str
    port: int


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
