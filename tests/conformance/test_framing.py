"""Where a request ends: what its head may say of it, and what no head may (RFC 9112 §6)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.recording import (
    Proxy,
    Row,
    assert_allowed,
    assert_forwarded,
    assert_forwarded_and_closed,
    assert_refused,
    named,
    running_proxy,
)


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    with running_proxy() as proxy:
        yield proxy


def asking(fields: bytes, body: bytes = b"", start: bytes = b"POST /p HTTP/1.1") -> bytes:
    """``fields`` are what stands between Host and the empty line, CRLF included."""
    return b"%b\r\nHost: a.test\r\n%b\r\n%b" % (start, fields, body)


ABC = asking(b"Content-Length: 3\r\n", b"abc")
CHUNKS = b"3\r\nabc\r\n0\r\n\r\n"
CHUNKED = asking(b"Transfer-Encoding: chunked\r\n", CHUNKS)
EMPTY = asking(b"Content-Length: 0\r\n")
NO_BODY = asking(b"")

# RFC 9110 §8.6: 1*DIGIT, once. The same number twice: refuse it, or send it on once.
LENGTHS: dict[str, Row] = {
    "none": (NO_BODY, NO_BODY, EMPTY),
    "zero": (EMPTY, EMPTY),
    "three": (ABC, ABC),
    "name in lower case": (asking(b"content-length: 3\r\n", b"abc"), ABC),
    "no space": (asking(b"Content-Length:3\r\n", b"abc"), ABC),
    "white space around": (asking(b"Content-Length: \t 3 \t\r\n", b"abc"), ABC),
    "zero in front": (asking(b"Content-Length: 03\r\n", b"abc"), ABC),
    "zeros that look octal": (
        asking(b"Content-Length: 010\r\n", b"ten octets"),
        asking(b"Content-Length: 10\r\n", b"ten octets"),
        400,
    ),
    "two same fields": (asking(b"Content-Length: 3\r\n" * 2, b"abc"), 400, ABC),
    "three same fields": (asking(b"Content-Length: 3\r\n" * 3, b"abc"), 400, ABC),
    "one number in two forms": (
        asking(b"Content-Length: 3\r\nContent-Length: 03\r\n", b"abc"),
        400,
        ABC,
    ),
    "list of the same": (asking(b"Content-Length: 3, 3\r\n", b"abc"), 400, ABC),
    "space before the colon": (asking(b"Content-Length : 3\r\n", b"abc"), 400),
    # As variables of CGI and WSGI, "_" and "-" are the same.
    "underscore": (asking(b"Content_Length: 3\r\n"), 400, NO_BODY),
    "folded": (asking(b"Content-Length:\r\n 3\r\n", b"abc"), 400, ABC),
    "folded number": (asking(b"Content-Length: 1\r\n 0\r\n", b"ten octets"), 400),
    "fold of nothing": (asking(b"Content-Length: 3\r\n \r\n", b"abc"), 400, ABC),
    "in the fold of another field": (asking(b"X: a\r\n Content-Length: 3\r\n"), 400,
        asking(b"X: a Content-Length: 3\r\n")),
    "behind a bare LF": (asking(b"X: a\nContent-Length: 3\r\n", b"abc"), 400),
    "behind a bare CR": (asking(b"X: a\rContent-Length: 3\r\n"), 400,
        asking(b"X: a Content-Length: 3\r\n")),
    "before a bare LF": (asking(b"Content-Length: 3\nX: a\r\n", b"abc"), 400),
    "before a bare CR": (asking(b"Content-Length: 3\rX: a\r\n", b"abc"), 400),
    "first line, indented": (
        b"POST /p HTTP/1.1\r\n Content-Length: 3\r\nHost: a.test\r\n\r\n", 400, NO_BODY,
    ),
    "line break within the name": (asking(b"Content-\r\nLength: 3\r\n", b"abc"), 400),
    "NUL in the name": (asking(b"Content-Length\x00: 3\r\n", b"abc"), 400),
    "high octet in the name": (asking(b"Content-Length\xa0: 3\r\n", b"abc"), 400),
}  # fmt: skip
LENGTHS |= {
    name: (asking(b"Content-Length: %b\r\n%b\r\n" % (first, second), b"abc"), 400)
    for name, first, second in (
        ("different fields", b"3", b"Content-Length: 4"),
        ("different, the first zero", b"0", b"Content-Length: 3"),
        ("different, the second zero", b"3", b"Content-Length: 0"),
        ("different in case and number", b"3", b"content-length: 2"),
        ("different, far apart", b"3", b"X: 1\r\n" * 50 + b"Content-Length: 2"),
        ("first one empty", b"", b"Content-Length: 3"),
        ("second one empty", b"3", b"Content-Length:"),
    )
}
LENGTHS |= {
    f"{length!r}": (asking(b"Content-Length: %b\r\n" % length, b"abc"), 400, 413)
    for length in (
        b"", b"+3", b"-3", b"-0", b"--3", b"0x3", b"0X3", b"0b11", b"0o3", b"3.0", b"3.", b"3e0",
        b"3E0", b"1_0", b"x3", b"3x", b"3 x", b"3;", b"3;1", b"3,", b",3", b"3, 4", b"3,4", b"4, 3",
        b"3, ", b"0, 3", b"3 3", b"3\t3", b"1 1", b"1;1", b"'3'", b'"3"', b"(3)", b"3 (three)",
        b"three", b"chunked", b"3\x00", b"\x003", b"3\x0b", b"\x0b3", b"\x0c3", b"3\x0c", b"3\x1f",
        b"3\x7f", b"\xa03", b"3\xa0", b"3\x85", b"\xb3", b"\xe2\x82\x83", "\u0663".encode(),
        "\uff13".encode(), b"NaN", b"inf",
        # Too large for one integer or another, or 3 after an overflow.
        b"9223372036854775808", b"9223372036854775811", b"18446744073709551615",
        b"18446744073709551616", b"18446744073709551619", b"4294967296000000000000",
        b"340282366920938463463374607431768211459", b"9" * 400, b"9" * 5000,
    )
}  # fmt: skip
_ZEROS = asking(b"Content-Length: %b3\r\n" % (b"0" * 40), b"abc")
LENGTHS["forty zeros in front"] = (_ZEROS, 400, ABC)


# RFC 9112 §6.1: chunked, once, and last; what is not understood SHOULD be 501.
CODINGS: dict[str, Row] = {
    "chunked": (CHUNKED, CHUNKED),
    "name in lower case": (asking(b"transfer-encoding: chunked\r\n", CHUNKS), CHUNKED),
    "no space": (asking(b"Transfer-Encoding:chunked\r\n", CHUNKS), CHUNKED),
    "white space around": (asking(b"Transfer-Encoding: \t chunked \t\r\n", CHUNKS), CHUNKED),
    "upper case": (asking(b"Transfer-Encoding: CHUNKED\r\n", CHUNKS), CHUNKED),  # §7
    "mixed case": (asking(b"Transfer-Encoding: cHuNkEd\r\n", CHUNKS), CHUNKED),
    "folded": (asking(b"Transfer-Encoding:\r\n chunked\r\n", CHUNKS), 400, CHUNKED),
    "folded by bare LF": (asking(b"Transfer-Encoding:\n chunked\r\n", CHUNKS), 400, CHUNKED),
    # RFC 9110 §5.6.1.2: an empty element of a list is nothing
    "empty element behind": (
        asking(b"Transfer-Encoding: chunked,\r\n", CHUNKS), 400, 501, CHUNKED,
    ),
    "empty element before": (
        asking(b"Transfer-Encoding: , chunked\r\n", CHUNKS), 400, 501, CHUNKED,
    ),
    "two fields": (asking(b"Transfer-Encoding: chunked\r\n" * 2, CHUNKS), 400, 501),
    "empty and chunked": (
        asking(b"Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n", CHUNKS), 400, 501, CHUNKED,
    ),
    "identity, then chunked": (
        asking(b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", CHUNKS), 400, 501,
    ),
    "chunked, then identity": (
        asking(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", CHUNKS), 400, 501,
    ),
    "chunked, then an unknown one": (
        asking(b"Transfer-Encoding: chunked\r\nTransfer-encoding: cow\r\n", CHUNKS), 400, 501,
    ),
    "space before the colon": (asking(b"Transfer-Encoding : chunked\r\n", CHUNKS), 400),
    "tab before the colon": (asking(b"Transfer-Encoding\t: chunked\r\n", CHUNKS), 400),
    "no colon": (asking(b"Transfer-Encoding chunked\r\n", CHUNKS), 400),
    "colon first": (asking(b":Transfer-Encoding: chunked\r\n", CHUNKS), 400),
    "space for the hyphen": (asking(b"Transfer Encoding: chunked\r\n", CHUNKS), 400),
    "NUL in the name": (asking(b"Transfer-Encoding\x00: chunked\r\n", CHUNKS), 400),
    "control in the name": (asking(b"Transfer\x01-Encoding: chunked\r\n", CHUNKS), 400),
    "high octet before the name": (asking(b"\xffTransfer-Encoding: chunked\r\n", CHUNKS), 400),
    "LF before the colon": (asking(b"Transfer-Encoding\n: chunked\r\n", CHUNKS), 400),
    "CR before the colon": (asking(b"Transfer-Encoding\r: chunked\r\n", CHUNKS), 400),
    "CR before the name": (asking(b"\rTransfer-Encoding: chunked\r\n", CHUNKS), 400),
    "LF and CR before the name": (asking(b"X: a\n\rTransfer-Encoding: chunked\r\n", CHUNKS), 400),
    "line break within the name": (asking(b"Transfer-\r\nEncoding: chunked\r\n", CHUNKS), 400),
    "first line, indented": (
        b"POST /p HTTP/1.1\r\n Transfer-Encoding: chunked\r\nHost: a.test\r\n\r\n", 400, NO_BODY,
    ),
}  # fmt: skip
CODINGS |= {
    f"{coding!r}": (asking(b"Transfer-Encoding: %b\r\n" % coding, CHUNKS), 400, 501)
    for coding in (
        b"", b"identity", b"gzip", b"gzip, chunked", b"deflate, gzip, chunked", b"chunked, gzip",
        b"chunked, identity", b"identity, chunked", b"chunked, chunked", b"chunked,chunked",
        b"xchunked", b"chunkedx", b"chunke", b"hunked", b"chunked-x", b"x-chunked", b"chunk ed",
        b"chunked chunked", b"chunked x", b"x chunked", b"chunked;", b"chunked;q=1",
        b"chunked; a=b", b"chunked, x;a=b", b'"chunked"', b"'chunked'", b"[chunked]", b"<chunked>",
        b"(x) chunked", b"chunked (x)", b"chunked=1", b"chunked;chunked", b"\x00chunked",
        b"chunked\x00", b"chu\x00nked", b"\x0bchunked", b"chunked\x0b", b"\x0cchunked",
        b"chunked\x0c", b"\x01chunked", b"chunked\x7f", b"\xa0chunked", b"chunked\xa0",
        b"\x85chunked", b"\xef\xbb\xbfchunked", "chun\u212aed".encode(), b"%63hunked", b"0",
        b"true", b"\rchunked", b"chunked\r", b"chunked\rX: a", b"\nchunked",
        b"x\nTransfer-Encoding: chunked",
    )
}  # fmt: skip


# RFC 9112 §6.3: both fields are an attack. A proxy MAY go by the coding, if it drops the
# length and ends the connection; to refuse is the one that needs no trust in the next reader.
_CL, _TE = b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n"
BOTH: dict[str, Row] = {
    "length first": (asking(_CL + _TE, CHUNKS), 400),
    "coding first": (asking(_TE + _CL, CHUNKS), 400),
    "length around": (asking(_CL + _TE + _CL, CHUNKS), 400),
    "coding around": (asking(_TE + _CL + _TE, CHUNKS), 400),
    "far apart": (asking(_CL + b"X: 1\r\n" * 50 + _TE, CHUNKS), 400),
    "length of zero": (asking(b"Content-Length: 0\r\n" + _TE, CHUNKS), 400),
    "length of the chunks": (asking(b"Content-Length: 13\r\n" + _TE, CHUNKS), 400),
    "length is no number": (asking(b"Content-Length: x\r\n" + _TE, CHUNKS), 400),
    "empty length": (asking(b"Content-Length:\r\n" + _TE, CHUNKS), 400),
    "names in odd case": (
        asking(b"cONTENT-lENGTH: 3\r\ntRANSFER-eNCODING: chunked\r\n", CHUNKS), 400,
    ),
    "length is nominated": (asking(b"Connection: Content-Length\r\n" + _CL + _TE, CHUNKS), 400),
    "coding is nominated": (asking(b"Connection: Transfer-Encoding\r\n" + _CL + _TE, CHUNKS), 400),
    "coding has an option": (
        asking(b"Connection: close, TE\r\nTE: chunked\r\n" + _CL + _TE, CHUNKS), 400,
    ),
    "of a GET": (asking(_CL + _TE, CHUNKS, start=b"GET /p HTTP/1.1"), 400),
    "of HTTP/1.0": (asking(_CL + _TE, CHUNKS, start=b"POST /p HTTP/1.0"), 400),
    "and Upgrade": (
        asking(b"Connection: Upgrade\r\nUpgrade: websocket\r\n" + _CL + _TE, CHUNKS), 400,
    ),
    "and Expect": (asking(b"Expect: 100-continue\r\n" + _CL + _TE, CHUNKS), 400),
    # What is no coding, for this reader or for any
    "identity": (asking(_CL + b"Transfer-Encoding: identity\r\n", b"abc"), 400, 501),
    "empty coding": (asking(_CL + b"Transfer-Encoding:\r\n", b"abc"), 400, 501),
    "unknown coding": (asking(_CL + b"Transfer-Encoding: xchunked\r\n", b"abc"), 400, 501),
    "coding behind a bare LF": (asking(_CL + b"X: a\nTransfer-Encoding: chunked\r\n", b"abc"), 400),
    "coding in a fold": (asking(_CL + b"X: a\r\n Transfer-Encoding: chunked\r\n", b"abc"), 400,
        asking(_CL + b"X: a Transfer-Encoding: chunked\r\n", b"abc")),
    "coding behind a bare CR": (asking(_CL + b"X: a\rTransfer-Encoding: chunked\r\n", b"abc"), 400,
        asking(_CL + b"X: a Transfer-Encoding: chunked\r\n", b"abc")),
    # Names that are other fields' (and CGI's for these)
    "Transfer_Encoding": (asking(_CL + b"Transfer_Encoding: chunked\r\n", b"abc"), 400, ABC,
        asking(_CL + b"Transfer_Encoding: chunked\r\n", b"abc")),
    "Content_Length": (asking(_TE + b"Content_Length: 3\r\n", CHUNKS), 400, CHUNKED,
        asking(_TE + b"Content_Length: 3\r\n", CHUNKS)),
    "X-Transfer-Encoding": (asking(_CL + b"X-Transfer-Encoding: chunked\r\n", b"abc"),
        asking(_CL + b"X-Transfer-Encoding: chunked\r\n", b"abc")),
    "Content-Encoding": (asking(_CL + b"Content-Encoding: chunked\r\n", b"abc"),
        asking(_CL + b"Content-Encoding: chunked\r\n", b"abc")),
    "TE": (asking(_CL + b"TE: chunked\r\nConnection: TE\r\n", b"abc"), ABC),
}  # fmt: skip


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n"


def with_content(method: bytes) -> dict[str, Row]:
    """RFC 9110 §9.3: any method may have it; who thinks otherwise runs it (CL.0, TE.0)."""
    name, start = method.decode(), b"%b /p HTTP/1.1" % method
    length = asking(b"Content-Length: %d\r\n" % len(SMUGGLED), SMUGGLED, start)
    chunks = asking(_TE, b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED), start)
    nothing = asking(b"Content-Length: 0\r\n", start=start)
    return {
        f"{name} with a length": (length, length),
        f"{name} in chunks": (chunks, chunks),
        f"{name} of nothing": (nothing, nothing, asking(b"", start=start)),
    }


METHODS: dict[str, Row] = {
    **with_content(b"GET"),
    **with_content(b"HEAD"),
    **with_content(b"DELETE"),
    **with_content(b"OPTIONS"),
    **with_content(b"PUT"),
    **with_content(b"PROPFIND"),
    **with_content(b"FOO"),
}
_TRACE = asking(_CL, b"abc", start=b"TRACE /p HTTP/1.1")
METHODS["TRACE with a length"] = (_TRACE, 400, 405, 501, _TRACE)  # §9.3.8: MUST NOT be sent

CASES = named(length=LENGTHS, coding=CODINGS, both=BOTH, method=METHODS)


@pytest.mark.parametrize("case", CASES)
def test_a_request_ends_in_one_place_or_is_refused(proxy: Proxy, case: str) -> None:
    for outcome in proxy.outcomes(CASES[case][0]):
        assert_allowed(outcome, CASES[case])


# RFC 9112 §6.1: faulty in HTTP/1.0, whatever else there is.
@pytest.mark.parametrize("fields", [_TE, b"Connection: keep-alive\r\n" + _TE])
def test_http_1_0_has_no_transfer_codings(proxy: Proxy, fields: bytes) -> None:
    message = asking(fields, CHUNKS, start=b"POST /p HTTP/1.0")
    for outcome in proxy.outcomes(message):
        assert_refused(outcome, {400, 501})


def test_http_1_0_with_a_length_may_go_on(proxy: Proxy) -> None:
    kept = asking(b"Connection: keep-alive\r\n" + _CL, b"abc", start=b"POST /p HTTP/1.0")
    assert_forwarded(proxy.converse(kept), ABC)
    last = asking(_CL, b"abc", start=b"POST /p HTTP/1.0")
    assert_forwarded_and_closed(proxy.converse(last), ABC)
