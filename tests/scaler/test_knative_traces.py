from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from benchmarks.knative_settings import Malformed
from benchmarks.knative_trace import load, parse, replay
from tests import knative_data


@pytest.mark.parametrize("path", knative_data.traces(), ids=lambda path: path.stem)
def test_every_number_of_a_recorded_trace_is_ours_as_well(path: Path) -> None:
    assert replay(parse(load(path))) is None


@pytest.fixture
def content() -> Any:
    """A short trace of our own making: one instance, 50 requests in flight, for three ticks."""
    ticks = 3
    return {
        "name": "made up",
        "t0_unix": 1_700_000_000,
        "configmap": {},
        "annotations": {},
        "container_concurrency": 0,
        "derived": {"target_value": 70, "total_value": 100, "stable_window_s": 60},
        "scrape_target_set": True,
        "initial_ready": 1,
        "feedback": {"lag_ticks": 1},
        "tick_offset_ms": 0,
        "ticks": ticks,
        "spec_changes": [],
        "extra_records": [],
        "extra_ticks_at_odd_s": [],
        "input_per_second": {"concurrency": [50] * 6, "rps": [500] * 6},
        "output_per_tick": {
            "t_ms": [0, 2000, 4000],
            "ready": [1] * ticks,
            "no_data": [False] * ticks,
            "valid": [True] * ticks,
            "desired": [1] * ticks,
            "ebc": [-161] * ticks,
            "in_panic": [False] * ticks,
            "max_panic_pods": [1] * ticks,
            "applied": [1] * ticks,
            "stable_value": [50] * ticks,
            "panic_value": [50] * ticks,
        },
    }


def test_a_trace_replays(content: Any) -> None:
    assert replay(parse(content)) is None


@pytest.mark.parametrize(
    ("output", "wrong"),
    [
        ("desired", 2),
        ("ebc", -160),
        ("in_panic", True),
        ("max_panic_pods", 0),
        ("applied", 0),
        ("stable_value", 50.001),
        ("panic_value", 49.999),
        ("valid", False),
        ("no_data", True),
    ],
)
def test_any_other_number_is_reported_with_its_tick(
    content: Any, output: str, wrong: object
) -> None:
    content["output_per_tick"][output][1] = wrong
    difference = replay(parse(content))
    assert difference is not None
    assert (difference.where, difference.what) == ("tick 1 (second 2)", output)
    assert difference.expected == wrong


def test_settings_that_derive_to_other_numbers_are_reported(content: Any) -> None:
    content["derived"]["target_value"] = 71
    assert str(replay(parse(content))) == "derived: target_value 70.0, expected 71"


def test_an_extra_record_adds_to_the_second_it_speaks_of(content: Any) -> None:
    content["extra_records"] = [
        {"applied_during_second": 3, "timestamp_offset_s": 1, "concurrency": 25, "rps": 0}
    ]
    content["output_per_tick"]["stable_value"][2] = 55  # 275 in five seconds
    content["output_per_tick"]["panic_value"][2] = 55
    content["output_per_tick"]["ebc"][2] = -166
    assert replay(parse(content)) is None


def test_an_extra_tick_decides_in_an_odd_second(content: Any) -> None:
    for column in content["output_per_tick"].values():
        column.insert(2, column[1])
    content["output_per_tick"]["t_ms"][2] = 3000
    content["extra_ticks_at_odd_s"] = [3]
    assert replay(parse(content)) is None
    assert len(parse(content).ticks) == 4


def test_a_missing_record_is_not_a_zero(content: Any) -> None:
    content["input_per_second"]["concurrency"][4] = None
    assert replay(parse(content)) is None


@pytest.mark.parametrize(
    "change",
    [
        {"configmap": {"container-concurrency-target-default": "10"}},
        {"annotations": {"autoscaling.knative.dev/target": "10"}},
        {"container_concurrency": 10},
        {"spec": {"target_value": 7, "total_value": 10}},
        {"derived": {"target_value": 7, "total_value": 10}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_spec_change_holds_from_its_tick_on(content: Any, change: Any) -> None:
    content["spec_changes"] = [{"at_tick": 1, **change}]
    output = content["output_per_tick"]
    for name, value in {
        "desired": 8,  # 50 / 7
        "ebc": -251,  # 10 - 211 - 50
        "in_panic": True,
        "max_panic_pods": 8,
        "applied": 8,
    }.items():
        output[name][1:] = [value, value]
    assert replay(parse(content)) is None


def test_a_revision_that_becomes_unreachable_may_fall_at_once(content: Any) -> None:
    output = content["output_per_tick"]
    content["initial_ready"] = 1
    output["ready"] = [8, 8, 8]
    output["desired"] = output["applied"] = [4, 1, 1]
    output["ebc"] = [539] * 3
    content["spec_changes"] = [{"at_tick": 1, "reachable": False}]
    assert replay(parse(content)) is None


def _damaged(content: Any) -> Iterator[tuple[str, Any]]:
    yield "a list", [content]
    for key in ("t0_unix", "container_concurrency", "initial_ready", "input_per_second"):
        damaged = deepcopy(content)
        del damaged[key]
        yield f"without {key}", damaged
    for key in ("t_ms", "ready", "desired"):
        damaged = deepcopy(content)
        del damaged["output_per_tick"][key]
        yield f"without {key}", damaged
    damaged = deepcopy(content)
    damaged["output_per_tick"]["desired"].pop()
    yield "a short column", damaged
    damaged = deepcopy(content)
    damaged["output_per_tick"]["t_ms"] = [2000, 0, 4000]
    yield "ticks out of order", damaged
    damaged = deepcopy(content)
    damaged["output_per_tick"] = {key: [] for key in content["output_per_tick"]}
    yield "no ticks", damaged
    damaged = deepcopy(content)
    damaged["input_per_second"]["rps"].pop()
    yield "a short input", damaged
    damaged = deepcopy(content)
    damaged["input_per_second"]["concurrency"][0] = "fifty"
    yield "a word for a number", damaged
    damaged = deepcopy(content)
    damaged["initial_ready"] = 1.5
    yield "half an instance", damaged
    damaged = deepcopy(content)
    damaged["annotations"] = []
    yield "annotations in a list", damaged
    damaged = deepcopy(content)
    damaged["spec_changes"] = {}
    yield "changes in an object", damaged
    damaged = deepcopy(content)
    damaged["extra_records"] = [{"applied_during_second": 99, "timestamp_offset_s": 1}]
    yield "a record after the end", damaged
    for annotation, value in [("window", "soon"), ("target", "many"), ("metric", "cpu")]:
        damaged = deepcopy(content)
        damaged["annotations"] = {f"autoscaling.knative.dev/{annotation}": value}
        yield f"{annotation}: {value}", damaged


def test_what_is_not_a_trace_is_refused(content: Any) -> None:
    accepted = []
    for damage, damaged in _damaged(content):
        try:
            replay(parse(damaged))
        except Malformed:
            continue
        accepted.append(damage)
    assert accepted == []
