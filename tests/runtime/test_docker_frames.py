"""By the description of the format in the Engine API, and what engines do of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wakeful.runtime.docker_frames import BadFrame, Frames, RawLines
from wakeful.runtime.output import NO_TIME, NOTE, PIECE, STDERR, STDOUT, Line

NOON = b"2026-11-24T12:00:00.000000001Z"


def frame(stream: int, text: bytes) -> bytes:
    return bytes((stream, 0, 0, 0)) + len(text).to_bytes(4, "big") + text


def test_lines_are_told_apart_by_stream_and_time() -> None:
    data = frame(1, NOON + b" hello\n") + frame(2, NOON + b" \xff oh no\n")
    assert Frames().feed(data) == [
        Line(b"hello", STDOUT, NOON, True),
        Line(b"\xff oh no", STDERR, NOON, True),
    ]


def test_an_empty_line_and_an_empty_frame_are_not_the_same() -> None:
    assert Frames().feed(frame(1, NOON + b" \n") + frame(1, b"")) == [Line(b"", STDOUT, NOON, True)]


def test_what_the_engine_cut_goes_on_in_the_next_frame() -> None:
    data = frame(1, NOON + b" " + b"x" * PIECE) + frame(1, NOON + b" y\n")
    assert Frames().feed(data) == [
        Line(b"x" * PIECE, STDOUT, NOON, False),
        Line(b"y", STDOUT, NOON, True),
    ]


def test_a_line_feed_inside_a_line_does_not_hide_what_is_behind_it() -> None:
    assert Frames().feed(frame(0, NOON + b" a\nb\n")) == [
        Line(b"a", STDOUT, NOON, True),
        Line(b"b", STDOUT, NOON, True),
    ]


def test_a_frame_of_any_length_is_handed_on_in_pieces() -> None:
    frames, lines, most = Frames(), [], 0
    data = frame(2, NOON + b" " + b"x" * 10 * PIECE + b"\n")
    for at in range(0, len(data), 1000):
        lines += frames.feed(data[at : at + 1000])
        most = max(most, len(frames._data))
    assert b"".join(line.text for line in lines) == b"x" * 10 * PIECE
    assert [line.whole for line in lines] == [False] * (len(lines) - 1) + [True]
    assert {(line.stream, line.time) for line in lines} == {(STDERR, NOON)}
    assert most < PIECE + 1000


def test_the_engines_own_trouble_is_a_note() -> None:
    assert Frames().feed(frame(3, b"cannot go on\n")) == [
        Line(b"cannot go on", NOTE, NO_TIME, True)
    ]


@pytest.mark.parametrize("data", [frame(4, b"x"), b"\x01\x00\x01\x00\x00\x00\x00\x01x"])
def test_what_is_not_in_frames_is_refused(data: bytes) -> None:
    with pytest.raises(BadFrame):
        Frames().feed(data)


@given(
    st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=30))),
    st.data(),
)
def test_it_does_not_matter_how_the_bytes_are_read(
    written: list[tuple[int, bytes]], draw: st.DataObject
) -> None:
    data = b"".join(frame(stream, NOON + b" " + text + b"\n") for stream, text in written)
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=5)))
    frames, lines = Frames(), []
    for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        lines += frames.feed(data[begin:end])
    assert lines == Frames().feed(data)
    assert b"".join(line.text + b"\n" for line in lines) == b"".join(
        text + b"\n" for _, text in written
    )


def test_with_a_terminal_there_are_lines_with_its_ends_and_one_stream() -> None:
    raw = RawLines()
    assert raw.feed(NOON + b" hello\r\n" + NOON + b" wor") == [Line(b"hello", STDOUT, NOON, True)]
    assert raw.feed(b"ld") == []
    assert raw.end() == [Line(b"world", STDOUT, NOON, True)]


def test_a_long_line_of_a_terminal_keeps_its_time_in_every_piece() -> None:
    text = b"x" * 2 * PIECE
    lines = RawLines().feed(NOON + b" " + text + b"\r\n")
    assert b"".join(line.text for line in lines) == text
    assert {line.time for line in lines} == {NOON}
    assert [line.whole for line in lines] == [False, False, True]
