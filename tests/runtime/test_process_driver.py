"""The process driver with real processes."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tests.exits import Exits
from wakeful.config.model import Readiness, Revision, Template
from wakeful.runtime import process as module
from wakeful.runtime import process_log
from wakeful.runtime.driver import DriverError
from wakeful.runtime.instance import Address, Exit, Found, InstanceId
from wakeful.runtime.probe import ready
from wakeful.runtime.process import ProcessDriver
from wakeful.runtime.process_record import Record, Records, birth

# Ends with "bye" and code 0 when it is asked to.
# It is blocked and waited for: one that came between a handler and pause() would be lost.
POLITE = """
import os, signal, socket
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
listener = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
print("hello from", os.environ["K_REVISION"], os.getcwd(), flush=True)
signal.sigwait([signal.SIGTERM])
print("bye", flush=True)
"""

STUBBORN = """
import os, signal, socket
signal.signal(signal.SIGTERM, signal.SIG_IGN)
listener = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
while True:
    signal.pause()
"""

# A shell that does not wait for what it started.
FAMILY = """
import os, signal, socket, sys, time
if os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with open("child", "w") as file:
        file.write(str(os.getpid()))
    listener = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
    while True:
        signal.pause()
%s
"""


def python(program: str, *arguments: str, **template: Any) -> Revision:
    command = (sys.executable, "-u", "-c", program, *arguments)
    return Revision("hello", 2, Template(command=command, **template))


def new_id() -> InstanceId:
    return InstanceId(f"hello-00002-{uuid.uuid4().hex[:8]}")


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 (nothing tells of another's process)
            await asyncio.sleep(0.005)


def records(state: Path) -> list[str]:
    return sorted(path.name for path in (state / "instances").iterdir())


def pid_of(state: Path, instance: InstanceId) -> int:
    pid: int = json.loads((state / "instances" / f"{instance}.json").read_text())["pid"]
    return pid


class Here:
    """One installation in a folder; its processes do not outlive the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"

    @asynccontextmanager
    async def opened(self, owner: str = "me") -> AsyncIterator[tuple[ProcessDriver, Exits]]:
        driver, exits = ProcessDriver(owner, self.folder, self.state), Exits()
        await driver.open(exits)
        try:
            yield driver, exits
        finally:
            await driver.close()

    def clear(self) -> None:
        for record in Records(self.state / "instances", "me").living(frozenset()):
            assert record.pid is not None
            with suppress(ProcessLookupError):
                os.killpg(record.pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(record.pid, 0)


@pytest.fixture
def here(tmp_path: Path) -> Any:
    here = Here(tmp_path)
    yield here
    here.clear()


@pytest.fixture(params=["asyncio", "uvloop", "without pidfd"])
def run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a story on the loops we support, and where the kernel has no pidfd."""
    if request.param == "without pidfd":
        monkeypatch.setattr("wakeful.runtime.process_exit._pidfd", lambda pid: None)
    factory = uvloop.new_event_loop if request.param == "uvloop" else None

    def run(story: Callable[[], Any]) -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(story())

    return run


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
