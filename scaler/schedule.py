"""Times in which more instances are kept: from a moment to how many, and until when.

Cron expressions are about what the clocks of a time zone show (cronsim says
when that is). A time that they skip in spring comes right after the gap, as in
Debian's cron, and one that they show twice in autumn comes the first time.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from math import floor, inf
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from cronsim import CronSim

from wakeful.config.model import WarmWindow

# Clocks that were put back show less than they did before; by at most so much.
_FOLD: Final = timedelta(hours=3)


class Scheduled(NamedTuple):
    """How many instances to keep at any moment between two, the first included; Unix time."""

    minimum: int
    since: float
    until: float

    def holds(self, unix: float) -> bool:
        return self.since <= unix < self.until


def scheduled(windows: Sequence[WarmWindow], unix: float) -> Scheduled:
    """The most that any window asks for at a moment of Unix time; 0 outside of all.

    A window lasts from each of its starts to the next of its ends after it. So one
    whose end falls together with the next start goes on.
    """
    minimum, until = 0, inf
    for window in windows:
        if _open(window, unix):
            minimum = max(minimum, window.min_instances)
            changes = _next(window.end, window.timezone, unix)
        else:
            changes = _next(window.start, window.timezone, unix)
        until = min(until, changes)
    return Scheduled(minimum, unix, until)


def _open(window: WarmWindow, unix: float) -> bool:
    started = _last(window.start, window.timezone, unix)
    ended = _last(window.end, window.timezone, unix)
    return started is not None and (ended is None or ended <= started)


class _Time(NamedTuple):
    """Two that a gap moved to the same moment are still in their order."""

    unix: float
    shown: datetime


def _next(expression: str, zone: str, unix: float) -> float:
    """The first time after ``unix``; infinity when there is none in 50 years."""
    for shown in CronSim(expression, _shown(unix, zone)):
        if (comes := _comes(shown, zone)) > unix:
            return comes
    return inf


def _last(expression: str, zone: str, unix: float) -> _Time | None:
    """The last time up to ``unix``; None when there is none in 50 years."""
    for shown in CronSim(expression, _shown(unix, zone) + _FOLD, reverse=True):
        if (came := _comes(shown, zone)) <= unix:
            return _Time(came, shown)
    return None


def _shown(unix: float, zone: str) -> datetime:
    """What the clocks show at a moment, in seconds begun: a datetime would round up."""
    return datetime.fromtimestamp(floor(unix), ZoneInfo(zone)).replace(tzinfo=None)


def _comes(shown: datetime, zone: str) -> float:
    """The first moment at which the clocks show this, or have skipped it."""
    local = shown.replace(tzinfo=ZoneInfo(zone))
    while local.astimezone(UTC).astimezone(local.tzinfo) != local:
        local += timedelta(minutes=1)  # gaps are some 60 of them, once a year
    return local.timestamp()
