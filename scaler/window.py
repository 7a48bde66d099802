"""Averages over the last seconds: a ring of buckets, one per second.

The rules are those of Knative's autoscaler (pkg/autoscaler/aggregation,
TimedFloat64Buckets), so that our averages equal its own to the digit. A window
knows nothing of what it averages, and has no clock: ``second`` is a parameter,
whole, and may lie in the past.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from math import ceil, floor

from wakeful.config.model import Aggregation
from wakeful.scaler.remembered import History

PRECISION = 6  # decimals of a linear average; what is below counts as no load at all


class Window(ABC):
    """What was recorded in the last ``seconds`` seconds.

    Buckets exist only while something other than zero is in them: thousands of
    sleeping services hold a few words each, however long their windows are.
    """

    __slots__ = (
        "_buckets",
        "_first",
        "_granularity",
        "_last",
        "_newest",
        "_size",
        "_total",
        "_whole",
    )

    def __init__(self, seconds: int, granularity: int = 1) -> None:
        self._granularity = granularity
        self._total = 0.0
        self._buckets: array[float] | None = None  # None: all of them are zero
        # Moments are counted in buckets; before the first record there are none.
        self._first: int | None = None
        self._last = 0
        self._newest = 0  # the latest bucket that may hold anything
        self._measure(seconds)

    def record(self, second: int, value: float) -> None:
        """Add to what happened in that second; what is older than the window is ignored."""
        bucket = second // self._granularity
        if self._first is None:
            self._first = self._last = bucket
        elif bucket > self._last:
            if bucket - self._last >= self._size:
                # Nothing in the ring is recent: the average starts over.
                self._clear()
                self._first = bucket
            else:
                self._forget(self._last + 1, bucket)
            self._last = bucket
        elif bucket <= self._last - self._size:
            return
        elif bucket < self._first:
            self._first = bucket

        if value:
            if self._buckets is None:
                self._buckets = array("d", bytes(8 * self._size))
                self._newest = bucket
            self._buckets[bucket % self._size] += value
            self._total += value
            self._newest = max(self._newest, bucket)

    @abstractmethod
    def average(self, second: int) -> float: ...

    def empty(self, second: int) -> bool:
        """Whether nothing is known about the window that ends in that second.

        Not the same as an average of 0: exactly one window after the last
        record the average is 0 already, and the window not yet empty.
        """
        return self._first is None or second // self._granularity - self._last > self._whole

    def resize(self, seconds: int) -> None:
        """Change the length and keep the newest buckets."""
        old, size, whole = self._buckets, self._size, self._whole
        self._measure(seconds)
        if self._first is None or (self._size, self._whole) == (size, whole):
            return
        # As in Knative, the old ring counts as full from now on, whatever was in it.
        self._first = self._last - (size - 1)
        self._clear()
        if old is None:
            return
        kept = array("d", bytes(8 * self._size))
        for bucket in range(self._last, self._last - min(size, self._size), -1):
            kept[bucket % self._size] = old[bucket % size]
            self._total += old[bucket % size]
        self._buckets = kept

    def history(self, second: int) -> History | None:
        """What it holds, for a window that goes on from here; None where nothing was recorded."""
        if self._first is None:
            return None
        values = b""
        if self._buckets is not None:
            newest = self._last % self._size
            values = (self._buckets[newest + 1 :] + self._buckets[: newest + 1]).tobytes()
        silent = max(0, second // self._granularity - self._last)
        return History(silent, min(self._last - self._first + 1, self._size), values)

    def go_on(self, second: int, history: History) -> None:
        """Hold what another window held, as if no time had passed in between."""
        values = array("d", history.values)[-self._size :]
        self._clear()
        self._last = self._newest = second // self._granularity - history.silent
        self._first = self._last - history.seen + 1
        if any(values):
            self._buckets = array("d", bytes(8 * self._size))
            for bucket, value in enumerate(values, self._last - len(values) + 1):
                self._buckets[bucket % self._size] = value
            self._total = sum(values)

    def _measure(self, seconds: int) -> None:
        if seconds < 1 or self._granularity < 1:
            raise ValueError(f"a window of {seconds} s in steps of {self._granularity} s")
        self._size = ceil(seconds / self._granularity)
        self._whole = seconds // self._granularity

    def _forget(self, first: int, last: int) -> None:
        """Empty the buckets that the window moves onto."""
        if self._buckets is None:
            return
        for bucket in range(first, last + 1):
            self._total -= self._buckets[bucket % self._size]
            self._buckets[bucket % self._size] = 0.0
        if last - self._newest >= self._size:
            # As in Knative the total is what adding and subtracting made of it: some last
            # bits may be left, which decide what an average halfway is rounded to. But
            # they are no load by themselves.
            self._buckets = None
            if abs(self._total) >= 0.5 * 10.0**-PRECISION:
                self._total = 0.0

    def _clear(self) -> None:
        self._buckets = None
        self._total = 0.0


class LinearWindow(Window):
    """Every second weighs the same.

    Until the window is full, the average is over the seconds seen so far. A
    silence at the end shrinks the window instead of diluting it; only zeros
    that were recorded count as zeros, and gaps between records do.
    """

    __slots__ = ()

    def average(self, second: int) -> float:
        bucket = second // self._granularity
        silent = bucket - self._last
        if self._first is None or silent >= self._size or not self._total:
            return 0.0
        total, seen = self._total, self._last - self._first + 1
        if silent <= 0:
            return round_digits(total / min(seen, self._size), PRECISION)
        if self._buckets is not None:
            for stale in range(self._last + 1, bucket + 1):
                total -= self._buckets[stale % self._size]
        return round_digits(total / min(seen, self._size - silent), PRECISION)


class WeightedWindow(Window):
    """Recent seconds weigh more, each older one by the same factor less.

    As in Knative the weights are not normalised: one record in a new window of
    60 s reads as a fifth of its value.
    """

    __slots__ = ("_smoothing",)

    def average(self, second: int) -> float:
        buckets, size = self._buckets, self._size
        if buckets is None or self.empty(second):
            return 0.0
        silent = max(0, second // self._granularity - self._last)
        decay = 1.0 - self._smoothing
        weight = self._smoothing * decay**silent if silent else self._smoothing
        average = 0.0
        for bucket in range(self._last, self._last - size + silent, -1):
            average += buckets[bucket % size] * weight
            weight *= decay
        return average

    def _measure(self, seconds: int) -> None:
        super()._measure(seconds)
        self._smoothing = smoothing(self._size)


def window(aggregation: Aggregation, seconds: int, granularity: int = 1) -> Window:
    """The window that Knative's metric-aggregation-algorithm names."""
    if aggregation is Aggregation.LINEAR:
        return LinearWindow(seconds, granularity)
    return WeightedWindow(seconds, granularity)


def smoothing(buckets: int) -> float:
    """The weight of the newest bucket.

    All buckets together weigh 99.99%, but the newest never less than 20%.
    """
    return float(max(1.0 - (1.0 - 0.9999) ** (1.0 / buckets), 0.2))


def round_digits(value: float, digits: int) -> float:
    scale = 10.0**digits
    return round_half_away(value * scale) / scale


def round_half_away(value: float) -> float:
    """To the nearest whole number, halves away from zero, as Go does and Python does not."""
    if value < 0:
        return -round_half_away(-value)
    whole = floor(value)
    return float(whole + 1 if value - whole >= 0.5 else whole)
