"""The benchmark of frozen instances run for real, where there is Docker."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from docker.api.client import APIClient

from tests.benchmarks.program import processes_of, run
from tests.integration.conftest import engine
from wakeful.runtime.freezer import direct_problem

__all__ = ["engine"]


@pytest.mark.docker
def test_frozen_containers_are_measured_their_counters_stand_still_and_none_is_left(
    tmp_path: Path, engine: APIClient
) -> None:
    file = tmp_path / "figures.json"
    before = {container["Id"] for container in engine.containers(all=True)}
    done = run(tmp_path, "freeze", "--samples", "2", "--pause", "0.3", "--json", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(file.read_text())

    frozen = ["engine"] if direct_problem() else ["direct", "engine"]
    assert sorted(figures["ms"]) == [*frozen, "warm"]
    assert all(len(one["first_byte"]) == 2 for one in figures["samples"].values())
    assert all(0 < one["p50"] <= one["p99"] for one in figures["ms"].values())
    assert figures["ticks_while_idle"]["warm"] > 0
    assert [figures["ticks_while_idle"][name] for name in frozen] == [0] * len(frozen)
    assert processes_of(tmp_path) == {}
    named = [c["Names"][0] for c in engine.containers(all=True) if c["Id"] not in before]
    assert not [name for name in named if name[1:].startswith(("warm-", "direct-", "engine-"))]
    assert engine.images(name="wakeful-freeze") == []
