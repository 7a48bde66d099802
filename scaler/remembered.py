"""What the scaler knows of a revision's traffic, handed on from one process to the next.

Moments become ages, so that neither clock has to be the same. With it a restart
neither forgets a load (and scales down) nor, as Knative does, begins in panic
(and keeps every instance for a window).
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from wakeful.config.model import Metric


class History(NamedTuple):
    """What a window holds, relative to the moment it is asked."""

    silent: int  # buckets since the last record
    seen: int  # buckets from the first record to the last, at most the window's length
    values: bytes  # of the last buckets, oldest first, as doubles; none: all are zero


@dataclass(frozen=True, slots=True)
class Remembered:
    """Ages are seconds."""

    metric: Metric  # the histories are in its unit
    stable: History | None
    panic: History | None
    panicking: float | None  # since so long
    panic_peak: int
    delay: tuple[tuple[int, int], ...]  # (slots ago, wanted), oldest first
    asked: int  # the event rule's peak
    asked_ago: float
    active: float | None  # since so long; None: activating, or wanted by nobody

    def as_json(self) -> dict[str, object]:
        return {
            "metric": self.metric.value,
            "stable": _history_json(self.stable),
            "panic": _history_json(self.panic),
            "panicking": self.panicking,
            "panic-peak": self.panic_peak,
            "delay": self.delay,
            "asked": [self.asked, self.asked_ago],
            "active": self.active,
        }

    @classmethod
    def from_json(cls, said: Mapping[str, object]) -> Remembered:
        """Raises ValueError for anything that ``as_json`` did not write."""
        match said:
            case {
                "metric": str(metric),
                "stable": stable,
                "panic": panic,
                "panicking": float() | int() | None as panicking,
                "panic-peak": int(peak),
                "delay": list(delay),
                "asked": [int(asked), float() | int() as ago],
                "active": float() | int() | None as active,
            }:
                return cls(
                    metric=Metric(metric),
                    stable=_history(stable),
                    panic=_history(panic),
                    panicking=panicking,
                    panic_peak=peak,
                    delay=tuple(_slot(entry) for entry in delay),
                    asked=asked,
                    asked_ago=ago,
                    active=active,
                )
        raise ValueError("not what was written")


def _history_json(history: History | None) -> list[object] | None:
    if history is None:
        return None
    return [history.silent, history.seen, b64encode(history.values).decode("ascii")]


def _history(said: object) -> History | None:
    match said:
        case None:
            return None
        case [int(silent), int(seen), str(text)] if silent >= 0 and seen > 0:
            values = b64decode(text, validate=True)
            if len(values) % 8 == 0:
                return History(silent, seen, values)
    raise ValueError("not a history")


def _slot(said: object) -> tuple[int, int]:
    match said:
        case [int(ago), int(wanted)]:
            return ago, wanted
    raise ValueError("not a slot of the delay")
