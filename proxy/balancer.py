"""Which instance gets the next request: Knative's three policies.

A policy picks one of the slots of a revision, or none when all are full.
Slots are in a stable order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar


class Loaded(Protocol):
    """What a policy needs to know of a slot."""

    active: int


S = TypeVar("S", bound=Loaded)


class Policy(Protocol):
    """Of instances with this limit each, the one for the next request."""

    def pick(self, slots: Sequence[S], limit: int) -> S | None: ...


def policy_for(concurrency: int, randrange: Callable[[int], int]) -> Policy:
    """The policy Knative takes for this limit per instance (0 = none)."""
    if concurrency == 0:
        return PowerOfTwo(randrange)
    if concurrency <= 3:
        return FirstAvailable()
    return RoundRobin()


class FirstAvailable:
    """Fill the first before the second: small limits leave whole instances idle."""

    __slots__ = ()

    def pick(self, slots: Sequence[S], limit: int) -> S | None:
        for slot in slots:
            if slot.active < limit:
                return slot
        return None


class RoundRobin:
    """Each in turn, skipping the full ones."""

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next = 0

    def pick(self, slots: Sequence[S], limit: int) -> S | None:
        count = len(slots)
        if count == 1:
            return slots[0] if slots[0].active < limit else None
        start = self._next if self._next < count else 0
        for step in range(count):
            at = (start + step) % count
            if slots[at].active < limit:
                self._next = at + 1
                return slots[at]
        return None


class PowerOfTwo:
    """The less loaded of two random ones: nearly as even as the least loaded of all."""

    __slots__ = ("_randrange",)

    def __init__(self, randrange: Callable[[int], int]) -> None:
        self._randrange = randrange

    def pick(self, slots: Sequence[S], limit: int) -> S | None:
        count = len(slots)
        if count < 2:
            return slots[0] if count else None
        if count == 2:
            first, second = slots
        else:
            one = self._randrange(count)
            two = self._randrange(count - 1)
            first, second = slots[one], slots[two if two < one else two + 1]
        if first.active == second.active:
            return first if self._randrange(2) else second
        return first if first.active < second.active else second
