"""Freezing the instances of one fleet: between two requests, and as spares that nobody needs."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from wakeful.clock import Now
from wakeful.config.model import Idle
from wakeful.runtime.driver import Driver
from wakeful.runtime.instance import InstanceId
from wakeful.runtime.ladder import Spare
from wakeful.runtime.roster import Member
from wakeful.runtime.spares import Spares

# After an instance could not be frozen.
FREEZE_RETRY = 60.0


class Freezing:
    """Without ``spares`` there are none: what nobody needs is stopped."""

    __slots__ = ("_driver", "_from", "_now", "_spares", "freezes", "thaws", "wanted")

    def __init__(self, driver: Driver, spares: Spares | None, now: Now) -> None:
        self._driver = driver
        self._spares = spares
        self._now = now
        self._from = -inf  # no sooner; after it failed
        self.wanted = True  # there is a use for the revision, and so for what is kept of it

        # Read at a scrape
        self.freezes = 0
        self.thaws = 0

    def freeze(self, it: Member, failed: Callable[[InstanceId], None]) -> None:
        if not it.frozen and self._now() >= self._from:
            it.frozen = True
            self.freezes += 1
            self._driver.freeze(it.id, failed)

    def let_run(self, it: Member) -> None:
        if it.frozen:
            it.frozen = False
            self.thaws += 1
            self._driver.thaw(it.id)

    def failed(self) -> None:
        """One could not be frozen; the next ones could not either, for a while."""
        self._from = self._now() + FREEZE_RETRY

    def keeps(self, idle: Idle) -> bool:
        """Whether one that nobody needs is worth keeping."""
        if self._spares is None or not self.wanted:
            return False
        able = idle.freeze_after is not None and self._now() >= self._from
        return able and idle.stop_after > 0 and self._spares.budget > 0

    def keep(self, it: Member, idle: Idle, stop: Callable[[InstanceId, str], None]) -> None:
        """It is a spare from now on. ``stop`` is called when it has to go, with the reason."""
        assert self._spares is not None
        self._spares.keep(Spare(it.id, it.used, self._now() + idle.stop_after), stop)

    def release(self, it: Member) -> None:
        """It is a spare no more."""
        if self._spares is not None:
            self._spares.release(it.id)
