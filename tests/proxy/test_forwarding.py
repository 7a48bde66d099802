"""What passes through: methods, bodies, order, and the fields that travel or do not."""

from __future__ import annotations

import re

import pytest

from tests.proxy.harness import Harness, chunks, get, post
from tests.proxy.wire import Peer, answering, ok


@pytest.mark.parametrize("method", [b"GET", b"DELETE", b"OPTIONS", b"PATCH", b"PROPFIND"])
def test_a_request_reaches_the_instance_and_its_answer_the_client(
    harness: Harness, method: bytes
) -> None:
    backend = harness.backend(answering(ok(b"hello", b"X-App: 1\r\n")))
    harness.service(backend)
    client = harness.connect()
    client.send(method + b" /a%20b?q=1 HTTP/1.1\r\nHost: A.test:80\r\nX-Odd-Case: v\r\n\r\n")
    answer = client.message()
    assert (answer.status, answer.body, answer.get("X-App")) == (200, b"hello", b"1")
    assert answer.get("Date") is not None
    request = backend.connections[0]
    assert request.received.startswith(method + b" /a%20b?q=1 HTTP/1.1\r\nHost: A.test:80\r\n")
    assert b"X-Odd-Case: v\r\n" in request.received


def test_many_requests_share_one_connection_on_both_sides(harness: Harness) -> None:
    backend = harness.backend(answering(*(ok(b"%d" % n) for n in range(20))))
    harness.service(backend)
    client = harness.connect()
    for n in range(20):
        client.send(get(b"/%d" % n))
        assert client.message().body == b"%d" % n
    assert len(backend.connections) == 1


def test_repeated_heads_give_what_the_first_gave(harness: Harness) -> None:
    """The memory of known heads is a short cut, not another meaning."""
    date = b"Date: Mon, 23 Nov 2026 12:00:00 GMT\r\n"
    backend = harness.backend(answering(ok(b"12345", date)))
    harness.service(backend)
    client = harness.connect()
    answers = []
    for method in [b"GET"] * 5 + [b"DELETE"] * 3:
        client.send(
            method + b" / HTTP/1.1\r\nHost: a.test\r\nX-Request-Id: r\r\ntraceparent: t\r\n\r\n"
        )
        answers.append(client.message())
    assert [answer.body for answer in answers] == [b"12345"] * 8
    assert len({answer.fields for answer in answers}) == 1
    heads = backend.received[0].split(b"\r\n\r\n")[:8]
    assert len(set(heads[:5])) == len(set(heads[5:])) == 1
    assert heads[0] == heads[5].replace(b"DELETE", b"GET")
    last = b"DELETE / HTTP/1.1\r\nHost: a.test\r\nX-Request-Id: r\r\ntraceparent: t\r\n\r\n"
    assert harness.plane.known_requests.get(last)


def test_a_known_head_does_not_carry_identities_over(harness: Harness) -> None:
    backend = harness.backend()
    harness.service(backend)
    client = harness.connect()
    for _ in range(3):
        client.send(get())
        client.message()
    ids = re.findall(rb"X-Request-Id: ([0-9a-f]{32})\r\n", backend.received[0])
    traces = re.findall(rb"traceparent: (00-[0-9a-f]{32}-[0-9a-f]{16}-01)\r\n", backend.received[0])
    assert len(ids) == len(set(ids)) == len(traces) == len(set(traces)) == 3


def test_head_is_answered_without_a_body_and_the_connections_go_on(harness: Harness) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
    backend = harness.backend(answering(head, ok(b"hello")))
    harness.service(backend)
    client = harness.connect()
    client.send(b"HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n")
    answer = client.message(bodiless=True)
    assert (answer.status, answer.get("Content-Length")) == (200, b"5")
    client.send(get())
    assert client.message().body == b"hello"
    assert len(backend.connections) == 1


