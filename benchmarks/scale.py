"""How what wakeful costs grows with the number of its services, as a command."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from benchmarks import machine
from benchmarks.scale_bench import IN_HAND, Cost, Scale, measure
from benchmarks.table import number, table

_SIZES = ((10, 10), (100, 50), (1_000, 50), (10_000, 50), (100_000, 50), (1_000, 1_000))
_QUICK = ((10, 10), (200, 50))


@dataclass(frozen=True, slots=True)
class Bound:
    """What is promised, and what was seen."""

    words: str
    unit: str
    most: float
    seen: float

    def __str__(self) -> str:
        verdict = "holds" if self.seen <= self.most else "DOES NOT HOLD"
        seen, most = number(self.seen), number(self.most, 0)
        return f"{self.words}: {seen} {self.unit}, at most {most}: {verdict}"


@dataclass(frozen=True, slots=True)
class Report:
    machine: machine.Machine
    pulses: int
    rows: Sequence[Scale]

    @property
    def bounds(self) -> list[Bound]:
        bounds = []
        for row in self.rows:
            asleep = row.services - row.active
            if row.services >= 10_000 and row.active >= 50:
                words = f"a tick over {row.services:,} services, {row.active:,} of them active"
                bounds.append(Bound(words, "ms", 20.0, row.tick.median * 1e3))
            if row.active >= 1_000:
                words = f"a tick over {row.active:,} active services"
                bounds.append(Bound(words, "ms", 100.0, row.tick.median * 1e3))
            if asleep:
                words = f"memory of an idle service of {row.services:,}"
                bounds.append(Bound(words, "KB", 4.0, row.memory.beyond / 1024))
        return bounds

    def as_json(self) -> dict[str, object]:
        return {
            "benchmark": "scale",
            "machine": self.machine.as_json(),
            "pulses": self.pulses,
            "rows": [asdict(row) for row in self.rows],
            "bounds": [asdict(bound) for bound in self.bounds],
        }

    def __str__(self) -> str:
        return "\n\n".join(
            [
                str(self.machine),
                f"Processor time in ms, medians of {self.pulses} and the most. A pulse comes once "
                "a second, a tick is every second pulse.\n"
                f"Active: an instance with {IN_HAND} requests in it, one of them new each second.",
                table(
                    ("services", "active", "tick", "most", "pulse", "most", "at rest", "most",
                     "scrape", "its longest piece", "load file", "take over"),
                    [_times(row) for row in self.rows],
                ),
                "Bytes of a sleeping service (at most 1,000 of them traced). 'Slept' comes on top "
                "once it was asked for.",
                table(
                    ("services", "configuration", "state", "revision", "scaler", "throttler",
                     "beyond configuration", "slept"),
                    [_memory(row) for row in self.rows],
                ),
                "\n".join(map(str, self.bounds)),
            ]
        ).rstrip()  # fmt: skip


def _times(row: Scale) -> list[str]:
    def both(cost: Cost) -> list[str]:
        return [number(cost.median * 1e3, 2), number(cost.most * 1e3, 2)]

    return [
        f"{row.services:,}",
        f"{row.active:,}",
        *both(row.tick),
        *both(row.pulse),
        *both(row.rest),
        number(row.scrape * 1e3),
        number(row.scrape_piece * 1e3),
        number(row.load * 1e3, 0),
        number(row.take_over * 1e3, 0),
    ]


def _memory(row: Scale) -> list[str]:
    it = row.memory
    figures = (
        it.configuration, it.state, it.revision, it.scaler, it.throttler, it.beyond, it.slept,
    )  # fmt: skip
    return [f"{row.services:,}", *(number(figure, 0) for figure in figures)]


@click.command("scale")
@click.option("--services", type=click.IntRange(1), multiple=True, help="Of these alone.")
@click.option("--active", type=click.IntRange(0), default=50, help="Of them; with --services.")
@click.option("--pulses", type=click.IntRange(1), default=200, show_default=True)
@click.option("--quick", is_flag=True, help="Small and few: that it works, not how well.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write figures there.")
@click.pass_context
def command(
    context: click.Context,
    services: Sequence[int],
    active: int,
    pulses: int,
    quick: bool,
    json_file: Path | None,
) -> None:
    """What a tick, rest and memory cost, from 10 to 100,000 services."""
    sizes = [(size, min(size, active)) for size in services] or list(_QUICK if quick else _SIZES)
    host = machine.describe()
    pulses = 5 if quick else pulses
    report = Report(host, pulses, [measure(*size, pulses) for size in sizes])
    click.echo(str(report))
    if json_file is not None:
        json_file.write_text(json.dumps(report.as_json(), indent=2) + "\n")
    if any(bound.seen > bound.most for bound in report.bounds):
        context.exit(1)
