"""Recorded input and output of the parts of a revision's door, replayed through ours.

What Knative's activator and queue-proxy do before a request is inside an
instance: breakers, balancing, request statistics; and which settings are valid.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from math import isclose
from pathlib import Path
from typing import Any

from wakeful.config.load import ConfigError, loads
from wakeful.config.model import Metric, Revision, Template
from wakeful.events import Backends, Endpoint, Load
from wakeful.proxy.balancer import FirstAvailable, Policy, PowerOfTwo, RoundRobin, policy_for
from wakeful.proxy.breaker import Breaker, QueueFull
from wakeful.proxy.known import KnownHeads
from wakeful.proxy.pool import Pool
from wakeful.proxy.stats import RequestStats
from wakeful.proxy.throttler import Throttler
from wakeful.scaler.target import SMALLEST

Vector = Mapping[str, Any]

# config-autoscaler's keys, as keys of a service. The others are about a cluster.
_KEYS = {
    "container-concurrency-target-default": "scale.target",
    "container-concurrency-target-percentage": "scale.utilization",
    "initial-scale": "scale.initial",
    "max-scale": "max-instances",
    "max-scale-down-rate": "scale.max-down-rate",
    "max-scale-up-rate": "scale.max-up-rate",
    "min-scale": "min-instances",
    "panic-threshold-percentage": "scale.panic-threshold",
    "panic-window-percentage": "scale.panic-window",
    "requests-per-second-target-default": "scale.target",
    "scale-down-delay": "scale.down-delay",
    "scale-to-zero-pod-retention-period": "scale.retention",
    "stable-window": "scale.window",
    "target-burst-capacity": "scale.target-burst-capacity",
}

_TARGETS = {
    "container-concurrency-target-default": Metric.CONCURRENCY,
    "requests-per-second-target-default": Metric.RPS,
}


def not_applicable(vector: Vector) -> str | None:
    """Why a vector of these components says nothing about a single host, if it does not."""
    given = vector["input"]
    match vector["component"]:
        case "throttler_capacity" if given["num_activators"] > 1:
            return "shares instances between activators; here one proxy has them all"
        case "breaker_constructor" if given["max_concurrency"] >= given["initial_capacity"] >= 0:
            return None
        case "breaker_constructor" if min(given.values()) >= 0:
            return "a breaker has no maximum beside its capacity"
        case "breaker_maybe" if any("reserve" in op for op in given["ops"]):
            return "takes places past the queue; here there is one way in"
        case "config_validation" if not vector["expect"]["valid"]:
            keys = given["configmap"].keys() - _KEYS.keys()
            if keys:
                return f"{', '.join(sorted(keys))}: of a cluster"
            if _below_the_smallest(given["configmap"]):
                return "a target below 0.01 is 0.01, as where Knative's annotations make one"
    return None


def _below_the_smallest(configmap: Mapping[str, str]) -> bool:
    """Each number may be as it is, but their product is less than any target."""
    try:
        share = float(configmap.get("container-concurrency-target-percentage", 70.0))
        total = float(configmap.get("container-concurrency-target-default", 100.0))
    except ValueError:
        return False
    share = share if share <= 1 else share / 100
    return 0.01 <= share <= 1 and total >= SMALLEST > share * total


class Target:
    def __init__(self) -> None:
        self.active = 0


def _picks(policy: Policy, given: Vector) -> Iterator[str]:
    targets = [Target() for _ in range(given["targets"])]
    held: dict[int, Target] = {}
    for number, (verb, *values) in enumerate(given["ops"]):
        if verb == "release":
            held.pop(values[0]).active -= 1
            continue
        visible, request, wanted = values
        target = policy.pick(targets[:visible], given["container_concurrency"])
        picked = None if target is None else targets.index(target)
        if picked != wanted:
            yield f"pick at op {number}: {picked}, expected {wanted}"
        if target is not None:
            target.active += 1
            held[request] = target


def _first_available(given: Vector, expect: Vector) -> Iterator[str]:
    yield from _picks(FirstAvailable(), given)


def _round_robin(given: Vector, expect: Vector) -> Iterator[str]:
    yield from _picks(RoundRobin(), given)


_POLICIES: Mapping[type[Policy], str] = {
    FirstAvailable: "first_available",
    RoundRobin: "round_robin",
    PowerOfTwo: "random_choice_2",
}


def _selection(given: Vector, expect: Vector) -> Iterator[str]:
    policy = policy_for(given["container_concurrency"], lambda n: 0)
    name = _POLICIES[type(policy)]
    if name != expect["policy"]:
        yield f"policy: {name}, expected {expect['policy']}"


def _reserve(given: Vector, expect: Vector) -> Iterator[str]:
    breaker: Breaker[object] = Breaker(0, given["initial_capacity"])
    for number, (verb, value, active, capacity) in enumerate(given["ops"]):
        if verb == "reserve":
            if (got := breaker.try_acquire()) is not value:
                yield f"reserve at op {number}: {got}, expected {value}"
        elif verb == "release":
            breaker.release()
        else:
            breaker.resize(value)
        if (breaker.active, breaker.capacity) != (active, capacity):
            ours = f"{breaker.active} of {breaker.capacity}"
            yield f"at op {number}: {ours}, expected {active} of {capacity}"


def _maybe(given: Vector, expect: Vector) -> Iterator[str]:
    breaker: Breaker[int] = Breaker(given["queue_depth"], given["initial_capacity"])
    failures = 0
    newest: int | None = None  # the request that was just made, if it waits
    for number, op in enumerate(given["ops"]):
        verb, _, argument = op.partition(" ")
        if verb == "request":
            newest = None
            if breaker.try_acquire():
                continue
            try:
                breaker.wait(number)
                newest = number
            except QueueFull:
                failures += 1
        elif verb == "cancel" and newest is not None:
            breaker.leave(newest)
            failures += 1
        elif verb == "update":
            breaker.resize(int(argument))
        elif verb == "expect_fail":
            if failures != 1:
                yield f"op {number}: {failures} failed, expected 1"
            failures = 0
        elif verb == "finish_ok":
            if not breaker.active:
                yield f"op {number}: nothing runs"
                return
            breaker.release()
    if failures:
        yield f"{failures} failed at the end, expected none"


def _constructor(given: Vector, expect: Vector) -> Iterator[str]:
    bounds = given["queue_depth"], min(given["initial_capacity"], given["max_concurrency"])
    try:
        Breaker(*bounds)
        error = False
    except ValueError:
        error = True
    if error != expect["error"]:
        yield f"error: {error}, expected {expect['error']}"


class _Nobody:
    def demand(self, revision: str, load: Load) -> None: ...
    def drained(self, revision: str, instance: str) -> None: ...
    def rest(self, revision: str, instance: str, since: float) -> None: ...
    def rouse(self, revision: str, instance: str) -> None: ...


def _capacity(given: Vector, expect: Vector) -> Iterator[str]:
    count = given["trackers"] or given["backends"]
    yield from _capacities(given["container_concurrency"], [count], [expect["capacity"]])


def _infinite(given: Vector, expect: Vector) -> Iterator[str]:
    """Who waits at capacity 0 is our breaker's matter; nobody is let past it."""
    yield from _capacities(0, given["updates"], expect["capacity"])