def test_a_known_answer_to_get_is_not_taken_for_the_answer_to_head(harness: Harness) -> None:
    date = b"Date: Mon, 23 Nov 2026 12:00:00 GMT\r\n"
    full = ok(b"hello", date)
    backend = harness.backend(answering(full, full, full[:-5], full))
    harness.service(backend)
    client = harness.connect()
    for method in (b"GET", b"GET", b"HEAD", b"GET"):
        client.send(method + b" / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        answer = client.message(bodiless=method == b"HEAD")
        assert answer.body == (b"" if method == b"HEAD" else b"hello")
    assert len(backend.connections) == 1


def test_a_body_with_the_answer_to_head_is_nobodys_though_it_is_a_known_answer(
    harness: Harness,
) -> None:
    backend = harness.backend(answering(*[ok(b"hello", b"Date: x\r\n")] * 3))
    harness.service(backend)
    client = harness.connect()
    for method in (b"GET", b"GET", b"HEAD", b"GET"):
        client.send(method + b" / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        assert client.message(bodiless=method == b"HEAD").status == 200
    assert client.received.count(b"hello") == 3
    assert len(backend.connections) == 2


@pytest.mark.parametrize("status", [204, 304])
def test_answers_that_have_no_body_by_their_status_get_none(harness: Harness, status: int) -> None:
    backend = harness.backend(answering(b"HTTP/1.1 %d X\r\nETag: x\r\n\r\n" % status, ok()))
    harness.service(backend)
    client = harness.connect()
    client.send(get() + get())
    answer = client.message()
    assert (answer.status, answer.get("ETag")) == (status, b"x")
    assert answer.get("Transfer-Encoding") is answer.get("Content-Length") is None
    assert client.message().status == 200
    assert len(backend.connections) == 1


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("method", [b"POST", b"PUT"])
def test_a_body_goes_up_whole_in_the_framing_it_came_in(
    harness: Harness, method: bytes, chunked: bool
) -> None:
    seen = []

    def script(peer: Peer) -> None:
        while True:
            seen.append(peer.message())
            peer.send(ok())

    backend = harness.backend(script)
    harness.service(backend)
    client = harness.connect()
    body = bytes(range(256)) * 1000
    client.send(post(body, chunked=chunked).replace(b"POST", method, 1))
    assert client.message().status == 200
    (request,) = seen
    assert request.start == method + b" / HTTP/1.1"
    assert request.body == body
    assert (request.get("Transfer-Encoding") is not None) is chunked
    assert (request.get("Content-Length") is None) is chunked


@pytest.mark.parametrize("chunked", [False, True])
def test_byte_at_a_time_is_as_good_as_at_once(harness: Harness, chunked: bool) -> None:
    trailers = b"X-Sum: 7\r\n" if chunked else b""

    def script(peer: Peer) -> None:
        for _ in range(2):
            request = peer.message()
            assert request.body == b"drop by drop"
            assert request.trailers == (((b"X-Sum", b"7"),) if chunked else ())
            if chunked:
                answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                answer += chunks(b"slow", b"ly", trailers=b"X-End: 1\r\n")
            else:
                answer = ok(b"slowly")
            peer.drip(answer, harness.beat)

    harness.service(harness.backend(script))
    client = harness.connect()
    for _ in range(2):
        request = post(b"drop by drop", chunked=chunked)
        if chunked:
            request = request[:-2] + trailers + b"\r\n"
        client.drip(request, harness.beat)
        answer = client.message()
        assert answer.body == b"slowly"
        assert answer.trailers == (((b"X-End", b"1"),) if chunked else ())


def test_trailers_that_could_change_the_meaning_of_the_message_are_dropped(
    harness: Harness,
) -> None:
    smuggled = b"Host: evil\r\nCookie: a=b\r\nX-Forwarded-For: 1\r\nX-Fine: 1\r\n"

    def script(peer: Peer) -> None:
        request = peer.message()
        assert request.trailers == ((b"X-Fine", b"1"),)
        peer.send(
            b"HTTP/1.1 200 OK\r\nConnection: X-Own\r\nTransfer-Encoding: chunked\r\n\r\n"
            + chunks(b"x", trailers=b"Set-Cookie: a=b\r\nX-Own: 1\r\nX-Fine \t: 2\r\n")
        )

    harness.service(harness.backend(script))
    client = harness.connect()
    client.send(post(b"body", chunked=True)[:-2] + smuggled + b"\r\n")
    assert client.message().trailers == ((b"X-Fine", b"2"),)


def test_pipelined_requests_are_answered_in_order(harness: Harness) -> None:
    def script(peer: Peer) -> None:
        while True:
            request = peer.message()
            peer.send(ok(request.start.split(b" ")[1] + b":" + request.body))

    harness.service(harness.backend(script))
    client = harness.connect()
    wanted = []
    stream = b""
    for n in range(50):
        body = b"x" * n if n % 3 == 0 else b""
        stream += get(b"/%d" % n) if n % 3 else post(body, chunked=bool(n % 2))
        wanted.append((b"/%d:" % n if n % 3 else b"/:") + body)
    client.send(stream)
    assert [client.message().body for _ in range(50)] == wanted


def test_two_thousand_pipelined_requests_that_are_answered_at_once_fit_on_the_stack(
    harness: Harness,
) -> None:
    client = harness.connect()
    client.send(get(host=b"nobody.test") * 2000)
    assert {client.message().status for _ in range(2000)} == {404}
    harness.service(harness.backend())
    client.send(get(host=b"nobody.test") * 999 + get())
    assert [client.message().status for _ in range(1000)][-1] == 200


def test_fields_of_the_connection_and_what_they_nominate_go_no_further(harness: Harness) -> None:
    answer = (
        b"HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Hop\r\nKeep-Alive: timeout=5\r\n"
        b"X-Hop: 1\r\nx-HOP: 2\r\nProxy-Connection: x\r\nUpgrade: h2c\r\nX-Stays: 3\r\n"
        b"Content-Length: 0\r\n\r\n"
    )
    backend = harness.backend(answering(answer))
    harness.service(backend)
    client = harness.connect()
    client.send(
        b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive, x-secret , TE\r\n"
        b"Connection: X-More\r\nX-Secret: 1\r\nx-more: 2\r\nTE: trailers\r\nKeep-Alive: 5\r\n"
        b"Proxy-Connection: keep-alive\r\nX-Stays: 3\r\n\r\n"
    )
    got = client.message()
    names = {name.lower() for name, _ in got.fields}
    assert names == {b"x-stays", b"content-length", b"date"}
    sent = {line.split(b":")[0].lower() for line in backend.received[0].split(b"\r\n")[1:] if line}
    assert sent == {
        b"host", b"x-stays", b"x-request-id", b"traceparent", b"via", b"forwarded",
        b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host",
    }  # fmt: skip


def test_what_the_client_says_about_who_asked_is_replaced(harness: Harness) -> None:
    backend = harness.backend()
    harness.service(backend)
    claims = (
        b"X-Forwarded-For: 6.6.6.6\r\nx-forwarded-proto: https\r\nX-Forwarded-Host: evil\r\n"
        b"X-Forwarded-Port: 1\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n"
        b"Via: 1.0 first\r\nX-Request-Id: mine\r\ntraceparent: 00-aa-bb-01\r\n"
    )
    client = harness.get(fields=claims)
    client.message()
    lines = backend.received[0].split(b"\r\n")
    assert b"6.6.6.6" not in backend.received[0]
    assert b"evil" not in backend.received[0]
    assert b"X-Forwarded-For: 127.0.0.1" in lines
    assert b"X-Forwarded-Proto: http" in lines
    assert b"X-Forwarded-Host: a.test" in lines
    assert b'Forwarded: for=127.0.0.1;host="a.test";proto=http' in lines
    assert [line for line in lines if line.startswith(b"Via")] == [
        b"Via: 1.0 first",
        b"Via: 1.1 wakeful",
    ]
    assert [line for line in lines if b"equest-" in line] == [b"X-Request-Id: mine"]
    assert [line for line in lines if line.startswith(b"trace")] == [b"traceparent: 00-aa-bb-01"]


def test_absolute_form_names_the_host_and_is_sent_on_in_origin_form(harness: Harness) -> None:
    backend = harness.backend()
    harness.service(backend)
    client = harness.connect()
    client.send(b"GET http://a.test:81/p?q HTTP/1.1\r\nHost: other.test\r\n\r\n")
    assert client.message().status == 200
    client.send(b"GET http://a.test HTTP/1.1\r\nHost: other.test\r\n\r\n")
    assert client.message().status == 200
    assert backend.received[0].startswith(b"GET /p?q HTTP/1.1\r\nHost: a.test:81\r\n")
    assert b"GET / HTTP/1.1\r\nHost: a.test\r\n" in backend.received[0]
    assert b"other.test" not in backend.received[0]


def test_options_asks_about_the_whole_server(harness: Harness) -> None:
    backend = harness.backend()
    harness.service(backend)
    client = harness.connect()
    client.send(b"OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n")
    assert client.message().status == 200
    assert backend.received[0].startswith(b"OPTIONS * HTTP/1.1\r\n")


def test_an_answer_that_ends_with_its_connection_is_framed_anew(harness: Harness) -> None:
    def script(peer: Peer) -> None:
        peer.message()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nuntil ")
        peer.send(b"the end")

    backend = harness.backend(script)
    harness.service(backend)
    client = harness.connect()
    for _ in range(2):
        client.send(get())
        answer = client.message()
        assert answer.get("Transfer-Encoding") == b"chunked"
        assert answer.body == b"until the end"
    assert len(backend.connections) == 2


def test_an_http_1_0_instance_is_understood(harness: Harness) -> None:
    def script(peer: Peer) -> None:
        peer.message()
        peer.send(b"HTTP/1.0 200 Fine\r\nContent-Length: 2\r\n\r\nok")

    harness.service(harness.backend(script))
    client = harness.connect()
    for _ in range(2):
        client.send(get())
        answer = client.message()
        assert (answer.start, answer.body) == (b"HTTP/1.1 200 Fine", b"ok")


def test_traffic_goes_where_the_host_says(harness: Harness) -> None:
    one = harness.backend(answering(ok(b"one")))
    two = harness.backend(answering(ok(b"two")))
    harness.service(one, host="a.test")
    harness.service(two, host="b.test")
    client = harness.connect()
    client.send(get(host=b"a.test") + get(host=b"B.TEST.:8080") + get(host=b"c.test"))
    assert client.message().body == b"one"
    assert client.message().body == b"two"
    answer = client.message()
    assert (answer.status, answer.reason) == (404, b"no_route")
    client.send(get(host=b"a.test"))
    assert client.message().body == b"one"


@pytest.mark.parametrize("fields", [b"Connection: close\r\n", b"Connection: X, close\r\n"])
def test_a_client_that_says_close_is_left_each_time(harness: Harness, fields: bytes) -> None:
    harness.service(harness.backend())
    for _ in range(3):
        client = harness.get(fields=fields)
        assert client.message().get("Connection") == b"close"
        assert client.ending() == "end"
