"""Whole simulations: what becomes of every request, and of every instance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeful.config.load import loads
from wakeful.config.model import Config
from wakeful.simulate.course import Course, Steps
from wakeful.simulate.engine import simulate, tail
from wakeful.simulate.traffic import Arrival, Asker, Recording, ServiceTime, Traffic


def configured(text: str) -> Config:
    return loads(text, Path("/")).config


def hello(**keys: object) -> Config:
    """One service of local processes, so that a start is all readiness."""
    lines = "".join(f"\n    {key.replace('_', '-')}: {value}" for key, value in keys.items())
    return configured(f"services:\n  hello:\n    command: hello{lines}\n")


def courses_of(
    config: Config,
    arrivals: Sequence[Arrival],
    start_times: Sequence[float] = (0.5,),
    seed: int = 1,
) -> dict[str, Course]:
    def iterate() -> Iterator[Arrival]:
        return iter(arrivals)

    length = max((arrival.at for arrival in arrivals), default=0.0)
    traffic = Traffic(iterate, length, tuple(config.services), "")
    until = length + tail(list(config.services.values()))
    courses = simulate(config, traffic, start_times, until=until, seed=seed)
    return {course.service: course for course in courses}


def course_of(
    config: Config,
    arrivals: Sequence[tuple[float, float]],
    start_times: Sequence[float] = (0.5,),
) -> Course:
    found = [Arrival(at, "hello", seconds) for at, seconds in arrivals]
    return courses_of(config, found, start_times)["hello"]


# From zero, and back


def test_a_request_to_a_sleeping_service_waits_for_one_start() -> None:
    course = course_of(hello(), [(3.25, 0.1)])
    assert (course.requests, course.answered, course.rejected) == (1, 1, {})
    assert course.waits.percentile(100) == pytest.approx(0.5)
    assert (course.cold_starts, course.cold_requests, course.starts) == (1, 1, 1)
    assert course.ready.moments[:2] == pytest.approx([0, 3.75])


def test_a_step_of_200_concurrent_requests_is_provisioned_after_one_start_time() -> None:
    """Not after a tick and a start time: the step comes right after a tick."""
    config = hello(concurrency=10, max_instances=20)
    course = course_of(config, [(2.25, 30.0)] * 200, start_times=[0.4])
    assert course.instances.at(2.25) == 20  # all asked for at the moment of the step
    assert course.ready.at(2.25 + 0.4 - 0.001) == 0
    assert course.ready.at(2.25 + 0.4 + 0.001) == 20
    assert course.waits.count == 200
    assert course.waits.percentile(1) == course.waits.percentile(100) == pytest.approx(0.4)
    assert course.instances.peak == course.starts == 20


def test_containers_are_started_only_so_many_at_a_time() -> None:
    config = configured(
        "simultaneous-starts: 8\n"
        "services: {hello: {image: 'hello:1', concurrency: 1, max-instances: 16}}"
    )
    course = course_of(config, [(1.5, 9.0)] * 16, start_times=[1.0])
    assert course.ready.at(2.49) == 0
    assert course.ready.at(2.51) == 8
    # The engine is free again somewhat before its containers are ready.
    assert course.ready.at(3.3) == 8
    assert course.ready.at(3.49) == 16


def test_an_idle_service_goes_back_to_zero_after_its_window() -> None:
    short, long = (
        course_of(hello(scale=f"{{window: {seconds}s}}"), [(0.0, 1.0)]) for seconds in (10, 60)
    )
    for course, window in ((short, 10), (long, 60)):
        last = course.instances.moments[-1]
        assert course.instances.values[-1] == 0
        assert window < last <= 1.5 + window + 4  # at the second tick after that, at the latest
        assert course.instance_seconds == pytest.approx(last)
    assert short.seconds == 0 + 10 + 30


def test_what_is_always_running_costs_no_cold_start() -> None:
    course = course_of(hello(min_instances=2), [(5.0, 1.0), (6.0, 1.0)])
    assert (course.cold_starts, course.waits.percentile(100)) == (0, 0)
    assert course.instance_seconds == pytest.approx(2 * course.seconds)


def test_several_start_times_are_drawn_from() -> None:
    config = hello(concurrency=1, max_instances=0)
    course = course_of(config, [(1.0, 5.0)] * 60, start_times=[0.25, 0.75])
    assert set(course.ready.moments[1:3]) == {1.25, 1.75}
    assert course.ready.at(1.25) + 30 == pytest.approx(60, abs=20)
    assert course.ready.at(1.75) == 60


# Frozen spares


def test_what_is_not_wanted_stays_as_a_frozen_spare_and_is_thawed_when_it_is_wanted_again() -> None:
    course = course_of(hello(), [(0.0, 0.1), (300.0, 0.1)])
    assert (course.cold_starts, course.starts, course.thaws) == (1, 1, 1)
    assert course.cold_requests == 1
    assert [course.waits.percentile(p) for p in (50, 100)] == pytest.approx([0.0, 0.5])
    assert [course.instances.at(t) for t in (30, 150, 310)] == [1, 0, 1]
    assert [course.spares.at(t) for t in (30, 150, 310)] == [0, 1, 0]
    assert course.ready.at(150) == 0
    assert course.instance_seconds + course.spare_seconds == pytest.approx(course.seconds)
    assert 2 * 60 < course.instance_seconds < 2 * (60 + 6)
    assert course.instances.peak == course.spares.peak == 1


def test_a_spare_is_stopped_when_its_time_is_up() -> None:
    course = course_of(hello(idle="{stop-after: 40s}"), [(0.0, 0.1), (300.0, 0.1)])
    assert (course.cold_starts, course.starts, course.thaws) == (2, 2, 0)
    # The second one is still there when the simulation is over.
    assert 40 < course.spare_seconds <= 40 + 30
    none = course_of(hello(idle="{stop-after: 0s}"), [(0.0, 0.1), (300.0, 0.1)])
    assert (none.starts, none.spare_seconds) == (2, 0)


def test_spares_have_so_much_memory_together_and_the_latest_used_keep_it() -> None:
    config = configured(
        "frozen-memory: 200Mi\n"
        "defaults: {command: x, scale: {window: 6s}}\n"
        "services: {a: {}, b: {}}"
    )
    courses = courses_of(config, [Arrival(0.0, "a", 1.0), Arrival(30.0, "b", 1.0)])
    assert [courses["a"].spares.at(t) for t in (20, 60)] == [1, 0]
    assert courses["b"].spares.at(60) == 1


# Limits, as in the data plane


def test_beyond_its_limit_the_queue_takes_nobody() -> None:
    config = hello(concurrency=1, max_instances=1, queue="{limit: 3}")
    course = course_of(config, [(0.0, 1.0)] * 5)
    assert course.rejected == {"queue_full": 2}
    assert course.answered == 3
    assert [course.waits.percentile(p) for p in (33, 66, 100)] == pytest.approx([0.5, 1.5, 2.5])


def test_whoever_waits_too_long_for_a_place_is_turned_away() -> None:
    config = hello(concurrency=1, max_instances=1, queue="{timeout: 2s}")
    course = course_of(config, [(0.0, 9.0), (0.25, 1.0), (9.0, 1.0)])
    assert course.rejected == {"queue_timeout": 1}
    assert course.answered == 2
    assert course.waits.percentile(100) == pytest.approx(0.5)  # at 9.5 the first is over


def test_whoever_waits_too_long_for_a_start_is_told_so() -> None:
    config = hello(queue="{timeout: 2s}")
    assert course_of(config, [(0.0, 1.0)], start_times=[3.0]).rejected == {"cold_start_timeout": 1}


def test_a_request_that_takes_too_long_is_cut_and_its_place_comes_free() -> None:
    config = hello(concurrency=1, max_instances=1, timeout="4s")
    course = course_of(config, [(0.0, 60.0), (1.0, 0.5)])
    assert course.rejected == {"request_timeout": 1}
    assert course.answered == 1
    assert course.waits.percentile(100) == pytest.approx(3.0)


def test_the_timeout_of_a_request_ends_its_waiting_too() -> None:
    config = hello(concurrency=1, max_instances=1, timeout="4s")
    course = course_of(config, [(0.0, 3.9), (0.1, 1.0), (0.2, 1.0)])
    # The second has its place at 4.0 (the first is cut) and is itself cut at 4.1, the third at 4.2.
    assert course.rejected == {"request_timeout": 3}


def test_no_timeout_applies_to_a_tunnel() -> None:
    config = hello(timeout="4s")
    course = courses_of(config, [Arrival(0.0, "hello", 100.0, tunnel=True)])["hello"]
    assert (course.answered, course.rejected) == (1, {})
    assert course.seconds > 100


def test_instances_that_never_get_ready_are_an_outage() -> None:
    config = hello(queue="{timeout: 90s}")
    course = course_of(config, [(0.0, 1.0), (90.5, 1.0)], start_times=[200.0])
    assert course.rejected == {"start_failed": 2}
    assert course.starts_failed == course.starts == 1


def test_fixed_upstreams_are_limited_and_never_started() -> None:
    config = configured(
        'services: {hello: {upstreams: ["127.0.0.1:1", "127.0.0.1:2"], concurrency: 1}}'
    )
    course = course_of(config, [(0.0, 1.0)] * 3)
    assert course.waits.percentile(100) == pytest.approx(1.0)
    assert (course.starts, course.instance_seconds) == (0, 0)


# Schedules


def test_a_schedule_follows_the_clock_that_the_traffic_was_recorded_by() -> None:
    window = "{start: '0 9 * * *', end: '30 9 * * *', timezone: Europe/Berlin, min-instances: 2}"
    config = hello(schedule=f"[{window}]", idle="{stop-after: 0s}")
    recording = Recording()
    before_nine = 1_700_034_900  # 15 November 2023, 08:55 in Berlin
    recording.add(before_nine, "hello", 0.1)
    recording.add(before_nine + 3600, "hello", 0.1)
    traffic = recording.traffic("", ServiceTime(1.0), seed=1)
    (course,) = simulate(config, traffic, [0.5], until=3700, seed=1)
    assert [course.ready.at(minutes * 60) for minutes in (4, 6, 34, 40)] == [0, 2, 2, 0]


# Wake filters, as in the data plane


def test_what_a_wake_filter_ignores_neither_wakes_a_service_nor_keeps_it_awake() -> None:
    config = hello(wake="{ignore: [{user-agent: '*uptime*', address: 10.0.0.0/8}]}")
    checker = Asker.of("GET", "/", "Uptime/2.1", "10.1.2.3")
    someone = Asker.of("GET", "/", "Uptime/2.1", "192.0.2.1")  # not from there
    checks = [Arrival(float(at), "hello", 0.1, asker=checker) for at in range(0, 300, 5)]
    visit = Arrival(60.5, "hello", 0.1, asker=someone)
    course = courses_of(config, sorted([*checks, visit], key=lambda one: one.at))["hello"]
    assert course.cold_starts == course.starts == 1
    assert course.instances.moments[1] == 60.5
    gone = course.instances.moments[2]
    assert 120 < gone < 126  # its window after the only visit
    asleep = sum(not 60.5 + 0.5 < check.at < gone for check in checks)
    assert course.rejected == {"asleep": asleep}
    assert course.answered == len(checks) + 1 - asleep
    # What the scaler is told of is the one visit.
    demand = [second.demand for second in course.traffic if second.demand]
    assert demand == pytest.approx([1.0, 0.1])  # the first is an average since it woke
    # Without the filter they keep it awake all the time.
    without = courses_of(hello(), checks)["hello"]
    assert (without.cold_starts, without.rejected) == (1, {})
    assert without.instance_seconds > 300


def test_what_is_ignored_finds_a_full_service_busy() -> None:
    config = hello(concurrency=1, max_instances=1, wake="{ignore: [{path: /health}]}")
    health = Asker.of("GET", "/health?x=1", "", "127.0.0.1")
    arrivals = [Arrival(0.0, "hello", 9.0), Arrival(5.0, "hello", 0.1, asker=health)]
    course = courses_of(config, arrivals)["hello"]
    assert course.rejected == {"busy": 1}


# Always

KEYS = st.fixed_dictionaries(
    {
        "concurrency": st.sampled_from([0, 1, 3, 10]),
        "max_instances": st.sampled_from([1, 2, 5]),
        "min_instances": st.sampled_from([0, 0, 1]),
        "timeout": st.sampled_from(["3s", "300s"]),
        "queue": st.sampled_from(["{limit: 2, timeout: 1s}", "{limit: 50, timeout: 60s}"]),
        "idle": st.sampled_from(["{stop-after: 0s}", "{freeze-after: 0s, stop-after: 9s}", "{}"]),
        "scale": st.sampled_from(["{window: 6s}", "{window: 12s, metric: rps, target: 2}"]),
    }
)
CROWDS = st.lists(
    st.tuples(st.integers(0, 200), st.integers(0, 20), st.integers(1, 12)), max_size=12
)
START_TIMES = st.lists(st.sampled_from([0.0, 0.25, 2.0, 61.0]), min_size=1, max_size=3)


@settings(max_examples=40, deadline=None)
@given(keys=KEYS, crowds=CROWDS, start_times=START_TIMES)
def test_whatever_comes_it_is_answered_or_rejected_and_instances_add_up(
    keys: dict[str, object], crowds: list[tuple[int, int, int]], start_times: list[float]
) -> None:
    arrivals = sorted(
        Arrival(at / 8, "hello", seconds / 4) for at, seconds, size in crowds for _ in range(size)
    )
    config = hello(**keys)
    course = courses_of(config, arrivals, start_times)["hello"]

    assert course.requests == len(arrivals)
    assert course.answered + sum(course.rejected.values()) == course.requests
    assert course.answered <= course.waits.count <= course.requests
    assert 0 <= course.waits.percentile(50) <= course.waits.percentile(100) <= 60
    assert course.cold_starts <= course.starts
    assert course.cold_requests <= course.waits.count

    most = config.services["hello"].template.max_instances
    assert course.desired.peak <= most
    assert course.ready.peak <= most
    assert course.instance_seconds == pytest.approx(integral(course.instances, course.seconds))
    assert course.spare_seconds == pytest.approx(integral(course.spares, course.seconds))
    assert all(value >= 0 for value in (*course.instances.values, *course.spares.values))

    again = courses_of(config, arrivals, start_times)["hello"]
    for one in (course, again):
        one.waits.percentile(100)
    assert _plain(again) == _plain(course)


def integral(steps: Steps, end: float) -> float:
    ends = [*steps.moments[1:], end]
    stretches = zip(steps.moments, ends, steps.values, strict=True)
    return sum(value * (end - begin) for begin, end, value in stretches)


def _plain(course: Course) -> object:
    return (
        course.seconds,
        course.rejected,
        [course.waits.percentile(p) for p in range(101)],
        [(steps.moments, steps.values) for steps in (course.ready, course.desired)],
        [(steps.moments, steps.values) for steps in (course.instances, course.spares)],
        course.traffic,
        course.starts,
    )


def test_the_demand_that_is_reported_is_the_work_that_came() -> None:
    config = hello(concurrency=5, max_instances=3)
    course = course_of(config, [(n / 7, 0.75) for n in range(400)])
    begin, work = 0.0, 0.0
    for second in course.traffic:
        work += second.demand * (second.until - max(begin, second.until - 1))
        begin = second.until
    waited = sum(course.waits.percentile(100 * n / 400) for n in range(1, 401))
    assert work == pytest.approx(400 * 0.75 + waited)
    assert max(second.queue for second in course.traffic) >= 3


def test_services_have_instances_of_their_own() -> None:
    config = configured("defaults: {command: x}\nservices: {a: {concurrency: 1}, b: {}}")
    courses = courses_of(
        config, [Arrival(0.0, "a", 1.0), Arrival(0.0, "a", 1.0), Arrival(5.0, "b", 1.0)]
    )
    assert (courses["a"].instances.at(0.0), courses["b"].instances.at(4.9)) == (2, 0)
    assert courses["b"].starts == 1
    assert courses["b"].instances.moments[1] == 5.0
