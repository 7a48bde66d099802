"""The chaos run for real: an engine of its own, killed and restarted, and nothing lost."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from benchmarks import chaos_namespaces
from benchmarks.chaos_schedule import Event
from tests.benchmarks.program import processes_of, run, start


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """For all that the benchmark creates."""
    if why := chaos_namespaces.problem():
        pytest.skip(why)
    return tmp_path


def nothing_is_left_of(folder: Path) -> None:
    assert processes_of(folder) == {}
    assert list(folder.glob("wakeful-chaos-*")) == []
    assert str(folder) not in Path("/proc/self/mounts").read_text()


@pytest.mark.docker
@pytest.mark.timeout(300)
def test_whatever_is_killed_and_restarted_every_request_is_accounted_for(folder: Path) -> None:
    kept = folder / "kept"
    done = run(folder, "chaos", "--quick", "--keep", str(kept), timeout=280)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    ledger = json.loads((kept / "ledger.json").read_text())
    assert sorted(ledger["done"]) == sorted(event.name for event in Event), said
    # In so short a time one kind may have met nothing but trouble.
    asked = ledger["requests"]
    assert sorted(asked) == ["burst", "long", "short", "socket", "stream", "upload"]
    assert sum(of.get("answered", 0) for of in asked.values()) > 50, said
    assert [ledger[what] for what in ("lost", "twice", "over", "left")] == [[], [], [], []]
    nothing_is_left_of(folder)


@pytest.mark.docker
def test_one_that_is_told_to_end_leaves_nothing_either(folder: Path) -> None:
    process = start(folder, "chaos", "--quick")
    try:
        deadline = time.monotonic() + 60
        while not any("dockerd" in command for command in processes_of(folder).values()):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        (its,) = folder.glob("wakeful-chaos-*")
    finally:
        process.terminate()
        process.wait(30)
    nothing_is_left_of(folder)
    assert list(Path("/sys/fs/cgroup").glob(f"*/{its.name}")) == []
