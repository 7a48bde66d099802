"""The benchmark of waking and sleeping, a round of each: what it counts, and what it leaves."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from docker.api.client import APIClient

from benchmarks import held
from tests.benchmarks.program import processes_of, run
from tests.integration.conftest import engine

__all__ = ["engine"]


def cycled(folder: Path, *arguments: str) -> dict[str, Any]:
    file = folder / "figures.json"
    done = run(folder, "cycles", "--warm-up", "1", "--cycles", "1", "--json", str(file), *arguments)
    assert file.exists(), done.stdout + done.stderr
    figures: dict[str, Any] = json.loads(file.read_text())
    # After so short a warm-up pools of threads may still grow.
    assert set(figures["leaked"]) <= {"threads", "sockets", "lines of its metrics"}
    assert done.returncode == (1 if figures["leaked"] else 0)
    return figures


def test_a_round_of_processes_leaves_nothing_behind(tmp_path: Path) -> None:
    figures = cycled(tmp_path, "--runtime", "process", "--services", "3")

    assert figures["cycles"] == figures["warm_up"] == 3
    # The one that is a spare is thawed instead of started; another is frozen twice.
    assert figures["instances"] == {"started": 2, "frozen": 3, "thawed": 2}
    lines = {line["name"]: line for line in figures["lines"]}
    assert lines["child processes"]["after"] == 1
    assert lines["threads"]["before"] > 0
    assert lines["sockets"]["before"] > 0
    assert lines["files in its state directory"]["before"] > 0
    assert [cycles for cycles, _ in figures["memory"]] == [0, 3]
    assert all(memory > 2**20 for _, memory in figures["memory"])
    assert processes_of(tmp_path) == {}
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"]


@pytest.mark.docker
def test_a_round_of_containers_leaves_nothing_behind(tmp_path: Path, engine: APIClient) -> None:
    figures = cycled(tmp_path, "--services", "4", "--shared")

    assert figures["instances"] == {"started": 3, "frozen": 3, "thawed": 2}
    lines = {line["name"]: line for line in figures["lines"]}
    assert lines["containers"]["after"] == 1
    assert lines["network sandboxes"]["after"] == 1
    assert lines["network namespaces of removed containers"]["after"] == 0
    assert all(lines[name]["after"] > 0 for name in held.OTHERS)
    assert processes_of(tmp_path) == {}
    mine = {"label": f"wakeful.owner={figures['owner']}"}
    assert engine.containers(all=True, filters=mine) == []


def test_what_a_process_holds_is_seen_from_outside(tmp_path: Path) -> None:
    before = held.by_process(os.getpid(), tmp_path)
    (tmp_path / "record").touch()
    ours, theirs = os.pipe()
    with (tmp_path / "record").open():
        after = held.by_process(os.getpid(), tmp_path)
    os.close(ours)
    os.close(theirs)
    more = {name: count - before[name] for name, count in after.items() if count != before[name]}
    assert more == {"pipes": 2, "open files": 1, "files in its state directory": 1}
