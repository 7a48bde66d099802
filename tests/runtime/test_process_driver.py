"""The process driver with real processes, from the start to the end of one."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import socket
from contextlib import closing, suppress
from typing import Any

import pytest

from tests.exits import Exits
from tests.runtime.processes import (
    POLITE,
    Here,
    new_id,
    python,
    records,
    until,
)
from wakeful.config.model import Readiness, Revision, Template
from wakeful.runtime import process as module
from wakeful.runtime import process_log
from wakeful.runtime.driver import DriverError
from wakeful.runtime.probe import ready
from wakeful.runtime.process import ProcessDriver


def test_nothing_is_left_of_a_stopped_one_for_the_collector(here: Here, run: Any) -> None:
    async def story() -> None:
        async with here.opened() as (driver, _):
            gc.collect()
            gc.disable()
            try:
                instance = new_id()
                launched = await driver.start(python(POLITE), instance)
                await asyncio.wait_for(ready(launched.address, Readiness()), 20)
                await driver.stop(instance, 60)
                await asyncio.sleep(0)
                left = [it for it in gc.get_objects() if type(it) is module._Process]
            finally:
                gc.enable()
            assert left == []

    run(story)


def test_an_instance_listens_on_its_own_port_and_runs_in_the_directory(
    here: Here, run: Any
) -> None:
    async def story() -> None:
        async with here.opened() as (driver, _):
            one, two = new_id(), new_id()
            launched = await asyncio.gather(
                driver.start(python(POLITE), one), driver.start(python(POLITE), two)
            )
            addresses = [it.address for it in launched]
            assert addresses[0].port != addresses[1].port
            for address in addresses:
                await asyncio.wait_for(ready(address, Readiness()), 20)
            await until(lambda: (here.state / "instances" / f"{one}.log").read_text() != "")
            assert await driver.tail(one, 5) == [f"hello from hello-00002 {here.folder}"]
            await asyncio.gather(driver.stop(one, 60), driver.stop(two, 60))

    run(story)


def test_the_environment_is_ours_plus_the_services_less_what_is_private(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INHERITED", "yes")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    program = "import json, os; print(json.dumps(dict(os.environ)))"

    async def story() -> None:
        async with here.opened() as (driver, exits):
            instance = new_id()
            address = (
                await driver.start(
                    python(program, env=(("TARGET", "World"), ("PORT", "1"))), instance
                )
            ).address
            await exits.of(instance)
            env = json.loads((await driver.tail(instance, 1))[0])
            assert env["PORT"] == str(address.port)
            assert env["K_SERVICE"] == "hello"
            assert env["TARGET"] == "World"
            assert env["INHERITED"] == "yes"
            assert "NOTIFY_SOCKET" not in env

    asyncio.run(story())


def test_the_port_is_filled_in_in_the_command(here: Here) -> None:
    async def story() -> None:
        async with here.opened() as (driver, exits):
            instance = new_id()
            address = (
                await driver.start(python("import sys; print(sys.argv[1])", "p=$PORT"), instance)
            ).address
            await exits.of(instance)
            assert await driver.tail(instance, 1) == [f"p={address.port}"]

    asyncio.run(story())


@pytest.mark.parametrize(
    ("program", "detail"),
    [
        ("print('done')", "exit code 0"),
        ("import sys; sys.exit(3)", "exit code 3"),
        ("import os; os.kill(os.getpid(), 9)", "killed by signal 9"),
    ],
)
def test_an_exit_is_reported_once_with_its_cause(
    program: str, detail: str, here: Here, run: Any
) -> None:
    async def story() -> None:
        async with here.opened() as (driver, exits):
            instance = new_id()
            await driver.start(python(program), instance)
            assert await exits.of(instance) == detail
            assert await driver.instances() == []
            await driver.stop(instance, 60)
            assert len(exits.seen) == 1
            assert records(here.state) == []

    run(story)


def test_the_output_of_an_instance_can_be_read_after_it_ended_and_until_it_is_stopped(
    here: Here,
) -> None:
    program = r"import sys; print('one\ntwo'); sys.stderr.buffer.write(b'caf\xe9\n'); sys.exit(1)"

    async def story() -> None:
        async with here.opened() as (driver, exits):
            instance = new_id()
            await driver.start(python(program), instance)
            await exits.of(instance)
            assert await driver.instances() == []
            assert await driver.tail(instance, 2) == ["two", "caf�"]
            assert await driver.tail(instance, 0) == []
            await driver.stop(instance, 60)
            assert await driver.tail(instance, 2) == []

    asyncio.run(story())


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("no-such-program",), "cannot start hello: no-such-program: not found"),
        (("./absent",), "cannot start hello: ./absent: not found"),
        (("./note",), "cannot start hello: ./note: permission denied"),
        (("./binary",), "cannot start hello: ./binary: exec format error"),
    ],
)
def test_a_command_that_cannot_be_run_fails_in_one_line_and_leaves_nothing(
    command: tuple[str, ...], message: str, here: Here
) -> None:
    (here.folder / "note").write_text("no program")
    (here.folder / "binary").write_text("no program")
    (here.folder / "binary").chmod(0o755)

    async def story() -> None:
        async with here.opened() as (driver, exits):
            with pytest.raises(DriverError) as caught:
                await driver.start(Revision("hello", 1, Template(command=command)), new_id())
            assert str(caught.value) == message
            assert exits.seen == []
            assert records(here.state) == []

    asyncio.run(story())


def test_a_directory_that_is_gone_is_named(here: Here) -> None:
    async def story() -> None:
        gone = here.folder / "gone"
        driver = ProcessDriver("me", gone, here.state)
        await driver.open(Exits())
        with pytest.raises(DriverError, match=f"{gone}: "):
            await driver.start(python("pass"), new_id())
        await driver.close()

    asyncio.run(story())


def test_an_image_without_a_command_is_refused(here: Here) -> None:
    async def story() -> None:
        async with here.opened() as (driver, _):
            with pytest.raises(DriverError, match="no command"):
                await driver.start(Revision("hello", 1, Template(image="hello:1")), new_id())

    asyncio.run(story())


@pytest.mark.parametrize("steps", [0, 1, 2, 5])
def test_a_start_that_is_cancelled_leaves_nothing(steps: int, here: Here) -> None:
    async def story() -> None:
        async with here.opened() as (driver, _):
            instance = new_id()
            start = asyncio.create_task(driver.start(python(POLITE), instance))
            for _ in range(steps):
                await asyncio.sleep(0)
            start.cancel()
            with suppress(asyncio.CancelledError):
                await start
            if steps == 5:
                await driver.stop(instance, 0)
                assert records(here.state) == []
        assert records(here.state) == []

    asyncio.run(story())


def test_a_child_holds_none_of_our_sockets_and_no_blocked_signal(here: Here) -> None:
    program = (
        "import os, signal; "
        "print(sorted(map(int, os.listdir('/proc/self/fd')))[:-1], "
        "signal.pthread_sigmask(signal.SIG_BLOCK, ()))"
    )

    async def story() -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as ours:
            os.set_inheritable(ours.fileno(), True)
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
            try:
                async with here.opened() as (driver, exits):
                    instance = new_id()
                    await driver.start(python(program), instance)
                    await exits.of(instance)
                    assert await driver.tail(instance, 1) == ["[0, 1, 2] set()"]
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})

    asyncio.run(story())


def test_a_log_that_has_grown_too_long_starts_anew_under_its_writer(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_log, "_LIMIT", 1000)
    monkeypatch.setattr(module, "_LOG_CHECK", 0.005)
    program = """
import os, time
print("x" * 5000, flush=True)
while os.fstat(1).st_size:
    time.sleep(0.001)
print("anew", flush=True)
time.sleep(600)
"""

    async def story() -> None:
        async with here.opened() as (driver, _):
            instance = new_id()
            await driver.start(python(program), instance)
            log = here.state / "instances" / f"{instance}.log"
            await until(lambda: log.read_text() == "anew\n")
            await driver.stop(instance, 0)

    asyncio.run(story())
