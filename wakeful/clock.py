"""Time as a parameter, and simulated time for everything that runs on a loop.

Code that decides takes ``now``; code that acts asks the loop it runs on. A
SimulatedLoop jumps from timer to timer, so hours pass in milliseconds and the
same run gives the same answer.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

Now = Callable[[], float]

T = TypeVar("T")


class _JumpingSelector(selectors.SelectSelector):
    """Never waits: what the loop would have slept is added to its clock."""

    def __init__(self) -> None:
        super().__init__()
        self.elapsed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("simulated time stands still: nothing is scheduled")
        self.elapsed += max(0.0, timeout)
        return super().select(0)


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock is its own timers. It does no real I/O."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._jumping.elapsed


def run_simulated(main: Coroutine[Any, Any, T]) -> T:
    """Run ``main`` to its end under simulated time."""
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(main)
