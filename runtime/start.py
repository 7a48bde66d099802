"""One start: a turn for it, the driver's part and the probe, timed; and its failure in words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from wakeful.clock import Now
from wakeful.config.model import Revision
from wakeful.events import Phases, StartPhase
from wakeful.runtime.driver import Driver, DriverError, EngineUnavailable, ImageNotFound
from wakeful.runtime.output import Audience
from wakeful.runtime.probe import Prober, Probing
from wakeful.runtime.roster import Member
from wakeful.runtime.turns import Turns

# A start that takes longer has failed, unless requests are willing to wait longer.
SHORTEST_START_TIMEOUT = 60.0


class StartFailed(Exception):
    """``detail`` is for clients, ``reason`` for the operator."""

    def __init__(self, detail: str, reason: str) -> None:
        super().__init__(reason)
        self.detail = detail
        self.reason = reason


class Starter:
    """Brings instances up, from asked-for to ready; what was found running, by its probe alone."""

    __slots__ = ("_audience", "_driver", "_now", "_prober", "_turns")

    def __init__(
        self, driver: Driver, prober: Prober, turns: Turns, audience: Audience | None, now: Now
    ) -> None:
        self._audience = audience
        self._driver = driver
        self._prober = prober
        self._turns = turns
        self._now = now

    async def rise(self, revision: Revision, it: Member, *, cold: bool) -> Phases:
        """What it took. ``cold``: nothing of its revision is ready. Raises StartFailed."""
        timeout = max(revision.template.queue.timeout, SHORTEST_START_TIMEOUT)
        probe: Probing | None = None
        phases: Phases = ()
        queued = 0.0

        @asynccontextmanager
        async def turn() -> AsyncIterator[None]:
            """One that waits for its turn has not begun, so it cannot be late."""
            nonlocal queued
            asked = self._now()
            deadline.reschedule(None)
            async with self._turns.turn(revision.service, cold=cold):
                deadline.reschedule(asyncio.get_running_loop().time() + timeout)
                queued += self._now() - asked
                yield

        try:
            async with asyncio.timeout(timeout) as deadline:
                if it.address is None:
                    launched = await self._driver.start(revision, it.id, turn)
                    it.address = launched.address
                    if self._audience is not None:
                        self._audience.came(revision, it.id)
                    phases = _in_order((StartPhase.QUEUED, queued), *launched.phases)
                started = self._now()
                probe = self._prober(it.address, revision.template.readiness)
                await probe.passed()
                return (*phases, (StartPhase.LISTENING, self._now() - started))
        except DriverError as error:
            raise StartFailed(_for_the_client(error, revision), str(error)) from None
        except TimeoutError:
            late = _too_late(revision, timeout, probe)
            raise StartFailed(late, late) from None


def _in_order(*phases: tuple[StartPhase, float]) -> Phases:
    order = list(StartPhase)
    return tuple(sorted(phases, key=lambda phase: order.index(phase[0])))


def _too_late(revision: Revision, timeout: float, probe: Probing | None) -> str:
    if probe is None:
        return f"the instance was not started within {timeout:g}s"
    port = revision.template.port
    return f"did not listen on port {port} within {timeout:g}s: {probe.last_failure}"


def _for_the_client(error: DriverError, revision: Revision) -> str:
    """What failed, without what only concerns the operator: paths, engines, registries."""
    if isinstance(error, ImageNotFound):
        return f'image "{revision.template.image}" not found'
    if isinstance(error, EngineUnavailable):
        return "the container engine does not answer"
    return "the instance could not be started"
