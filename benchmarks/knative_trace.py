"""A recorded trace of Knative's autoscaler, and its replay through ours.

The shape of the files and the order of events within a second are described in
the README beside the data (tests/data/knative/README.md).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import floor, isclose
from pathlib import Path
from typing import Any

from benchmarks.knative_settings import (
    Json,
    Malformed,
    Settings,
    aggregation,
    settings,
    well_formed,
)
from wakeful.config.model import Aggregation, Metric
from wakeful.scaler.decider import Averages, Policy, decide, initial_state
from wakeful.scaler.window import Window, window

_SETTINGS = {"configmap", "annotations", "container_concurrency"}

RELATIVE = 1e-6  # of averages; whole numbers are compared exactly


@dataclass(frozen=True, slots=True)
class Record:
    second: int  # the second it is applied in
    moment: float  # the second it speaks of, from the start of the trace
    concurrency: float
    rps: float


@dataclass(frozen=True, slots=True)
class Tick:
    """One decision: the number ready, and everything that was recorded of it."""

    at_ms: int
    ready: int
    expected: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Trace:
    name: str
    start: int  # unix seconds
    settings: Settings
    derived: Json
    scraped: bool  # an empty window is missing data, not silence
    initial_ready: int
    lowest: int
    highest: int  # 0 = no limit
    records: tuple[Record, ...]  # in the order of application
    ticks: tuple[Tick, ...]
    changes: Mapping[int, Json]  # tick -> the new spec


@dataclass(frozen=True, slots=True)
class Difference:
    where: str
    what: str
    ours: object
    expected: object

    def __str__(self) -> str:
        return f"{self.where}: {self.what} {self.ours}, expected {self.expected}"


def is_trace(content: object) -> bool:
    return isinstance(content, dict) and {"input_per_second", "output_per_tick"} <= content.keys()


def load(path: Path) -> object:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise Malformed(f"not readable as JSON: {error}") from None


def parse(content: object, name: str = "trace") -> Trace:
    """The trace in a file's content; raises Malformed."""
    with well_formed("not a trace"):
        return _parse(content, name)


def replay(trace: Trace) -> Difference | None:
    """Run the trace through our windows and our decider; the first difference, if any."""
    with well_formed("not to be replayed"):
        return next(_differences(trace), None)


def _differences(trace: Trace) -> Iterator[Difference]:
    yield from _check_derived("derived", trace.settings, trace.derived)

    current = trace.settings
    policy = current.policy()
    rps = current.scale().metric is Metric.RPS
    weighted = current.aggregation() is not Aggregation.LINEAR
    stable, panic = (window(current.aggregation(), seconds) for seconds in current.windows())
    state = initial_state(trace.initial_ready, float(trace.start), policy.down_delay)
    applied = trace.initial_ready
    records = iter((*trace.records, None))
    record = next(records)

    for number, tick in enumerate(trace.ticks):
        while record is not None and record.second * 1000 <= tick.at_ms:
            second = floor(trace.start + record.moment)
            for each in (stable, panic):
                each.record(second, record.rps if rps else record.concurrency)
            record = next(records)

        where = f"tick {number} (second {tick.at_ms / 1000:g})"
        change = trace.changes.get(number)
        if change is not None:
            current, policy = _changed(current, policy, change)
            if change.keys() & _SETTINGS:
                yield from _check_derived(f"{where} derived", current, _mapping(change, "derived"))

        # One division, so that moments are equally spaced whatever the offset.
        now = (trace.start * 1000 + tick.at_ms) / 1000
        seen = _averages(stable, panic, floor(now), trace.scraped)
        decision, state = decide(policy, seen, tick.ready, state, now)
        if decision is not None:
            applied = max(decision.desired, trace.lowest)
            applied = min(applied, trace.highest) if trace.highest else applied

        ours: dict[str, object] = {
            "no_data": seen is None,
            "valid": decision is not None,
            "desired": decision.desired if decision else 0,
            "ebc": decision.excess_burst if decision else 0,
            "in_panic": state.panicking,
            "max_panic_pods": state.panic_peak,
            "applied": applied,
        }
        if seen is not None:
            ours |= {"stable_value": seen.stable, "panic_value": seen.panic}
        for what, value in ours.items():
            # floor() of what is whole in real arithmetic hangs on the last bit of pow().
            slack = 1 if what == "ebc" and weighted else 0
            if not _same(value, tick.expected[what], slack):
                yield Difference(where, what, value, tick.expected[what])


def _averages(stable: Window, panic: Window, second: int, scraped: bool) -> Averages | None:
    if scraped and stable.empty(second):
        return None
    return Averages(stable.average(second), panic.average(second))


def _same(ours: object, expected: object, slack: int = 0) -> bool:
    if isinstance(ours, float) and isinstance(expected, int | float):
        return isclose(ours, expected, rel_tol=RELATIVE, abs_tol=1e-12)
    if slack and isinstance(ours, int) and isinstance(expected, int):
        return abs(ours - expected) <= slack
    return ours == expected


def _check_derived(where: str, ours: Settings, derived: Json) -> Iterator[Difference]:
    """What the file says its settings come to is a check, never a source."""
    for key, value in ours.derived().items():
        expected = derived.get(key, value)
        if key == "activation_scale" and expected == 0:
            expected = 1  # unset
        if key == "aggregation":
            expected = aggregation(str(expected or "linear"))
        if not _same(value, expected):
            yield Difference(where, key, value, expected)


