"""What rounds of load showed, and how two that were loaded in turn compare.

Figures are medians over the rounds. A ratio is the median of the ratios within
each round, because the two were measured next to each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median

from benchmarks import load


@dataclass(frozen=True, slots=True)
class Round:
    requests: int
    rps: float
    cpu_us: float | None  # of the proxy, per request; None where there is no proxy
    p50_ms: float
    p99_ms: float
    rss_mb: float | None
    errors: int
    mb_s: float  # of answers, or of bodies that were uploaded
    cpu_us_mb: float | None

    @classmethod
    def of(cls, seen: load.Result, cpu: float | None, rss: int | None) -> Round:
        """CPU is in seconds, and of the whole round."""
        megabytes = seen.bytes / 1e6
        return cls(
            requests=seen.requests,
            rps=seen.requests / seen.seconds,
            cpu_us=None if cpu is None else cpu / seen.requests * 1e6,
            p50_ms=seen.p50_ms,
            p99_ms=seen.p99_ms,
            rss_mb=None if rss is None else rss / 1e6,
            errors=seen.errors,
            mb_s=megabytes / seen.seconds,
            cpu_us_mb=None if cpu is None or not megabytes else cpu / megabytes * 1e6,
        )


@dataclass(slots=True)
class Figures:
    """One row: a proxy, or the backend without one."""

    version: str
    rounds: list[Round] = field(default_factory=list)

    @property
    def errors(self) -> int:
        return sum(each.errors for each in self.rounds)

    def values(self, name: str) -> list[float | None]:
        return [getattr(each, name) for each in self.rounds]

    def typical(self, name: str) -> float | None:
        return _median(self.values(name))

    def to(self, other: Figures | None, name: str) -> float | None:
        if other is None:
            return None
        pairs = zip(self.values(name), other.values(name), strict=True)
        return _median(ours / theirs for ours, theirs in pairs if ours is not None and theirs)


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None
