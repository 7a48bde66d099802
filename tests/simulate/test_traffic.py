"""Traffic that can be asked for again and again, in the order of time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wakeful.simulate.shapes import Kind
from wakeful.simulate.traffic import Arrival, Recording, ServiceTime, Shape

FIXED = ServiceTime(0.5)


def shape(kind: Kind, rate: float, peak: float | None, **keys: object) -> Shape:
    service_time = keys.get("service_time", FIXED)
    assert isinstance(service_time, ServiceTime)
    return Shape(kind, rate, peak, 10.0, service_time, seed=3)


def recorded(recording: Recording) -> list[Arrival]:
    return list(recording.traffic("", FIXED, seed=1).arrivals())


def test_without_a_peak_a_shape_rises_from_nothing_and_a_spike_to_ten_times_its_rate() -> None:
    assert shape(Kind.STEP, 7, None).levels == (0, 7)
    assert shape(Kind.SPIKE, 7, None).levels == (7, 70)
    assert shape(Kind.RAMP, 7, 9).levels == (7, 9)


def test_every_service_has_the_whole_of_a_shape() -> None:
    traffic = shape(Kind.STEP, 1, None).for_each(["a", "b"])
    assert list(traffic.arrivals())[:4] == [
        Arrival(1.0, "a", 0.5),
        Arrival(1.0, "b", 0.5),
        Arrival(2.0, "a", 0.5),
        Arrival(2.0, "b", 0.5),
    ]
    assert traffic.length == 10


def test_random_traffic_is_the_same_each_time_and_another_with_another_seed() -> None:
    random = ServiceTime(0.5, exponential=True)
    one = shape(Kind.POISSON, 50, None, service_time=random).for_each(["a"])
    first = list(one.arrivals())
    assert first == list(one.arrivals())
    assert len({arrival.seconds for arrival in first}) == len(first) > 300
    other = Shape(Kind.POISSON, 50, None, 10.0, random, seed=4).for_each(["a"])
    assert list(other.arrivals()) != first


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 5)), min_size=1))
def test_a_recording_is_put_in_the_order_of_time(lines: list[tuple[int, int]]) -> None:
    recording = Recording()
    for at, seconds in lines:
        recording.add(at, "a", seconds)
    begin = min(at for at, _ in lines)
    assert recorded(recording) == [
        Arrival(at - begin, "a", seconds) for at, seconds in sorted(lines, key=lambda line: line[0])
    ]


def test_a_recording_begins_with_the_whole_second_of_its_first_request() -> None:
    recording = Recording()
    recording.add(1_700_000_001.5, "a", 1)
    recording.add(1_700_000_000.25, "b", 1)
    traffic = recording.traffic("", FIXED, seed=1)
    assert [arrival.at for arrival in traffic.arrivals()] == [0.25, 1.5]
    assert traffic.length == 1.5


def test_requests_of_which_only_a_second_is_known_are_spread_over_it() -> None:
    recording = Recording()
    for _ in range(4):
        recording.add_ended(10, "a")
    recording.add_ended(12, "a")
    assert [arrival.at for arrival in recorded(recording)] == [0.125, 0.375, 0.625, 0.875, 2.5]


def test_a_request_began_as_long_before_its_end_as_it_took() -> None:
    recording = Recording()
    recording.add_ended(10, "a", 3.0)
    recording.add_ended(10, "b", 0.25)
    # They ended at 10.25 and 10.75.
    assert recorded(recording) == [Arrival(0.25, "a", 3.0), Arrival(3.5, "b", 0.25)]


def test_what_took_nobody_knows_how_long_takes_the_median_of_its_service() -> None:
    recording = Recording()
    for at, seconds in enumerate([1.0, None, 2.0, 9.0, None]):
        recording.add(at, "a", seconds)
    recording.add(5, "b")
    assert [(arrival.service, arrival.seconds) for arrival in recorded(recording)] == [
        ("a", 1.0),
        ("a", 2.0),
        ("a", 2.0),
        ("a", 9.0),
        ("a", 2.0),
        ("b", 0.5),
    ]


def test_tunnels_are_told_apart() -> None:
    recording = Recording()
    recording.add(1, "a", 5, tunnel=True)
    recording.add(0, "a", 5)
    assert [arrival.tunnel for arrival in recorded(recording)] == [False, True]
