from __future__ import annotations

from dataclasses import replace
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wakeful.config.model import Scale, Template
from wakeful.scaler.decider import (
    UNKNOWN,
    Averages,
    DeciderState,
    Decision,
    Policy,
    decide,
    initial_state,
    undecided,
)

TEN = Policy(target=10, total=14, stable_window=60)

policies = st.builds(
    Policy,
    target=st.floats(0.01, 200),
    total=st.floats(0.01, 300),
    stable_window=st.floats(6, 3600),
    panic_threshold=st.floats(1.1, 10),
    max_up_rate=st.floats(1.01, 1000),
    max_down_rate=st.floats(1.01, 10),
    activation=st.integers(1, 10),
    target_burst_capacity=st.one_of(st.just(-1.0), st.just(0.0), st.floats(1, 1000)),
    down_delay=st.sampled_from([0.0, 5.0, 60.0]),
    reachable=st.booleans(),
)
averages = st.builds(Averages, stable=st.floats(0, 1e5), panic=st.floats(0, 1e5))
steps = st.lists(
    st.tuples(st.one_of(st.none(), averages), st.integers(0, 50), st.floats(0, 100)), max_size=30
)


def calm(policy: Policy, load: float, ready: int, now: float = 0.0) -> int:
    """One decision of a policy at a steady load, with no past."""
    decision, _ = decide(policy, Averages(load, load), ready, DeciderState(), now)
    assert decision is not None
    return decision.desired


@given(policies, steps, st.integers(0, 20))
def test_same_inputs_same_answers_and_never_a_negative_number(
    policy: Policy, script: list[tuple[Averages | None, int, float]], ready: int
) -> None:
    def run() -> list[tuple[Decision | None, DeciderState]]:
        now, state, answers = 0.0, initial_state(ready, 0.0, policy.down_delay), []
        for seen, count, pause in script:
            now += pause
            decision, state = decide(policy, seen, count, state, now)
            answers.append((decision, state))
        return answers

    answers = run()
    assert answers == run()
    assert all(decision is None or decision.desired >= 0 for decision, _ in answers)


@given(policies, steps, st.integers(0, 20))
def test_nothing_shrinks_while_panicking(
    policy: Policy, script: list[tuple[Averages | None, int, float]], ready: int
) -> None:
    # Without a delay: what it held back from before the panic is let go when
    # it ends, also in the middle of a panic (as in Knative).
    policy = replace(policy, down_delay=0.0)
    now, state, before = 0.0, initial_state(ready, 0.0, policy.down_delay), 0
    for seen, count, pause in script:
        now += pause
        decision, state = decide(policy, seen, count, state, now)
        if decision is None:
            continue
        if decision.panicking:
            assert decision.desired >= before
        before = decision.desired if decision.panicking else 0


@given(policies, steps, st.integers(0, 20))
def test_a_delay_never_takes_away_from_what_a_panic_holds(
    policy: Policy, script: list[tuple[Averages | None, int, float]], ready: int
) -> None:
    now, state, peak = 0.0, initial_state(ready, 0.0, policy.down_delay), 0
    for seen, count, pause in script:
        now += pause
        decision, state = decide(policy, seen, count, state, now)
        if decision is None:
            continue
        if decision.panicking:
            assert decision.desired >= state.panic_peak >= peak
        peak = state.panic_peak if decision.panicking else 0


@given(policies, averages, st.integers(0, 50))
def test_no_step_is_larger_than_the_rates_allow(policy: Policy, seen: Averages, ready: int) -> None:
    decision, _ = decide(policy, seen, ready, DeciderState(), 0.0)
    assert decision is not None
    running = max(1, ready)
    assert decision.desired <= max(ceil(policy.max_up_rate * running), policy.activation)
    if policy.reachable:
        assert decision.desired >= int(running / policy.max_down_rate)


@given(policies, st.floats(0, 500), st.integers(0, 50))
def test_a_load_that_stays_the_same_is_converged_upon(
    policy: Policy, load: float, ready: int
) -> None:
    policy = replace(
        policy,
        target=max(1.0, policy.target),
        max_up_rate=max(1.5, policy.max_up_rate),
        max_down_rate=max(1.5, policy.max_down_rate),
        activation=1,
    )
    state, now = initial_state(ready, 0.0, 0.0), 0.0
    for _ in range(40):
        decision, state = decide(policy, Averages(load, load), ready, state, now)
        assert decision is not None
        ready, now = decision.desired, now + 2 * policy.stable_window
    assert ready == ceil(load / policy.target)
    assert not state.panicking


def test_load_is_divided_among_instances() -> None:
    assert calm(TEN, 0.0, ready=1) == 0
    assert calm(TEN, 10.0, ready=1) == 1
    assert calm(TEN, 10.1, ready=2) == 2


