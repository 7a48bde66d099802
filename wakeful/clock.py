"""Time as a parameter, and simulated time for everything that runs on a loop.

Code that decides takes ``now``; code that acts asks the loop it runs on. A
SimulatedLoop jumps from timer to timer, so hours pass in milliseconds and the
same run gives the same answer.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from contextvars import Context
from math import inf
from typing import Any, Protocol, TypeVar, TypeVarTuple, Unpack

Now = Callable[[], float]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Events(Protocol):
    """What happens at moments of its own, many of them, without a timer for each."""

    def upcoming(self) -> float:
        """When the next one happens; infinity when none is to come, as far as is known."""

    def happen(self) -> None:
        """The next one, now."""


class _NoEvents:
    def upcoming(self) -> float:
        return inf

    def happen(self) -> None:
        raise AssertionError("nothing was to happen")


class _JumpingSelector(selectors.SelectSelector):
    """Never waits: what the loop would have slept is added to its clock."""

    def __init__(self) -> None:
        super().__init__()
        self.elapsed = 0.0
        self.events: Events = _NoEvents()
        self.disturbed = False  # the loop was given something to do

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        end = inf if timeout is None else self.elapsed + max(0.0, timeout)
        if not self._pass_events(end):
            if end == inf:
                raise RuntimeError("simulated time stands still: nothing is scheduled")
            self.elapsed = end
        return super().select(0)

    def _pass_events(self, end: float) -> bool:
        """All before ``end``, or until one of them gave the loop something to do."""
        events = self.events
        self.disturbed = False
        while (moment := events.upcoming()) < end and not self.disturbed:
            self.elapsed = max(self.elapsed, moment)
            events.happen()
            # What happens at one moment is one turn of the loop, as if read from many sockets.
            while events.upcoming() <= self.elapsed:
                events.happen()
        return self.disturbed


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock is its own timers. It does no real I/O."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._jumping.elapsed

    def feed(self, events: Events) -> None:
        """From now on these happen, each at its moment, in exact order with the timers.

        Of a timer and an event at the same moment the timer is first. Between
        two timers events cost a call each, and no turn of the loop.
        """
        self._jumping.events = events

    # Whatever is scheduled from inside an event comes before the events after it.

    def call_soon(
        self,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        self._jumping.disturbed = True
        return super().call_soon(callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        self._jumping.disturbed = True
        return super().call_at(when, callback, *args, context=context)


def run_simulated(main: Coroutine[Any, Any, T]) -> T:
    """Run ``main`` to its end under simulated time."""
    try:
        with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
            return runner.run(main)
    finally:
        main.close()  # an interrupt may have come before it began, and it would be missed aloud
