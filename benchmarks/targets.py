"""Proxies side by side in front of one backend, each ready to be loaded in its turn."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import backend
from benchmarks.children import CannotMeasure, Child, free_port, started
from benchmarks.peers import HOST, Peer, Place

_READY_TIMEOUT = 15.0


@dataclass(frozen=True, slots=True)
class Cores:
    """Where to run; anywhere if None."""

    proxy: int | None
    others: int | None  # the load and the backend


@dataclass(frozen=True, slots=True)
class Target:
    port: int
    version: str
    child: Child | None = None  # whose CPU is counted
    access_log: Path | None = None


class Lineup:
    """A backend, and the proxies that were started in front of it."""

    def __init__(self, stack: ExitStack, folder: Path, cores: Cores, size: int) -> None:
        self._stack = stack
        self._folder = folder
        self._cores = cores
        self._size = size  # of a response's body
        self._backend = 0  # its port

    def start_backend(self, *, uploads: bool) -> Target:
        port = free_port()
        name, command = backend.command(self._folder, port, self._size, uploads=uploads)
        child = self._stack.enter_context(
            started(command, self._folder, name="backend", core=self._cores.others)
        )
        _wait_until_it_answers(child, "the backend", port, self._size)
        self._backend = port
        return Target(port, name)

    def start(self, peer: Peer, program: str, connections: int) -> Target:
        """Raises CannotMeasure when it does not start, or does not answer as it should."""
        folder = self._folder / re.sub(r"\W+", "-", peer.name)
        folder.mkdir()
        place = Place(folder, free_port(), self._backend, connections)
        # Whatever it would keep in a home directory belongs to this run.
        home = {name: str(folder) for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")}
        child = self._stack.enter_context(
            started(
                peer.configure(program, place),
                folder,
                name=folder.name,
                env={**home, **peer.env},
                core=self._cores.proxy,
            )
        )
        _wait_until_it_answers(child, peer.name, place.port, self._size)
        log = None if peer.access_log is None else folder / peer.access_log
        return Target(place.port, peer.version(program), child, log)


@contextmanager
def lineup(folder: Path, cores: Cores, size: int) -> Iterator[Lineup]:
    """Whatever is started in it is ended with it."""
    folder.mkdir()
    with ExitStack() as stack:
        yield Lineup(stack, folder, cores, size)


def pinned(wanted: bool) -> Cores:
    """One core for the proxies, another for everything else."""
    cores = sorted(os.sched_getaffinity(0))
    if not wanted or len(cores) < 2 or shutil.which("taskset") is None:
        return Cores(None, None)
    return Cores(cores[0], cores[1])


def _wait_until_it_answers(child: Child, name: str, port: int, size: int) -> None:
    deadline = time.monotonic() + _READY_TIMEOUT
    seen: object = "nothing"
    while time.monotonic() < deadline and child.alive:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            client.request("GET", "/", headers={"Host": HOST})
            response = client.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            seen = error
        else:
            if response.status == 200 and len(body) == size:
                return
            seen = f"status {response.status} with {len(body)} bytes"
        finally:
            client.close()
        time.sleep(0.05)
    raise CannotMeasure(f"{name} does not answer as it should: {seen}\n{child.output()}")
