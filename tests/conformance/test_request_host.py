"""Host: who a request is for, and every form of it that names nobody (RFC 9112 §3.2)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.recording import (
    Proxy,
    Row,
    assert_allowed,
    running_proxy,
    written,
)
from tests.proxy.harness import get


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    with running_proxy() as proxy:
        yield proxy


def hosts(fields: bytes) -> bytes:
    return b"GET /p HTTP/1.1\r\n%b\r\n\r\n" % fields


def passed(host: bytes) -> Row:
    return hosts(b"Host: " + host), hosts(b"Host: " + host)


PLAIN = hosts(b"Host: a.test")

# §3.2: none, several, or not the grammar of uri-host [":" port] MUST be 400.
CASES: dict[str, Row] = {
    "none": (b"GET /p HTTP/1.1\r\n\r\n", 400),
    "none, but other fields": (hosts(b"X-Host: a.test\r\nForwarded: host=a.test"), 400),
    "two of the same": (hosts(b"Host: a.test\r\nHost: a.test"), 400),
    "two different": (hosts(b"Host: a.test\r\nHost: b.test"), 400),
    "two, case of the name differs": (hosts(b"Host: a.test\r\nhOST: b.test"), 400),
    "two, the second empty": (hosts(b"Host: a.test\r\nHost:"), 400),
    "two, the first empty": (hosts(b"Host:\r\nHost: a.test"), 400),
    "two, far apart": (hosts(b"Host: a.test\r\n" + b"X: 1\r\n" * 50 + b"Host: a.test"), 400),
    "empty": (hosts(b"Host:"), 400, 404, 421),  # valid, but of no http URI
    "blank": (hosts(b"Host: \t "), 400, 404, 421),
    "name in lower case": (hosts(b"host: a.test"), PLAIN, hosts(b"host: a.test")),
    "name in upper case": (hosts(b"HOST: a.test"), PLAIN, hosts(b"HOST: a.test")),
    "no space": (hosts(b"Host:a.test"), PLAIN),
    "white space around": (hosts(b"Host: \t a.test\t "), PLAIN),
    "last of the fields": (hosts(b"X: 1\r\nHost: a.test"), hosts(b"X: 1\r\nHost: a.test")),
    "space before the colon": (hosts(b"Host : a.test"), 400),
    "folded": (hosts(b"Host:\r\n a.test"), 400, PLAIN),  # RFC 9112 §5.2
    "second one in a fold": (hosts(b"Host: a.test\r\n Host: b.test"), 400),
    "underscore before it": (hosts(b"_Host: a.test"), 400),
    # RFC 9110 §4.2.3: case does not matter; RFC 3986 §3.2.3: a port may be empty
    "upper case": passed(b"A.TEST"),
    "port": passed(b"a.test:8080"),
    "empty port": (hosts(b"Host: a.test:"), hosts(b"Host: a.test:"), PLAIN),
    "port with zeros": passed(b"a.test:00080"),
    "final dot": passed(b"a.test."),
    "final dot and port": passed(b"a.test.:80"),
    "hyphen": passed(b"a-b.test"),
    "IPv4": passed(b"127.0.0.1:80"),
    "IPv6": passed(b"[::1]"),
    "IPv6 and port": passed(b"[::1]:80"),
    "IPv6 in upper case": passed(b"[2001:DB8::7]"),
    # A number in the grammar, but of no TCP port.
    "port 65536": (*passed(b"a.test:65536"), 400),
    "port of twenty digits": (*passed(b"a.test:99999999999999999999"), 400),
}
CASES |= {
    f"invalid: {host!r}": (hosts(b"Host: " + host), 400)
    for host in (
        b"a.test, b.test", b"a.test b.test", b"a.test\tb", b"a.test/", b"a.test/p", b"a.test?q",
        b"a.test#f", b"http://a.test", b"//a.test", b"u@a.test", b"u:p@a.test", b"@a.test",
        b"a.test@", b"a.test:80@b.test", b'"a.test"', b"<a.test>", rb"a.test\b", rb"a.test\@b.test",
        b"a.test|b", b"a.test^", b"{a.test}", b"a.test`", b"a.test:x", b"a.test:80x", b"a.test:-1",
        b"a.test:+80", b"a.test: 80", b"a.test :80", b"a.test:0x50", b"a.test:80:80", b"a.test::80",
        b"a.test:80,b.test", b"a.test:80.", b":80", b":", b"::1", b"[::1", b"::1]", b"[]", b"[:80",
        b"[::1]x", b"[::1]x:80", b"[::1]:x", b"[::1]::80", b"[[::1]]", b"x[::1]", b"[::g]",
        b"[a.test]", b"[127.0.0.1]", b"[1:2:3]", b"[1::2::3]", b"[::12345]", b"a[.test", b"a].test",
        b"a.test%", b"a.test%zz", b"a.test%4", b"a.t\x80st", b"\xc3\xa4.test", b"a.test\xa0",
        b"a.test\x00", b"a.test\x00.b.test", b"a.test\x01", b"a.test\x0b", b"a.test\x7f",
        b"a.test\rb.test", b"a.test\nHost: b.test",
    )
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_host_names_a_service_or_the_request_is_refused(proxy: Proxy, case: str) -> None:
    for outcome in proxy.outcomes(CASES[case][0]):
        assert_allowed(outcome, CASES[case])


# Valid, but no service's: RFC 9110 §15.5.5, §15.5.20.
STRANGERS = (
    b"b.test", b"xa.test", b"a.testx", b"a.test..", b".a.test", b"a..test", b"test", b"a_b.test",
    b"a.test,b.test", b"a%2etest", b"a.test;b", b"a.test=", b"!$&'()*+;=~", b"1.2.3.4",
    b"127.0.0.01", b"[::2]", b"[::ffff:127.0.0.1]", b"[2001:db8:0:0:0:0:0:8]:80", b"[v1.x:y]",
    b"[fe80::1%25eth0]", b"x" * 63 + b".test", b"x." * 500 + b"test",
)  # fmt: skip


@pytest.mark.parametrize("host", STRANGERS)
def test_a_host_of_nobody_is_answered_and_no_instance_is_asked(proxy: Proxy, host: bytes) -> None:
    outcome = proxy.converse(get(host=host))
    first, *others = outcome.answers
    assert first.status in (400, 404, 421)
    if first.get("Connection") == b"close":
        assert (others, outcome.raw) == ([], b"")
    else:
        assert [request.line for request in outcome.requests] == [b"GET /behind HTTP/1.1"]
        assert [answer.status for answer in others] == [200]


def test_one_connection_may_ask_for_many_hosts(proxy: Proxy) -> None:
    one, other = get(host=b"a.test"), get(host=b"127.0.0.1")
    outcome = proxy.converse(one + other + one)
    seen = [request.all(b"host") for request in outcome.requests]
    assert seen == [[b"a.test"], [b"127.0.0.1"], [b"a.test"], [b"a.test"]]
    assert outcome.requests[3].line == b"GET /behind HTTP/1.1"


def test_the_reader_of_these_tests_knows_two_hosts_when_it_sees_them() -> None:
    with pytest.raises(AssertionError):
        written(hosts(b"Host: a.test\r\nHost: a.test"))
