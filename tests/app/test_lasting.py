"""Ten thousand times awake and asleep again, in simulated time: nothing of it is remembered."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections import Counter
from itertools import cycle

import pytest

from tests.app.world import SHORT, World, world
from wakeful.clock import run_simulated
from wakeful.config.model import Idle
from wakeful.runtime.driver import DriverError
from wakeful.runtime.memory import Script

pytestmark = pytest.mark.no_cover  # traced it takes three times as long, to cover what others do

SERVICES = [f"s{number}" for number in range(25)]
WARM_UP, ROUNDS = 40, 400  # of all of them
AWAKE = 15.0  # seconds, until all are at zero again

# What goes wrong in one start of some.
SCRIPTS = [
    *[Script()] * 30,
    Script(failure=DriverError("no room")),
    Script(lifetime=0.05),
    Script(lifetime=3.0),
    Script(freezable=False),
    Script(goodbye=5.0),
]
IDLE = [
    Idle(freeze_after=None, stop_after=0),
    Idle(freeze_after=0, stop_after=0),
    Idle(freeze_after=2, stop_after=900),
    Idle(freeze_after=2, stop_after=10),
]


def held() -> tuple[int, Counter[str]]:
    """Blocks of Python's own allocator, and the objects that the collector knows, by type."""
    gc.collect()
    types = Counter(type(each).__name__ for each in gc.get_objects())
    return sys.getallocatedblocks(), types


async def turn(it: World) -> int:
    """Every service is asked, twice, and then left alone until it is at zero."""
    for name in SERVICES:
        it.send(name=name)
    await asyncio.sleep(1)
    for name in SERVICES:
        it.send(name=name)
    await asyncio.sleep(AWAKE)
    # What the driver and the world have noted for tests.
    started = len(it.driver.starts)
    it.driver.starts.clear()
    it.driver.stops.clear()
    it.settled.clear()
    return started


def test_ten_thousand_cycles_of_waking_and_sleeping_leave_nothing_in_memory(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL)  # pytest keeps every line

    async def main() -> None:
        async with world(frozen_memory=2**30) as it:
            scripts = cycle(SCRIPTS)
            it.driver.default = lambda _: next(scripts)
            for number, name in enumerate(SERVICES):
                it.deploy(name, scale=SHORT, idle=IDLE[number % len(IDLE)])
            for _ in range(WARM_UP):
                await turn(it)
            blocks, types = held()
            started = 0
            for _ in range(ROUNDS):
                started += await turn(it)
            after, grown = held()

            assert started > 5_000
            assert all(not throttler.in_hand for throttler in it.plane.throttlers.values())
            more = {name: count for name, count in (grown - types).items() if count > 100}
            assert after - blocks < 500, more
            assert more == {}

    run_simulated(main())


def test_a_thousand_looks_at_what_runs_leave_nothing_in_memory() -> None:
    async def main() -> None:
        async with world() as it:
            it.deploy(scale=SHORT)
            await it.send()
            await asyncio.sleep(1)
            for _ in range(10):
                list(it.scaler.statuses())
            gc.collect()
            gc.disable()  # it would also free what CPython keeps for later
            try:
                before = sys.getallocatedblocks()
                for _ in range(1000):
                    list(it.scaler.statuses())
                after = sys.getallocatedblocks()
            finally:
                gc.enable()
            assert after - before < 100

    run_simulated(main())
