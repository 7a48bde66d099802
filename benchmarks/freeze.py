"""What a request to a frozen instance waits for, held against one to a warm instance.

Three services of the same image, asked in turn: one is never frozen, one is
frozen by its cgroup, one by docker pause. Whether it is frozen is seen from
outside before it is asked: the engine says that it is paused, or the kernel
that its cgroup is, and a counter inside of it stands still.
"""

from __future__ import annotations

import json
import re
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median, quantiles
from uuid import uuid4

import click
from docker.api.client import APIClient
from docker.errors import APIError

import wakeful.demo
from benchmarks import machine
from benchmarks.built_image import built_image
from benchmarks.children import CannotMeasure, Child, free_port, started
from benchmarks.coldstart import wait_until_ready
from benchmarks.peers import run_wakeful
from benchmarks.table import number, table
from wakeful.runtime.freezer import CgroupFreezer, cgroup_of, direct_problem

_COMMAND = ["python3", "-S", "/app/freeze_app.py"]
_PATIENCE = 30.0
_FREEZERS = {"warm": "auto", "direct": "direct", "engine": "engine"}
_WORDS = {"warm": "warm", "direct": "frozen by its cgroup", "engine": "frozen by docker pause"}


@dataclass(slots=True)
class Figures:
    """Of one service. Times are in ms, from the request's first byte to the answer's."""

    first_byte: list[float] = field(default_factory=list)
    ticks: list[int] = field(default_factory=list)  # of its counter, while nobody asked

    @property
    def p50(self) -> float:
        return median(self.first_byte)

    @property
    def p99(self) -> float:
        return quantiles(self.first_byte, n=100, method="inclusive")[98]


@dataclass(frozen=True, slots=True)
class Report:
    machine: machine.Machine
    engine: str
    pause: float
    seen: Mapping[str, Figures]
    skipped: Mapping[str, str]

    def added(self, name: str) -> float | None:
        """To the median of warm requests, in ms."""
        return self.seen[name].p50 - self.seen["warm"].p50 if name in self.seen else None

    def as_json(self) -> dict[str, object]:
        return {
            "benchmark": "freeze",
            "machine": self.machine.as_json(),
            "engine": self.engine,
            "pause": self.pause,
            "ms": {
                name: {"p50": each.p50, "p99": each.p99, "added_p50": self.added(name)}
                for name, each in self.seen.items()
            },
            "ticks_while_idle": {name: sum(each.ticks) for name, each in self.seen.items()},
            "samples": {name: asdict(each) for name, each in self.seen.items()},
            "skipped": dict(self.skipped),
        }

    def __str__(self) -> str:
        rows = [
            (
                _WORDS[name],
                number(each.p50, 2),
                number(each.p99, 2),
                number(self.added(name), 2) if name != "warm" else "",
                number(sum(each.ticks), 0),
            )
            for name, each in self.seen.items()
        ]
        count = len(self.seen["warm"].first_byte)
        return "\n".join(
            [
                str(self.machine),
                self.engine,
                f"{count} interleaved requests each, {self.pause:g} s apart; first byte in ms",
                "",
                table(("instance", "p50", "p99", "p50 added", "counted while idle"), rows),
                *(f"{_WORDS[name]}: skipped, {why}" for name, why in self.skipped.items()),
            ]
        )


