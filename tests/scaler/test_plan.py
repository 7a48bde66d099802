from __future__ import annotations

from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from wakeful.events import Load
from wakeful.scaler.plan import Plan, plan

IDLE = Load()


def test_what_is_missing_is_started() -> None:
    assert plan(3, [], [], IDLE, 10) == Plan(start=3)
    assert plan(3, ["b"], ["a"], IDLE, 10) == Plan(start=1)
    assert plan(2, ["b"], ["a"], IDLE, 10) == Plan()


def test_spares_are_thawed_before_anything_is_started() -> None:
    assert plan(3, [], ["a"], IDLE, 10, ["x", "y", "z"]) == Plan(thaw=("x", "y"))
    assert plan(3, ["b"], [], IDLE, 10, ["x"]) == Plan(start=1, thaw=("x",))
    assert plan(2, ["b"], ["a"], IDLE, 10, ["x"]) == Plan()
    assert plan(1, [], ["a", "b"], IDLE, 10, ["x"]) == Plan(drain=("b",))


def test_what_is_still_starting_is_given_up_first_and_the_newest_before_the_oldest() -> None:
    assert plan(2, ["b", "c", "d"], ["a"], IDLE, 10) == Plan(drain=("d", "c"))


def test_then_the_emptiest_ready_instance_and_of_equals_the_newest() -> None:
    load = Load(active=6, busy=(("a", 1), ("b", 5)))
    assert plan(1, [], ["a", "b"], load, 10) == Plan(drain=("a",))
    assert plan(1, [], ["a", "b", "c", "d"], load, 10) == Plan(drain=("d", "c", "a"))
    assert plan(1, ["e"], ["a", "b"], load, 10) == Plan(drain=("e", "a"))


def test_as_many_stay_as_the_requests_in_flight_need() -> None:
    load = Load(active=11, busy=(("a", 6), ("b", 5)))
    assert plan(1, [], ["a", "b", "c"], load, 10) == Plan(drain=("c",))
    assert plan(0, ["c"], ["a", "b"], load, 10) == Plan(drain=("c",))


def test_one_stays_while_anything_is_in_hand() -> None:
    assert plan(0, [], ["a", "b"], Load(active=1, busy=(("a", 1),)), 0) == Plan(drain=("b",))
    assert plan(0, ["a"], [], Load(waiting=1), 10) == Plan()
    assert plan(0, [], ["a"], IDLE, 10) == Plan(drain=("a",))


def test_no_ready_instance_goes_while_a_request_waits() -> None:
    load = Load(active=2, waiting=1, busy=(("a", 1), ("b", 1)))
    assert plan(1, ["c", "d"], ["a", "b"], load, 10) == Plan(drain=("d", "c"))
    assert plan(1, [], ["a", "b"], load, 10) == Plan()


def test_nothing_is_started_that_is_not_wanted() -> None:
    """A revision whose starts fail is wanted at zero, however many wait."""
    assert plan(0, [], [], Load(waiting=5), 10) == Plan()


@st.composite
def situations(draw: st.DrawFn) -> tuple[int, list[str], list[str], Load, int]:
    names = [f"i{number}" for number in range(draw(st.integers(0, 8)))]
    ready = draw(st.integers(0, len(names)))
    concurrency = draw(st.integers(0, 4))
    most = concurrency or 9
    busy = [(name, draw(st.integers(0, most))) for name in names[:ready]]
    draining = draw(st.integers(0, 3))
    load = Load(
        active=sum(count for _, count in busy) + draining,
        waiting=draw(st.integers(0, 5)),
        busy=tuple((name, count) for name, count in busy if count),
    )
    return draw(st.integers(0, 8)), names[ready:], names[:ready], load, concurrency


@given(situations())
def test_a_plan_ends_at_what_is_wanted_or_at_what_is_needed(
    situation: tuple[int, list[str], list[str], Load, int],
) -> None:
    wanted, starting, ready, load, concurrency = situation
    todo = plan(wanted, starting, ready, load, concurrency)
    have = len(starting) + len(ready)
    left = have + todo.start - len(todo.drain)
    held = load.active + load.waiting

    assert not (todo.start and todo.drain)
    assert len(set(todo.drain)) == len(todo.drain)
    assert set(todo.drain) <= {*starting, *ready}
    assert left >= wanted
    if todo.start:
        assert left == wanted
    if todo.drain:
        assert left >= (ceil(held / concurrency) if concurrency else min(1, held))
    if load.waiting:
        assert not set(todo.drain) & set(ready)
    elif concurrency:
        assert left == max(wanted, min(have, ceil(held / concurrency)))


@given(situations())
def test_nobody_busier_is_drained_while_an_emptier_instance_stays(
    situation: tuple[int, list[str], list[str], Load, int],
) -> None:
    wanted, starting, ready, load, concurrency = situation
    drained = set(plan(wanted, starting, ready, load, concurrency).drain) & set(ready)
    busy = dict(load.busy)
    for gone in drained:
        for stays in set(ready) - drained:
            assert busy.get(gone, 0) <= busy.get(stays, 0)