def test_a_burst_is_not_scaled_down_until_the_stable_window_has_passed() -> None:
    decision, state = decide(TEN, Averages(5, 100), 1, DeciderState(), 0.0)
    assert decision is not None
    assert (decision.desired, decision.panicking) == (10, True)

    decision, state = decide(TEN, Averages(0, 0), 10, state, 60.0)
    assert decision is not None
    assert (decision.desired, decision.panicking) == (10, True)

    decision, state = decide(TEN, Averages(0, 0), 10, state, 60.1)
    assert decision is not None
    assert (decision.desired, decision.panicking) == (5, False)
    assert state == DeciderState()


def test_a_burst_that_goes_on_extends_the_panic() -> None:
    _, state = decide(TEN, Averages(5, 100), 1, DeciderState(), 0.0)
    _, state = decide(TEN, Averages(5, 100), 5, state, 50.0)
    decision, _ = decide(TEN, Averages(0, 0), 10, state, 100.0)
    assert decision is not None
    assert decision.panicking


def test_a_small_up_rate_does_not_talk_a_burst_down() -> None:
    decision, _ = decide(replace(TEN, max_up_rate=1.1), Averages(0, 100), 5, DeciderState(), 0.0)
    assert decision is not None
    assert (decision.desired, decision.panicking) == (6, True)


def test_in_panic_the_stable_average_may_be_the_larger_one() -> None:
    state = DeciderState(panic_since=0.0, panic_peak=1)
    decision, _ = decide(TEN, Averages(90, 20), 8, state, 1.0)
    assert decision is not None
    assert decision.desired == 9


def test_activation_scale_looks_at_the_load_before_rates_and_leaves_zero_alone() -> None:
    five = replace(TEN, activation=5)
    assert calm(five, 0.0, ready=1) == 0
    assert calm(five, 0.1, ready=1) == 5
    assert calm(five, 0.0, ready=4) == 2  # held by the down rate, though nothing is there


def test_without_data_nothing_is_decided_and_nothing_changes() -> None:
    state = DeciderState(panic_since=0.0, panic_peak=7)
    assert decide(TEN, None, 3, state, 1e6) == (None, state)


def test_found_running_means_the_load_was_there_before_us() -> None:
    state = initial_state(10, 100.0, 0.0)
    decision, state = decide(TEN, Averages(1, 1), 10, state, 160.0)
    assert decision is not None
    assert (decision.desired, decision.panicking) == (10, True)
    decision, _ = decide(TEN, Averages(1, 1), 10, state, 161.0)
    assert decision is not None
    assert decision.desired == 5


@pytest.mark.parametrize("ready", [0, 1])
def test_one_instance_found_running_is_no_panic(ready: int) -> None:
    assert not initial_state(ready, 100.0, 0.0).panicking


def test_a_down_delay_holds_decreases_back_and_never_an_increase() -> None:
    state = initial_state(1, 0.0, 10.0)
    wanted = []
    for now, load in [(0, 20), (2, 10), (4, 30), (6, 10), (12, 10), (14, 10)]:
        # Plenty are ready: no panic, and a down rate that lets anything fall.
        policy = replace(TEN, max_down_rate=100)
        decision, state = decide(policy, Averages(load, load), 9, state, float(now))
        assert decision is not None
        wanted.append(decision.desired)
    assert wanted == [2, 2, 3, 3, 3, 1]


def test_an_unreachable_revision_is_not_held_by_anything() -> None:
    gone = replace(TEN, reachable=False)
    state = initial_state(1, 0.0, 600.0)
    _, state = decide(TEN, Averages(100, 100), 9, state, 0.0)
    decision, _ = decide(gone, Averages(0, 0), 9, state, 2.0)
    assert decision is not None
    assert decision.desired == 0


def test_excess_burst_capacity_counts_the_instances_that_are_really_ready() -> None:
    def excess(capacity: float, ready: int) -> int:
        policy = replace(TEN, target_burst_capacity=capacity)
        decision, _ = decide(policy, Averages(5, 5), ready, DeciderState(), 0.0)
        assert decision is not None
        return decision.excess_burst

    assert excess(0, 3) == 0
    assert excess(-1, 3) == -1
    assert excess(20, 3) == 17  # 3 * 14 - 20 - 5
    assert excess(20, 0) == -25


def test_before_the_first_decision_the_desired_number_is_unknown() -> None:
    assert undecided(TEN, initial=3) == Decision(UNKNOWN, -169, False)  # 3 * 14 - 211
    assert undecided(replace(TEN, target_burst_capacity=0), initial=3).excess_burst == 0


def test_a_template_says_everything_a_policy_needs() -> None:
    scale = Scale(
        target=20,
        utilization=0.5,
        window=30,
        panic_threshold=3,
        down_delay=4,
        activation=2,
        max_up_rate=5,
        max_down_rate=6,
    )
    assert Policy.of(Template(concurrency=40, scale=scale), reachable=False) == Policy(
        target=10,
        total=20,
        stable_window=30,
        panic_threshold=3,
        max_up_rate=5,
        max_down_rate=6,
        activation=2,
        down_delay=4,
        reachable=False,
    )