@click.command("freeze")
@click.option("--samples", type=click.IntRange(2), default=50, show_default=True)
@click.option("--pause", type=click.FloatRange(0.05), default=1.2, show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write figures there.")
def command(samples: int, pause: float, json_file: Path | None) -> None:
    """The first byte from a frozen instance, and a counter that stands still in it."""
    serve = Path(wakeful.demo.__file__).with_name("serve.py")
    app = Path(__file__).with_name("freeze_app.py")
    with built_image("freeze", [serve, app], _COMMAND) as (client, tag):
        report = measure(client, tag, samples, pause)
    click.echo(str(report))
    if json_file is not None:
        json_file.write_text(json.dumps(report.as_json(), indent=2) + "\n")


def measure(client: APIClient, tag: str, samples: int, pause: float) -> Report:
    host = machine.describe()
    skipped: dict[str, str] = {}
    if problem := direct_problem():
        skipped["direct"] = problem
    with ExitStack() as stack:
        services = {
            name: stack.enter_context(_serving(client, tag, name))
            for name in _FREEZERS
            if name not in skipped
        }
        # The first of each is not counted: it starts the instance.
        for service in services.values():
            service.ask()
        seen = {name: Figures() for name in services}
        for _ in range(samples):
            for service in services.values():
                service.wait_until_idle()
            before = {name: service.ticks() for name, service in services.items()}
            time.sleep(pause)
            for name, service in services.items():
                service.wait_until_idle()
                seen[name].ticks.append(service.ticks() - before[name])
                seen[name].first_byte.append(service.ask())
        version = f"Docker {client.version()['Version']}"
        return Report(host, version, pause, seen, skipped)


class _Service:
    """One wakeful with one service, and a client that keeps its connection."""

    def __init__(self, client: APIClient, name: str, service: str, port: int) -> None:
        self._client = client
        self._name = name
        self._service = service
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._container = ""

    def ask(self) -> float:
        """Milliseconds to the first byte."""
        request = f"GET / HTTP/1.1\r\nHost: {self._service}.localhost\r\n\r\n".encode()
        began = time.perf_counter()
        self._socket.sendall(request)
        answer = self._socket.recv(65536)
        took = (time.perf_counter() - began) * 1000
        while b"awake\n" not in answer:
            piece = self._socket.recv(65536)
            if not piece or not answer.startswith(b"HTTP/1.1 200"):
                raise CannotMeasure(f"{self._name} was answered with {answer[:200]!r}")
            answer += piece
        return took

    def wait_until_idle(self) -> None:
        """Frozen, if it is one that is, by what others say than wakeful."""
        deadline = time.monotonic() + _PATIENCE
        while self._name != "warm" and not self._frozen():
            if time.monotonic() > deadline:
                raise CannotMeasure(f"{self._name}: it is not frozen")
            time.sleep(0.005)

    def ticks(self) -> int:
        """What its counter wrote last; twice the same when all it wrote was read."""
        lines = self._client.logs(self._id(), tail=2).decode().splitlines()
        # Others write there too, and now and then into the same line.
        ticks = (re.fullmatch(r"tick (\d+)", line) for line in lines)
        return max((int(tick[1]) for tick in ticks if tick), default=0)

    def close(self) -> None:
        self._socket.close()

    def _frozen(self) -> bool:
        state = self._client.inspect_container(self._id())["State"]
        if self._name == "engine":
            return bool(state["Paused"])
        cgroup = cgroup_of(state["Pid"], self._id())
        if cgroup is None:
            return False
        freezer = CgroupFreezer(cgroup)
        try:
            return freezer.asked() and freezer.frozen()
        finally:
            freezer.close()

    def _id(self) -> str:
        if not self._container:
            label = f"wakeful.service={self._service}"
            (found,) = self._client.containers(filters={"label": label})
            self._container = found["Id"]
        return self._container


@contextmanager
def _serving(client: APIClient, tag: str, name: str) -> Iterator[_Service]:
    service = f"{name}-{uuid4().hex[:8]}"  # so that its containers are ours alone
    definition = {
        "image": tag,
        "command": _COMMAND,
        "min-instances": 1,
        "idle": {"freeze-after": "never" if name == "warm" else "0s"},
    }
    with tempfile.TemporaryDirectory(prefix="wakeful-bench-") as directory:
        folder, port = Path(directory), free_port()
        more = {"freezer": _FREEZERS[name]}
        run = run_wakeful(sys.executable, folder, port, {service: definition}, "docker", more=more)
        try:
            with started(run, folder, name="wakeful") as child:
                yield from _asked(client, name, service, port, child)
        finally:
            _remove(client, service)


def _asked(
    client: APIClient, name: str, service: str, port: int, child: Child
) -> Iterator[_Service]:
    wait_until_ready(child, port)
    one = _Service(client, name, service, port)
    try:
        yield one
    except (OSError, CannotMeasure) as error:
        raise CannotMeasure(f"{error}\n{child.output()}") from None
    finally:
        one.close()


def _remove(client: APIClient, service: str) -> None:
    label = f"wakeful.service={service}"
    for container in client.containers(all=True, filters={"label": label}):
        try:
            client.remove_container(container["Id"], force=True, v=True)
        except APIError as error:
            if error.status_code not in (404, 409):  # gone, or on its way
                raise
