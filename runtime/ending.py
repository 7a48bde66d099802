"""The end of an instance: what an operator is told of it, and that it leaves no trace."""

from __future__ import annotations

import asyncio
import logging

from wakeful.config.model import Revision
from wakeful.runtime.driver import Driver, DriverError
from wakeful.runtime.instance import InstanceId
from wakeful.runtime.output import Audience

logger = logging.getLogger(__name__)

# What an operator is shown of an instance that failed.
TAIL_LINES = 20
TAIL_TIMEOUT = 5.0

# Between two tries to stop an instance whose engine refuses or does not answer.
FIRST_STOP_RETRY = 1.0
LONGEST_STOP_RETRY = 60.0


class Endings:
    """One that the engine does not let us stop is not forgotten but tried again."""

    __slots__ = ("_audience", "_driver", "_hurried", "_hurry")

    def __init__(self, driver: Driver, audience: Audience | None) -> None:
        self._audience = audience
        self._driver = driver
        self._hurried = False
        # For who waits at that moment; an event is a kilobyte that is seldom needed.
        self._hurry: asyncio.Event | None = None

    def hurry(self) -> None:
        """From now on each is tried once."""
        self._hurried = True
        if self._hurry is not None:
            self._hurry.set()

    async def report(self, revision: Revision, instance: InstanceId, wrong: str) -> None:
        """What went wrong, and the last it said."""
        lines: list[str] = []
        try:
            async with asyncio.timeout(TAIL_TIMEOUT):
                lines = await self._driver.tail(instance, TAIL_LINES)
        except (DriverError, TimeoutError) as error:
            logger.debug("%s: no output of instance %s: %s", revision.name, instance, error)
        output = "".join(f"\n  | {line}" for line in lines)
        logger.warning("%s: instance %s: %s%s", revision.name, instance, wrong, output)
        if self._audience is not None:
            self._audience.failed(revision, instance, wrong, lines)

    async def stop(self, revision: Revision, instance: InstanceId) -> None:
        retry = FIRST_STOP_RETRY
        while True:
            try:
                await self._driver.stop(instance, revision.template.stop_grace)
                return
            except DriverError as error:
                logger.warning(
                    "%s: instance %s cannot be stopped: %s", revision.name, instance, error
                )
            if self._hurried or await self._hurried_within(retry):
                return
            retry = min(2 * retry, LONGEST_STOP_RETRY)

    async def _hurried_within(self, seconds: float) -> bool:
        if self._hurry is None:
            self._hurry = asyncio.Event()
        try:
            async with asyncio.timeout(seconds):
                return await self._hurry.wait()
        except TimeoutError:
            return False
