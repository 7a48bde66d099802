"""Containers that run although the engine says that they do not.

An engine that is killed in the middle of a start comes back with a container that was
"created", whose process runs all the same. It does not end that when it is asked to remove
the container, and gives the address away: what is sent to its next holder may be answered
by this one. Only on the engine's own machine, and by whoever has the right, can it be ended.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from docker.api.client import APIClient
from docker.errors import NotFound

log = logging.getLogger(__name__)

_ID = re.compile(r"[0-9a-f]{64}")
_LOOKS = 5  # at what was forked meanwhile
_BETWEEN = 0.02  # seconds, for what was killed to be gone


def runs(client: APIClient, container: str) -> bool:
    """As far as the engine knows. Of one that is not there: no."""
    try:
        return lives(client.inspect_container(container)["State"])
    except NotFound:
        return False


def lives(state: Mapping[str, Any]) -> bool:
    """Of a container as the engine describes it."""
    return bool(state["Running"] or state["Paused"])  # podman's paused ones do not run


def end_if_forgotten(client: APIClient, container: str) -> None:
    """To be called before one is removed of which it is not known whether it runs."""
    if not runs(client, container):
        end_forgotten([container])


def end_forgotten(containers: Collection[str]) -> None:
    """Kill what runs in the cgroups of these, which the engine holds for not running.

    Reads /proc once, and again after each time that there was something.
    """
    said: set[str] = set()
    for _ in range(_LOOKS if containers else 0):
        found = dict(_processes(containers))
        if not found:
            return
        for container in set(found.values()) - said:
            log.warning("container %.12s runs, and the engine says it does not: killed", container)
        said.update(found.values())
        for pid, container in found.items():
            _kill(pid, container)
        time.sleep(_BETWEEN)


def member_of(membership: str, containers: Collection[str]) -> str | None:
    """Which of these a process is in, by its /proc/PID/cgroup; None for none of them."""
    return next((each for each in _ID.findall(membership) if each in containers), None)


def _processes(containers: Collection[str]) -> Iterator[tuple[int, str]]:
    for path in Path("/proc").glob("[0-9]*/cgroup"):
        container = _container_of(path, containers)
        if container is not None:
            yield int(path.parent.name), container


def _container_of(membership: Path, containers: Collection[str]) -> str | None:
    try:
        return member_of(membership.read_text("utf-8", errors="replace"), containers)
    except OSError:  # it has ended
        return None


def _kill(pid: int, container: str) -> None:
    with suppress(OSError):  # it has ended, or is not ours to end
        handle = os.pidfd_open(pid)
        try:
            # From here on the number cannot become another's.
            if _container_of(Path(f"/proc/{pid}/cgroup"), {container}) is not None:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        finally:
            os.close(handle)
