"""What a wakeful and the engine behind it hold, counted from outside."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from docker.api.client import APIClient
from docker.errors import NotFound

_DESCRIPTORS = {"socket:": "sockets", "pipe:": "pipes", "anon_inode:": "event descriptors"}
_NAMESPACE = re.compile(r"net:\[(\d+)\]")

ENGINE_CONTAINERS = "all containers of the engine"
ENGINE_NETWORKS = "all networks of the engine"
HOST_NAMESPACES = "all network namespaces of the host"
OTHERS = (ENGINE_CONTAINERS, ENGINE_NETWORKS, HOST_NAMESPACES)


def by_process(pid: int, state: Path) -> dict[str, int]:
    """Threads, descriptors and children of a process, and the files in its state directory."""
    process = Path(f"/proc/{pid}")
    kinds = Counter({kind: 0 for kind in (*_DESCRIPTORS.values(), "open files")})
    for descriptor in (process / "fd").iterdir():
        with suppress(FileNotFoundError):
            kinds[_kind(os.readlink(descriptor))] += 1
    return {
        "threads": len(list((process / "task").iterdir())),
        **kinds,
        "child processes": sum(parent == pid for parent in _parents()),
        "files in its state directory": sum(file.is_file() for file in state.rglob("*")),
    }


def memory(pid: int) -> int:
    """Bytes that are its own: what it shares, others may map and unmap."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Anonymous: +(\d+) kB$", text, re.MULTILINE)
    assert found is not None, text
    return int(found[1]) * 1024


class EngineHoldings:
    """Containers of ``owner``, and the network namespaces that they ever had."""

    def __init__(self, client: APIClient, owner: str) -> None:
        self._client = client
        self._owner = owner
        self._namespaces: dict[str, str] = {}  # where each is mounted, and whose it is

    def look_around(self) -> None:
        """While they run: remember the namespaces that are to go with them."""
        for container in self._containers():
            with suppress(NotFound):
                seen = self._client.inspect_container(container["Id"])
                if path := seen["NetworkSettings"]["SandboxKey"]:
                    self._namespaces[path] = container["Id"]

    def instances(self) -> int:
        return sum(not _is_sandbox(container) for container in self._containers())

    def sandboxes(self) -> int:
        return sum(map(_is_sandbox, self._containers()))

    def counts(self) -> dict[str, int]:
        ours = self._containers()
        sandboxes = sum(map(_is_sandbox, ours))
        there = {container["Id"] for container in ours}
        mounted = {line.split()[4] for line in _mounts()}
        left = [path for path, whose in self._namespaces.items() if whose not in there]
        return {
            "containers": len(ours) - sandboxes,
            "network sandboxes": sandboxes,
            "network namespaces of removed containers": sum(path in mounted for path in left),
            ENGINE_CONTAINERS: len(self._client.containers(all=True)),
            ENGINE_NETWORKS: len(self._client.networks()),
            HOST_NAMESPACES: len(set(_namespaces())),
        }

    def _containers(self) -> list[dict[str, Any]]:
        filters = {"label": f"wakeful.owner={self._owner}"}
        found: list[dict[str, Any]] = self._client.containers(all=True, filters=filters)
        return found


def _is_sandbox(container: Mapping[str, Any]) -> bool:
    return "wakeful.role" in container["Labels"]


def _kind(target: str) -> str:
    return next(
        (kind for mark, kind in _DESCRIPTORS.items() if target.startswith(mark)), "open files"
    )


def _parents() -> Iterator[int]:
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(FileNotFoundError, ProcessLookupError):
                # The name, in parentheses, may hold anything (proc(5)).
                stat = (process / "stat").read_text(errors="replace")
                yield int(stat.rpartition(")")[2].split()[1])


def _namespaces() -> Iterator[str]:
    """Those with a process in them, and those that are kept by a mount."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                yield os.readlink(process / "ns" / "net").partition(":")[2]
    for line in _mounts():
        if found := _NAMESPACE.search(line.split()[3]):
            yield f"[{found[1]}]"


def _mounts() -> list[str]:
    return [
        line for line in Path("/proc/self/mountinfo").read_text().splitlines() if " - nsfs " in line
    ]
