"""Knative's recorded answers for the parts of a revision's door.

Left out, because the design differs on purpose:

* breaker_maybe: "mixed" refuses to reserve while the queue is in use; there is
  no second way in here. Otherwise Knative's queue depth counts those who run
  and wait together (queue depth + concurrency); ours counts those who wait.
* breaker_reserve: an update below what runs is the same; Reserve is our
  ``try_acquire``. All of it applies.
* breaker_constructor: there is no maximum concurrency beside the capacity, so
  a capacity above it cannot be asked for; a negative bound is refused.
* breaker_capacity: Knative's infinite breaker lets requests in at capacity 0.
  Here no limit means a very large one for each instance, and none without one.
* activator_concurrency_reporter: it reports a revision's first request at once
  as a concurrency of 1 and later takes that off again; our scaler is told of a
  waiting request by ``Signals.demand``, and nothing has to be taken back.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests import knative_data
from wakeful.proxy.balancer import Policy, PowerOfTwo, RoundRobin, first_available, policy_for
from wakeful.proxy.breaker import Breaker
from wakeful.proxy.stats import RequestStats


class Target:
    def __init__(self) -> None:
        self.active = 0


def replay(
    policy: Policy[Target], given: dict[str, Any]
) -> Iterator[tuple[int | None, int | None]]:
    """What was picked beside what Knative picked."""
    targets = [Target() for _ in range(given["targets"])]
    held: dict[int, Target] = {}
    for verb, *values in given["ops"]:
        if verb == "release":
            held.pop(values[0]).active -= 1
            continue
        visible, request, wanted = values
        target = policy(targets[:visible], given["container_concurrency"])
        yield (None if target is None else targets.index(target)), wanted
        if target is not None:
            target.active += 1
            held[request] = target


@pytest.mark.parametrize("vector", knative_data.vector_params("lb_first_available"))
def test_first_available_picks_what_knative_picks(vector: dict[str, Any]) -> None:
    picks = list(replay(first_available, vector["input"]))
    assert [ours for ours, _ in picks] == [wanted for _, wanted in picks]


@pytest.mark.parametrize("vector", knative_data.vector_params("lb_round_robin"))
def test_round_robin_picks_what_knative_picks(vector: dict[str, Any]) -> None:
    picks = list(replay(RoundRobin(), vector["input"]))
    assert [ours for ours, _ in picks] == [wanted for _, wanted in picks]


@pytest.mark.parametrize("vector", knative_data.vector_params("lb_policy_selection"))
def test_the_policy_for_a_limit_is_knatives(vector: dict[str, Any]) -> None:
    policy: Policy[Target] = policy_for(vector["input"]["container_concurrency"], lambda n: 0)
    names = {PowerOfTwo: "random_choice_2", RoundRobin: "round_robin"}
    name = "first_available" if policy is first_available else names[type(policy)]
    assert name == vector["expect"]["policy"]


@pytest.mark.parametrize("roll", range(2))
def test_of_two_equal_targets_either_may_be_picked(roll: int) -> None:
    targets = [Target(), Target()]
    assert PowerOfTwo(lambda n: roll)(targets, 1) is targets[1 - roll]


@pytest.mark.parametrize("rolls", [(a, b) for a in range(3) for b in range(2)])
def test_two_different_targets_are_compared_and_the_less_loaded_is_taken(
    rolls: tuple[int, int],
) -> None:
    targets = [Target(), Target(), Target()]
    compared = {rolls[0], rolls[1] if rolls[1] < rolls[0] else rolls[1] + 1}
    assert len(compared) == 2
    busy = min(compared)
    targets[busy].active = 1
    (idle,) = compared - {busy}
    left = list(rolls)
    assert PowerOfTwo(lambda n: left.pop(0))(targets, 1) is targets[idle]


@pytest.mark.parametrize("vector", knative_data.vector_params("breaker_reserve"))
def test_places_are_taken_and_given_back_as_in_knative(vector: dict[str, Any]) -> None:
    breaker: Breaker[object] = Breaker(0, vector["input"]["initial_capacity"])
    for verb, value, active, capacity in vector["input"]["ops"]:
        if verb == "reserve":
            assert breaker.try_acquire() is value
        elif verb == "release":
            assert list(breaker.release()) == []
        else:
            assert list(breaker.resize(value)) == []
        assert (breaker.active, breaker.capacity) == (active, capacity)


def test_negative_bounds_are_refused() -> None:
    for bounds in ((-1, 1), (1, -1)):
        with pytest.raises(ValueError, match="negative"):
            Breaker(*bounds)


@pytest.mark.parametrize("vector", knative_data.vector_params("request_stats"))
def test_the_average_in_hand_is_knatives(vector: dict[str, Any]) -> None:
    """Proxied requests are counted twice in a cluster; one host has no such hop."""
    started = vector["input"]["started_at_ms"] / 1000
    stats = RequestStats(started)
    reports = 0
    for verb, at, *values in vector["input"]["ops"]:
        now = at / 1000
        if verb == "report":
            average, arrived = stats.report(now)
            assert average == pytest.approx(values[0], rel=1e-6, abs=1e-9)
            assert arrived == values[2]
            reports += 1
        elif verb.endswith("in"):
            stats.arrive(now)
        else:
            stats.leave(now)
    assert reports


@pytest.mark.parametrize(
    "component", ["lb_first_available", "lb_round_robin", "breaker_reserve", "request_stats"]
)
def test_there_is_something_to_replay(component: str) -> None:
    ours = knative_data.directory == knative_data.OURS
    assert knative_data.vectors(component) or not ours
