"""Counters cheap enough for the path of every request, and their text form.

A prometheus-client object costs 4 to 11 µs a request; these are plain ints
and lists (0.3 µs), turned into the exposition format only when scraped.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import TypeAlias

# OpenTelemetry's advice for HTTP durations, and Knative's bounds.
DURATION_BOUNDS = (
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
)  # fmt: skip
COLD_START_BOUNDS = (0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0, 120.0, 300.0)

Labels: TypeAlias = str  # as they are written, without the braces; see ``label``

_LINES = 500  # of text at a time: half a millisecond


class Histogram:
    """Counts per bucket (not cumulative), and the sum; seconds in, seconds out."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...] = DURATION_BOUNDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.sum += seconds


class Total:
    """A number of durations, and their sum in seconds."""

    __slots__ = ("count", "sum")

    def __init__(self) -> None:
        self.count = 0
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        self.count += 1
        self.sum += seconds


class Exposition:
    """Metric families in Prometheus' text format 0.0.4.

    Samples are asked for when the text is: of many services it is made piece
    by piece, and other things may happen in between.
    """

    def __init__(self) -> None:
        self._families: list[Iterator[str]] = []

    def family(
        self, name: str, kind: str, text: str, samples: Iterable[tuple[Labels, float]]
    ) -> None:
        self._families.append(_family(name, kind, text, samples))

    def histograms(self, name: str, text: str, samples: Iterable[tuple[Labels, Histogram]]) -> None:
        self._families.append(_histograms(name, text, samples))

    def summaries(self, name: str, text: str, samples: Iterable[tuple[Labels, int, float]]) -> None:
        """Of counts and sums alone, without quantiles."""
        self._families.append(_summaries(name, text, samples))

    def pieces(self) -> Iterator[str]:
        """The whole text, in the order in which the families were given; once."""
        lines = chain.from_iterable(self._families)
        while piece := "".join(islice(lines, _LINES)):
            yield piece


def label(name: str, value: str) -> Labels:
    """Several are joined by commas."""
    value = value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return f'{name}="{value}"'


def _family(
    name: str, kind: str, text: str, samples: Iterable[tuple[Labels, float]]
) -> Iterator[str]:
    yield _head(name, kind, text)
    for labels, value in samples:
        yield f"{name}{{{labels}}} {_number(value)}\n" if labels else f"{name} {_number(value)}\n"


def _histograms(name: str, text: str, samples: Iterable[tuple[Labels, Histogram]]) -> Iterator[str]:
    yield _head(name, "histogram", text)
    for labels, histogram in samples:
        count = 0
        for bound, number in zip(histogram.bounds, histogram.counts, strict=False):
            count += number
            yield f'{name}_bucket{{{labels},le="{_number(bound)}"}} {count}\n'
        count += histogram.counts[-1]
        yield f'{name}_bucket{{{labels},le="+Inf"}} {count}\n'
        yield f"{name}_sum{{{labels}}} {_number(histogram.sum)}\n"
        yield f"{name}_count{{{labels}}} {count}\n"


def _summaries(name: str, text: str, samples: Iterable[tuple[Labels, int, float]]) -> Iterator[str]:
    yield _head(name, "summary", text)
    for labels, count, total in samples:
        yield f"{name}_sum{{{labels}}} {_number(total)}\n"
        yield f"{name}_count{{{labels}}} {count}\n"


def _head(name: str, kind: str, text: str) -> str:
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
