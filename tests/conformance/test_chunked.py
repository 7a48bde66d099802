"""Chunked bodies: every size, extension, line end and trailer (RFC 9112 §7.1)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.recording import (
    Proxy,
    Row,
    assert_allowed,
    running_proxy,
)


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    with running_proxy() as proxy:
        yield proxy


def asking(body: bytes) -> bytes:
    return b"POST /p HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n" + body


def whole(body: bytes, trailers: bytes = b"") -> bytes:
    chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
    return asking(b"%b0\r\n%b\r\n" % (chunk, trailers))


def size(written: bytes) -> bytes:
    """``written`` stands where the size of "hello" should."""
    return asking(b"%b\r\nhello\r\n0\r\n\r\n" % written)


HELLO = whole(b"hello")
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n"

# §7.1: chunk-size is 1*HEXDIG
SIZES: dict[str, Row] = {
    "five": (HELLO, HELLO),
    "nothing": (whole(b""), whole(b"")),
    "two chunks": (asking(b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"), HELLO),
    "chunks of one": (asking(b"1\r\nh\r\n1\r\ni\r\n0\r\n\r\n"), whole(b"hi")),
    "upper case": (asking(b"1A\r\n%b\r\n0\r\n\r\n" % (b"x" * 26)), whole(b"x" * 26)),
    "lower case": (asking(b"1a\r\n%b\r\n0\r\n\r\n" % (b"x" * 26)), whole(b"x" * 26)),
    "zeros in front": (size(b"00005"), HELLO),
    "sixteen digits": (size(b"0000000000000005"), HELLO),
    "forty zeros in front": (size(b"0" * 40 + b"5"), 400, 413, HELLO),
    "last chunk of many zeros": (asking(b"5\r\nhello\r\n00000\r\n\r\n"), HELLO),
    "chunks in the data": (whole(b"0\r\n\r\n" + SMUGGLED), whole(b"0\r\n\r\n" + SMUGGLED)),
    "every octet": (whole(bytes(range(256))), whole(bytes(range(256)))),
}  # fmt: skip
SIZES |= {
    f"{written!r}": (size(written), 400, 413)
    for written in (
        b"", b" ", b"0x5", b"0X5", b"x5", b"5x", b"5h", b"+5", b"-5", b"-0", b" 5", b"\t5", b"5 ",
        b"5\t", b"5 5", b"5.0", b"5,", b"5_0", b"5\x00", b"\x005", b"\x0b5", b"5\x0b", b"5\x7f",
        b"\xa05", b"5\xa0", b"'5'", b'"5"', b"g", b"five", "\u0665".encode(), "\uff15".encode(),
        b"5\r", b"\r5", b"\n5", b"5\n", b"5=x", b"5:",
        # Too large to count, or 5 after an overflow
        b"8000000000000000", b"ffffffffffffffff", b"FFFFFFFFFFFFFFFF", b"8000000000000005",
        b"10000000000000000", b"10000000000000005", b"100000000000000005", b"f" * 17, b"f" * 400,
        b"100000000" * 8,
    )
}  # fmt: skip

# §7.1.1: what is not known MUST be ignored; it is no part of what is sent on.
EXTENSIONS: dict[str, Row] = {
    f"{extension!r}": (size(b"5" + extension), HELLO)
    for extension in (b";x", b";x=1", b';x="1"', b';x="a;b"', b';x="\\""', b';x=""', b";x=1;y;z=2",
        b";!#$%&'*+-.^_`|~=a", b';x="\t \x80"')
}  # fmt: skip
EXTENSIONS |= {  # BWS is for a reader to accept, not for a sender to make
    f"{extension!r}": (size(b"5" + extension), 400, HELLO)
    for extension in (b" ;x", b"\t;x", b"; x", b";x =1", b";x= 1", b" ; x = 1", b";x=1 ;y")
}
EXTENSIONS |= {  # not in the grammar, and not to be read in two ways
    f"{extension!r}": (size(b"5" + extension), 400, HELLO)
    for extension in (b";", b";;", b";=1", b";x=", b";x;", b';x="', b';x="a', b";x=a b", b";x@y",
        b";\xff")
}  # fmt: skip
EXTENSIONS |= {  # "Funky chunks" (2025): what ends the line for one reader, and not for another
    f"{extension!r}": (size(b"5" + extension), 400)
    for extension in (
        b";\n", b";x\n", b";x\ny", b";\r", b";x\r", b";x\ry", b";\n\n", b";\r\r", b";x=\n",
        b';x="\n"', b';x="\r"', b';x="\r\n"', b';x="\\\r\n"', b";\x00", b";x\x00y", b";x=\x01",
        b";x\x7f", b";\x0b",
    )
}  # fmt: skip
EXTENSIONS |= {
    "of the last chunk": (asking(b"5\r\nhello\r\n0;x=1\r\n\r\n"), HELLO),
    "of the last chunk, with a bare LF": (asking(b"5\r\nhello\r\n0;\n\r\n\r\n"), 400),
    "of four hundred octets": (size(b"5;x=" + b"y" * 400), 400, 413, 431, HELLO),
}


def body(written: bytes) -> Row:
    return asking(written), 400


# §7.1: lines end in CRLF; the MAY of §2.2 for a bare LF is about start-line and fields.
LINES: dict[str, Row] = {
    "LF behind the size": body(b"5\nhello\r\n0\r\n\r\n"),
    "CR behind the size": body(b"5\rhello\r\n0\r\n\r\n"),
    "CR CR LF behind the size": body(b"5\r\r\nhello\r\n0\r\n\r\n"),
    "LF CR behind the size": body(b"5\n\rhello\r\n0\r\n\r\n"),
    "CR and another octet behind the size": body(b"5\rXhello\r\n0\r\n\r\n"),
    "LF behind the data": body(b"5\r\nhello\n0\r\n\r\n"),
    "CR behind the data": body(b"5\r\nhello\r0\r\n\r\n"),
    "nothing behind the data": body(b"5\r\nhello0\r\n\r\n"),
    "two other octets behind the data": body(b"5\r\nhelloAB0\r\n\r\n"),
    "LF LF behind the data": body(b"5\r\nhello\n\n0\r\n\r\n"),
    "LF CR behind the data": body(b"5\r\nhello\n\r0\r\n\r\n"),
    "CR CR behind the data": body(b"5\r\nhello\r\r0\r\n\r\n"),
    "two line ends behind the data": body(b"5\r\nhello\r\n\r\n0\r\n\r\n"),
    "space behind the data": body(b"5\r\nhello \r\n0\r\n\r\n"),
    "data too short": body(b"5\r\nhell\r\n0\r\n\r\n"),
    "data too long": body(b"5\r\nhello!\r\n0\r\n\r\n"),
    "an empty line for a size": body(b"\r\n5\r\nhello\r\n0\r\n\r\n"),
    "LF behind the last size": body(b"5\r\nhello\r\n0\n\r\n"),
    "CR behind the last size": body(b"5\r\nhello\r\n0\r\r\n\r\n"),
    "LF for every line end": body(b"5\nhello\n0\n\n"),
    "CR for every line end": body(b"5\rhello\r0\r\r"),
    "last size with a sign": body(b"5\r\nhello\r\n-0\r\n\r\n"),
    "last size with a prefix": body(b"5\r\nhello\r\n0x0\r\n\r\n"),
    "last size with a space": body(b"5\r\nhello\r\n0 \r\n\r\n"),
    "no chunks at all": body(SMUGGLED),
    # A reader that takes one octet where two should be, or two where one is (ONE.TWO, TWO.ONE)
    "an end within the data, after LF": body(b"5\nhello\n0\r\n\r\n" + SMUGGLED),
    "a line end of one octet hides a chunk": body(b"2\n\n30\r\n\r\n" + SMUGGLED),
    "data that spills over a line end": body(b"5\r\nhello0\r\n0\r\n\r\n" + SMUGGLED),
    "a size in an extension's line": body(b"2;\nxx\r\n4c\r\n0\r\n\r\n" + SMUGGLED + b"0\r\n\r\n"),
    "a size behind an extension's LF": body(b"3;a\n3c\r\nabc\r\n0\r\n\r\n" + SMUGGLED),
}


def trailing(written: bytes) -> bytes:
    return asking(b"5\r\nhello\r\n0\r\n%b\r\n" % written)


def dropped(*names: bytes) -> dict[str, Row]:
    """RFC 9110 §6.5.1: what frames, routes, or says who asks, is nothing for a trailer."""
    fine = b"X-Fine: 1\r\n"
    return {
        name.decode(): (trailing(b"%b: 3\r\n" % name + fine), 400, whole(b"hello", fine), HELLO)
        for name in names
    }


# §7.1.2: MAY be kept or dropped. What is malformed is no request's end.
TRAILERS: dict[str, Row] = {
    "one": (trailing(b"X-Sum: 1\r\n"), whole(b"hello", b"X-Sum: 1\r\n"), HELLO),
    "several, in order": (
        trailing(b"B: 1\r\nA: 2\r\nb: 3\r\n"),
        whole(b"hello", b"B: 1\r\nA: 2\r\nb: 3\r\n"),
        HELLO,
    ),
    "of no value": (trailing(b"X:\r\n"), whole(b"hello", b"X:\r\n"), HELLO),
    "folded": (trailing(b"X: a\r\n b\r\n"), 400, whole(b"hello", b"X: a b\r\n"), HELLO),
    "ended by LF": (trailing(b"X: a\n"), 400, whole(b"hello", b"X: a\r\n"), HELLO),
    "with NUL": (trailing(b"X: a\x00b\r\n"), 400, whole(b"hello", b"X: a b\r\n"), HELLO),
    "with bare CR": (trailing(b"X: a\rb\r\n"), 400, whole(b"hello", b"X: a b\r\n"), HELLO),
    "with a bare LF": (trailing(b"X: a\nb\r\n"), 400),
    "with another field behind LF": (
        trailing(b"X: a\nHost: b.test\r\n"),
        400,
        whole(b"hello", b"X: a\r\n"),
        HELLO,
    ),
    "without a colon": (trailing(b"X\r\n"), 400),
    "without a name": (trailing(b": a\r\n"), 400),
    "space before the colon": (trailing(b"X : a\r\n"), 400),
    "space before the name": (trailing(b" X: a\r\n"), 400),
    "with a bad name": (trailing(b"X@Y: a\r\n"), 400),
    "that are a request": (trailing(SMUGGLED[:-2]), 400),
    "that are a request line and a colon": (trailing(b"GET http://b.test/ HTTP/1.1\r\n"), 400),
    "ended by LF LF": (
        asking(b"5\r\nhello\r\n0\r\nX: a\n\n"), 400, whole(b"hello", b"X: a\r\n"), HELLO,
    ),
    "ended by CR LF LF": (
        asking(b"5\r\nhello\r\n0\r\nX: a\r\n\n"), 400, whole(b"hello", b"X: a\r\n"), HELLO,
    ),
    "none, ended by CR": (asking(b"5\r\nhello\r\n0\r\n\r"), 400),
    "none, ended by LF": (asking(b"5\r\nhello\r\n0\r\n\n"), 400, HELLO),
    **dropped(
        b"Content-Length", b"Transfer-Encoding", b"Host", b"Connection", b"Trailer", b"TE",
        b"Upgrade", b"Keep-Alive", b"Authorization", b"Proxy-Authorization", b"Cookie",
        b"Content-Type", b"Content-Encoding", b"Content-Range", b"Range", b"If-Match",
        b"If-None-Match", b"Cache-Control", b"Expect", b"Max-Forwards", b"Forwarded",
        b"X-Forwarded-For", b"X-Forwarded-Host", b"X-Forwarded-Proto", b"X-Real-IP", b"hOST",
    ),
}  # fmt: skip

CASES = {
    f"{kind}: {name}": row
    for kind, rows in {
        "size": SIZES,
        "extension": EXTENSIONS,
        "lines": LINES,
        "trailers": TRAILERS,
    }.items()
    for name, row in rows.items()
}


@pytest.mark.parametrize("case", CASES)
def test_a_chunked_body_is_whole_or_is_broken_off(proxy: Proxy, case: str) -> None:
    for outcome in proxy.outcomes(CASES[case][0]):
        assert_allowed(outcome, CASES[case], begun=True)


# §7.1.1, §7.1.2, §5.4: what is not the body is bounded, and so is what it may cost.
LARGE: dict[str, Row] = {
    "an extension of 70 KB": (size(b"5;" + b"x" * 70_000), 400, 413, 431),
    "an extension without end": (asking(b"5;" + b"x" * 200_000), 400, 413, 431),
    "zeros without end": (asking(b"0" * 200_000), 400, 413, 431),
    "an extension of 4 KB for each octet": (
        asking(b"1;%b\r\nx\r\n" % (b"y" * 4096) * 100 + b"0\r\n\r\n"), 400, 413, 431,
    ),
    "an octet to each chunk": (asking(b"1\r\nx\r\n" * 5000 + b"0\r\n\r\n"), whole(b"x" * 5000)),
    "a hundred trailers": (
        trailing(b"".join(b"X-%d: v\r\n" % n for n in range(100))),
        whole(b"hello", b"".join(b"X-%d: v\r\n" % n for n in range(100))),
        HELLO,
    ),
    "a thousand trailers": (trailing(b"X: v\r\n" * 1000), 400, 413, 431),
    "a thousand trailers that are dropped": (trailing(b"Host: v\r\n" * 1000), 400, 413, 431),
    "a trailer of 70 KB": (trailing(b"X: %b\r\n" % (b"v" * 70_000)), 400, 413, 431),
    "trailers without end": (asking(b"0\r\n" + b"X: v\r\n" * 40_000), 400, 413, 431),
    "one chunk of 1 MB": (whole(b"x" * 1_000_000), whole(b"x" * 1_000_000)),
}  # fmt: skip


@pytest.mark.parametrize("case", LARGE)
def test_what_is_not_the_body_is_bounded(proxy: Proxy, case: str) -> None:
    for outcome in proxy.outcomes(LARGE[case][0]):
        assert_allowed(outcome, LARGE[case], begun=True)
