"""The choice of two; what Knative's recorded picks do not say."""

from __future__ import annotations

import pytest

from wakeful.proxy.balancer import PowerOfTwo


class Target:
    def __init__(self) -> None:
        self.active = 0


@pytest.mark.parametrize("roll", range(2))
def test_of_two_equal_targets_either_may_be_picked(roll: int) -> None:
    targets = [Target(), Target()]
    assert PowerOfTwo(lambda n: roll).pick(targets, 1) is targets[1 - roll]


@pytest.mark.parametrize("rolls", [(a, b) for a in range(3) for b in range(2)])
def test_two_different_targets_are_compared_and_the_less_loaded_is_taken(
    rolls: tuple[int, int],
) -> None:
    targets = [Target(), Target(), Target()]
    compared = {rolls[0], rolls[1] if rolls[1] < rolls[0] else rolls[1] + 1}
    assert len(compared) == 2
    busy = min(compared)
    targets[busy].active = 1
    (idle,) = compared - {busy}
    left = list(rolls)
    assert PowerOfTwo(lambda n: left.pop(0)).pick(targets, 1) is targets[idle]