def _capacities(concurrency: int, counts: list[int], expected: list[int]) -> Iterator[str]:
    """Of a revision that has first so many instances, then so many."""
    loop = asyncio.new_event_loop()
    try:
        throttler = Throttler(
            Revision("a", 1, Template(concurrency=concurrency)),
            _Nobody(),
            now=0.0,
            new_pool=lambda endpoint: Pool(
                endpoint.host,
                endpoint.port,
                loop=loop,
                clock=lambda: 0.0,
                known=KnownHeads(),
                watch=lambda: None,
            ),
            randrange=lambda n: 0,
            call_later=lambda delay, call: None,
            clock=lambda: 0.0,
            watch=lambda: None,
        )
        for count, wanted in zip(counts, expected, strict=True):
            instances = tuple(Endpoint(f"i{n}", "127.0.0.1", 1) for n in range(count))
            throttler.publish(Backends(instances))
            capacity = throttler.breaker.capacity
            if not concurrency:
                capacity = min(capacity, 1)  # no limit: any number, where there is an instance
            if capacity != wanted:
                yield f"capacity of {count}: {capacity}, expected {wanted}"
    finally:
        loop.close()


def _statistics(given: Vector, expect: Vector) -> Iterator[str]:
    """Proxied requests are counted twice in a cluster; one host has no such hop."""
    stats = RequestStats(given["started_at_ms"] / 1000)
    for number, (verb, at, *values) in enumerate(given["ops"]):
        now = at / 1000
        if verb == "report":
            average, arrived = stats.report(now)
            if not isclose(average, values[0], rel_tol=1e-6, abs_tol=1e-9):
                yield f"average at op {number}: {average}, expected {values[0]}"
            if arrived != values[2]:
                yield f"arrivals at op {number}: {arrived}, expected {values[2]}"
        elif verb.endswith("in"):
            stats.arrive(now)
        else:
            stats.leave(now)


def _validation(given: Vector, expect: Vector) -> Iterator[str]:
    services: dict[str, dict[str, Any]] = {metric: {"image": "hello:1"} for metric in Metric}
    for key, value in given["configmap"].items():
        place, _, name = _KEYS.get(key, "").rpartition(".")
        if key.startswith("panic-"):
            value = f"{value}%"
        for metric, service in services.items():
            # There are two targets, of which a service has the one of its metric.
            if name and _TARGETS.get(key, metric) is metric:
                (service.setdefault(place, {}) if place else service)[name] = value
    for metric, service in services.items():
        service.setdefault("scale", {})["metric"] = metric
    try:
        loads(json.dumps({"services": services}), Path())  # JSON is YAML
        valid = True
    except ConfigError:
        valid = False
    if valid != expect["valid"]:
        yield f"valid: {valid}, expected {expect['valid']}"


COMPONENTS: Mapping[str, Callable[[Vector, Vector], Iterator[str]]] = {
    "breaker_capacity": _infinite,
    "breaker_constructor": _constructor,
    "breaker_maybe": _maybe,
    "breaker_reserve": _reserve,
    "config_validation": _validation,
    "lb_first_available": _first_available,
    "lb_policy_selection": _selection,
    "lb_round_robin": _round_robin,
    "request_stats": _statistics,
    "throttler_capacity": _capacity,
}
