"""Where the cgroup of a container is, as this process sees it: from the texts of /proc.

A container is recognised by its id in the path of its cgroup. Without it in
there, the process we looked up is in another namespace, or is not the
container's any more, and nothing of it may be touched.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """A hierarchy of cgroups, or a part of one."""

    root: str  # the path inside the hierarchy of what is mounted
    point: str

    def directory(self, path: str) -> str | None:
        """Where the cgroup ``path`` is; None when it is not under what is mounted."""
        try:
            inside = PurePosixPath(path).relative_to(self.root)
        except ValueError:
            return None
        # Above the root of our own cgroup namespace, which the mount does not show.
        return None if ".." in inside.parts else str(PurePosixPath(self.point) / inside)


@dataclass(frozen=True, slots=True)
class Hierarchies:
    """What is mounted here."""

    freezer: Mount | None = None  # cgroup v1
    memory: Mount | None = None  # cgroup v1
    cpu: Mount | None = None  # cgroup v1
    unified: Mount | None = None  # cgroup v2


@dataclass(frozen=True, slots=True)
class Cgroup:
    """Of one container: the directories of its freezer and of its accounts."""

    version: int  # of the freezer
    freezer: str
    memory: str | None
    cpu: str | None = None


def hierarchies(mountinfo: str) -> Hierarchies:
    """From /proc/self/mountinfo, proc(5): the first mount of each."""
    freezer = memory = cpu = unified = None
    for line in mountinfo.splitlines():
        fields = line.split()
        # ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAGS ...] - TYPE SOURCE SUPER-OPTIONS
        separator = fields.index("-")
        mount = Mount(_plain(fields[3]), _plain(fields[4]))
        kind, options = fields[separator + 1], fields[separator + 3].split(",")
        if kind == "cgroup2":
            unified = unified or mount
        if kind == "cgroup":
            freezer = freezer or (mount if "freezer" in options else None)
            memory = memory or (mount if "memory" in options else None)
            cpu = cpu or (mount if "cpuacct" in options else None)
    return Hierarchies(freezer, memory, cpu, unified)


def locate(mounted: Hierarchies, membership: str, container: str) -> Cgroup | None:
    """From /proc/PID/cgroup of a process of the container; None where it cannot be reached.

    With both versions mounted, engines use the first; whose path has the
    container's id is the one that does.
    """
    paths = {}
    for line in membership.splitlines():
        _, controllers, path = line.split(":", 2)
        own = _own(path, container)
        if own is not None:
            for controller in controllers.split(","):
                paths[controller] = own
    first = _directory(mounted.freezer, paths.get("freezer"))
    second = _directory(mounted.unified, paths.get(""))
    memory = _directory(mounted.memory, paths.get("memory"))
    cpu = _directory(mounted.cpu, paths.get("cpuacct"))
    if first is not None:
        return Cgroup(1, first, memory, cpu)
    return Cgroup(2, second, memory or second, cpu or second) if second is not None else None


def working_set(stat: str, usage: str) -> int:
    """Bytes that would have to be found elsewhere, from memory.stat and the usage file.

    The usage without file pages that nobody used lately, as kubelet counts.
    """
    values = dict(line.split(maxsplit=1) for line in stat.splitlines())
    inactive = values.get("total_inactive_file") or values.get("inactive_file") or "0"
    return max(0, int(usage) - int(inactive))


def _own(path: str, container: str) -> str | None:
    """The path up to the container's own cgroup: what runs in it may have made others below."""
    parts = PurePosixPath(path).parts
    for depth, part in enumerate(parts, start=1):
        if container in part:
            return str(PurePosixPath(*parts[:depth]))
    return None


def _directory(mount: Mount | None, path: str | None) -> str | None:
    return None if mount is None or path is None else mount.directory(path)


def _plain(field: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), field)
