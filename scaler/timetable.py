"""The shell around schedules: one timer, for the next change of any of them.

Owns what each schedule asks for now. A revision without one is not known here,
and between two changes nothing is looked at but the clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf
from typing import Final

from wakeful.clock import Now
from wakeful.config.model import WarmWindow
from wakeful.scaler.schedule import Scheduled, scheduled

# The wall clock may be set, or stand still with the machine: seconds until that is noticed.
LONGEST_SLEEP: Final = 60.0


class Timetable:
    """Says of each revision with a schedule when its minimum changes."""

    def __init__(self, changed: Callable[[str, int], None], wall: Now) -> None:
        self._changed = changed
        self._wall = wall  # Unix time
        self._schedules: dict[str, tuple[WarmWindow, ...]] = {}
        self._asks: dict[str, Scheduled] = {}
        # All that is asked for holds between these two moments.
        self._since = -inf
        self._until = inf
        self._timer: asyncio.TimerHandle | None = None

    def put(self, revision: str, schedule: tuple[WarmWindow, ...]) -> int:
        """Follow this schedule from now on; the minimum that it asks for now."""
        if not schedule:
            self.drop(revision)
            return 0
        now = self._wall()
        self._schedules[revision] = schedule
        asks = self._asks[revision] = scheduled(schedule, now)
        self._since = max(self._since, now)
        if self._timer is None or asks.until < self._until:
            self._until = min(self._until, asks.until)
            self._set_timer(now)
        return asks.minimum

    def drop(self, revision: str) -> None:
        self._schedules.pop(revision, None)
        self._asks.pop(revision, None)
        if not self._schedules:
            self.close()

    def close(self) -> None:
        self._since, self._until = -inf, inf
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        now = self._wall()
        changes: list[tuple[str, int]] = []
        if not self._since <= now < self._until:
            for revision, asks in self._asks.items():
                if not asks.holds(now):
                    new = self._asks[revision] = scheduled(self._schedules[revision], now)
                    if new.minimum != asks.minimum:
                        changes.append((revision, new.minimum))
            self._since = now
            self._until = min(asks.until for asks in self._asks.values())
        self._set_timer(now)
        for revision, minimum in changes:
            self._changed(revision, minimum)

    def _set_timer(self, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        delay = min(self._until - now, LONGEST_SLEEP)
        self._timer = asyncio.get_running_loop().call_later(max(0.0, delay), self._look)
