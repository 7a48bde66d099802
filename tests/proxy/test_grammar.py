"""The grammar of a request's head, byte for byte."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wakeful.proxy import grammar
from wakeful.proxy.grammar import Malformed

# RFC 9110 §5.6.2, spelt out: the oracle is the RFC's text and not our pattern.
TCHAR = b"!#$%&'*+-.^_`|~" + b"0123456789" + bytes(range(0x41, 0x5B)) + bytes(range(0x61, 0x7B))


def head(line: bytes = b"GET / HTTP/1.1", field: bytes = b"Host: a.test") -> bytes:
    return line + b"\r\n" + field + b"\r\n\r\n"


def test_a_head_is_its_parts() -> None:
    data = head(b"M-SEARCH /a?b=%20#"[:-1] + b" HTTP/1.0", b"A: 1\r\nb:\t two words \t\r\nC:")
    assert grammar.request(data) == (
        b"M-SEARCH",
        b"/a?b=%20",
        "1.0",
        [(b"A", b"1"), (b"b", b"two words"), (b"C", b"")],
    )


@pytest.mark.parametrize("byte", range(256))
def test_which_bytes_a_method_a_name_a_value_and_a_target_may_have(byte: int) -> None:
    one = bytes([byte])
    token = one in TCHAR and one != b""

    def accepts(data: bytes) -> bool:
        try:
            grammar.request(data)
        except Malformed:
            return False
        return True

    assert accepts(head(b"G%bT / HTTP/1.1" % one)) is token
    assert accepts(head(field=b"X%bY: 1" % one)) is (token or one == b":")
    assert accepts(head(field=b"X: a%bb" % one)) is (
        (byte >= 0x20 and byte != 0x7F) or one == b"\t"
    )
    assert accepts(head(b"GET /a%bb HTTP/1.1" % one)) is (byte > 0x20 and byte not in (0x7F, 0x23))


MALFORMED = {
    "no version": b"GET /",
    "no target": b"GET HTTP/1.1",
    "two blanks": b"GET  / HTTP/1.1",
    "a blank behind": b"GET / HTTP/1.1 ",
    "a blank before": b" GET / HTTP/1.1",
    "a tab": b"GET\t/ HTTP/1.1",
    "four words": b"GET / x HTTP/1.1",
    "lower case": b"GET / http/1.1",
    "two digits": b"GET / HTTP/1.10",
    "no point": b"GET / HTTP/11",
    "another protocol": b"GET / ICY/1.1",
    "a fragment": b"GET /#a HTTP/1.1",
    "empty": b"",
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_request_line_is_in_one_form(case: str) -> None:
    with pytest.raises(Malformed):
        grammar.request(head(MALFORMED[case]))


@pytest.mark.parametrize(
    "field",
    [b": 1", b"X", b"X : 1", b" X: 1", b"X: 1\r\n 2", b"X: 1\n Y: 2", b"X: 1\r Y: 2", b"\tX: 1"],
)
def test_a_field_is_in_one_form(field: bytes) -> None:
    with pytest.raises(Malformed):
        grammar.request(head(field=field))
    with pytest.raises(Malformed):
        grammar.request(head(field=b"A: 1\r\n" + field))


def test_a_request_line_is_judged_once_when_it_ends() -> None:
    line = b"GET /\r\n"
    assert grammar.hopeless(line)
    assert grammar.hopeless(line, seen=6)  # its LF is new
    assert not grammar.hopeless(line + b"X", seen=7)  # it was looked at before
    assert not grammar.hopeless(b"GET / HTTP/1.1\r\n")
    assert not grammar.hopeless(b"GET /\r")


def test_blanks_before_a_colon_are_no_part_of_an_answers_name() -> None:
    answer = b"HTTP/1.1 200 OK\r\n%b\r\n\r\n"
    assert grammar.response(answer % b"X \t: 1\r\nY: a :b")[3] == [(b"X", b"1"), (b"Y", b"a :b")]
    for bad in (b"X Y : 1", b" : 1", b"X: 1\r\n Y : 2", b"X : 1\x00"):
        with pytest.raises(Malformed):
            grammar.response(answer % bad)


@given(st.binary(max_size=80), st.integers(0, 80))
def test_a_beginning_is_hopeless_only_if_no_head_begins_so(data: bytes, cut: int) -> None:
    beginning = data[:cut]
    if grammar.hopeless(beginning):
        with pytest.raises(Malformed):
            grammar.request(beginning + b"\r\n\r\n")


@given(st.binary(max_size=30).map(lambda text: re.sub(rb"[^!-~\t\r\n]", b" ", text)))
def test_bytes_of_a_head_that_make_no_head_are_refused_when_they_come(text: bytes) -> None:
    bare = re.search(rb"(?<!\r)\n|\r(?!\n|\Z)", text) is not None
    assert grammar.malformed(text) is bare


def test_how_long_a_target_is_so_far() -> None:
    assert grammar.target_length(b"GET /abc") == 4
    assert grammar.target_length(b"GET /abc HTTP/1.1\r\nHost: a b c\r\n") == 4
    assert grammar.target_length(b"GET") == 0
