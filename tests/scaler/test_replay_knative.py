from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.knative_settings import Malformed, duration, settings
from benchmarks.replay_knative import main
from tests import knative_data

ROOT = Path(__file__).parents[2]
TRACE = knative_data.OURS / "traces" / "step_default.json"
VECTORS = knative_data.OURS / "vectors.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(TRACE, tmp_path)
    return tmp_path


def test_every_trace_gets_a_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "traces").mkdir()
    shutil.copy(knative_data.OURS / "traces" / "tbc_zero.json", folder / "traces")
    assert main([str(folder)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "step_default ok 300/300",
        "tbc_zero ok 190/190",
    ]


def test_vectors_that_lie_beside_are_replayed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(VECTORS, folder)
    assert main([str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "vectors autoscaler_scale ok 17/17" in lines
    assert "vectors scale_to_zero_gate ok 21/21 (3 not applicable on one host)" in lines


def test_the_first_difference_is_named_and_fails(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace: Any = json.loads(TRACE.read_bytes())
    trace["output_per_tick"]["desired"][40] += 1
    trace["output_per_tick"]["desired"][50] += 1
    (folder / "another.json").write_text(json.dumps({**trace, "name": "another"}))
    assert main([str(folder)]) == 1
    ours, expected = (
        trace["output_per_tick"]["desired"][40] - 1,
        trace["output_per_tick"]["desired"][40],
    )
    assert capsys.readouterr().out.splitlines() == [
        f"another DIFFERS at tick 40 (second 80): desired {ours}, expected {expected}",
        "step_default ok 300/300",
    ]


def test_a_vector_that_differs_is_named_and_fails(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vector = {
        "component": "max_window_slots",
        "name": "made up",
        "input": {"size": 5, "slots": [0], "values": [1]},
        "expect": {"current": [2]},
    }
    (folder / "vectors.json").write_text(json.dumps({"vectors": [vector]}))
    assert main([str(folder)]) == 1
    assert capsys.readouterr().out.splitlines()[1:] == [
        "vectors max_window_slots DIFFERS 0/1",
        "  max_window_slots made up DIFFERS in current: [1], expected [2]",
    ]


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "{}",
        '{"input_per_second": {}, "output_per_tick": {}}',
        '{"vectors": [{"component": "buckets"}]}',
        '{"vectors": [{"component": "buckets", "input": {}}]}',
        '{"vectors": [{"component": "scale_to_zero_gate", "input": {}}]}',
    ],
)
def test_a_file_that_is_neither_fails(
    folder: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "a.json").write_text(content)
    assert main([str(folder)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("a MALFORMED ")
    assert lines[1:] == ["step_default ok 300/300"]


def test_a_file_that_cannot_be_read_fails(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "directory.json").mkdir()
    assert main([str(folder)]) == 1
    assert "directory MALFORMED" in capsys.readouterr().out


def test_an_empty_folder_fails_and_says_what_was_expected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path)]) == 1
    assert "expected trace files: *.json" in capsys.readouterr().out


def test_without_a_folder_the_usage_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert main(["--help"]) == 0
    assert "replay_knative.py DIR" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", [["-m", "benchmarks.replay_knative"], ["benchmarks/replay_knative.py"]]
)
def test_it_runs_as_a_module_and_as_a_file(folder: Path, command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, *command, str(folder)], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "step_default ok 300/300\n")


@pytest.mark.parametrize(
    ("text", "seconds"), [("60s", 60), ("10m", 600), ("1h0m1.5s", 3601.5), ("700ms", 0.7), ("0", 0)]
)
def test_durations_are_written_as_in_go(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "60", "10 m", "1d", "s"])
def test_what_go_does_not_read_as_a_duration_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        duration(text)


def test_an_annotation_beats_the_configmap_in_either_spelling() -> None:
    both = settings(
        {
            "stable-window": "30s",
            "target-burst-capacity": "0",
            "container-concurrency-target-percentage": "0.5",
            "panic-window-percentage": "50",
        },
        {
            "autoscaling.knative.dev/window": "20s",
            "autoscaling.knative.dev/targetBurstCapacity": "-1",
            "autoscaling.knative.dev/metricAggregationAlgorithm": "weightedExponential",
        },
        concurrency=8,
    )
    policy = both.policy()
    assert (policy.stable_window, policy.target_burst_capacity) == (20, -1)
    assert (policy.target, policy.total) == (4, 8)
    assert both.windows() == (20, 10)
    assert both.aggregation() == "weighted-exponential"
