from __future__ import annotations

import pytest

from wakeful.admin.log_lines import (
    ERROR,
    LastWords,
    LogQuery,
    encoded,
    matching,
    note,
    query_of,
    remembered,
    unknown_service,
)
from wakeful.runtime.instance import InstanceId
from wakeful.runtime.output import MIXED, NO_TIME, STDERR, Asked, Line

A, B = InstanceId("hello-00001-aaaa1111"), InstanceId("hello-00002-bbbb1111")
WORDS = LastWords(A, "exit code\n3", 1_000_000_000.25, ("one", "two", "three"))
ENDED = "hello-00001-aaaa1111 2001-09-09T01:46:40.250Z note F exit code 3\n"


def test_a_line_is_told_with_whose_it_is_when_it_was_where_and_whether_it_ends() -> None:
    lines = [
        Line(b"a b", STDERR, b"2026-11-24T12:00:00.5Z", True),
        Line(b"", MIXED, NO_TIME, True),
        Line(b"\xff", MIXED, NO_TIME, False),
    ]
    assert encoded(A, lines) == (
        b"hello-00001-aaaa1111 2026-11-24T12:00:00.5Z stderr F a b\n"
        b"hello-00001-aaaa1111 - - F \n"
        b"hello-00001-aaaa1111 - - P \xff\n"
    )


def test_what_wakeful_says_is_one_line() -> None:
    assert note(A, "it\n went wrong", 0.0, ERROR) == (
        b"hello-00001-aaaa1111 1970-01-01T00:00:00.000Z error F it went wrong\n"
    )


@pytest.mark.parametrize(
    ("asked", "lines"),
    [
        (Asked(), ["one", "two", "three"]),
        (Asked(tail=2), ["two", "three"]),
        (Asked(tail=9), ["one", "two", "three"]),
        (Asked(since=1_000_000_000.0), ["one", "two", "three"]),
    ],
)
def test_what_is_remembered_is_told_as_far_as_it_is_asked_for(
    asked: Asked, lines: list[str]
) -> None:
    said = "".join(f"{A} - - F {line}\n" for line in lines)
    assert remembered(WORDS, asked).decode() == said + ENDED


@pytest.mark.parametrize("asked", [Asked(tail=0), Asked(since=1_000_000_001.0)])
def test_what_is_remembered_is_not_told_unasked(asked: Asked) -> None:
    assert remembered(WORDS, asked) == b""


def test_the_parameters_of_a_request() -> None:
    assert query_of("hello", {}) == LogQuery("hello", Asked(None, None, False), None)
    given = {"follow": "1", "tail": "7", "since": "12.5", "instance": "aaaa"}
    assert query_of("hello", given) == LogQuery("hello", Asked(7, 12.5, True), "aaaa")
    other = {"follow": "false", "tail": "all", "instance": ""}
    assert query_of("hello", other) == LogQuery("hello", Asked(None, None, False), None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("tail", value) for value in ("", "-1", "x", "1.5", "9" * 10, "\u0663")],
        *[("follow", value) for value in ("", "yes")],
        *[("since", value) for value in ("", "10m", "nan", "inf", "-1", "1e12")],
        ("lines", "3"),
    ],
)
def test_a_parameter_that_says_nothing_is_refused_by_its_name(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: "):
        query_of("hello", {name: value})


def test_an_instance_is_named_by_its_id_or_by_an_end_that_is_its_own() -> None:
    assert matching("hello", A, [A, B]) == A
    assert matching("hello", "bbbb1111", [A, B]) == B
    longer = InstanceId(f"x-{A}")
    assert matching("hello", A, [A, longer]) == A
    with pytest.raises(ValueError, match=f"^1111 may be any of {A}, {B}$"):
        matching("hello", "1111", [A, B])
    with pytest.raises(ValueError, match=f"^hello has no instance x; there are {A}, {B}$"):
        matching("hello", "x", [A, B])
    with pytest.raises(ValueError, match=r"^hello has no instance x; nothing of it runs$"):
        matching("hello", "x", [])


def test_an_unknown_service_is_told_from_those_that_there_are() -> None:
    assert unknown_service("helo", ["hello", "b"]) == "no service helo; known: hello, b"
    assert unknown_service("helo", []) == "no service helo; known: none"
    many = [*(f"s{number}" for number in range(1000)), "hello"]
    assert unknown_service("helo", many) == "no service helo among 1001; like it: hello"
    assert unknown_service("zzzz", many) == "no service zzzz among 1001"
