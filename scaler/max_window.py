"""The largest value of the last few slots of time; Knative's aggregation/max.

Scale-down-delay is a maximum over the last decisions: it holds every decrease
back and never delays an increase.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MaxWindow:
    """An immutable value: ``record`` returns the window that follows.

    What is kept falls strictly from the front to the back, because whatever is
    both older and not larger than another value can never be the maximum again.
    """

    slots: int
    falling: tuple[tuple[int, int], ...] = ()  # (slot, value), oldest first

    def record(self, slot: int, value: int) -> MaxWindow:
        kept = self.falling
        if kept and kept[0] == (slot, value):
            return self
        end = len(kept)
        while end and value >= kept[end - 1][1]:
            end -= 1
        start = 0
        while start < end and slot - kept[start][0] >= self.slots:
            start += 1
        if start < end and kept[end - 1][0] == slot:
            return MaxWindow(self.slots, kept[start:end])  # the slot already has a larger value
        return MaxWindow(self.slots, (*kept[start:end], (slot, value)))

    def current(self) -> int:
        """The maximum as of the last record; there must have been one."""
        return self.falling[0][1]
