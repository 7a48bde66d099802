"""Recorded input and output of single parts of Knative, replayed through ours.

Each component's replay yields what differs. Components of a revision's door
(breakers, balancing, request statistics) have none here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from math import floor, isclose
from typing import Any

from benchmarks import knative_door_vectors
from benchmarks.knative_settings import Malformed, aggregation, settings, well_formed
from benchmarks.knative_trace import spec_policy
from wakeful.proxy import rollout
from wakeful.proxy.rollout import SECOND, Pace, Rollout, Share
from wakeful.scaler.bounds import Activity, Bounds, Phase, bound
from wakeful.scaler.decider import (
    Averages,
    Policy,
    decide,
    initial_state,
    undecided,
)
from wakeful.scaler.max_window import MaxWindow
from wakeful.scaler.target import resolve_target
from wakeful.scaler.window import round_digits, smoothing, window

Vector = Mapping[str, Any]  # as in vectors.json; every component has its own shape


def of_component(content: object, component: str) -> list[Vector]:
    """The vectors of one component in a vectors file's content."""
    return [vector for vector in every(content) if vector["component"] == component]


def every(content: object) -> list[Vector]:
    match content:
        case {"vectors": list(vectors)} if all(
            isinstance(vector, dict) and {"component", "input"} <= vector.keys()
            for vector in vectors
        ):
            return vectors
        case _:
            raise Malformed("no list of vectors, each with a component and an input")


def label(vector: Vector) -> str:
    return f"{vector['component']} {vector.get('name', '')}".rstrip()


def differences(vector: Vector) -> list[str]:
    """What our parts say otherwise than the vector; raises Malformed."""
    with well_formed(label(vector)):
        return list(COMPONENTS[vector["component"]](vector["input"], vector.get("expect", {})))


def not_applicable(vector: Vector) -> str | None:
    """Why a vector says nothing about a single host, if it does not."""
    with well_formed(label(vector)):
        if vector["component"] == "scale_to_zero_gate":
            return _unserved(vector["input"])
        return knative_door_vectors.not_applicable(vector)


def _unserved(given: Vector) -> str | None:
    unreachable = given["reachability"] == "unreachable"
    if given["desired"] < 0 and given["status"] != "activating":
        owed = 0 if given["scale_target_initialized"] else given["initial_scale"]
        least = 0 if unreachable else max(given["min_scale"], owed if owed > 1 else 0)
        if least > given["current_replicas"] or 0 < given["max_scale"] < given["current_replicas"]:
            return "bounds hold here before anything is measured"
    if given["status"] != "inactive" or given["desired"] != 0 or not given["current_replicas"]:
        return None
    if given["min_scale"] and not unreachable:
        return None
    if not given["probe_ok"]:
        return "waits for the activator to be in the path; here the proxy always is"
    served = max(given["in_state_for_s"], given["proxy_for_s"])
    retention = 0 if unreachable else given["pod_retention_s"]
    if given["in_state_for_s"] >= retention and served < given["config"]["grace_period_s"]:
        return "waits out the grace period in which a cluster's network is reprogrammed"
    return None


def _buckets(given: Vector, expect: Vector) -> Iterator[str]:
    start = given["t0_unix"]
    ours = window(aggregation(given["aggregation"]), given["window_s"], given["granularity_s"])
    for number, (verb, at_ms, value, *empty) in enumerate(given["ops"]):
        second = floor(start + at_ms / 1000)
        if verb == "record":
            ours.record(second, value)
            continue
        yield from _compare(f"average at op {number}", ours.average(second), value)
        if empty:
            yield from _compare(f"empty at op {number}", ours.empty(second), empty[0])


