"""Programs that run beside a benchmark: started, watched, and always ended by their id."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

_TICK = os.sysconf("SC_CLK_TCK")
_GRACE = 10.0


class CannotMeasure(Exception):
    """The benchmark cannot be run here; the message says what is missing."""


class _Stat(NamedTuple):
    state: str
    parent: int
    cpu: float


class Child:
    """A program, together with everything it started in its turn."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def output(self) -> str:
        """The end of what it said."""
        return last_words(self._log)

    def cpu(self) -> float:
        """Seconds of processor time so far, user and system, ended threads included."""
        return sum(stat.cpu for pid in self._family() if (stat := _stat(pid)))

    def rss(self) -> int:
        """Resident bytes; pages that its processes share are counted in each."""
        return sum(_resident(pid) for pid in self._family())

    def end(self) -> None:
        """SIGTERM, then SIGKILL for whatever is left of the family."""
        family = self._family()
        with suppress(ProcessLookupError):
            self.process.terminate()
        try:
            self.process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            pass
        finally:  # also when somebody presses Ctrl-C once more
            self.process.kill()
            self.process.wait()
        for pid in family[1:]:
            # It leads a session of its own, so a process that took over an id is left alone.
            with suppress(ProcessLookupError):
                if os.getsid(pid) == self.process.pid:
                    os.kill(pid, signal.SIGKILL)
                    _wait_for_end(pid)

    def _family(self) -> list[int]:
        parents = {pid: stat.parent for pid in _processes() if (stat := _stat(pid))}
        family = [self.process.pid]
        for pid in family:  # grows while it is walked
            family += [child for child, parent in parents.items() if parent == pid]
        return family


def last_words(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])


@contextmanager
def started(
    command: Sequence[str],
    folder: Path,
    *,
    name: str,
    env: Mapping[str, str] | None = None,
    core: int | None = None,
) -> Iterator[Child]:
    """Run a command in a folder of its own, on one core if that is given."""
    log = folder / f"{name}.log"
    if core is not None:
        command = ["taskset", "--cpu-list", str(core), *command]
    child = None
    try:
        with log.open("wb") as output, _signals_held_back():
            process = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the benchmark, which ends it in order
            )
            child = Child(process, log)
        yield child
    except OSError as error:
        if child is not None:
            raise
        raise CannotMeasure(f"{command[0]} cannot be started: {error}") from None
    finally:
        if child is not None:
            child.end()


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """No exception until what was started is known, or nobody would end it."""
    late: list[int] = []
    asked_to_end = (signal.SIGINT, signal.SIGTERM)
    before = {each: signal.signal(each, lambda n, _: late.append(n)) for each in asked_to_end}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
        for number in late:
            signal.raise_signal(number)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _processes() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _stat(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name, in parentheses, may hold anything; the fields are counted after it (proc(5)).
    fields = text.rpartition(")")[2].split()
    return _Stat(
        state=fields[0], parent=int(fields[1]), cpu=(int(fields[11]) + int(fields[12])) / _TICK
    )


def _wait_for_end(pid: int) -> None:
    """SIGKILL takes its moment, and others may never collect what it leaves."""
    deadline = time.monotonic() + _GRACE
    while (stat := _stat(pid)) and stat.state not in "ZX" and time.monotonic() < deadline:
        time.sleep(0.01)


def _resident(pid: int) -> int:
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
