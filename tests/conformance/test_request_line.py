"""The first line of a request: method, target, version, and what separates them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.recording import (
    Proxy,
    Recording,
    Row,
    assert_allowed,
    assert_forwarded_and_closed,
    assert_refused,
    named,
    running_proxy,
)
from tests.proxy.wire import Backend


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    with running_proxy() as proxy:
        yield proxy


def asking(line: bytes, host: bytes = b"a.test") -> bytes:
    return b"%b\r\nHost: %b\r\n\r\n" % (line, host)


def path(target: bytes) -> bytes:
    return asking(b"GET %b HTTP/1.1" % target)


# RFC 9112 §3.2; absolute-form: §3.2.2, asterisk-form: §3.2.4.
FORMS: dict[str, Row] = {
    "origin-form": (path(b"/p?q"), path(b"/p?q")),
    "absolute-form outranks Host": (
        asking(b"GET http://a.test/p?q HTTP/1.1", b"other.test"),
        path(b"/p?q"),
    ),
    "absolute-form with a port": (
        asking(b"GET http://a.test:81/p HTTP/1.1", b"other.test"),
        asking(b"GET /p HTTP/1.1", b"a.test:81"),
    ),
    "absolute-form with an empty port": (  # RFC 3986 §3.2.3, §6.2.3: the same as none
        asking(b"GET http://a.test:/p HTTP/1.1"),
        asking(b"GET /p HTTP/1.1", b"a.test:"),
        path(b"/p"),
    ),
    "absolute-form, scheme in upper case": (  # RFC 3986 §3.1
        asking(b"GET HTTP://a.test/p HTTP/1.1"),
        path(b"/p"),
    ),
    "absolute-form, host in upper case": (
        asking(b"GET http://A.TEST/p HTTP/1.1"),
        asking(b"GET /p HTTP/1.1", b"A.TEST"),
        path(b"/p"),
    ),
    "absolute-form without a path": (  # §3.2.1: then "/" is sent
        asking(b"GET http://a.test HTTP/1.1"),
        path(b"/"),
    ),
    "absolute-form, query only": (asking(b"GET http://a.test?q=/ HTTP/1.1"), path(b"/?q=/")),
    "absolute-form, two slashes in the path": (
        asking(b"GET http://a.test//p HTTP/1.1"),
        path(b"//p"),
    ),
    "absolute-form, IPv6": (
        asking(b"GET http://[::1]:80/p HTTP/1.1"),
        asking(b"GET /p HTTP/1.1", b"[::1]:80"),
    ),
    "absolute-form with an empty Host": (  # valid where there is no authority, and not looked at
        asking(b"GET http://a.test/p HTTP/1.1", b""),
        path(b"/p"),
    ),
    "absolute-form, POST with a body": (
        b"POST http://a.test/p HTTP/1.1\r\nHost: b.test\r\nContent-Length: 2\r\n\r\nhi",
        b"POST /p HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi",
    ),
    # RFC 9110 §4.2.4: userinfo from a stranger SHOULD be an error; it never is in Host.
    "absolute-form with userinfo": (asking(b"GET http://u@a.test/p HTTP/1.1"), 400, path(b"/p")),
    "absolute-form, user and password": (
        asking(b"GET http://a.test:80@b.test/p HTTP/1.1"),
        400,
    ),
    # RFC 9110 §4.2.1: an empty host MUST be rejected.
    "absolute-form, empty authority": (asking(b"GET http:///p HTTP/1.1"), 400),
    "absolute-form, no authority, a query": (asking(b"GET http://?q HTTP/1.1"), 400),
    "absolute-form, port only": (asking(b"GET http://:80/p HTTP/1.1"), 400),
    "absolute-form, one slash": (asking(b"GET http:/p HTTP/1.1"), 400),
    "absolute-form, no slash": (asking(b"GET http:a.test HTTP/1.1"), 400),
    "absolute-form, bad port": (asking(b"GET http://a.test:8x/p HTTP/1.1"), 400),
    "absolute-form, two ports": (asking(b"GET http://a.test:80:80/p HTTP/1.1"), 400),
    "absolute-form, open bracket": (asking(b"GET http://[::1/p HTTP/1.1"), 400),
    "absolute-form, backslash": (asking(rb"GET http://a.test\@b.test/ HTTP/1.1"), 400),
    "absolute-form, other scheme": (asking(b"GET ftp://a.test/p HTTP/1.1"), 400),
    "absolute-form, opaque": (asking(b"GET mailto:a@a.test HTTP/1.1"), 400),
    # RFC 9110 §7.4: https MUST be rejected (421) where it did not come over TLS.
    "absolute-form, https": (asking(b"GET https://a.test/p HTTP/1.1"), 400, 421),
    # §3.2: what is wrong with Host is wrong with the request, whatever the target.
    "absolute-form, no Host": (b"GET http://a.test/p HTTP/1.1\r\n\r\n", 400),
    "absolute-form, two Hosts": (
        b"GET http://a.test/p HTTP/1.1\r\nHost: a.test\r\nHost: a.test\r\n\r\n",
        400,
    ),
    "absolute-form, bad Host": (asking(b"GET http://a.test/p HTTP/1.1", b"a b"), 400),
    # §3.2: absolute-URI and origin-form have no fragment; mending it by stealth SHOULD NOT be.
    "fragment": (path(b"/p#f"), 400),
    "fragment after a query": (path(b"/p?q#f"), 400),
    "absolute-form with a fragment": (asking(b"GET http://a.test/p#f HTTP/1.1"), 400),
    "absolute-form, fragment as the path": (asking(b"GET http://a.test#@b.test/ HTTP/1.1"), 400),
    "authority-form": (asking(b"GET a.test:80 HTTP/1.1"), 400),
    "relative target": (asking(b"GET p HTTP/1.1"), 400),
    "relative target with dots": (asking(b"GET ../p HTTP/1.1"), 400),
    "query alone": (asking(b"GET ?q HTTP/1.1"), 400),
    "empty target": (asking(b"GET  HTTP/1.1"), 400),
    "asterisk-form": (asking(b"OPTIONS * HTTP/1.1"), asking(b"OPTIONS * HTTP/1.1")),
    "asterisk of another method": (asking(b"GET * HTTP/1.1"), 400),
    "asterisk and more": (asking(b"OPTIONS *x HTTP/1.1"), 400),
    "asterisk with a query": (asking(b"OPTIONS *?q HTTP/1.1"), 400),
    "OPTIONS of a whole server in absolute-form": (  # §3.2.4: MUST become "*"
        asking(b"OPTIONS http://a.test HTTP/1.1"),
        asking(b"OPTIONS * HTTP/1.1"),
    ),
    "OPTIONS of a path in absolute-form": (
        asking(b"OPTIONS http://a.test/ HTTP/1.1"),
        asking(b"OPTIONS / HTTP/1.1"),
    ),
    "OPTIONS of a query in absolute-form": (
        asking(b"OPTIONS http://a.test?q HTTP/1.1"),
        asking(b"OPTIONS /?q HTTP/1.1"),
    ),
    # RFC 9110 §9.3.6: a server that is no tunnel refuses CONNECT.
    "CONNECT": (asking(b"CONNECT a.test:80 HTTP/1.1", b"a.test:80"), 400, 405, 501),
    "CONNECT in origin-form": (asking(b"CONNECT / HTTP/1.1"), 400, 405, 501),
    "CONNECT in absolute-form": (asking(b"CONNECT http://a.test/ HTTP/1.1"), 400, 405, 501),
    "CONNECT in asterisk-form": (asking(b"CONNECT * HTTP/1.1"), 400, 405, 501),
    "CONNECT with a body": (
        b"CONNECT a.test:80 HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nbody",
        400, 405, 501,
    ),
    "connect, another method": (asking(b"connect a.test:80 HTTP/1.1"), 400, 501),
}  # fmt: skip


# RFC 9112 §3.2.1, RFC 3986 §3.3: the path is another's; what it means is not decided here.
TARGETS: dict[str, Row] = {
    name: (path(target), path(target))
    for name, target in {
        "root": b"/",
        "escapes in any case": b"/%41%2e%2E%2f%2F%00%ff",
        "escaped line break": b"/a%0d%0aX:%20y",
        "double escapes": b"/%252e%252e/",
        "dot segments": b"/a/./b/../../c/..",
        "empty segments": b"/a//b///c//",
        "two slashes and a name": b"//b.test/p",
        "parameters": b"/a;x=1;y/b;",
        "all that needs no escape": b"/-._~!$&'()*+,;=:@",
        "empty query": b"/p?",
        "question marks": b"/?a?b=/c??d",
        "a colon first": b"/:80",
        "a URI in the path": b"/http://b.test/p",
        "backwards-looking version": b"/HTTP/1.0",
        "eight thousand octets": b"/" + b"x" * 7999,  # §3: at least that SHOULD be supported
    }.items()
}

# Not in the grammar of a target, but nothing that another parser could cut it at.
TARGETS |= {
    name: (path(target), 400, path(target))
    for name, target in {
        "percent alone": b"/%",
        "percent and one digit": b"/%4",
        "percent and no digits": b"/%zz",
        "brackets": b"/a[0]?b[]=1",
        "braces": b"/{a}",
        "angle brackets": b"/<a>",
        "bar, caret, grave": b"/a|b^c`d",
        "quotation mark": b'/"a"',
        "backslash": rb"/a\..\b",
        "UTF-8": "/é?ü".encode(),
        "other high octets": b"/\x80\x85\xa0\xff",
    }.items()
}

# §3.2, and what ends a line or a word for one parser or another.
TARGETS |= {
    f"octet {octet:#04x} in a target": (path(b"/a%cb" % octet), 400)
    for octet in (*range(0x20), 0x7F)
    if octet != 0x0A  # ends the line: see SEPARATORS
}


# RFC 9112 §2.3: HTTP-name in upper case, one digit on each side of the dot; RFC 9110 §15.6.6
# has 505 for a major version that is not served.
VERSIONS: dict[str, Row] = {
    repr(version): (asking(b"GET / %b" % version), 400, 505)
    for version in (
        b"HTTP/0.9", b"HTTP/2.0", b"HTTP/3.0", b"HTTP/9.9", b"http/1.1", b"Http/1.1", b"HTTP/1.10",
        b"HTTP/01.1", b"HTTP/1.01", b"HTTP/11", b"HTTP/1", b"HTTP/1.", b"HTTP/.1", b"HTTP/1,1",
        b"HTTP/1.1x", b"HTTP/1.1.1", b"HTTP/+1.1", b"HTTP/-1.1", b"HTTP/ 1.1", b"HTTP /1.1",
        b"HTTP/1.x", b"HTTP/1.\xb2", b"HTTP", b"HTTPS/1.1", b"HTP/1.1", b"XHTTP/1.1",
        b"HTTP\\1.1", b"RTSP/1.0", b"RTSP/1.1", b"ICE/1.0",
    )
}  # fmt: skip
VERSIONS |= {
    "none": (asking(b"GET /"), 400, 505),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, 505),
    "another protocol's method": (asking(b"DESCRIBE / RTSP/1.0"), 400, 501, 505),
    "yet another's": (asking(b"SOURCE / ICE/1.0"), 400, 501, 505),
    # RFC 9110 §2.5: a higher minor version SHOULD be taken for the highest that is known.
    "higher minor": (asking(b"GET / HTTP/1.2"), 400, 505, path(b"/")),
    "highest minor": (asking(b"GET / HTTP/1.9"), 400, 505, path(b"/")),
}


# RFC 9112 §3: words are separated by one SP. A reader MAY split at other whitespace if it likes;
# then it must send on what it understood. §2.2: bare LF MAY end the line, bare CR never.
SEPARATORS: dict[str, Row] = {
    "two spaces before the target": (asking(b"GET  / HTTP/1.1"), 400, path(b"/")),
    "two spaces before the version": (asking(b"GET /  HTTP/1.1"), 400, path(b"/")),
    "tab before the target": (asking(b"GET\t/ HTTP/1.1"), 400, path(b"/")),
    "tab before the version": (asking(b"GET /\tHTTP/1.1"), 400, path(b"/")),
    "vertical tab": (asking(b"GET\x0b/ HTTP/1.1"), 400, path(b"/")),
    "form feed": (asking(b"GET /\x0cHTTP/1.1"), 400, path(b"/")),
    "space behind": (asking(b"GET / HTTP/1.1 "), 400, path(b"/")),
    "tab behind": (asking(b"GET / HTTP/1.1\t"), 400, path(b"/")),
    "space first": (asking(b" GET / HTTP/1.1"), 400, path(b"/")),
    "tab first": (asking(b"\tGET / HTTP/1.1"), 400, path(b"/")),
    "space within the target": (asking(b"GET /a b HTTP/1.1"), 400),
    "a second version": (asking(b"GET / HTTP/1.1 HTTP/1.1"), 400),
    "a second version, and the older one": (asking(b"GET / HTTP/1.0 HTTP/1.1"), 400),
    "no-break space": (asking(b"GET\xa0/ HTTP/1.1"), 400),
    "method alone": (asking(b"GET"), 400, 505),
    "no method": (asking(b" / HTTP/1.1"), 400),
    # §2.2: at least one empty line before it SHOULD be ignored.
    "an empty line before it": (b"\r\n" + path(b"/"), path(b"/")),
    "two empty lines before it": (b"\r\n\r\n" + path(b"/"), 400, path(b"/")),
    "a hundred empty lines before it": (b"\r\n" * 100 + path(b"/"), 400, path(b"/")),
    "an empty line ended by LF": (b"\n" + path(b"/"), 400, path(b"/")),
    "a line of one space before it": (b" \r\n" + path(b"/"), 400),
    "bare CR before it": (b"\r" + path(b"/"), 400),
    "NUL before it": (b"\x00" + path(b"/"), 400),
    "byte order mark before it": (b"\xef\xbb\xbf" + path(b"/"), 400),
    "ended by bare LF": (b"GET / HTTP/1.1\nHost: a.test\r\n\r\n", 400, path(b"/")),
    "ended by bare CR": (b"GET / HTTP/1.1\rHost: a.test\r\n\r\n", 400),
    "ended by CR CR LF": (b"GET / HTTP/1.1\r\r\nHost: a.test\r\n\r\n", 400),
    "bare LF for a space": (asking(b"GET\n/ HTTP/1.1"), 400, 505),
    "bare LF within the target": (path(b"/a\nb"), 400, 505),
    "bare CR for a space": (asking(b"GET\r/ HTTP/1.1"), 400, path(b"/")),
    "line break within the target": (path(b"/a\r\nb"), 400, 505),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "SOCKS": (b"\x05\x01\x00\r\n\r\n", 400),
    "only a response": (b"HTTP/1.1 200 OK\r\nHost: a.test\r\n\r\n", 400, 505),
}


# RFC 9110 §9.1, §5.6.2: any token is a method, and its case counts. Which of them
# are implemented is for the instance to say.
METHODS: dict[str, Row] = {
    method.decode(): (asking(b"%b / HTTP/1.1" % method), asking(b"%b / HTTP/1.1" % method))
    for method in (
        b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"PROPFIND",
        b"MKCALENDAR", b"PURGE", b"QUERY", b"LINK", b"M-SEARCH", b"SOURCE", b"ACL", b"FOO", b"X",
        b"get", b"Get", b"BASELINE-CONTROL", b"VERSION_CONTROL", b"GETX", b"GE", b"PRIX",
        b"!#$%&'*+-.^_`|~0123456789AZaz", b"METHODOFTHIRTYTWOCHARACTERSEXACT",
    )
}  # fmt: skip
METHODS |= {
    f"method {method!r}": (asking(b"%b / HTTP/1.1" % method), 400, 405, 501)
    for method in (
        b"GE(T", b"GET:", b'"GET"', b"G@T", b"GET/", b"[GET]", b"G\\T", b"G{}T", b"GET,POST",
        b"G;T", b"G=T", b"G?T", b"G<>T", b"\x00GET", b"GE\x00T", b"GET\x7f", b"G\xc9T",
        "GÉT".encode(),
    )
}  # fmt: skip
# RFC 9112 §3: a method longer than any that is known SHOULD be 501.
_LONG = asking(b"%b / HTTP/1.1" % (b"M" * 5000))
METHODS["a very long method"] = (_LONG, 400, 414, 431, 501, _LONG)


CASES = named(form=FORMS, target=TARGETS, version=VERSIONS, separators=SEPARATORS, method=METHODS)


@pytest.mark.parametrize("case", CASES)
def test_a_request_line_is_refused_or_means_one_thing(proxy: Proxy, case: str) -> None:
    for outcome in proxy.outcomes(CASES[case][0]):
        assert_allowed(outcome, CASES[case])


# RFC 9112 §3.2.2, §9.3: what HTTP/1.0 asks is answered once.
OLD: dict[str, tuple[bytes, bytes]] = {
    "with Host": (asking(b"GET /p HTTP/1.0"), path(b"/p")),
    "absolute-form, no Host": (b"GET http://a.test/p HTTP/1.0\r\n\r\n", path(b"/p")),
    "absolute-form outranks Host": (asking(b"GET http://a.test/p HTTP/1.0", b"b"), path(b"/p")),
    "asterisk": (asking(b"OPTIONS * HTTP/1.0"), asking(b"OPTIONS * HTTP/1.1")),
    "POST": (
        b"POST / HTTP/1.0\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi",
        b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi",
    ),
}


@pytest.mark.parametrize("case", OLD)
def test_a_request_of_http_1_0_is_the_last_on_its_connection(proxy: Proxy, case: str) -> None:
    message, form = OLD[case]
    assert_forwarded_and_closed(proxy.converse(message), form)


@pytest.mark.parametrize("line", [b"GET /", b"GET / HTTP/1.1 x", b"GET / ICE/1.0", b"GET  /"])
def test_a_line_that_begins_no_request_is_refused_before_more_comes(
    proxy: Proxy, line: bytes
) -> None:
    """A client of HTTP/0.9 sends nothing else, and would wait."""
    with proxy.instance(Backend(Recording().script)) as backend:
        for pieces in ([line + b"\r\n"], [line, b"\r\n"], [line + b"\r", b"\n"]):
            client = proxy.harness.connect()
            for piece in pieces:
                client.send(piece)
                proxy.harness.beat()
            assert client.message().status == 400
            assert client.rest() == b""
            client.close()
    assert backend.received == []


def test_http_1_0_without_a_host_has_nowhere_to_go(proxy: Proxy) -> None:
    # RFC 9112 §3.3: a server may have no default for it
    assert_refused(proxy.converse(b"GET / HTTP/1.0\r\n\r\n"), {400, 404, 421})


@pytest.mark.parametrize(
    ("version", "said"), [(b"HTTP/1.0", b"1.0 wakeful"), (b"HTTP/1.1", b"1.1 wakeful")]
)
def test_via_names_the_version_that_was_received(proxy: Proxy, version: bytes, said: bytes) -> None:
    # RFC 9110 §7.6.3: received-protocol is that of the sender
    (request, *_) = proxy.converse(asking(b"GET / %b" % version)).requests
    assert request.all(b"via") == [said]


@pytest.mark.parametrize("size", [16 * 1024, 16 * 1024 + 1])
def test_a_target_over_the_limit_is_refused(proxy: Proxy, size: int) -> None:
    # RFC 9112 §3: 414; docs/configuration.md has the limit
    message = path(b"/" + b"x" * (size - 1))
    outcome = proxy.converse(message)
    if size > 16 * 1024:
        assert_refused(outcome, {414})
    else:
        assert_allowed(outcome, (message, message))
