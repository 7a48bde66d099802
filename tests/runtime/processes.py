"""Programs to be run as instances, and a folder in which they are."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from tests.exits import Exits
from wakeful.config.model import Revision, Template
from wakeful.runtime.instance import InstanceId
from wakeful.runtime.process import ProcessDriver
from wakeful.runtime.process_record import Records

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
