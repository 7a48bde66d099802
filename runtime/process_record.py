"""What is written down about each process, so that a later run finds it again.

One file per instance in the state directory. A process is told from another
that later got its number by its birth: the boot and the tick it started at.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from wakeful.runtime.instance import InstanceId


@dataclass(frozen=True, slots=True)
class Record:
    owner: str
    instance: InstanceId
    service: str
    revision: str
    port: int
    pid: int | None = None  # None: about to be started
    birth: str | None = None


class Records:
    """The records and logs of one installation. Every method does file I/O."""

    def __init__(self, directory: Path, owner: str) -> None:
        self._directory = directory
        self._owner = owner

    def log(self, instance: InstanceId) -> Path:
        return self._directory / f"{instance}.log"

    def write(self, record: Record) -> None:
        path = self._directory / f"{record.instance}.json"
        unfinished = path.with_suffix(".json.new")
        unfinished.write_text(json.dumps(asdict(record)) + "\n", encoding="utf-8")
        unfinished.replace(path)

    def remove(self, instance: InstanceId) -> None:
        # The record goes last: a log alone would never be found again.
        for suffix in (".json.new", ".log", ".json"):
            (self._directory / f"{instance}{suffix}").unlink(missing_ok=True)

    def living(self, known: frozenset[InstanceId]) -> list[Record]:
        """The records of processes that run and are not known yet.

        The files of those that have ended are removed.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        living = []
        for record in self._all():
            if record.instance in known:
                continue
            if record.pid is None:
                record = _find_process(record)
            if record.birth is not None and record.birth == birth(record.pid or 0):
                living.append(record)
            else:
                self.remove(record.instance)
        return living

    def _all(self) -> Iterator[Record]:
        for path in sorted(self._directory.glob("*.json")):
            try:
                record = _parse(json.loads(path.read_text(encoding="utf-8")))
            except (OSError, ValueError, TypeError):
                continue  # not written by this code, so not this code's to remove
            if record.owner == self._owner and record.instance == path.stem:
                yield record


def birth(pid: int) -> str | None:
    """What tells a running process from all others; None when it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None if Path("/proc/self/stat").exists() else _birth_by_ps(pid)
    except OSError:
        return None
    # proc(5): the second field, in parentheses, may hold anything; from the
    # third on they are state, ..., and the 22nd is the start time.
    fields = stat.rpartition(")")[2].split()
    if fields[0] in ("Z", "X"):
        return None
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:  # a sandbox that shows only some of /proc
        boot = ""
    return f"{boot}/{fields[19]}"


def _birth_by_ps(pid: int) -> str | None:
    listed = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return listed.stdout.strip() or None


def _find_process(record: Record) -> Record:
    """The record with its process, if one was started after the record was last written.

    That is so only when we were killed between the two. The process leads its
    session, and its environment names its revision and port.
    """
    marks = {f"K_REVISION={record.revision}".encode(), f"PORT={record.port}".encode()}
    for path in Path("/proc").glob("[0-9]*/environ"):
        pid = int(path.parent.name)
        try:
            if marks <= set(path.read_bytes().split(b"\0")) and os.getsid(pid) == pid:
                return replace(record, pid=pid, birth=birth(pid))
        except OSError:
            continue
    return record


def _parse(value: Any) -> Record:
    record = Record(**value)
    texts = (record.owner, record.instance, record.service, record.revision)
    if not all(isinstance(text, str) for text in texts) or not isinstance(record.port, int):
        raise TypeError("not a record")
    return record
