"""Who is started when there is not room for everybody, in simulated time."""

from __future__ import annotations

import asyncio
import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.runtime.staging import simulated
from wakeful.clock import run_simulated
from wakeful.runtime.turns import Turns


class Starts:
    """Starts that take a second each, and the order in which they had their turns."""

    def __init__(self, limit: int, processors: float = math.inf) -> None:
        self.turns = Turns(limit, processors)
        self.order: list[str] = []
        self.now: Counter[str] = Counter()  # those that have a turn
        self.most = 0

    def ask(
        self, service: str, count: int = 1, *, cold: bool = False, seconds: float = 1.0
    ) -> list[asyncio.Task[None]]:
        return [
            asyncio.create_task(self._start(service, cold, seconds), name=service)
            for _ in range(count)
        ]

    async def _start(self, service: str, cold: bool, seconds: float) -> None:
        async with self.turns.turn(service, cold=cold):
            self.order.append(service)
            self.now[service] += 1
            self.most = max(self.most, self.now.total())
            try:
                await asyncio.sleep(seconds)
            finally:
                self.now[service] -= 1


@simulated
async def test_no_more_start_at_once_than_may_and_none_waits_beside_a_free_turn() -> None:
    starts = Starts(3)
    tasks = starts.ask("a", 5) + starts.ask("b", 5)
    await asyncio.gather(*tasks)

    assert starts.most == 3
    assert asyncio.get_running_loop().time() == 4.0  # ten starts, three at a time


@simulated
async def test_short_starts_are_made_by_as_many_at_once_as_there_are_processors() -> None:
    starts = Starts(32, processors=2)
    await asyncio.gather(*starts.ask("a", 6, seconds=0.25), *starts.ask("b", 4, seconds=0.25))

    assert starts.most == 2
    assert asyncio.get_running_loop().time() == 1.25


@simulated
async def test_a_start_that_takes_longer_than_a_second_holds_up_nobody() -> None:
    starts = Starts(4, processors=2)
    long = starts.ask("long", 2, seconds=10)
    short = starts.ask("short", 4, seconds=0.25)
    await asyncio.sleep(0.9)
    assert starts.order == ["long", "long"]

    await asyncio.gather(*short)
    assert asyncio.get_running_loop().time() == 1.5  # a second, and two times two
    await asyncio.gather(*starts.ask("more", 6, seconds=3))
    assert starts.most == 4
    await asyncio.gather(*long)


@simulated
async def test_a_service_that_asks_for_many_lets_others_in_between() -> None:
    starts = Starts(2)
    tasks = starts.ask("many", 50)
    await asyncio.sleep(0.5)
    tasks += starts.ask("few", 2)
    await asyncio.sleep(1)
    # One of two turns, at the next that came free.
    assert sorted(starts.order[2:4]) == ["few", "many"]

    await asyncio.sleep(1)
    assert sorted(starts.order[4:6]) == ["few", "many"]
    await asyncio.gather(*tasks)


@simulated
async def test_services_that_have_equally_many_take_turns() -> None:
    starts = Starts(1)
    tasks = starts.ask("a", 3) + starts.ask("b", 3) + starts.ask("c", 3)
    await asyncio.gather(*tasks)

    assert "".join(starts.order) == "abcabcabc"


@simulated
async def test_the_one_with_the_fewest_turns_comes_first() -> None:
    starts = Starts(4)
    tasks = starts.ask("a", 2, seconds=9) + starts.ask("b", seconds=9) + starts.ask("c")
    tasks += starts.ask("a") + starts.ask("b")
    await asyncio.gather(*tasks)

    assert "".join(starts.order) == "aabc" + "b" + "a"


@simulated
async def test_a_cold_service_comes_before_those_that_grow() -> None:
    starts = Starts(1)
    tasks = [task for name in "abcd" for task in starts.ask(name)]
    tasks += starts.ask("cold", cold=True)
    await asyncio.gather(*tasks)

    assert starts.order == ["a", "cold", "b", "c", "d"]


@simulated
async def test_only_the_first_start_of_a_cold_service_comes_before_the_others() -> None:
    starts = Starts(1)
    tasks = starts.ask("a") + starts.ask("cold", 3, cold=True) + starts.ask("b", 2)
    await asyncio.gather(*tasks)

    assert starts.order == ["a", "cold", "b", "cold", "b", "cold"]


