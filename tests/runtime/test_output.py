from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wakeful.runtime.output import PIECE, Splitter


def fed(*reads: bytes) -> list[tuple[bytes, bool]]:
    splitter = Splitter()
    found = [piece for data in reads for piece in splitter.feed(data)]
    return found + splitter.end()


def test_lines_are_cut_at_their_ends_however_they_are_read() -> None:
    assert fed(b"one\ntw", b"o\n", b"\nthree\n") == [
        (b"one", True),
        (b"two", True),
        (b"", True),
        (b"three", True),
    ]


def test_what_has_no_end_comes_when_all_is_over() -> None:
    splitter = Splitter()
    assert splitter.feed(b"$ ") == []
    assert splitter.end() == [(b"$ ", True)]
    assert splitter.end() == []


def test_a_long_line_comes_in_pieces_before_its_end_is_known() -> None:
    splitter = Splitter()
    assert splitter.feed(b"x" * (PIECE + 1)) == [(b"x" * PIECE, False)]
    assert splitter.feed(b"y\nz\n") == [(b"xy", True), (b"z", True)]


@given(st.lists(st.binary(max_size=40) | st.just(b"\n" * 3) | st.just(b"x" * (PIECE - 1))))
def test_nothing_is_lost_and_no_piece_is_long(reads: list[bytes]) -> None:
    pieces = fed(*reads)
    whole = b"".join(reads)
    text = b"".join(piece + b"\n" * ended for piece, ended in pieces)
    assert text == (whole if whole.endswith(b"\n") or not whole else whole + b"\n")
    assert all(len(piece) <= PIECE and b"\n" not in piece for piece, _ in pieces)
