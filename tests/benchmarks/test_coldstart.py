"""The cold start benchmark run for real: processes, and containers where there is Docker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from docker.api.client import APIClient

from benchmarks.coldstart_docker import _nanoseconds
from tests.benchmarks.program import processes_of, run
from tests.integration.conftest import engine

__all__ = ["engine"]


def figures_of(folder: Path, *arguments: str) -> dict[str, Any]:
    file = folder / "figures.json"
    done = run(folder, "coldstart", "--samples", "1", "--json", str(file), *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    figures: dict[str, Any] = json.loads(file.read_text())
    return figures


def test_cold_starts_of_processes_are_measured_phase_by_phase(tmp_path: Path) -> None:
    figures = figures_of(tmp_path, "--runtime", "process")

    (process,) = figures["of"]
    bare, ours = process["ms"]["bare"], process["ms"]["wakeful"]
    assert bare["create"] is None
    assert bare["start"] + bare["listening"] + bare["first_byte"] == pytest.approx(bare["total"])
    assert ours["total"] > 0
    assert process["added_ms"] == pytest.approx(ours["total"] - bare["total"])
    assert len(process["samples"]["bare"]) == len(process["samples"]["wakeful"]) == 1
    assert (process["kind"], figures["to_first"]) == ("process", {})
    assert processes_of(tmp_path) == {}
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"]


@pytest.mark.docker
def test_cold_starts_of_containers_are_measured_and_none_is_left(
    tmp_path: Path, engine: APIClient
) -> None:
    figures = figures_of(tmp_path, "--network", "bridge", "--network", "sandbox")

    bridge, sandbox = figures["of"]
    for of in (bridge, sandbox):
        for side in ("bare", "wakeful"):
            phases = dict(of["ms"][side])
            total = phases.pop("total")
            assert sorted(phases) == ["create", "first_byte", "listening", "start"]
            assert sum(phases.values()) == pytest.approx(total)
            assert phases["create"] > 0
            assert phases["start"] > 0
        ours, bare = of["ms"]["wakeful"]["total"], of["ms"]["bare"]["total"]
        assert of["to_bare"] == pytest.approx(ours / bare)
    assert bridge["subject"].endswith("network mode default")
    assert sandbox["subject"].endswith("network mode container")
    in_sandbox, on_bridge = sandbox["ms"]["wakeful"]["total"], bridge["ms"]["wakeful"]["total"]
    assert figures["to_first"] == {"sandbox": pytest.approx(in_sandbox / on_bridge)}
    image = bridge["subject"].partition("image ")[2].partition(",")[0]
    assert image.startswith("wakeful-coldstart:")
    assert engine.images(name=image) == []
    assert engine.containers(all=True, filters={"ancestor": image}) == []


def test_time_stamps_of_the_engine_keep_their_nanoseconds() -> None:
    assert _nanoseconds("2026-01-31T12:00:00.123456789Z") == 1769860800_123456789
    assert _nanoseconds("2026-01-31T12:00:00.12Z") == 1769860800_120000000
    assert _nanoseconds("2026-01-31T12:00:00Z") == 1769860800_000000000
