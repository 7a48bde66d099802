"""Processes that another run of wakeful has left."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.runtime.processes import (
    POLITE,
    STUBBORN,
    Here,
    new_id,
    pid_of,
    python,
    records,
)
from wakeful.config.model import Readiness
from wakeful.runtime.instance import Address, Exit, Found, InstanceId
from wakeful.runtime.probe import ready
from wakeful.runtime.process_record import Record, Records, birth


def test_instances_survive_the_driver_and_are_adopted_by_the_next_one_of_their_owner(
    here: Here, run: Any
) -> None:
    async def story() -> None:
        instance = new_id()
        async with here.opened() as (first, unheard):
            address = (await first.start(python(POLITE), instance)).address
        async with here.opened("another") as (stranger, _):
            assert await stranger.instances() == []
        async with here.opened() as (second, exits):
            found = [Found(instance, "hello", "hello-00002", address)]
            assert await second.instances() == found
            assert await second.instances() == found
            await asyncio.wait_for(ready(address, Readiness()), 20)
            os.kill(pid_of(here.state, instance), signal.SIGKILL)
            assert await exits.of(instance) == "killed by signal 9"
            assert await second.instances() == []
        assert unheard.seen == []

    run(story)


# As the program of an installation that ends without a word, leaving its instance.
EARLIER_RUN = """
import asyncio, os, sys
from pathlib import Path
from wakeful.config.model import Revision, Template
from wakeful.runtime.process import ProcessDriver

async def main():
    driver = ProcessDriver("me", Path(sys.argv[1]), Path(sys.argv[2]))
    await driver.open(print)
    template = Template(command=(sys.executable, "-c", sys.argv[3]))
    address = (await driver.start(Revision("hello", 2, template), "hello-00002-kept")).address
    print(address.port, flush=True)
    os._exit(0)

asyncio.run(main())
"""


def test_an_instance_of_a_killed_run_is_found_watched_and_stopped(here: Here, run: Any) -> None:
    earlier = subprocess.run(
        [sys.executable, "-c", EARLIER_RUN, here.folder, here.state, STUBBORN],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    address = Address("127.0.0.1", int(earlier.stdout))
    instance = InstanceId("hello-00002-kept")

    async def story() -> None:
        async with here.opened() as (driver, exits):
            assert await driver.instances() == [Found(instance, "hello", "hello-00002", address)]
            await asyncio.wait_for(ready(address, Readiness()), 20)
            await driver.stop(instance, 0.05)
            (exit,) = exits.seen
            assert exit.instance == instance
            assert exit.detail.startswith("ended")
            assert records(here.state) == []
        with closing(socket.socket()) as nobody:
            assert nobody.connect_ex((address.host, address.port)) != 0

    run(story)


def test_being_killed_between_the_start_and_its_record_loses_nothing(here: Here) -> None:
    """The record is then without a process, and the process is found by its environment."""

    async def story() -> None:
        instance = new_id()
        async with here.opened() as (first, _):
            address = (await first.start(python(POLITE), instance)).address
            await asyncio.wait_for(ready(address, Readiness()), 20)
        pid = pid_of(here.state, instance)
        Records(here.state / "instances", "me").write(
            Record("me", instance, "hello", "hello-00002", address.port)
        )
        async with here.opened() as (second, exits):
            assert [found.instance for found in await second.instances()] == [instance]
            await second.stop(instance, 60)
            assert exits.seen == [Exit(instance, "exit code 0")]
            assert birth(pid) is None

    asyncio.run(story())


def test_another_process_with_the_number_of_a_dead_one_is_left_alone(here: Here) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", STUBBORN], env={"PORT": "0"})
    record = Record("me", new_id(), "hello", "hello-00002", 1, stranger.pid, "earlier")
    (here.state / "instances").mkdir(parents=True)
    Records(here.state / "instances", "me").write(record)

    async def story() -> None:
        async with here.opened() as (driver, _):
            assert await driver.instances() == []
            await driver.stop(record.instance, 0)
            assert records(here.state) == []

    try:
        asyncio.run(story())
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_the_dead_of_an_earlier_run_leave_no_files(here: Here) -> None:
    async def story() -> None:
        instance = new_id()
        async with here.opened() as (first, exits):
            await first.start(python("print('over')"), instance)
            await exits.of(instance)
            assert records(here.state) == [f"{instance}.json", f"{instance}.log"]
        async with here.opened():
            assert records(here.state) == []

    asyncio.run(story())


def test_a_record_that_is_damaged_is_passed_over(here: Here) -> None:
    async def story() -> None:
        folder = here.state / "instances"
        folder.mkdir(parents=True)
        for number, damage in enumerate(["", "{", "[]", '{"owner": "me"}', "null"]):
            (folder / f"{number}.json").write_text(damage)
        async with here.opened() as (driver, _):
            assert await driver.instances() == []

    asyncio.run(story())
