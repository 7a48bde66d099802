"""What is counted of a revision's requests, for whoever scrapes."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

from wakeful.metrics import COLD_START_BOUNDS, Histogram, Total

# OpenTelemetry: a method outside the known set must not make a series of its own.
_KNOWN_METHODS: Final = frozenset(
    (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"CONNECT")
)


class Counters:
    """Plain counts of one revision, read at a scrape."""

    __slots__ = (
        "cold_starts",
        "durations",
        "first_bytes",
        "received",
        "rejected",
        "retries",
        "sent",
    )

    def __init__(self) -> None:
        self.durations: dict[tuple[bytes, int], Histogram] = {}
        self.rejected: dict[str, int] = {}
        self.cold_starts = Histogram(COLD_START_BOUNDS)
        self.first_bytes = Total()  # of the first request that waited for an instance
        self.received = 0
        self.sent = 0
        self.retries = 0

    def count(self, method: bytes, status: int, seconds: float, received: int, sent: int) -> None:
        """One request that is over."""
        try:
            histogram = self.durations[method, status]
        except KeyError:
            key = (method if method in _KNOWN_METHODS else b"_OTHER", status)
            histogram = self.durations.setdefault(key, Histogram())
        histogram.counts[bisect_left(histogram.bounds, seconds)] += 1  # observe, without the call
        histogram.sum += seconds
        if received:
            self.received += received
        self.sent += sent