def _resize(given: Vector, expect: Vector) -> Iterator[str]:
    ours = window(aggregation(given["aggregation"]), given["window_s"])
    for at_ms, value in given["records"]:
        ours.record(at_ms // 1000, value)
    second = given["query_ms"] // 1000
    before = ours.average(second)
    if "average" in expect:
        yield from _compare("average", before, expect["average"])
    if "average_rounded_3" in expect:
        yield from _compare("average", round_digits(before, 3), expect["average_rounded_3"])
    ours.resize(10)
    if "after_resize_10s_average" in expect:
        after = ours.average(second)
        yield from _compare("average of 10 s", after, expect["after_resize_10s_average"])
    if "then_record" in expect:
        at_ms, value = expect["then_record"]
        ours.record(at_ms // 1000, value)
        second = at_ms // 1000
        yield from _compare("average then", ours.average(second), expect["average_at_6s"])
    if "then_resize_4s" in expect:
        ours.resize(4)
        yield from _compare(
            "average of 4 s", ours.average(second), expect["then_resize_4s"]["average"]
        )


def _max_slots(given: Vector, expect: Vector) -> Iterator[str]:
    ours = MaxWindow(given["size"])
    current = []
    for slot, value in zip(given["slots"], given["values"], strict=True):
        ours = ours.record(slot, value)
        current.append(ours.current())
    yield from _compare("current", current, expect["current"])


def _max_time(given: Vector, expect: Vector) -> Iterator[str]:
    start, granularity = given["t0_unix"], given["granularity_s"]
    ours = MaxWindow(-(-given["duration_s"] // granularity))
    for number, (at_ms, value, current) in enumerate(given["ops"]):
        ours = ours.record(floor((start * 1000 + at_ms) / 1000) // granularity, value)
        yield from _compare(f"current at op {number}", ours.current(), current)


def _smoothing(given: Vector, expect: Vector) -> Iterator[str]:
    yield from _compare("smoothing", smoothing(given["buckets"]), expect["smoothing"])


def _round(given: Vector, expect: Vector) -> Iterator[str]:
    ours = round_digits(given["value"], given["digits"])
    yield from _compare("rounded", ours, expect["rounded"])


def _target(given: Vector, expect: Vector) -> Iterator[str]:
    own = settings(given["config"], given["annotations"], given["container_concurrency"])
    target = resolve_target(own.scale(), own.concurrency)
    yield from _compare("target", target.value, expect["target"])
    yield from _compare("total", target.total, expect["total"])


def _windows(given: Vector, expect: Vector) -> Iterator[str]:
    stable, panic = settings(given.get("configmap", {}), given["annotations"], 0).windows()
    yield from _compare("stable window", stable, expect["stable_window_s"])
    yield from _compare("panic window", panic, expect["panic_window_s"])


def _scale(given: Vector, expect: Vector) -> Iterator[str]:
    policy = spec_policy(given["spec"], _ANY)
    state = initial_state(
        given["initial_ready"], given["created_at_ms"] / 1000, given["spec"]["scale_down_delay_s"]
    )
    preset = given.get("preset", {})
    if "panic_time_ms" in preset:
        state = replace(state, panic_since=preset["panic_time_ms"] / 1000)
    if "max_panic_pods" in preset:
        state = replace(state, panic_peak=preset["max_panic_pods"])
    for number, step in enumerate(given["steps"]):
        policy = spec_policy(step.get("spec", {}), policy)
        seen = Averages(step["stable"], step["panic"])
        decision, state = decide(policy, seen, step["ready"], state, step["t_ms"] / 1000)
        assert decision is not None
        yield from _compare(f"desired at step {number}", decision.desired, step["expect_desired"])
        if abs(decision.excess_burst - step.get("expect_ebc", decision.excess_burst)) > 1:
            yield f"ebc at step {number}: {decision.excess_burst}, expected {step['expect_ebc']}"
        if "expect_in_panic" in step:
            panicking = decision.panicking
            yield from _compare(f"panic at step {number}", panicking, step["expect_in_panic"])
        if "expect_panic_time_ms" in step:
            since = state.panic_since
            expected = step["expect_panic_time_ms"] / 1000
            yield from _compare(f"panic time at step {number}", since, expected)


def _start(given: Vector, expect: Vector) -> Iterator[str]:
    state = initial_state(given["initial_ready"], 0.0, 0.0)
    yield from _compare("panicking", state.panicking, expect["in_panic"])
    yield from _compare("panic peak", state.panic_peak, expect["max_panic_pods"])


def _invalid(given: Vector, expect: Vector) -> Iterator[str]:
    before = initial_state(0, 0.0, 0.0)
    decision, after = decide(_ANY, None, 0, before, 0.0)
    yield from _compare("valid", decision is not None, expect["valid"])
    yield from _compare("state", after, before)


def _initial_status(given: Vector, expect: Vector) -> Iterator[str]:
    policy = replace(_ANY, target_burst_capacity=given["target_burst_capacity"])
    policy = replace(policy, total=given.get("total_value", policy.total))
    ours = undecided(policy, given.get("initial_scale", 1))
    yield from _compare("desired", ours.desired, expect["desired_scale"])
    yield from _compare("ebc", ours.excess_burst, expect["ebc"])


def _gate(given: Vector, expect: Vector) -> Iterator[str]:
    now, current = 1e6, given["current_replicas"]
    bounds = Bounds(
        # Where scaling to zero is switched off, zero becomes one; here that is a minimum.
        min=max(given["min_scale"], 0 if given["config"]["enable_scale_to_zero"] else 1),
        max=given["max_scale"],
        initial=given["initial_scale"],
        stable_window=given["stable_window_s"],
        retention=given["pod_retention_s"],
        progress_deadline=given["config"]["progress_deadline_s"],
        reachable=given["reachability"] != "unreachable",
    )
    before = Phase(
        Activity(given["status"]), now - given["in_state_for_s"], given["scale_target_initialized"]
    )
    ours, after = bound(bounds, given["desired"], current, current, before, now)
    yield from _compare("instances", ours, expect["replicas"] if expect["applied"] else current)
    if expect["replicas"] == 0:
        yield from _compare("activity", after.activity, Activity.INACTIVE)


def _rollout_params(given: Vector, expect: Vector) -> Iterator[str]:
    first = rollout.begin(rollout.settled("old", given["percent"]), "new", _START)
    took = given["seconds_since_start_ceil"] * SECOND
    yield from _compare_pace(
        rollout.in_force(first, given["duration_s"], _START + took).pace, expect
    )


def _rollout_step(given: Vector, expect: Vector) -> Iterator[str]:
    percents = given["revision_percents_old_to_new"]
    pace = Pace(given["step_size"], given["step_duration"] or 0, given["next_step_time"])
    ours = rollout.step(
        Rollout(
            tuple(Share(f"r{number}", percent) for number, percent in enumerate(percents)),
            sum(percents) if given["percent"] is None else given["percent"],
            pace=pace,
        ),
        given["now"],
    )
    yield from _compare(
        "percents", [share.percent for share in ours.shares], expect["revision_percents"]
    )
    due = 0 if ours.pace is None else ours.pace.due
    yield from _compare("time of the next step", due, expect["next_step_time"])


def _gradual_rollout(given: Vector, expect: Vector) -> Iterator[str]:
    ours = rollout.begin(rollout.settled("r1", given["percent"]), "r2", _START)
    steps = [[0, _percents(ours)]]
    took = round(given["ingress_ready_after_s"] * SECOND)
    ours = rollout.in_force(ours, given["duration_s"], _START + took)
    if "step_size" in expect:
        yield from _compare_pace(ours.pace, expect)
    while ours.pace is not None:
        now = ours.pace.due
        ours = rollout.step(ours, now)
        steps.append([now - _START, _percents(ours)])
    expected = [[round(at * SECOND), percents] for at, percents in expect["steps"]]
    for number, (one, other) in enumerate(zip(steps, expected, strict=False)):
        yield from _compare(f"step {number}", one, other)
    yield from _compare("number of steps", len(steps), len(expected))


def _percents(ours: Rollout) -> dict[str, int]:
    return {share.revision: share.percent for share in ours.shares}


def _compare_pace(pace: Pace | None, expect: Vector) -> Iterator[str]:
    assert pace is not None
    yield from _compare("step size", pace.size, expect["step_size"])
    yield from _compare("step duration", pace.interval, expect["step_duration_ns"])


def _compare(what: str, ours: object, expected: object) -> Iterator[str]:
    if isinstance(ours, float) and isinstance(expected, int | float):
        same = isclose(ours, expected, rel_tol=1e-6, abs_tol=1e-12)
    else:
        same = ours == expected
    if not same:
        yield f"{what}: {ours}, expected {expected}"


_ANY = Policy(target=70, total=100)
_START = 1_700_000_000 * SECOND  # some whole second of the real clock, as at the recording

COMPONENTS: Mapping[str, Callable[[Vector, Vector], Iterator[str]]] = {
    **knative_door_vectors.COMPONENTS,
    "autoscaler_invalid": _invalid,
    "autoscaler_scale": _scale,
    "autoscaler_start": _start,
    "buckets": _buckets,
    "buckets_resize": _resize,
    "decider_initial_status": _initial_status,
    "gradual_rollout": _gradual_rollout,
    "make_metric_windows": _windows,
    "max_time_window": _max_time,
    "max_window_slots": _max_slots,
    "resolve_metric_target": _target,
    "rollout_params": _rollout_params,
    "rollout_step": _rollout_step,
    "round_digits": _round,
    "scale_to_zero_gate": _gate,
    "smoothing_coefficient": _smoothing,
}

# Components whose work nothing does here, and why.
ELSEWHERE: Mapping[str, str] = {
    "activator_concurrency_reporter": "a request that has to wait is told to the scaler as "
    "it comes; nothing is reported early and taken back",
    "lb_random_choice2": "says what must be likely; tests/proxy replays the choice itself",
    "pick_indices": "shares instances between activators; one proxy has them all",
    "population_sample_size": "nothing is scraped, so nothing is sampled",
    "queue_proxy_http": "over connections, by tests/proxy/test_knative_door.py",
    "revision_gc": "a revision that nothing leads to is forgotten as soon as it is empty",
    "timeout_handler": "over connections, by tests/proxy/test_knative_door.py",
}
