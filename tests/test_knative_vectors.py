from __future__ import annotations

from typing import Any

import pytest

from benchmarks.knative_vectors import COMPONENTS, ELSEWHERE, differences, label, not_applicable
from tests import knative_data

# What the gate before zero does only because Knative's network is programmed
# from afar. On one host the proxy is in the path before, during and after.
GRACE = "waits out the grace period in which a cluster's network is reprogrammed"
PROBE = "waits for the activator to be in the path; here the proxy always is"
BOUNDS = "bounds hold here before anything is measured"
NOT_ON_ONE_HOST = {
    "after grace period, but prober fails": PROBE,
    "can't scale to zero if unreachable but before deadline": GRACE,
    "waits (just before grace period, proxy short)": GRACE,
}


@pytest.mark.parametrize(
    "vector",
    [each for component in sorted(COMPONENTS) for each in knative_data.vector_params(component)],
)
def test_every_recorded_answer_of_a_part_is_ours_as_well(vector: dict[str, Any]) -> None:
    if reason := not_applicable(vector):
        pytest.skip(reason)
    assert differences(vector) == []


def test_every_component_is_replayed_or_has_a_reason_against_it() -> None:
    said = COMPONENTS.keys() | ELSEWHERE.keys()
    assert {vector["component"] for vector in knative_data.every_vector()} <= said
    assert not COMPONENTS.keys() & ELSEWHERE.keys()


def test_only_the_distributed_parts_of_the_gate_are_left_out() -> None:
    gate = {vector["name"]: vector for vector in knative_data.vectors("scale_to_zero_gate")}
    left_out = {name: reason for name in gate if (reason := not_applicable(gate[name]))}
    assert set(left_out.values()) <= {GRACE, PROBE, BOUNDS}
    known = NOT_ON_ONE_HOST.keys() & gate.keys()
    assert {name: left_out.get(name) for name in known} == {
        name: NOT_ON_ONE_HOST[name] for name in known
    }
    assert left_out.keys() == known or knative_data.directory != knative_data.OURS


def _validated(valid: bool, **configmap: str) -> dict[str, Any]:
    keys = {key.replace("_", "-"): value for key, value in configmap.items()}
    return {
        "component": "config_validation",
        "name": "made up",
        "input": {"configmap": keys},
        "expect": {"valid": valid},
    }


@pytest.mark.parametrize(
    "targets",
    [
        {"requests_per_second_target_default": "-5", "container_concurrency_target_default": "10"},
        {"requests_per_second_target_default": "5", "container_concurrency_target_default": "0"},
    ],
)
def test_both_targets_of_a_configuration_are_looked_at(targets: dict[str, str]) -> None:
    assert differences(_validated(False, **targets)) == []
    assert differences(_validated(True, **targets)) != []


def test_a_product_below_the_smallest_target_is_no_mistake_here() -> None:
    keys = {
        "container_concurrency_target_default": "0.02",
        "container_concurrency_target_percentage": "10",
    }
    assert not_applicable(_validated(False, **keys))
    for other in ("0", "101", "x", "80"):
        keys["container_concurrency_target_percentage"] = other
        assert not not_applicable(_validated(False, **keys))


def test_a_wrong_expectation_of_any_component_is_noticed() -> None:
    """A replay that compares nothing would agree with everything."""
    unnoticed = []
    for component in COMPONENTS:
        for vector in knative_data.vectors(component)[:1]:
            if not not_applicable(vector) and not differences(_falsified(vector)):
                unnoticed.append(label(vector))
    assert unnoticed == []


def _falsified(vector: dict[str, Any]) -> dict[str, Any]:
    return {key: _shift(value) if key == "expect" else value for key, value in vector.items()} | (
        {"input": _shift_outputs(vector["input"])}
    )


def _shift(expected: Any) -> Any:
    match expected:
        case bool():
            return not expected
        case int() | float():
            return expected + 3
        case str():
            return f"not {expected}"
        case dict():
            return {key: _shift(value) for key, value in expected.items()}
        case list():
            return [_shift(value) for value in expected]
        case _:
            return expected


def _shift_outputs(given: dict[str, Any]) -> dict[str, Any]:
    """Some components keep what they expect beside their operations."""
    given = dict(given)
    if "steps" in given:
        given["steps"] = [
            {k: _shift(v) if k.startswith("expect") else v for k, v in step.items()}
            for step in given["steps"]
        ]
    if "ops" in given:
        given["ops"] = [_shift_op(op) for op in given["ops"]]
    return given


def _shift_op(op: Any) -> Any:
    match op:
        case "expect_fail":
            return "finish_ok"
        case ["pick", visible, request, wanted]:
            return ["pick", visible, request, 0 if wanted is None else wanted + 3]
        case [("record" | "in" | "out" | "proxied_in" | "proxied_out" | "release"), *_] | str():
            return op
        case [verb, at, value, *more]:
            return [verb, at, _shift(value), *more]
        case _:
            return op
