"""How many network sandboxes to keep ready: as many as were asked for at once, lately."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

# Seconds in which a stock that was used up is full again at the latest, on a machine with
# something to do: making a sandbox costs an engine a quarter of a second.
REFILL: Final = 5.0
# Seconds that a burst is remembered for.
MEMORY: Final = 900.0
# Each costs some 10 MB, most of it the engine's: a process that looks after a container.
MOST: Final = 8


def wanted(asked: Sequence[float], now: float) -> int:
    """How many should be ready, given the moments at which one was asked for, oldest first.

    The most that were asked for within the time a refill takes; one when there was
    no request for long, because that is what the next cold start needs.
    """
    lately = [moment for moment in asked if moment > now - MEMORY]
    most = first = 0
    for last, moment in enumerate(lately):
        while lately[first] <= moment - REFILL:
            first += 1
        most = max(most, last - first + 1)
    return min(max(most, 1), MOST)
