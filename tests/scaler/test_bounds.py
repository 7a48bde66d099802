from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wakeful.config.model import Scale, Template
from wakeful.scaler.bounds import Activity, Bounds, Phase, adopted_phase, bound, new_phase
from wakeful.scaler.decider import UNKNOWN

ZERO_TO_TEN = Bounds(min=0, max=10, initial=1, stable_window=60)

limits = st.tuples(st.integers(0, 5), st.integers(0, 10)).map(
    lambda pair: (pair[0], pair[0] + pair[1] if pair[1] else 0)
)
bounds_of_any_kind = st.builds(
    lambda limit, **rest: Bounds(min=limit[0], max=limit[1], **rest),
    limit=limits,
    initial=st.integers(0, 8),
    stable_window=st.floats(6, 600),
    retention=st.floats(0, 600),
    reachable=st.booleans(),
)
phases = st.builds(
    Phase,
    activity=st.sampled_from(Activity),
    since=st.floats(0, 1000),
    initial_reached=st.booleans(),
)


@given(bounds_of_any_kind, st.integers(-1, 30), st.integers(0, 30), st.integers(0, 30), phases)
def test_never_above_the_maximum_nor_below_the_minimum(
    bounds: Bounds, desired: int, current: int, ready: int, phase: Phase
) -> None:
    wanted, _ = bound(bounds, desired, current, ready, phase, 1000.0)
    assert wanted >= (bounds.min if bounds.reachable else 0)
    assert wanted <= (bounds.max or 30)


@given(
    bounds_of_any_kind,
    st.lists(st.tuples(st.integers(-1, 12), st.floats(0.1, 100)), max_size=40),
)
def test_a_revision_that_was_active_stays_up_for_a_window_and_its_retention(
    bounds: Bounds, script: list[tuple[int, float]]
) -> None:
    now, count, phase, active_at = 0.0, 0, new_phase(bounds, 0.0), 0.0
    for desired, pause in script:
        now += pause
        before, was = count, phase
        count, phase = bound(bounds, desired, count, count, phase, now)
        if was.activity is not Activity.ACTIVE and phase.activity is Activity.ACTIVE:
            active_at = now
        if count == 0 < before:
            assert was.activity is Activity.INACTIVE
            retention = bounds.retention if bounds.reachable else 0.0
            assert now - was.since >= retention
            assert was.since - active_at >= bounds.stable_window


@given(bounds_of_any_kind, phases, st.integers(0, 5))
def test_when_nothing_is_desired_for_long_enough_only_the_minimum_stays(
    bounds: Bounds, phase: Phase, current: int
) -> None:
    now, count = 2000.0, current
    for _ in range(5):
        count, phase = bound(bounds, 0, count, count, phase, now)
        now += 1000.0
    assert count == (bounds.min if bounds.reachable else 0)


def test_zero_comes_in_two_steps_after_a_stable_window_of_activity() -> None:
    phase = adopted_phase(ready=1, now=0.0)
    wanted, phase = bound(ZERO_TO_TEN, 0, 1, 1, phase, 59.9)
    assert (wanted, phase.activity) == (1, Activity.ACTIVE)

    wanted, phase = bound(ZERO_TO_TEN, 0, 1, 1, phase, 60.0)
    assert (wanted, phase) == (1, Phase(Activity.INACTIVE, 60.0, initial_reached=True))

    wanted, phase = bound(ZERO_TO_TEN, 0, 1, 1, phase, 62.0)
    assert (wanted, phase.since) == (0, 60.0)


def test_a_request_while_inactive_makes_the_revision_active_for_another_window() -> None:
    phase = Phase(Activity.INACTIVE, 60.0, initial_reached=True)
    wanted, phase = bound(ZERO_TO_TEN, 2, 1, 1, phase, 61.0)
    assert (wanted, phase) == (2, Phase(Activity.ACTIVE, 61.0, initial_reached=True))


def test_the_last_instance_is_retained() -> None:
    bounds = replace(ZERO_TO_TEN, retention=120.0)
    phase = Phase(Activity.INACTIVE, 60.0, initial_reached=True)
    assert bound(bounds, 0, 1, 1, phase, 179.9)[0] == 1
    assert bound(bounds, 0, 1, 1, phase, 180.0)[0] == 0
    assert bound(replace(bounds, reachable=False), 0, 1, 1, phase, 61.0)[0] == 0


def test_a_new_revision_is_started_at_its_initial_scale_before_anything_is_measured() -> None:
    bounds = replace(ZERO_TO_TEN, initial=3)
    phase = new_phase(bounds, 0.0)
    for ready in (0, 2):
        wanted, phase = bound(bounds, UNKNOWN, ready, ready, phase, 1.0)
        assert (wanted, phase.activity) == (3, Activity.ACTIVATING)
    wanted, phase = bound(bounds, UNKNOWN, 3, 3, phase, 5.0)
    assert (wanted, phase) == (3, Phase(Activity.ACTIVE, 5.0, initial_reached=True))


