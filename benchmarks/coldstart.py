"""What a request to a sleeping service waits for, held against a start by hand.

The two are measured in turn, with the same image and network mode (or the same
program), and wakeful has put its instance to sleep before each of its samples. With
several network modes all of them take turns, so that they can be held against each other.
"""

from __future__ import annotations

import http.client
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median
from typing import Protocol

import click

from benchmarks import machine
from benchmarks.children import CannotMeasure, Child, free_port, started
from benchmarks.coldstart_docker import docker_starts
from benchmarks.coldstart_process import process_starts
from benchmarks.coldstart_sample import NotAnswered, Sample
from benchmarks.peers import run_wakeful
from benchmarks.table import number, table

_WINDOW = "6s"  # the shortest there is
_READY_TIMEOUT = 15.0

# In the order they happen in.
_PHASES = {
    "create": "create",
    "start": "start",
    "listening": "until it listens",
    "first_byte": "until the first byte",
    "total": "in all",
}


class Starts(Protocol):
    """One thing that can be started by hand and by wakeful."""

    name: str
    service: str
    template: Mapping[str, object]

    def describe(self) -> str: ...
    def through(self, port: int) -> Sample: ...
    def bare(self) -> Sample: ...
    def wait_until_asleep(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Pairs:
    """Samples of one thing, by hand and by wakeful, one right after the other."""

    kind: str  # "process", or a network mode
    subject: str
    bare: list[Sample]
    wakeful: list[Sample]

    def as_json(self) -> dict[str, object]:
        return {
            "kind": self.kind,
            "subject": self.subject,
            "ms": {
                "bare": {field.name: _typical(self.bare, field.name) for field in fields(Sample)},
                "wakeful": {
                    field.name: _typical(self.wakeful, field.name) for field in fields(Sample)
                },
            },
            "added_ms": self.added,
            "to_bare": self.to_bare,
            "samples": {
                "bare": [asdict(sample) for sample in self.bare],
                "wakeful": [asdict(sample) for sample in self.wakeful],
            },
        }

    @property
    def added(self) -> float:
        """What wakeful adds; the median over pairs that were measured one after the other."""
        pairs = zip(self.wakeful, self.bare, strict=True)
        return median(ours.total - bare.total for ours, bare in pairs)

    @property
    def to_bare(self) -> float:
        return _ratio(self.wakeful, self.bare)

    def __str__(self) -> str:
        rows = [
            (words, number(_typical(self.bare, phase)), number(_typical(self.wakeful, phase)))
            for phase, words in _PHASES.items()
        ]
        rows.append(("least and most", _extremes(self.bare), _extremes(self.wakeful)))
        return "\n".join(
            [
                f"{self.kind}: {self.subject}",
                f"medians of {len(self.bare)} interleaved samples each, in ms",
                "",
                table(("", "by hand", "wakeful"), rows),
                "",
                f"wakeful adds {self.added:+.1f} ms and takes {self.to_bare:.2f} of the time"
                " (medians over pairs)",
            ]
        )


@dataclass(frozen=True, slots=True)
class Report:
    machine: machine.Machine
    of: list[Pairs]  # of which each sample was taken in turn

    def as_json(self) -> dict[str, object]:
        return {
            "benchmark": "coldstart",
            "machine": self.machine.as_json(),
            "of": [one.as_json() for one in self.of],
            "to_first": {one.kind: self._to_first(one) for one in self.of[1:]},
        }

    def __str__(self) -> str:
        first = self.of[0]
        compared = [
            f"wakeful with {one.kind} takes {self._to_first(one):.2f} of its time with {first.kind}"
            " (median over rounds)"
            for one in self.of[1:]
        ]
        return "\n\n".join([str(self.machine), *map(str, self.of), *compared])

    def _to_first(self, one: Pairs) -> float:
        return _ratio(one.wakeful, self.of[0].wakeful)


@click.command("coldstart")
@click.option("--runtime", type=click.Choice(["docker", "process"]), default="docker")
@click.option("--samples", type=click.IntRange(1), default=10, show_default=True)
@click.option(
    "--network",
    "networks",
    type=click.Choice(["bridge", "sandbox"]),
    multiple=True,
    default=["bridge"],
    show_default=True,
    help="Of containers; several are measured in turn.",
)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write figures there.")
def command(runtime: str, samples: int, networks: tuple[str, ...], json_file: Path | None) -> None:
    """From a request to a sleeping service to its first byte, against a start by hand."""
    starts: AbstractContextManager[Sequence[Starts]]
    starts = docker_starts(networks) if runtime == "docker" else process_starts()
    with starts as subjects:
        report = measure(runtime, subjects, samples)
    click.echo(str(report))
    if json_file is not None:
        json_file.write_text(json.dumps(report.as_json(), indent=2) + "\n")


def measure(runtime: str, subjects: Sequence[Starts], samples: int) -> Report:
    host = machine.describe()
    bare: list[list[Sample]] = [[] for _ in subjects]
    ours: list[list[Sample]] = [[] for _ in subjects]
    # With no spares: what wakes must be started.
    idle = {"stop-after": "0s"}
    services = {
        one.service: {**one.template, "scale": {"window": _WINDOW}, "idle": idle}
        for one in subjects
    }
    with tempfile.TemporaryDirectory(prefix="wakeful-bench-") as name:
        folder, port = Path(name), free_port()
        run = run_wakeful(sys.executable, folder, port, services, runtime)
        with started(run, folder, name="wakeful") as child:
            wait_until_ready(child, port)
            try:
                # The first of each is not counted: it fills caches for all the others.
                for _ in range(samples + 1):
                    for at, one in enumerate(subjects):
                        one.wait_until_asleep()
                        ours[at].append(one.through(port))
                        bare[at].append(one.bare())
            except (NotAnswered, OSError) as error:
                raise CannotMeasure(f"{error}\n{child.output()}") from None
            found = [
                Pairs(one.name, one.describe(), bare[at][1:], ours[at][1:])
                for at, one in enumerate(subjects)
            ]
            return Report(host, found)


def wait_until_ready(child: Child, port: int) -> None:
    """Until it answers anything at all: the services sleep, and are to stay asleep."""
    deadline = time.monotonic() + _READY_TIMEOUT
    while time.monotonic() < deadline and child.alive:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            client.request("GET", "/", headers={"Host": "nobody.localhost"})
            if client.getresponse().status == 404:
                return
        except (OSError, http.client.HTTPException):
            time.sleep(0.05)
        finally:
            client.close()
    raise CannotMeasure(f"wakeful does not start\n{child.output()}")


def _typical(samples: list[Sample], phase: str) -> float | None:
    known = [value for sample in samples if (value := getattr(sample, phase)) is not None]
    return median(known) if known else None


def _ratio(some: list[Sample], others: list[Sample]) -> float:
    """The median over samples that were taken shortly after each other."""
    return median(one.total / other.total for one, other in zip(some, others, strict=True))


def _extremes(samples: list[Sample]) -> str:
    totals = [sample.total for sample in samples]
    return f"{min(totals):.0f} .. {max(totals):.0f}"
