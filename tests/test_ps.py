from __future__ import annotations

from datetime import datetime
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
    "restarts": 3,
}
NOW = datetime(2026, 11, 24, 13, 59, 50)


def shown(*instances: dict[str, Any], failing: tuple[dict[str, Any], ...] = ()) -> list[str]:
    return table({"instances": instances, "failing": failing}, NOW).splitlines()


def test_columns_are_as_wide_as_what_is_in_them() -> None:
    other = ONE | {"instance": "a", "state": "draining", "in_flight": 0, "concurrency": 0}
    assert shown(ONE, other) == [
        "INSTANCE              STATE     IN FLIGHT  CPU   MEMORY  START  AGE  RESTARTS  STATUS",
        "hello-00001-3f2a91bc  ready     2/80       1.3s  11Mi    268ms  41s  3",
        "a                     draining  0          1.3s  11Mi    268ms  41s  3",
    ]


def test_what_is_not_known_is_a_dash() -> None:
    line = shown(ONE | {"cpu": None, "memory": None, "start": None})[1]
    assert line.split() == ["hello-00001-3f2a91bc", "ready", "2/80", "-", "-", "-", "41s", "3"]


def test_a_revision_that_backs_off_says_until_when_and_why() -> None:
    why = "instance exited at start:\n exit code 3"
    one = {"service": "a", "revision": "a-00002", "restarts": 5, "reason": why, "retry_in": 16.2}
    waits = one | {"retry_in": 0.0}
    assert shown(failing=(one, waits))[1:] == [
        "a-00002   backing off  -          -    -       -      -    5         "
        "until 14:00:06 (16s): instance exited at start: exit code 3",
        "a-00002   failing      -          -    -       -      -    5         "
        "until the next request: instance exited at start: exit code 3",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0s"), (59, "59s"), (150, "2m"), (7200, "2h"), (180_000, "2d")]
)
def test_ages_are_in_the_largest_unit(seconds: float, text: str) -> None:
    assert shown(ONE | {"age": seconds})[1].split()[-2] == text


def test_nothing_is_a_sentence() -> None:
    assert shown() == ["nothing runs"]
