"""What one cgroup uses, from the files of either version."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from wakeful.runtime.cgroup import Cgroup, working_set
from wakeful.runtime.instance import Usage


def usage_of(cgroup: Cgroup) -> Usage:
    """What is not counted there is None."""
    return Usage(_memory(cgroup.memory), _cpu(cgroup.cpu))


def _memory(directory: str | None) -> int | None:
    if directory is None:
        return None
    for name in ("memory.usage_in_bytes", "memory.current"):
        with suppress(OSError, ValueError):
            return working_set(
                Path(directory, "memory.stat").read_text(), Path(directory, name).read_text()
            )
    return None


def _cpu(directory: str | None) -> float | None:
    if directory is None:
        return None
    with suppress(OSError, ValueError):
        return int(Path(directory, "cpuacct.usage").read_text()) / 1e9
    with suppress(OSError, ValueError):
        lines = Path(directory, "cpu.stat").read_text().splitlines()
        return int(dict(line.split() for line in lines)["usage_usec"]) / 1e6
    return None
