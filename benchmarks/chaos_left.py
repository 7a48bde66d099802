"""What is left in the namespaces when wakeful has ended: there is nobody else in them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker.api.client import APIClient

_PATIENCE = 10.0
_NETWORKS = {"bridge", "host", "none"}  # the engine's own
_ENGINE = ("dockerd", "containerd", "runc")


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A process of a container that the engine itself does not know any more.

    It was ended while it started that, nobody can ask it to stop it, and the
    engine gives its address to others.
    """

    command: str
    instance: str  # as it signs its notes


@dataclass(frozen=True, slots=True)
class Left:
    ours: list[str]
    forgotten: list[Forgotten]


def left(client: APIClient, cgroup: str) -> Left:
    """A moment later: the engine is not done when it says so. ``cgroup``: its containers'."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        found = Left(
            [
                *_of_the_engine(client),
                *(f"process {command}" for command, host in _processes(cgroup) if host is None),
            ],
            [Forgotten(command, host) for command, host in _processes(cgroup) if host is not None],
        )
        if not (found.ours or found.forgotten) or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


def _of_the_engine(client: APIClient) -> Iterator[str]:
    containers: list[dict[str, Any]] = client.containers(all=True)
    for each in containers:
        yield f"container {each['Names'][0]} ({each['Status']})"
    networks: list[dict[str, Any]] = client.networks()
    yield from (f"network {each['Name']}" for each in networks if each["Name"] not in _NETWORKS)
    volumes: list[dict[str, Any]] = client.volumes()["Volumes"] or []
    yield from (f"volume {each['Name']}" for each in volumes)


def _processes(cgroup: str) -> Iterator[tuple[str, str | None]]:
    """Those that are neither ours nor the engine's; in a container, with the name of its host."""
    known = {1, os.getpid()}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) not in known:
            with suppress(FileNotFoundError, ProcessLookupError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                within = f"/{cgroup}/" in (entry / "cgroup").read_text()
                if words[0] and not Path(os.fsdecode(words[0])).name.startswith(_ENGINE):
                    command = os.fsdecode(b" ".join(words)).strip()
                    yield command, _host(entry) if within else None


def _host(process: Path) -> str:
    """The engine says it in the environment of whatever it starts."""
    for each in (process / "environ").read_bytes().split(b"\0"):
        name, _, value = each.partition(b"=")
        if name == b"HOSTNAME":
            return os.fsdecode(value)
    return ""
