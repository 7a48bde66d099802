"""What `wakeful logs` makes of what the admin listener sends."""

from __future__ import annotations

import io
from datetime import datetime

import pytest

from wakeful.show_logs import Lines, moment

A, B = b"hello-00001-aaaa", b"hello-00002-bbbb"


class Shown:
    def __init__(self, *, prefix: bool = True, times: bool = False, colour: bool = False) -> None:
        self._out, self._notes = io.BytesIO(), io.BytesIO()
        self.lines = Lines(
            "hello", self._out, self._notes, prefix=prefix, times=times, colour=colour
        )

    @property
    def out(self) -> bytes:
        return self._out.getvalue()

    @property
    def notes(self) -> bytes:
        return self._notes.getvalue()


def test_each_line_has_the_name_of_its_instance_before_it() -> None:
    shown = Shown()
    shown.lines.feed(A + b" - stdout F one \xff\n" + B + b" - std")
    assert shown.out == b"00001-aaaa | one \xff\n"
    shown.lines.feed(b"err F \n")
    assert shown.out == b"00001-aaaa | one \xff\n00002-bbbb | \n"
    assert shown.notes == b""


def test_times_are_shown_when_asked_for_and_names_need_not_be() -> None:
    shown = Shown(prefix=False, times=True)
    shown.lines.feed(A + b" 2026-11-24T12:00:00Z stdout F one\n")
    assert shown.out == b"2026-11-24T12:00:00Z one\n"


def test_on_a_terminal_every_instance_has_a_colour_and_keeps_it() -> None:
    shown = Shown(colour=True)
    shown.lines.feed(b"".join(one + b" - stdout F x\n" for one in (A, B, A)))
    first, second, third = shown.out.splitlines()
    assert first == b"\x1b[36m00001-aaaa |\x1b[0m x"
    assert second == b"\x1b[33m00002-bbbb |\x1b[0m x"
    assert third == first


def test_the_pieces_of_a_line_are_one_line_whatever_comes_between() -> None:
    shown = Shown()
    shown.lines.feed(A + b" - stdout P long, \n" + A + b" - stderr F other\n")
    shown.lines.feed(B + b" - stdout F another\n" + A + b" - stdout F and over\n")
    assert shown.out == (b"00001-aaaa | other\n00002-bbbb | another\n00001-aaaa | long, and over\n")


def test_a_line_without_an_end_is_shown_when_it_is_long_enough_or_all_is_over() -> None:
    shown = Shown(prefix=False)
    for _ in range(64):
        shown.lines.feed(A + b" - stdout P " + b"x" * 2**14 + b"\n")
    assert shown.out == b"x" * 2**20 + b"\n"
    shown.lines.feed(A + b" - stdout P rest\n")
    shown.lines.end()
    assert shown.out == b"x" * 2**20 + b"\nrest\n"


def test_what_wakeful_says_itself_is_not_among_the_lines() -> None:
    shown = Shown()
    shown.lines.feed(A + b" - note F ended: exit code 0\n- - note F wakeful ends\n")
    failed = [shown.lines.failed]
    shown.lines.feed(A + b" - error F cannot be read\n")
    assert [*failed, shown.lines.failed] == [False, True]
    assert shown.out == b""
    assert shown.notes.splitlines() == [
        b"wakeful: 00001-aaaa ended: exit code 0",
        b"wakeful: wakeful ends",
        b"wakeful: 00001-aaaa cannot be read",
    ]


def test_since_is_a_duration_or_a_moment() -> None:
    assert moment("10m", now=1000.0) == 400.0
    assert moment("90", now=1000.0) == 910.0
    assert moment("1970-01-01T00:00:10Z", now=0.0) == 10.0
    assert moment("1970-01-01T01:00:10.5+01:00", now=0.0) == 10.5
    assert moment("2026-11-24", now=0.0) == datetime(2026, 11, 24).timestamp()
    with pytest.raises(ValueError, match="--since: expected a duration such as 10m"):
        moment("yesterday", now=0.0)
