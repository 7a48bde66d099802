"""The chunked coding: whole or in pieces it gives the same, and nothing lenient."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wakeful.proxy.chunked import MANY_CHUNKS, ChunkedReader
from wakeful.proxy.grammar import Malformed
from wakeful.proxy.headers import Headers


def read(
    *pieces: bytes, limit: int = 1000, answered: bool = False, most: int = MANY_CHUNKS
) -> tuple[bytes, bytes | None, Headers]:
    """Body, what is behind it (None: it has not ended), trailers."""
    reader = ChunkedReader(limit, 4, answered=answered)
    reader.most = most
    body, rest = b"", None
    for piece in pieces:
        if rest is not None:
            rest += piece
            continue
        part, rest = reader.feed(piece)
        body += part
        while reader.unread:
            assert rest is None
            part, rest = reader.feed(reader.unread)
            body += part
    return body, rest, reader.trailers


WHOLE = {
    "empty": (b"0\r\n\r\n", b"", []),
    "one chunk": (b"5\r\nhello\r\n0\r\n\r\n", b"hello", []),
    "digits of either case": (
        b"A\r\n0123456789\r\na\r\n0123456789\r\n000\r\n\r\n",
        b"0123456789" * 2,
        [],
    ),
    "leading zeros": (b"0000000000000005\r\nhello\r\n0\r\n\r\n", b"hello", []),
    "line ends in the data": (b"4\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n\r\n", []),
    "extensions": (
        b'1;a\r\nx\r\n1;a=b;c="d; \\" e"\r\ny\r\n1 ; a = b\r\nz\r\n0;last\r\n\r\n',
        b"xyz",
        [],
    ),
    "trailers": (b"0\r\nA: 1\r\nB:  2 \r\n\r\n", b"", [(b"A", b"1"), (b"B", b"2")]),
}


@pytest.mark.parametrize("case", WHOLE)
@given(data=st.data())
def test_a_body_is_the_same_in_whatever_pieces_it_comes(case: str, data: st.DataObject) -> None:
    coded, body, trailers = WHOLE[case]
    stream = coded + b"GET /"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    most = data.draw(st.integers(1, 3))
    assert read(*pieces, most=most) == (body, b"GET /", trailers)
    assert read(*pieces) == (body, b"GET /", trailers)
    assert read(*(stream[at : at + 1] for at in range(len(stream)))) == (body, b"GET /", trailers)


MALFORMED = {
    "no size": b"\r\nhello",
    "no digits": b"xyz\r\n",
    "a sign": b"+5\r\nhello",
    "a prefix": b"0x5\r\nhello",
    "a blank before": b" 5\r\nhello",
    "a blank behind": b"5 \r\nhello",
    "a tab behind": b"5\t\r\nhello",
    "an underscore": b"1_0\r\n",
    "digits of other scripts": b"\xd9\xa5\r\nhello",
    "beyond 2^63": b"8000000000000000\r\n",
    "beyond 2^64": b"10000000000000005\r\n",
    "a bare line feed": b"5\nhello\r\n",
    "a bare line feed behind an extension": b"5;a\nhello\r\n",
    "a bare carriage return": b"5\rhello\r\n",
    "a line feed in a quoted extension": b'5;a="\n"\r\nhello',
    "an extension without a name": b"5;\r\nhello",
    "an unfinished quoted extension": b'5;a="b\r\nhello',
    "a control character in an extension": b"5;a=\x00\r\nhello",
    "data too long": b"5\r\nhello!\r\n",
    "only a line feed behind the data": b"5\r\nhello\n0\r\n\r\n",
    "no line end behind the data": b"5\r\nhello0\r\n\r\n",
    "a folded trailer": b"0\r\nA: 1\r\n 2\r\n\r\n",
    "a trailer without a colon": b"0\r\nA\r\n\r\n",
    "a trailer with a blank before the colon": b"0\r\nA : 1\r\n\r\n",
    "a bare line feed in a trailer": b"0\r\nA: 1\n\r\n\r\n",
    "nul in a trailer": b"0\r\nA: \x00\r\n\r\n",
    "too long a line": b"5;" + b"a" * 5000 + b"\r\nhello\r\n0\r\n\r\n",
    "too many trailers": b"0\r\n" + b"A: 1\r\n" * 5 + b"\r\n",
    "too long trailers": b"0\r\nA: " + b"a" * 2000 + b"\r\n\r\n",
    "extensions in place of data": (b"1;" + b"a" * 50 + b"\r\nx\r\n") * 1000,
}


@pytest.mark.parametrize("step", [1, 7, 1_000_000])
@pytest.mark.parametrize("case", MALFORMED)
def test_what_is_not_in_the_grammar_is_refused_at_once(case: str, step: int) -> None:
    stream = MALFORMED[case]
    with pytest.raises(Malformed):
        read(*(stream[at : at + step] for at in range(0, len(stream), step)))


def test_a_line_or_trailers_without_end_are_refused_before_they_end() -> None:
    for beginning in (b"5;a=" + b"b" * 5000, b"0" * 5000, b"0\r\nA: " + b"b" * 2000):
        with pytest.raises(Malformed):
            read(beginning)


def test_a_body_that_has_not_ended_says_so() -> None:
    assert read(b"5\r\nhel") == (b"hel", None, [])
    assert read(b"0\r\n") == (b"", None, [])
    assert read(b"0\r\nA: 1\r\n") == (b"", None, [])


@given(st.binary(max_size=60), st.integers(1, 60))
def test_random_bytes_do_no_harm_and_their_pieces_do_not_matter(data: bytes, cut: int) -> None:
    def attempt(*pieces: bytes) -> object:
        try:
            return read(*pieces)
        except Malformed:
            return "refused"

    assert attempt(data) == attempt(data[:cut], data[cut:])


def test_extensions_are_paid_for_by_the_data_of_later_chunks() -> None:
    costly, cheap = b"1;" + b"a" * 1000 + b"\r\nx\r\n", b"e0\r\n" + b"x" * 0xE0 + b"\r\n"
    body, rest, _ = read((costly + 5 * cheap) * 100 + b"0\r\n\r\n")
    assert body == b"x" * (1 + 5 * 0xE0) * 100
    assert rest == b""
    with pytest.raises(Malformed):
        read((costly + 4 * cheap) * 1000)


def test_blanks_that_fill_up_an_answer_s_sizes_are_free() -> None:
    chunks = (b"1" + b" " * 100 + b"\r\nx\r\n") * 1000
    assert read(chunks + b"0\r\n\r\n", answered=True) == (b"x" * 1000, b"", [])


def test_of_many_chunks_so_many_are_taken_apart_at_once() -> None:
    reader = ChunkedReader(1000, 4)
    some = b"1\r\nx\r\n" * MANY_CHUNKS
    assert reader.feed(some) == (b"x" * MANY_CHUNKS, None)
    assert reader.unread == b""
    assert reader.feed(some + b"2\r\nyy\r\n0") == (b"x" * MANY_CHUNKS, None)
    assert reader.unread == b"2\r\nyy\r\n0"
    assert reader.feed(reader.unread + b"\r\n\r\nGET") == (b"yy", b"GET")