def _changed(current: Settings, policy: Policy, change: Json) -> tuple[Settings, Policy]:
    """The settings and policy after a spec change.

    Windows keep their lengths and the delay its own; both belong to objects
    that outlive a spec. A change is either new settings or, in ``spec``, the
    resulting numbers.
    """
    spec = {**_mapping(change, "derived"), **_mapping(change, "spec")}
    reachable = change.get("reachable", spec.get("reachable", current.reachable))
    current = settings(
        _mapping(change, "configmap", current.configmap),
        _mapping(change, "annotations", current.annotations),
        _whole(change.get("container_concurrency", current.concurrency)),
        bool(reachable),
    )
    if change.keys() & _SETTINGS:
        return current, current.policy()
    return current, spec_policy(spec, replace(policy, reachable=bool(reachable)))


def spec_policy(spec: Json, before: Policy) -> Policy:
    """The policy that a decider's resulting numbers describe."""

    def number(key: str, default: float) -> float:
        return _number(spec.get(key, default))

    return replace(
        before,
        target=number("target_value", before.target),
        total=number("total_value", before.total),
        stable_window=number("stable_window_s", before.stable_window),
        panic_threshold=number("panic_threshold", before.panic_threshold),
        max_up_rate=number("max_scale_up_rate", before.max_up_rate),
        max_down_rate=number("max_scale_down_rate", before.max_down_rate),
        activation=int(number("activation_scale", before.activation)),
        down_delay=number("scale_down_delay_s", before.down_delay),
        target_burst_capacity=number("target_burst_capacity", before.target_burst_capacity),
        reachable=bool(spec.get("reachable", before.reachable)),
    )


# Reading what a file holds


def _parse(content: object, name: str) -> Trace:
    if not isinstance(content, dict):
        raise Malformed("not a trace: no JSON object")
    derived = _mapping(content, "derived")
    own = settings(
        _mapping(content, "configmap"),
        _mapping(content, "annotations"),
        _whole(content["container_concurrency"]),
        # Routes are no part of a revision's settings; only the result is recorded.
        bool(content.get("reachable", derived.get("reachable", True))),
    )
    feedback = _mapping(content, "feedback")
    output = _mapping(content, "output_per_tick")
    columns = {key: _list(column) for key, column in output.items()}
    wanted = {*_OUTPUTS, "ready", "t_ms"}
    if missing := wanted - columns.keys():
        raise Malformed(f"not a trace: output_per_tick has no {', '.join(sorted(missing))}")
    count = len(columns["t_ms"])
    for key, column in columns.items():
        if len(column) != count:
            raise Malformed(f"output_per_tick.{key}: {len(column)} values for {count} ticks")
    moments = [_whole(at) for at in columns["t_ms"]]
    if not moments or moments != sorted(moments):
        raise Malformed("output_per_tick.t_ms: expected moments in the order of time")
    ticks = [
        Tick(moments[k], _whole(columns["ready"][k]), {key: columns[key][k] for key in _OUTPUTS})
        for k in range(count)
    ]
    return Trace(
        name=str(content.get("name", name)),
        start=_whole(content["t0_unix"]),
        settings=own,
        derived=derived,
        scraped=bool(content.get("scrape_target_set", own.policy().target_burst_capacity != -1)),
        initial_ready=_whole(content["initial_ready"]),
        lowest=_whole(feedback.get("min", 0)),
        highest=_whole(feedback.get("max", 0)),
        records=tuple(_records(content)),
        ticks=tuple(ticks),
        changes={
            _whole(change["at_tick"]): change for change in _list(content.get("spec_changes", []))
        },
    )


_OUTPUTS = (
    "no_data",
    "valid",
    "desired",
    "ebc",
    "in_panic",
    "max_panic_pods",
    "applied",
    "stable_value",
    "panic_value",
)


def _records(content: Json) -> Iterator[Record]:
    inputs = _mapping(content, "input_per_second")
    concurrency, rps = _list(inputs["concurrency"]), _list(inputs["rps"])
    if len(concurrency) != len(rps):
        raise Malformed("input_per_second: not as many seconds of rps as of concurrency")
    extra: dict[int, list[Mapping[str, Any]]] = {}
    for entry in _list(content.get("extra_records", [])):
        extra.setdefault(_whole(entry["applied_during_second"]), []).append(entry)
    if not extra.keys() <= set(range(len(rps))):
        raise Malformed("extra_records: outside the seconds of the trace")
    for second, (held, arrived) in enumerate(zip(concurrency, rps, strict=True)):
        if held is not None:
            yield Record(second, second, _number(held), _number(arrived or 0))
        for entry in extra.get(second, ()):
            yield Record(
                second,
                _number(entry["timestamp_offset_s"]),
                _number(entry.get("concurrency", 0)),
                _number(entry.get("rps", 0)),
            )


def _mapping(content: Json, key: str, default: Json | None = None) -> Json:
    value = content.get(key)
    if value is None:
        return {} if default is None else default
    if not isinstance(value, dict):
        raise Malformed(f"{key}: not an object")
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise Malformed(f"not a list: {value!r:.40}")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Malformed(f"not a number: {value!r:.40}")
    return value


def _whole(value: object) -> int:
    number = _number(value)
    if number != int(number):
        raise Malformed(f"not a whole number: {value!r:.40}")
    return int(number)
