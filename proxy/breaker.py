"""How many requests of one revision run at once, and who waits for a turn."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, Generic, TypeVar

UNLIMITED: Final = 2**31 - 1

_NOBODY: Final = ()

T = TypeVar("T")


class QueueFull(Exception):
    """The revision already holds as many waiting requests as it may."""


class Breaker(Generic[T]):
    """Bounds what one revision runs at once; the others wait, first in first out.

    Holds no loop, no lock and no clock. Whatever may free a place returns the
    tickets it admitted; the caller wakes their owners. Named after Knative's
    breaker, but strictly in order.
    """

    __slots__ = ("_waiting", "active", "capacity", "max_waiting")

    def __init__(self, max_waiting: int, capacity: int = 0) -> None:
        if max_waiting < 0 or capacity < 0:
            raise ValueError("a breaker's bounds are not negative")
        self.max_waiting = max_waiting
        self.capacity = capacity
        self.active = 0
        # In order, and any of them may leave at once.
        self._waiting: OrderedDict[T, None] = OrderedDict()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def try_acquire(self) -> bool:
        """Take a place if one is free and nobody waits for it."""
        if self.active < self.capacity and not self._waiting:
            self.active += 1
            return True
        return False

    def wait(self, ticket: T) -> None:
        """Join the queue. Raises QueueFull."""
        if len(self._waiting) >= self.max_waiting:
            raise QueueFull
        self._waiting[ticket] = None

    def leave(self, ticket: T) -> None:
        """Give up waiting; a ticket that does not wait is not an error."""
        self._waiting.pop(ticket, None)

    def release(self) -> Sequence[T]:
        if self.active <= 0:
            raise AssertionError("a place was released that nobody held")
        self.active -= 1
        return self._admit() if self._waiting else _NOBODY

    def release_to_front(self, ticket: T) -> None:
        """Swap a held place for the first turn; ``resize`` then admits whoever may go."""
        if self.active <= 0:
            raise AssertionError("a place was released that nobody held")
        self.active -= 1
        self._waiting[ticket] = None
        self._waiting.move_to_end(ticket, last=False)

    def resize(self, capacity: int) -> Sequence[T]:
        """Change the bound; what runs beyond a smaller one goes on running."""
        self.capacity = capacity
        return self._admit() if self._waiting else _NOBODY

    def turn_away(self) -> list[T]:
        """Empty the queue: nothing will come that could serve it."""
        tickets = list(self._waiting)
        self._waiting.clear()
        return tickets

    def _admit(self) -> list[T]:
        admitted: list[T] = []
        while self._waiting and self.active < self.capacity:
            ticket, _ = self._waiting.popitem(last=False)
            self.active += 1
            admitted.append(ticket)
        return admitted
