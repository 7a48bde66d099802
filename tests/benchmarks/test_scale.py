"""The benchmark of many services, run small."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.machine import describe
from benchmarks.scale import Report
from benchmarks.scale_bench import Cost, Memory, Scale, measure
from tests.benchmarks.program import run

ROW = Scale(
    services=10_000,
    active=50,
    load=1.0,
    take_over=1.0,
    tick=Cost(0.019, 0.5),
    pulse=Cost(0.001, 0.001),
    rest=Cost(0.001, 0.001),
    scrape=0.1,
    scrape_piece=0.001,
    memory=Memory(
        configuration=2000, state=100, revision=70, scaler=300, throttler=2000, slept=1000
    ),
)


def test_a_small_run_writes_its_figures_and_leaves_nothing_behind(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    done = run(tmp_path, "scale", "--quick", "--json", str(file))
    assert done.returncode == 0, done.stdout + done.stderr

    figures: dict[str, Any] = json.loads(file.read_text())
    assert [(row["services"], row["active"]) for row in figures["rows"]] == [(10, 10), (200, 50)]
    for row in figures["rows"]:
        assert all(row["memory"][kind] > 0 for kind in row["memory"])
        assert 0 < row["tick"]["median"] <= row["tick"]["most"]
        assert 0 < row["scrape_piece"] <= row["scrape"]
    assert "memory of an idle service of 200" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"]


def test_every_second_pulse_of_active_services_decides() -> None:
    seen = measure(services=20, active=20, pulses=3)
    assert seen.tick.median > seen.pulse.median


@pytest.mark.parametrize(
    ("row", "broken"),
    [
        (ROW, []),
        (replace(ROW, tick=Cost(0.0201, 0.0201)), ["a tick over 10,000 services"]),
        (
            replace(ROW, services=1000, active=1000, tick=Cost(0.101, 0.2)),
            ["a tick over 1,000 active services"],
        ),
        (replace(ROW, services=1000, active=1000, tick=Cost(0.099, 0.2)), []),
        (
            replace(ROW, memory=replace(ROW.memory, throttler=4000)),
            ["memory of an idle service of 10,000"],
        ),
    ],
)
def test_a_bound_that_does_not_hold_is_said(row: Scale, broken: list[str]) -> None:
    lines = str(Report(describe(), 1, [row])).splitlines()
    found = [line for line in lines if line.endswith("DOES NOT HOLD")]
    assert len(found) == len(broken)
    assert all(line.startswith(words) for line, words in zip(found, broken, strict=True))
