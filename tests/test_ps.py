from __future__ import annotations

from typing import Any

import pytest

from wakeful.ps import table

ONE: dict[str, Any] = {
    "instance": "hello-00001-3f2a91bc",
    "service": "hello",
    "revision": "hello-00001",
    "state": "ready",
    "in_flight": 2,
    "concurrency": 80,
    "age": 41.2,
    "start": 0.2684,
    "cpu": 1.26,
    "memory": 11 * 2**20,
}


def test_columns_are_as_wide_as_what_is_in_them() -> None:
    other = ONE | {"instance": "a", "state": "draining", "in_flight": 0, "concurrency": 0}
    assert table([ONE, other]).splitlines() == [
        "INSTANCE              STATE     IN FLIGHT  CPU   MEMORY  START  AGE",
        "hello-00001-3f2a91bc  ready     2/80       1.3s  11Mi    268ms  41s",
        "a                     draining  0          1.3s  11Mi    268ms  41s",
    ]


def test_what_is_not_known_is_a_dash() -> None:
    line = table([ONE | {"cpu": None, "memory": None, "start": None}]).splitlines()[1]
    assert line.split() == ["hello-00001-3f2a91bc", "ready", "2/80", "-", "-", "-", "41s"]


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.4, "0s"), (59, "59s"), (150, "2m"), (7200, "2h"), (180_000, "2d")]
)
def test_ages_are_in_the_largest_unit(seconds: float, shown: str) -> None:
    assert table([ONE | {"age": seconds}]).split()[-1] == shown


def test_nothing_is_a_sentence() -> None:
    assert table([]) == "nothing runs"
