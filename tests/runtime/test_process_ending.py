"""Processes that are frozen, stopped and killed."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.processes import (
    FAMILY,
    POLITE,
    STUBBORN,
    Here,
    new_id,
    pid_of,
    python,
    records,
    until,
)
from wakeful.config.model import Readiness
from wakeful.runtime.driver import DriverError
from wakeful.runtime.instance import Exit, InstanceId
from wakeful.runtime.probe import ready
from wakeful.runtime.process_record import birth


def test_stop_asks_first(here: Here, run: Any) -> None:
    async def story() -> None:
        async with here.opened() as (driver, exits):
            instance = new_id()
            address = (await driver.start(python(POLITE), instance)).address
            await asyncio.wait_for(ready(address, Readiness()), 20)
            await asyncio.gather(*(driver.stop(instance, 600) for _ in range(3)))
            assert exits.seen == [Exit(instance, "exit code 0")]
            assert records(here.state) == []
            await driver.stop(instance, 600)

    run(story)


# Counts in a file, in a process of its own, under a shell that leads the group.
COUNTER = """
import os, signal, time
if os.fork() == 0:
    number = 0
    while True:
        number += 1
        with open("count.new", "w") as file:
            file.write(str(number))
        os.rename("count.new", "count")
        time.sleep(0.001)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
signal.sigwait([signal.SIGTERM])
os._exit(7)
"""


async def counts_on(here: Here) -> None:
    count = here.folder / "count"
    await until(count.exists)
    begun = count.read_text()
    await until(lambda: count.read_text() != begun)


def stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_a_frozen_instance_does_not_run_nor_does_what_it_started(here: Here, run: Any) -> None:
    async def story() -> None:
        async with here.opened() as (driver, exits):
            instance, failed = new_id(), list[InstanceId]()
            await driver.start(python(COUNTER), instance)
            await counts_on(here)
            driver.freeze(instance, failed.append)
            pid = pid_of(here.state, instance)
            await until(lambda: stopped(pid))
            count = (here.folder / "count").read_text()
            for _ in range(3):
                other = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
                await other.wait()  # others run meanwhile
            assert (here.folder / "count").read_text() == count
            used = await driver.usage(instance)
            assert used.memory is not None
            assert used.memory > 2 * 2**20  # two Pythons

            driver.thaw(instance)
            await counts_on(here)
            assert (failed, exits.seen) == ([], [])
            driver.freeze(new_id(), failed.append)
            driver.thaw(new_id())
            with pytest.raises(DriverError, match="not there any more"):
                await driver.usage(new_id())
            await driver.stop(instance, 5)

    run(story)


def test_a_frozen_instance_is_asked_to_end_and_not_killed(here: Here, run: Any) -> None:
    async def story() -> None:
        async with here.opened() as (driver, exits):
            instance = new_id()
            await driver.start(python(COUNTER), instance)
            await counts_on(here)
            driver.freeze(instance, lambda _: None)
            await until(lambda: stopped(pid_of(here.state, instance)))
            await driver.stop(instance, 20)
            assert exits.seen == [Exit(instance, "exit code 7")]

    run(story)


@pytest.mark.parametrize("adopted", [True, False])
def test_what_an_earlier_run_left_frozen_runs_again(here: Here, adopted: bool) -> None:
    async def story() -> None:
        instance = new_id()
        async with here.opened() as (driver, _):
            await driver.start(python(COUNTER), instance)
            await counts_on(here)
            driver.freeze(instance, lambda _: None)
            await until(lambda: stopped(pid_of(here.state, instance)))
        async with here.opened() as (driver, exits):
            if adopted:
                assert [found.instance for found in await driver.instances()] == [instance]
                await counts_on(here)
            await driver.stop(instance, 20)
            assert [exit.detail for exit in exits.seen] == ["exit code 7"]

    asyncio.run(story())


def test_a_second_stop_waits_with_the_first_and_does_not_ask_again(here: Here) -> None:
    """A second SIGTERM means "at once" to many programs."""
    program = """
import os, signal, time
def ask(signum, frame):
    with open("asked", "a") as file:
        file.write("x")
signal.signal(signal.SIGTERM, ask)
open("ready", "w").close()
while not os.path.exists("leave"):
    time.sleep(0.005)
"""

    async def story() -> None:
        asked = here.folder / "asked"
        async with here.opened() as (driver, exits):
            instance = new_id()
            await driver.start(python(program), instance)
            await until((here.folder / "ready").exists)
            first = asyncio.create_task(driver.stop(instance, 600))
            await until(asked.exists)
            second = asyncio.create_task(driver.stop(instance, 600))
            await asyncio.wait([first, second], timeout=0.05)
            (here.folder / "leave").touch()
            await asyncio.gather(first, second)
            assert asked.read_text() == "x"
            assert exits.seen == [Exit(instance, "exit code 0")]

    asyncio.run(story())


def test_stop_kills_what_ignores_being_asked(here: Here, run: Any) -> None:
    async def story() -> None:
        async with here.opened() as (driver, exits):
            instance = new_id()
            address = (await driver.start(python(STUBBORN), instance)).address
            await asyncio.wait_for(ready(address, Readiness()), 20)
            await driver.stop(instance, 0.05)
            assert exits.seen == [Exit(instance, "killed by signal 9")]

    run(story)


def test_what_a_crashed_instance_started_does_not_survive_it(here: Here) -> None:
    async def story() -> None:
        async with here.opened() as (driver, exits):
            instance = new_id()
            crash = "while not os.path.exists('child'): time.sleep(0.001)\nsys.exit(1)"
            await driver.start(python(FAMILY % crash), instance)
            assert await exits.of(instance) == "exit code 1"
            child = here.folder / "child"
            await until(lambda: birth(int(child.read_text() or 0)) is None)

    asyncio.run(story())


def test_stop_kills_the_whole_group_after_its_grace(here: Here) -> None:
    async def story() -> None:
        async with here.opened() as (driver, exits):
            instance = new_id()
            address = (await driver.start(python(FAMILY % "time.sleep(600)"), instance)).address
            await asyncio.wait_for(ready(address, Readiness()), 20)
            child = int((here.folder / "child").read_text())
            await driver.stop(instance, 0.05)
            assert exits.seen == [Exit(instance, "killed by signal 15")]
            await until(lambda: birth(child) is None)

    asyncio.run(story())
