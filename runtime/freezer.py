"""Freezing one cgroup by writing to it.

A write is one short system call (0.1 ms for 20 threads, either version), so it
is made where it is decided, on the loop. What runs in the cgroup is stopped a
moment later, each thread when it next leaves the kernel.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from wakeful.runtime.cgroup import Cgroup, Hierarchies, hierarchies, locate

_FILE = {1: "freezer.state", 2: "cgroup.freeze"}
_FREEZE = {1: b"FROZEN", 2: b"1"}
_THAW = {1: b"THAWED", 2: b"0"}


class CgroupFreezer:
    """One cgroup, and the open file that freezes it. Raises OSError when it cannot be written."""

    __slots__ = ("_cgroup", "_freeze", "_state", "_thaw", "_write")

    def __init__(self, cgroup: Cgroup) -> None:
        self._cgroup = cgroup
        self._freeze = _FREEZE[cgroup.version]
        self._thaw = _THAW[cgroup.version]
        self._write = os.open(f"{cgroup.freezer}/{_FILE[cgroup.version]}", os.O_RDWR | os.O_CLOEXEC)
        # v1 tells in the same file what has come of it, v2 in another one.
        self._state = self._write
        if cgroup.version == 2:
            try:
                events = f"{cgroup.freezer}/cgroup.events"
                self._state = os.open(events, os.O_RDONLY | os.O_CLOEXEC)
            except BaseException:
                os.close(self._write)
                raise

    def freeze(self) -> None:
        with suppress(OSError):  # its processes have ended, and it with them
            os.pwrite(self._write, self._freeze, 0)

    def thaw(self) -> None:
        with suppress(OSError):
            os.pwrite(self._write, self._thaw, 0)

    def frozen(self) -> bool:
        """Every process in it has stopped. v1 tries again those that had not, when it is asked."""
        try:
            state = os.pread(self._state, 256, 0)
        except OSError:
            return True  # there are none
        return b"frozen 1" in state if self._cgroup.version == 2 else state.startswith(b"FROZEN")

    def again(self) -> None:
        """Catch what slipped through."""
        if self._cgroup.version == 1:
            self.thaw()
            self.freeze()

    def asked(self) -> bool:
        """Somebody asked for it to be frozen, whether or not it is by now."""
        try:
            state = os.pread(self._write, 16, 0)
        except OSError:
            return False
        return state.strip() not in (self._thaw, b"")

    def close(self) -> None:
        os.close(self._write)
        if self._state != self._write:
            os.close(self._state)


def cgroup_of(pid: int, container: str) -> Cgroup | None:
    """Where the container with this first process is frozen; None where that cannot be reached."""
    try:
        membership = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return locate(mounted(), membership, container)


def mounted() -> Hierarchies:
    try:
        return hierarchies(Path("/proc/self/mountinfo").read_text("utf-8", errors="replace"))
    except OSError:
        return Hierarchies()


def direct_problem() -> str | None:
    """Why containers cannot be frozen by writing to their cgroups; None when it is worth a try."""
    mount = mounted().freezer or mounted().unified
    if mount is None:
        return "no cgroup freezer is mounted"
    # A user without privileges may own cgroups below one that is not writable.
    if os.geteuid() == 0 and not os.access(mount.point, os.W_OK):
        return f"{mount.point} is not writable"
    return None