@simulated
async def test_cold_starts_without_end_let_the_others_grow() -> None:
    starts = Starts(1)
    tasks = starts.ask("a", 3)
    for number in range(8):
        tasks += starts.ask(f"cold-{number}", cold=True)
    await asyncio.gather(*tasks)

    assert [name.partition("-")[0] for name in starts.order[:6]] == [
        "a", "cold", "a", "cold", "a", "cold",
    ]  # fmt: skip


@simulated
async def test_whoever_stops_waiting_leaves_its_turn_to_the_next() -> None:
    starts = Starts(1)
    first, second, third = starts.ask("a") + starts.ask("b") + starts.ask("c")
    await asyncio.sleep(0.5)
    assert starts.turns.waiting == 2
    second.cancel()
    await asyncio.sleep(0)
    assert starts.turns.waiting == 1
    await asyncio.gather(first, third)

    assert starts.order == ["a", "c"]
    assert starts.turns.waiting == 0


@simulated
async def test_a_turn_given_in_the_moment_of_a_cancellation_is_not_lost() -> None:
    starts = Starts(1)
    holder, unlucky, next_one = starts.ask("a", seconds=9) + starts.ask("b") + starts.ask("c")
    await asyncio.sleep(0.5)
    holder.cancel()
    await asyncio.sleep(0)  # b has its turn, and has not run yet
    unlucky.cancel()
    await asyncio.wait_for(next_one, 2)

    assert starts.order == ["a", "c"]


@simulated
async def test_a_turn_given_to_one_that_is_cancelled_already_goes_on_to_the_next() -> None:
    starts = Starts(1)
    holder, unlucky, next_one = starts.ask("a", seconds=9) + starts.ask("b") + starts.ask("c")
    await asyncio.sleep(0.5)
    holder.cancel()
    unlucky.cancel()  # both before either has run
    await asyncio.wait_for(next_one, 2)

    assert starts.order == ["a", "c"]
    assert holder.cancelled()
    assert unlucky.cancelled()


@simulated
async def test_one_cancelled_before_a_turn_comes_free_in_the_same_moment_is_no_hindrance() -> None:
    starts = Starts(1)
    holder, unlucky, next_one = starts.ask("a", seconds=9) + starts.ask("b") + starts.ask("c")
    await asyncio.sleep(0.5)
    unlucky.cancel()
    holder.cancel()
    await asyncio.wait_for(next_one, 2)

    assert starts.order == ["a", "c"]


@simulated
async def test_a_start_that_fails_gives_its_turn_back() -> None:
    turns = Turns(1)
    with pytest.raises(ZeroDivisionError):
        async with turns.turn("a", cold=True):
            raise ZeroDivisionError
    async with asyncio.timeout(1), turns.turn("b", cold=True):
        pass


def test_there_is_at_least_one_turn() -> None:
    with pytest.raises(ValueError, match="nothing ever starts"):
        Turns(0)
    with pytest.raises(ValueError, match="nothing ever starts"):
        Turns(1, processors=0)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 4),
    st.sampled_from([1, 2, math.inf]),
    st.lists(
        st.tuples(
            st.sampled_from(["ask", "ask", "ask cold", "cancel", "wait", "turn"]),
            st.sampled_from("abcd"),
            st.integers(1, 6),
        ),
        max_size=40,
    ),
)
def test_whatever_happens_every_turn_comes_back_and_nobody_is_forgotten(
    limit: int, processors: float, story: list[tuple[str, str, int]]
) -> None:
    async def main() -> None:
        starts, tasks, cancelled = Starts(limit, processors), [], set()
        for verb, name, n in story:
            if verb.startswith("ask"):
                tasks += starts.ask(name, n, cold=verb == "ask cold", seconds=n / 2)
            elif verb == "cancel" and tasks:
                one = tasks[n * 7 % len(tasks)]
                if one.cancel():
                    cancelled.add(one)
            elif verb == "wait":
                await asyncio.sleep(n / 4)
            else:
                await asyncio.sleep(0)
            assert starts.now.total() <= limit
            idle = processors - len(starts.turns._at_work)
            assert idle >= 0
            assert not (starts.turns.waiting and starts.turns._free and idle)
        # The longest takes 3 s, and there are at most 240 of them.
        async with asyncio.timeout(800):
            await asyncio.gather(*tasks, return_exceptions=True)
        assert {task for task in tasks if task.cancelled()} == cancelled
        assert starts.most <= limit
        assert starts.turns.waiting == 0
        assert starts.turns._free == limit
        assert not starts.turns._at_work
        assert not starts.turns._services
        assert not starts.turns._ranks

    run_simulated(main())
