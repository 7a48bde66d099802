"""What a driver reports of instances that end, for the tests of any driver."""

from __future__ import annotations

import asyncio

from wakeful.runtime.instance import Exit, InstanceId


class Exits:
    """What the driver reported, and the means to wait for it."""

    def __init__(self) -> None:
        self.seen: list[Exit] = []
        self._arrived = asyncio.Event()

    def __call__(self, exit: Exit) -> None:
        self.seen.append(exit)
        self._arrived.set()

    async def of(self, instance: InstanceId) -> str:
        async with asyncio.timeout(20):
            while not any(exit.instance == instance for exit in self.seen):
                self._arrived.clear()
                await self._arrived.wait()
        (detail,) = (exit.detail for exit in self.seen if exit.instance == instance)
        return detail
