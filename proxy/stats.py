"""Time-averaged requests in hand: Knative's request statistics, kept exactly.

After ``net/http/stats/request.go`` of Knative: between two changes the number
of requests is constant, so its integral is exact however short they are.
"""

from __future__ import annotations


class RequestStats:
    """Integrates a count over time. Times are seconds; they never run backwards."""

    __slots__ = ("_area", "_arrived", "_began", "_in_hand", "_since")

    def __init__(self, now: float) -> None:
        self._in_hand = 0.0  # what times are multiplied with
        self._arrived = 0
        self._area = 0.0  # request-seconds since the last report
        self._began = now  # the period, with that report
        self._since = now  # of the latest change

    @property
    def in_hand(self) -> int:
        return int(self._in_hand)

    @property
    def arrived(self) -> int:
        """Arrivals since the last report."""
        return self._arrived

    def arrive(self, now: float) -> None:
        passed = now - self._since  # _integrate, twice a request: without the call
        if passed > 0.0:
            self._area += passed * self._in_hand
            self._since = now
        self._in_hand += 1.0
        self._arrived += 1

    def leave(self, now: float) -> None:
        passed = now - self._since
        if passed > 0.0:
            self._area += passed * self._in_hand
            self._since = now
        self._in_hand -= 1.0

    def report(self, now: float) -> tuple[float, int]:
        """Average in hand, and arrivals, since the last report."""
        self._integrate(now)
        span = self._since - self._began
        average = self._area / span if span > 0 else 0.0
        arrived, self._arrived = self._arrived, 0
        self.rest(self._since)
        return average, arrived

    def rest(self, now: float) -> None:
        """Begin a new period: the time until ``now`` had nothing in it to report."""
        self._area = 0.0
        self._began = self._since = now

    def _integrate(self, now: float) -> None:
        passed = now - self._since
        if passed > 0.0:
            self._area += passed * self._in_hand
            self._since = now
