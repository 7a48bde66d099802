"""Events between the timers of a simulated loop: each at its moment, in exact order."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Callable
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wakeful.clock import SimulatedLoop, run_simulated


class Events:
    """What happens at each of these moments is a call of ``then`` with it."""

    def __init__(self, moments: list[float], then: Callable[[float], None]) -> None:
        self.moments = deque(sorted(moments))
        self.then = then

    def upcoming(self) -> float:
        return self.moments[0] if self.moments else inf

    def happen(self) -> None:
        self.then(self.moments.popleft())


def simulated_loop() -> SimulatedLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimulatedLoop)
    return loop


MOMENTS = st.lists(st.integers(0, 40).map(lambda n: n / 4), max_size=20)


@given(events=MOMENTS, timers=MOMENTS)
def test_events_and_timers_come_in_the_order_of_time_and_timers_first(
    events: list[float], timers: list[float]
) -> None:
    seen: list[tuple[float, str]] = []

    async def main() -> None:
        loop = simulated_loop()

        def note(kind: str, moment: float) -> None:
            assert loop.time() == moment
            seen.append((moment, kind))

        for moment in timers:
            loop.call_at(moment, note, "a timer", moment)
        loop.feed(Events(events, lambda moment: note("an event", moment)))
        await asyncio.sleep(20)

    run_simulated(main())
    # "a timer" is before "an event" in the alphabet too.
    assert seen == sorted(
        [(moment, "a timer") for moment in timers] + [(moment, "an event") for moment in events]
    )


def test_what_an_event_asks_for_is_done_before_the_next_event() -> None:
    seen: list[str] = []

    async def main() -> None:
        loop = simulated_loop()

        def happens(moment: float) -> None:
            seen.append(f"event at {moment:g}")
            loop.call_soon(lambda: seen.append(f"answer at {loop.time():g}"))
            loop.call_later(0.5, lambda: seen.append(f"timer at {loop.time():g}"))

        loop.feed(Events([1, 2], happens))
        await asyncio.sleep(3)

    run_simulated(main())
    assert seen == [
        "event at 1",
        "answer at 1",
        "timer at 1.5",
        "event at 2",
        "answer at 2",
        "timer at 2.5",
    ]


def test_what_happens_at_one_moment_is_one_turn_of_the_loop() -> None:
    seen: list[str] = []

    async def main() -> None:
        loop = simulated_loop()

        def happens(moment: float) -> None:
            seen.append("event")
            loop.call_soon(seen.append, "answer")

        loop.feed(Events([1, 1, 1], happens))
        await asyncio.sleep(3)

    run_simulated(main())
    assert seen == ["event"] * 3 + ["answer"] * 3


def test_events_alone_keep_the_clock_going() -> None:
    async def main() -> float:
        loop = simulated_loop()
        over: asyncio.Future[float] = loop.create_future()
        loop.feed(Events([7], over.set_result))
        await over
        return loop.time()

    assert run_simulated(main()) == 7


def test_with_neither_timers_nor_events_time_stands_still() -> None:
    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    loop = SimulatedLoop()
    task = loop.create_task(main())
    with pytest.raises(RuntimeError, match="simulated time stands still"):
        loop.run_until_complete(task)
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()


@pytest.mark.filterwarnings("error")
def test_an_interrupt_before_the_first_step_is_all_that_is_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted() -> SimulatedLoop:
        raise KeyboardInterrupt

    async def main() -> None:
        raise AssertionError("it has begun")

    monkeypatch.setattr("wakeful.clock.SimulatedLoop", interrupted)
    running = main()
    with pytest.raises(KeyboardInterrupt):
        run_simulated(running)
    assert inspect.getcoroutinestate(running) == inspect.CORO_CLOSED
