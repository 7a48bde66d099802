"""Instances as processes of this machine, each on a free loopback port.

For development and for machines without Docker: there is no isolation, and
cpu and memory limits are not applied. A process leads a session of its own
and writes to a file, so it lives on when we end and is found by the next run.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from wakeful.config.model import Revision
from wakeful.events import StartPhase
from wakeful.runtime.driver import DriverError, OutputGone, Turn
from wakeful.runtime.environment import command, environment
from wakeful.runtime.instance import Address, Exit, Found, InstanceId, Launched, Usage
from wakeful.runtime.output import Asked, Line
from wakeful.runtime.ports import Ports
from wakeful.runtime.process_exit import ExitWatch
from wakeful.runtime.process_log import ProcessLog
from wakeful.runtime.process_record import Record, Records, birth
from wakeful.runtime.process_usage import group_usage

HOST = "127.0.0.1"

_THREADS = 4
_LOG_CHECK = 30.0
_KILL_PATIENCE = 10.0  # for SIGKILL to take effect; longer, and the kernel holds the process
_GROUP_POLL = 0.02

# Addressed to us by our own supervisor; a child that used them would speak in our name.
_PRIVATE = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS")


T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Process:
    record: Record
    pid: int
    log: ProcessLog
    watch: ExitWatch | None = None
    stopping: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def found(self) -> Found:
        record = self.record
        address = Address(HOST, record.port)
        return Found(record.instance, record.service, record.revision, address)


class ProcessDriver:
    """Runs ``template.command`` in ``directory``; logs and records go to ``state``."""

    name = "process"
    freezer = "SIGSTOP"
    sandboxes_ready = None

    def __init__(self, owner: str, directory: Path, state: Path) -> None:
        self._owner = owner
        self._directory = directory
        self._records = Records(state / "instances", owner)
        self._pool: ThreadPoolExecutor | None = None
        self._exited: Callable[[Exit], None] = lambda _: None
        self._processes: dict[InstanceId, _Process] = {}  # until stopped
        self._ports = Ports(HOST)
        self._starting: set[InstanceId] = set()
        self._discards: dict[InstanceId, asyncio.Task[None]] = {}  # of cancelled starts
        self._trimming: asyncio.TimerHandle | None = None

    async def open(
        self,
        exited: Callable[[Exit], None],
        paused: Callable[[InstanceId, bool], None] | None = None,
    ) -> None:
        # Nobody tells of a process that somebody else has stopped with SIGSTOP.
        self._exited = exited
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="wakeful-process")
        try:
            await self._unknown()
        except OSError as error:
            self._pool.shutdown()
            raise DriverError(f"cannot keep records of processes: {error}") from None

    async def start(
        self, revision: Revision, instance: InstanceId, turn: Turn = nullcontext
    ) -> Launched:
        if not revision.template.command:
            raise DriverError(f"{revision.service} has no command, and no engine runs its image")
        async with turn():
            return await self._start(revision, instance)

    async def stop(self, instance: InstanceId, grace: float) -> None:
        discard = self._discards.get(instance)
        if discard is not None and discard is not asyncio.current_task():
            await asyncio.wait([discard])
        process = self._processes.get(instance) or await self._adopt_one(instance)
        if process is not None and not process.ended.is_set():
            await self._terminate(process, grace)
        await self._in_thread(self._records.remove, instance)
        if process is not None:
            self._processes.pop(instance, None)
            self._ports.release(process.record.port)

    def freeze(self, instance: InstanceId, failed: Callable[[InstanceId], None]) -> None:
        process = self._processes.get(instance)
        if process is not None and not process.stopping and not process.ended.is_set():
            _signal_group(process.pid, signal.SIGSTOP)

    def thaw(self, instance: InstanceId) -> None:
        process = self._processes.get(instance)
        if process is not None and not process.ended.is_set():
            _signal_group(process.pid, signal.SIGCONT)

    async def usage(self, instance: InstanceId) -> Usage:
        process = self._processes.get(instance)
        if process is None:
            raise DriverError(f"process {instance} is not there any more")
        return await self._in_thread(group_usage, process.pid)

    async def tail(self, instance: InstanceId, lines: int) -> list[str]:
        return await self._in_thread(ProcessLog(self._records.log(instance)).last, lines)

    async def output(self, instance: InstanceId, asked: Asked) -> AsyncGenerator[list[Line], None]:
        process = self._processes.get(instance)
        if process is None:
            raise OutputGone(f"process {instance} is not there")
        if asked.since is not None:
            raise DriverError("the output of processes is kept without times; ask for its tail")
        try:
            async with aclosing(process.log.lines(asked, process.ended, self._in_thread)) as pieces:
                async for lines in pieces:
                    yield lines
        except FileNotFoundError:
            raise OutputGone(f"process {instance} is not there any more") from None
        except OSError as error:
            raise DriverError(f"its log cannot be read: {_cause(error)}") from None

    async def instances(self) -> list[Found]:
        try:
            for record in await self._unknown():
                self._adopt(record)
        except OSError as error:
            raise DriverError(f"cannot read the records of processes: {error}") from None
        return [p.found for p in self._processes.values() if not p.ended.is_set()]

    def expect(self, revisions: Sequence[Revision]) -> None:
        """There is nothing to prepare."""

    async def moved(self, revisions: Sequence[Revision]) -> list[Revision]:
        return []

    async def close(self) -> None:
        while self._discards:
            await asyncio.wait(self._discards.values())
        if self._trimming is not None:
            self._trimming.cancel()
        for process in self._processes.values():
            if process.watch is not None:
                process.watch.close()
        self._processes.clear()
        self._ports.clear()
        if self._pool is not None:
            self._pool.shutdown()

    # Starting

    async def _start(self, revision: Revision, instance: InstanceId) -> Launched:
        began = time.monotonic()
        port = self._ports.promise()
        record = Record(self._owner, instance, revision.service, revision.name, port)
        self._starting.add(instance)
        spawning = asyncio.ensure_future(self._in_thread(self._spawn, revision, record))
        try:
            record = await asyncio.shield(spawning)
        except asyncio.CancelledError:
            self._discards[instance] = asyncio.create_task(self._discard(spawning, record))
            raise
        except DriverError:
            self._starting.discard(instance)
            self._ports.release(port)
            raise
        self._watch(record)
        return Launched(Address(HOST, port), ((StartPhase.START, time.monotonic() - began),))

    def _spawn(self, revision: Revision, record: Record) -> Record:
        """In a thread: the process and its record, or neither."""
        try:
            # Written before the process exists, so that being killed between
            # the two loses nothing.
            self._records.write(record)
            pid = _spawn(
                command(revision, record.port),
                {
                    **{k: v for k, v in os.environ.items() if k not in _PRIVATE},
                    **environment(revision, record.port),
                },
                self._directory,
                self._records.log(record.instance),
            )
            record = replace(record, pid=pid, birth=birth(pid))
            self._records.write(record)
        except OSError as error:
            self._records.remove(record.instance)
            if record.pid is not None:
                _signal_group(record.pid, signal.SIGKILL)
                with suppress(ChildProcessError):
                    os.waitpid(record.pid, 0)
            raise DriverError(f"cannot start {revision.service}: {_cause(error)}") from None
        return record

    async def _discard(self, spawning: asyncio.Future[Record], record: Record) -> None:
        try:
            with suppress(DriverError):
                self._watch(await spawning)
                await self.stop(record.instance, 0)
        finally:
            self._starting.discard(record.instance)
            self._ports.release(record.port)
            del self._discards[record.instance]

    # Watching

    def _watch(self, record: Record) -> _Process:
        assert record.pid is not None
        log = ProcessLog(self._records.log(record.instance))
        process = _Process(record, record.pid, log)
        process.watch = ExitWatch(process.pid, lambda: self._ended(process))
        self._processes[record.instance] = process
        self._starting.discard(record.instance)
        self._ports.hold(record.port)
        if self._trimming is None:
            self._trim_later()
        return process

    async def _unknown(self) -> list[Record]:
        return await self._in_thread(
            self._records.living, frozenset(self._processes) | self._starting
        )

    def _adopt(self, record: Record) -> _Process | None:
        """Watch a process found by its record, unless that is done already."""
        if record.instance in self._processes or record.instance in self._starting:
            return None
        try:
            process = self._watch(record)
        except ProcessLookupError:
            return None
        # Only now, when the number is pinned, is it certain whose it is.
        if birth(process.pid) != record.birth:
            assert process.watch is not None
            process.watch.close()
            del self._processes[record.instance]
            return None
        _signal_group(process.pid, signal.SIGCONT)  # an earlier run may have left it frozen
        return process

    async def _adopt_one(self, instance: InstanceId) -> _Process | None:
        for record in await self._unknown():
            if record.instance == instance:
                return self._adopt(record)
        return None

    def _ended(self, process: _Process) -> None:
        assert process.watch is not None
        if not process.stopping:
            # Before reaping, while the group cannot be anybody else's.
            _signal_group(process.pid, signal.SIGKILL)
        detail = _detail(process.watch.reap())
        process.ended.set()
        self._exited(Exit(process.record.instance, detail))

    # Stopping

    async def _terminate(self, process: _Process, grace: float) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace
        if not process.stopping:  # a second SIGTERM means "at once" to many programs
            process.stopping = True
            _signal_group(process.pid, signal.SIGTERM)
            _signal_group(process.pid, signal.SIGCONT)  # to see it, if it is frozen
        try:
            async with asyncio.timeout(grace):
                await process.ended.wait()
        except TimeoutError:
            _signal_group(process.pid, signal.SIGKILL)
            await self._wait_killed(process)
        # A shell that led the group may be gone before what it ran.
        while loop.time() < deadline and _signal_group(process.pid, 0):  # noqa: ASYNC110 (no event tells)
            await asyncio.sleep(_GROUP_POLL)
        _signal_group(process.pid, signal.SIGKILL)

    async def _wait_killed(self, process: _Process) -> None:
        try:
            async with asyncio.timeout(_KILL_PATIENCE):
                await process.ended.wait()
        except TimeoutError:
            raise DriverError(f"process {process.pid} does not end after SIGKILL") from None

    # Logs

    def _trim_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._trimming = loop.call_later(_LOG_CHECK, self._trim)

    def _trim(self) -> None:
        self._trimming = None
        if self._processes and self._pool is not None:
            self._pool.submit(_trim, [process.log for process in self._processes.values()])
            self._trim_later()

    # File I/O and fork are slow on a busy disk or with much memory mapped, and
    # the default executor may be full of somebody else's waits.
    async def _in_thread(self, call: Callable[..., T], *arguments: object) -> T:
        assert self._pool is not None, "not open"
        return await asyncio.get_running_loop().run_in_executor(self._pool, call, *arguments)


def _spawn(argv: list[str], env: dict[str, str], directory: Path, log: Path) -> int:
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    # A child inherits the mask of the thread that forks it.
    mask = signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        process = subprocess.Popen(
            argv,
            env=env,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(output)
    # Its ExitWatch reaps it, or whoever runs after us: told so, Popen neither
    # warns that it is dropped while the process runs nor reaps it itself.
    process.returncode = 0
    return process.pid


def _signal_group(group: int, signum: int) -> bool:
    """Whether anything is left in the group to take a signal."""
    try:
        os.killpg(group, signum)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS, when all that is left are zombies
        return False
    return True


def _cause(error: OSError) -> str:
    name = error.filename
    if isinstance(error, FileNotFoundError) and name is not None:
        what = "no such directory" if Path(os.fsdecode(name)).is_dir() else "not found"
        return f"{os.fsdecode(name)}: {what}"
    reason = (error.strerror or str(error)).lower()
    return reason if name is None else f"{os.fsdecode(name)}: {reason}"


def _detail(code: int | None) -> str:
    if code is None:
        return "ended, with an exit code that only the run that started it could learn"
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"


def _trim(logs: list[ProcessLog]) -> None:
    for log in logs:
        log.trim()
