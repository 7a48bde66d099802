"""Which revision of a service answers a request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def choose(shares: Sequence[tuple[int, T]], roll: int) -> T:
    """The target that ``roll`` (0 to 99) falls on; the percents sum to 100."""
    for percent, target in shares:
        roll -= percent
        if roll < 0:
            return target
    raise ValueError("the percents of a service's traffic do not sum to 100")