def test_an_initial_scale_of_one_is_kept_up_while_activating_though_nobody_asks() -> None:
    wanted, _ = bound(ZERO_TO_TEN, 0, 0, 0, new_phase(ZERO_TO_TEN, 0.0), 1.0)
    assert wanted == 1


def test_a_revision_that_nothing_leads_to_any_more_owes_its_initial_scale_no_longer() -> None:
    bounds = replace(ZERO_TO_TEN, initial=5)
    phase = Phase(Activity.ACTIVATING, 0.0, initial_reached=False)
    assert bound(bounds, 0, 1, 0, phase, 10.0)[0] == 5
    assert bound(replace(bounds, reachable=False), 0, 1, 0, phase, 10.0)[0] == 1


def test_the_initial_scale_is_asked_for_once() -> None:
    bounds = replace(ZERO_TO_TEN, initial=3)
    phase = Phase(Activity.ACTIVE, 0.0, initial_reached=True)
    wanted, _ = bound(bounds, 1, 3, 3, phase, 10.0)
    assert wanted == 1


def test_an_initial_scale_above_the_maximum_gives_way_and_counts_as_reached() -> None:
    bounds = replace(ZERO_TO_TEN, initial=20)
    wanted, phase = bound(bounds, UNKNOWN, 10, 10, new_phase(bounds, 0.0), 1.0)
    assert (wanted, phase.activity, phase.initial_reached) == (10, Activity.ACTIVE, True)


def test_an_initial_scale_of_zero_starts_nothing() -> None:
    bounds = replace(ZERO_TO_TEN, initial=0)
    phase = new_phase(bounds, 0.0)
    assert phase == Phase(Activity.INACTIVE, 0.0, initial_reached=True)
    assert bound(bounds, UNKNOWN, 0, 0, phase, 1.0) == (0, phase)


def test_a_new_revision_that_nothing_routes_to_owes_its_initial_scale_until_something_does() -> (
    None
):
    bounds = replace(ZERO_TO_TEN, initial=3, reachable=False)
    phase = new_phase(bounds, 0.0)
    wanted, phase = bound(bounds, 0, 0, 0, phase, 1.0)
    assert (wanted, phase.initial_reached) == (0, False)
    wanted, phase = bound(replace(bounds, reachable=True), 0, 0, 0, phase, 2.0)
    assert (wanted, phase.activity) == (3, Activity.ACTIVATING)


def test_what_a_tag_wakes_of_a_revision_without_traffic_does_not_pay_its_initial_scale() -> None:
    bounds = replace(ZERO_TO_TEN, initial=3, reachable=False)
    _, phase = bound(bounds, 1, 1, 1, new_phase(bounds, 0.0), 5.0)
    assert phase == Phase(Activity.ACTIVE, 5.0, initial_reached=False)


def test_reaching_the_initial_scale_while_inactive_does_not_prolong_the_retention() -> None:
    bounds = replace(ZERO_TO_TEN, retention=120.0)
    phase = Phase(Activity.INACTIVE, 60.0, initial_reached=False)
    wanted, phase = bound(bounds, 0, 1, 1, phase, 100.0)
    assert (wanted, phase) == (1, Phase(Activity.INACTIVE, 60.0, initial_reached=True))


@pytest.mark.parametrize("ready", [0, 2])
def test_what_lived_before_us_owes_no_initial_scale(ready: int) -> None:
    bounds = replace(ZERO_TO_TEN, initial=5)
    wanted, _ = bound(bounds, UNKNOWN, ready, ready, adopted_phase(ready, 0.0), 1.0)
    assert wanted == ready


def test_a_start_that_takes_longer_than_its_deadline_is_given_up() -> None:
    bounds = replace(ZERO_TO_TEN, progress_deadline=100.0)
    phase = new_phase(bounds, 0.0)
    assert bound(bounds, 0, 1, 0, phase, 130.0) == (1, phase)
    wanted, phase = bound(bounds, 0, 1, 0, phase, 130.1)
    assert (wanted, phase.activity) == (0, Activity.INACTIVE)


def test_fewer_ready_than_the_minimum_is_activating_again() -> None:
    bounds = replace(ZERO_TO_TEN, min=3)
    phase = Phase(Activity.ACTIVE, 0.0, initial_reached=True)
    wanted, phase = bound(bounds, 1, 3, 2, phase, 7.0)
    assert (wanted, phase) == (3, Phase(Activity.ACTIVATING, 7.0, initial_reached=True))


def test_while_nothing_is_known_of_an_active_revision_it_stays_as_it_is() -> None:
    phase = Phase(Activity.ACTIVE, 0.0, initial_reached=True)
    assert bound(ZERO_TO_TEN, UNKNOWN, 4, 4, phase, 1e6) == (4, phase)


def test_a_template_says_everything_the_bounds_need() -> None:
    template = Template(
        min_instances=2, max_instances=7, scale=Scale(initial=3, window=30, retention=9)
    )
    assert Bounds.of(template, reachable=False) == Bounds(
        min=2, max=7, initial=3, stable_window=30, retention=9, reachable=False
    )
