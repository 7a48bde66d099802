"""What a request to a sleeping service waits for, held against a start by hand.

The two are measured in turn, with the same image and network mode (or the same
program), and wakeful has put its instance to sleep before each of its samples.
"""

from __future__ import annotations

import http.client
import json
import sys
import tempfile
import time
from collections.abc import Mapping
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
class Report:
    machine: machine.Machine
    runtime: str
    subject: str
    bare: list[Sample]
    wakeful: list[Sample]

    def as_json(self) -> dict[str, object]:
        return {
            "benchmark": "coldstart",
            "machine": self.machine.as_json(),
            "runtime": self.runtime,
            "subject": self.subject,
            "ms": {
                "bare": {field.name: _typical(self.bare, field.name) for field in fields(Sample)},
                "wakeful": {
                    field.name: _typical(self.wakeful, field.name) for field in fields(Sample)
                },
            },
            "added_ms": self.added,
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

    def __str__(self) -> str:
        rows = [
            (words, number(_typical(self.bare, phase)), number(_typical(self.wakeful, phase)))
            for phase, words in _PHASES.items()
        ]
        rows.append(("least and most", _extremes(self.bare), _extremes(self.wakeful)))
        return "\n".join(
            [
                str(self.machine),
                f"{self.runtime}: {self.subject}",
                f"medians of {len(self.bare)} interleaved samples each, in ms",
                "",
                table(("", "by hand", "wakeful"), rows),
                "",
                f"wakeful adds {self.added:+.1f} ms (median over pairs)",
            ]
        )


@click.command("coldstart")
@click.option("--runtime", type=click.Choice(["docker", "process"]), default="docker")
@click.option("--samples", type=click.IntRange(1), default=10, show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write figures there.")
def command(runtime: str, samples: int, json_file: Path | None) -> None:
    """From a request to a sleeping service to its first byte, against a start by hand."""
    starts: AbstractContextManager[Starts]
    starts = docker_starts() if runtime == "docker" else process_starts()
    with starts as subject:
        report = measure(subject, samples)
    click.echo(str(report))
    if json_file is not None:
        json_file.write_text(json.dumps(report.as_json(), indent=2) + "\n")


def measure(starts: Starts, samples: int) -> Report:
    host = machine.describe()
    bare: list[Sample] = []
    ours: list[Sample] = []
    # With no spares: what wakes must be started.
    idle = {"stop-after": "0s"}
    service = {**starts.template, "scale": {"window": _WINDOW}, "idle": idle}
    with tempfile.TemporaryDirectory(prefix="wakeful-bench-") as name:
        folder, port = Path(name), free_port()
        run = run_wakeful(sys.executable, folder, port, {starts.service: service}, starts.name)
        with started(run, folder, name="wakeful") as child:
            wait_until_ready(child, port)
            try:
                # The first of each is not counted: it fills caches for all the others.
                for _ in range(samples + 1):
                    starts.wait_until_asleep()
                    ours.append(starts.through(port))
                    bare.append(starts.bare())
            except (NotAnswered, OSError) as error:
                raise CannotMeasure(f"{error}\n{child.output()}") from None
            return Report(host, starts.name, starts.describe(), bare[1:], ours[1:])


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


def _extremes(samples: list[Sample]) -> str:
    totals = [sample.total for sample in samples]
    return f"{min(totals):.0f} .. {max(totals):.0f}"
