from __future__ import annotations

import json
import re
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.proxy.conftest import Launch
from tests.proxy.harness import Harness, get, old, post
from tests.proxy.wire import PATIENCE, Peer, answering, ok
from wakeful.config.model import AccessLog, AccessLogFormat
from wakeful.proxy import reply

# The format that Apache calls common, and what combined adds to it.
COMMON = re.compile(
    r"(?P<client>\S+) - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d \+0000\] "
    r'"(?P<request>(?:[^"\\]|\\.)*)" (?P<status>\d{3}) (?P<size>\d+)'
)
COMBINED = re.compile(
    COMMON.pattern + r' "(?P<referer>(?:[^"\\]|\\.)*)" "(?P<agent>(?:[^"\\]|\\.)*)"'
)

# What would end a line, a string or a terminal's patience.
EVIL = b'x" 200 1\\" \x80\xff \xc2\x9b31m <script>'


def lines(launch: Launch, path: Path, format: AccessLogFormat) -> list[str]:
    harness = launch(log=AccessLog(format, str(path)))
    harness.service(harness.backend(answering(ok(), ok(b"12345678"))))
    client = harness.connect()
    client.send(get(b'/a"b?c=\\d', fields=b"User-Agent: %b\r\nReferer: %b\r\n" % (EVIL, EVIL)))
    assert client.message().status == 200
    client.send(post(b"abc", fields=b"X-Request-Id: %b\r\n" % EVIL))
    assert client.message().status == 200
    client.send(get(host=b"nobody.test"))
    assert client.message().status == 404
    client.send(b"BAD\r\n\r\n")
    assert client.message().status == 400
    done(harness)
    written = path.read_bytes().decode("ascii")
    assert written.endswith("\n")
    return written.splitlines()


def done(harness: Harness) -> None:
    assert harness.plane.access is not None
    harness.call(harness.plane.access.close)
    harness.plane.access = None


def said(harness: Harness, path: Path) -> list[dict[str, Any]]:
    """All lines, once nothing more comes."""
    done(harness)
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_json_lines_parse_back_whatever_the_client_sent(launch: Launch, tmp_path: Path) -> None:
    first, second, third, fourth = (
        json.loads(line) for line in lines(launch, tmp_path / "log", AccessLogFormat.JSON)
    )
    assert first["uri"] == '/a"b?c=\\d'
    assert first["user_agent"] == EVIL.decode("latin-1")
    assert (first["status"], first["method"], first["host"]) == (200, "GET", "a.test")
    assert (first["size"], first["bytes_read"]) == (5, 0)
    assert (first["service"], first["revision"], first["instance"]) == ("a", "a-00001", "i0")
    assert re.fullmatch("[0-9a-f]{32}", first["request_id"])
    assert (second["method"], second["bytes_read"], second["size"]) == ("POST", 3, 8)
    assert second["request_id"] == EVIL.decode("latin-1")
    assert (third["status"], third["reason"]) == (404, "no_route")
    assert (fourth["status"], fourth["reason"]) == (400, "bad_request")
    assert {line["client_ip"] for line in (first, second, third, fourth)} == {"127.0.0.1"}


def test_a_request_has_one_id_or_none(launch: Launch, tmp_path: Path) -> None:
    path = tmp_path / "log"
    harness = launch(log=AccessLog(AccessLogFormat.JSON, str(path)))
    harness.service(harness.backend(answering(ok(), ok(), ok())))
    client = harness.connect()
    for fields in (
        b"",
        b"X-Request-Id: mine\r\n",
        b"Connection: X-Request-Id\r\nX-Request-Id: x\r\n",
    ):
        client.send(get(fields=fields))
        assert client.message().status == 200
    client.send(get(host=b"nobody.test"))
    assert client.message().status == 404
    client.send(get(host=b"nobody.test", fields=b"X-Request-Id: mine\r\n"))
    assert client.message().status == 404
    done(harness)
    ids = [re.findall('"request_id":"(.*?)"', line) for line in path.read_text().splitlines()]
    made = re.compile("[0-9a-f]{32}")
    assert made.fullmatch(*ids[0])
    assert ids[1] == ["mine"]
    assert made.fullmatch(*ids[2]), "the client took its own back"
    assert ids[3:] == [[], ["mine"]]


def test_every_line_has_the_wall_clock_s_time(launch: Launch, tmp_path: Path) -> None:
    """Also where the first was a refusal, which belongs to no request."""
    path, before = tmp_path / "log", time.time()
    harness = launch(log=AccessLog(AccessLogFormat.JSON, str(path)))
    harness.service(harness.backend(answering(ok(), ok())))
    broken = harness.connect()
    broken.send(b"BAD\r\n\r\n")
    assert broken.message().status == 400
    access = harness.plane.access
    assert access is not None
    for seconds in (0.0, 100.0):
        harness.call(access._flush)
        harness.clock.forward(seconds)
        assert harness.get().message().status == 200
    done(harness)
    times = [json.loads(line)["ts"] for line in path.read_text().splitlines()]
    assert len(times) == 3
    assert all(before - 0.002 <= at <= time.time() for at in times)


def test_combined_lines_parse_back_whatever_the_client_sent(launch: Launch, tmp_path: Path) -> None:
    found = [
        COMBINED.fullmatch(line)
        for line in lines(launch, tmp_path / "log", AccessLogFormat.COMBINED)
    ]
    parsed = [match.groupdict() for match in found if match is not None]
    assert len(parsed) == 4
    assert parsed[0]["request"] == r"GET /a\x22b?c=\x5cd HTTP/1.1"
    assert parsed[0]["agent"] == parsed[0]["referer"]
    assert parsed[0]["agent"].startswith(r"x\x22 200 1\x5c\x22 \x80\xff \xc2\x9b31m")
    assert [one["status"] for one in parsed] == ["200", "200", "404", "400"]
    assert (parsed[1]["agent"], parsed[1]["size"]) == ("-", "8")


def test_common_lines_parse_back(launch: Launch, tmp_path: Path) -> None:
    found = lines(launch, tmp_path / "log", AccessLogFormat.COMMON)
    assert all(COMMON.fullmatch(line) for line in found)
    assert [line.split()[-2] for line in found] == ["200", "200", "404", "400"]


def test_the_common_date_is_the_wall_clock_s(launch: Launch, tmp_path: Path) -> None:
    before = int(time.time())
    for line in lines(launch, tmp_path / "log", AccessLogFormat.COMMON):
        date = re.search(r"\[(.*)\]", line)
        assert date is not None
        at = datetime.strptime(date[1], "%d/%b/%Y:%H:%M:%S %z").timestamp()
        assert before <= at <= time.time()


def test_lines_are_written_soon_without_more_to_come(launch: Launch, tmp_path: Path) -> None:
    path = tmp_path / "log"
    harness = launch(log=AccessLog(AccessLogFormat.JSON, str(path)))
    for number, (message, status) in enumerate([(get(), 404), (get(), 404), (b"BAD\r\n\r\n", 400)]):
        client = harness.connect()
        client.send(message)
        assert client.message().status == status
        harness.wait_for(lambda: path.read_bytes().count(b"\n") > number, "the line")  # noqa: B023


def test_many_are_handed_over_at_once(launch: Launch, tmp_path: Path) -> None:
    path = tmp_path / "log"
    harness = launch(log=AccessLog(AccessLogFormat.JSON, str(path)))
    access = harness.plane.access
    assert access is not None
    client = harness.connect()
    client.send(get())
    client.message()
    (connection,) = harness.plane.connections

    def refuse() -> int:
        """All within one turn of the loop, whose timers rest meanwhile."""
        for _ in range(10_000):
            access.refusal(connection, reply.BODY_TOO_LARGE)
        return sum(map(len, access._made))

    assert 0 < harness.call(refuse) < 2**19
    done(harness)
    written = path.read_bytes()
    assert len(written) > 2**19
    assert written.count(b"\n") == 10_001


def test_what_nobody_takes_is_counted_by_the_line(launch: Launch) -> None:
    harness = launch(log=AccessLog(AccessLogFormat.JSON, "/dev/null"))
    access = harness.plane.access
    assert access is not None
    access._writer._given = 2**26  # as if it waited
    client = harness.connect()
    for _ in range(3):
        client.send(get())
        assert client.message().status == 404
    harness.call(access._flush)
    assert access.dropped == 3


def test_a_client_that_left_is_logged_as_such(launch: Launch, tmp_path: Path) -> None:
    path = tmp_path / "log"
    harness = launch(log=AccessLog(AccessLogFormat.JSON, str(path)))
    throttler = harness.service()
    client = harness.get()
    harness.wait_for(lambda: throttler.breaker.waiting)
    client.close()
    harness.wait_for(lambda: not harness.plane.connections)
    done(harness)
    (line,) = path.read_text().splitlines()
    assert (json.loads(line)["status"], json.loads(line)["cold_start"]) == (499, True)


def test_a_client_that_left_amid_its_answer_is_logged_with_what_it_was_sent(
    launch: Launch, tmp_path: Path
) -> None:
    path = tmp_path / "log"

    def script(peer: Peer) -> None:
        peer.message()
        peer.send(b"HTTP/1.1 206 Partial Content\r\nContent-Length: 100\r\n\r\nfirst")
        peer.ending()

    harness = launch(log=AccessLog(AccessLogFormat.JSON, str(path)))
    harness.service(harness.backend(script))
    client = harness.get()
    client.until(b"first")
    client.close()
    harness.wait_for(lambda: not harness.plane.connections)
    (line,) = said(harness, path)
    assert (line["status"], line["size"]) == (206, 5)


@pytest.mark.parametrize("request_", [get(), old(get()), post(b"body")])
def test_the_size_of_an_answer_that_came_before_is_that_of_its_body(
    launch: Launch, tmp_path: Path, request_: bytes
) -> None:
    path = tmp_path / "log"
    harness = launch(log=AccessLog(AccessLogFormat.JSON, str(path)))
    known = ok(fields=b"Date: Mon, 30 Nov 2026 14:26:52 GMT\r\n")
    harness.service(harness.backend(answering(*[known] * 4)))
    for _ in range(4):
        client = harness.connect()
        client.send(request_)
        assert client.message().body == b"hello"
    assert [line["size"] for line in said(harness, path)] == [5] * 4


def test_a_reopened_log_goes_on_in_a_new_file(launch: Launch, tmp_path: Path) -> None:
    path = tmp_path / "log"
    harness = launch(log=AccessLog(AccessLogFormat.JSON, str(path)))
    access = harness.plane.access
    assert access is not None
    harness.get(host=b"first.test").message()
    harness.call(access._flush)
    while not path.read_text():
        harness.beat()
    path.rename(tmp_path / "old")
    harness.call(access.reopen)
    harness.get(host=b"second.test").message()
    done(harness)
    assert "first.test" in (tmp_path / "old").read_text()
    assert "second.test" in path.read_text()


def test_lines_stand_in_order_over_several_batches_with_a_refusal_between(
    launch: Launch, tmp_path: Path
) -> None:
    path = tmp_path / "log"
    harness = launch(log=AccessLog(AccessLogFormat.JSON, str(path)))
    harness.service(harness.backend(answering(*[ok()] * 1500)))
    access = harness.plane.access
    assert access is not None
    client = harness.connect()
    for number in range(1500):
        assert harness.call(lambda: len(access._records)) < 64
        if number == 1300:
            broken = harness.connect()
            broken.send(b"BAD\r\n\r\n")
            assert broken.message().status == 400
        client.send(get(b"/%d" % number))
        assert client.message().status == 200
    done(harness)
    said = [json.loads(line).get("uri") for line in path.read_text().splitlines()]
    expected = [f"/{number}" for number in range(1500)]
    assert said == [*expected[:1300], None, *expected[1300:]]


def test_a_client_that_repeats_itself_is_told_apart_by_what_it_gets(
    launch: Launch, tmp_path: Path
) -> None:
    path = tmp_path / "log"
    harness = launch(log=AccessLog(AccessLogFormat.JSON, str(path)))
    other = b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nhello"
    answers = [ok()] * 3 + [other] * 3 + [ok(b"longer")] * 3 + [ok()] * 6
    first, second = harness.backend(answering(*answers)), harness.backend(answering(*[ok()] * 3))
    harness.service(first)
    client = harness.connect()
    for uri in (b"/a", b"/a", b"/a", b"/b"):
        for _ in range(3):
            client.send(get(uri))
            client.message()
    one, two = harness.endpoints(first, second)
    harness.publish([two])
    for _ in range(3):
        client.send(get(b"/b"))
        client.message()
    harness.publish([one])
    client.send(get(b"/a"))
    client.message()
    found = [
        (line["uri"], line["status"], line["size"], line["instance"])
        for line in said(harness, path)
    ]
    assert found == [
        *[("/a", 200, 5, "i0")] * 3,
        *[("/a", 404, 5, "i0")] * 3,
        *[("/a", 200, 6, "i0")] * 3,
        *[("/b", 200, 5, "i0")] * 3,
        *[("/b", 200, 5, "i1")] * 3,
        ("/a", 200, 5, "i0"),
    ]


@pytest.mark.parametrize(
    ("messages", "kept"),
    [
        ([get(b"/")] * 3, True),
        ([get(b"/" + b"x" * 2000)] * 3, False),
        ([get(b"/%d" % number, fields=b"A: %d\r\n" % number) for number in range(3)], False),
        ([post(b"body")] * 3, False),
    ],
    ids=["short", "long", "another each time", "with a body"],
)
def test_only_little_is_kept_of_a_client_for_when_it_repeats_itself(
    launch: Launch, messages: list[bytes], kept: bool
) -> None:
    harness = launch(log=AccessLog(AccessLogFormat.JSON, "/dev/null"))
    harness.service(harness.backend(answering(*[ok()] * 3)))
    client = harness.connect()
    for message in messages:
        client.send(message)
        assert client.message().status == 200
    (connection,) = harness.plane.connections
    assert bool(connection.said) is bool(connection.told) is kept
    assert len(connection.said) <= 1024


def test_a_client_that_repeats_itself_is_told_how_long_it_waited(
    launch: Launch, tmp_path: Path
) -> None:
    path, go_on = tmp_path / "log", threading.Event()

    def script(peer: Peer) -> None:
        while True:
            if b" /slow " in peer.message().start:
                go_on.wait(PATIENCE)
            peer.send(ok())

    harness = launch(log=AccessLog(AccessLogFormat.JSON, str(path)))
    throttler = harness.service(harness.backend(script), concurrency=1)
    client, other = harness.connect(), harness.connect()
    for at in range(7):
        if at == 4:
            other.send(get(b"/slow"))
            harness.wait_for(lambda: throttler.breaker.active)
        client.send(get(b"/"))
        if at == 4:
            harness.wait_for(lambda: throttler.breaker.waiting)
            harness.clock.forward(7.0)
            go_on.set()
        assert client.message().status == 200
    waited = [line["queue_ms"] for line in said(harness, path) if line["uri"] == "/"]
    assert [milliseconds > 0 for milliseconds in waited] == [at == 4 for at in range(7)]
    assert 7000 <= waited[4] < 9000


def test_an_answer_of_our_own_is_not_said_to_be_the_instances(
    launch: Launch, tmp_path: Path
) -> None:
    """Of the same status and size."""
    size = len(reply.RESPONSE_TIMEOUT.detail) + 1  # with the end of its line
    its = b"HTTP/1.1 504 Gateway Timeout\r\nContent-Length: %d\r\n\r\n%b" % (size, bytes(size))
    path = tmp_path / "log"
    harness = launch(log=AccessLog(AccessLogFormat.JSON, str(path)))

    def script(peer: Peer) -> None:
        for _ in range(3):
            peer.message()
            peer.send(its)
        peer.ending()

    backend = harness.backend(script)
    harness.service(backend, response_start_timeout=5.0)
    client = harness.connect()
    for _ in range(3):
        client.send(get())
        assert client.message().status == 504
    client.send(get())
    harness.wait_for(lambda: backend.requests == 4)
    harness.clock.forward(5.0)
    assert client.message().reason == b"response_timeout"
    found = [(line["status"], line["size"], line.get("reason")) for line in said(harness, path)]
    assert found == [(504, size, None)] * 3 + [(504, size, "response_timeout")]


def test_the_body_of_an_answer_of_our_own_is_counted_too(launch: Launch, tmp_path: Path) -> None:
    path = tmp_path / "log"
    harness = launch(log=AccessLog(AccessLogFormat.JSON, str(path)))
    client = harness.connect()
    client.send(get(host=b"nobody.test"))
    body = client.message().body
    client.send(b"HEAD / HTTP/1.1\r\nHost: nobody.test\r\n\r\n")
    assert client.message(bodiless=True).status == 404
    done(harness)
    sizes = [json.loads(line)["size"] for line in path.read_text().splitlines()]
    assert sizes == [len(body), 0]
    assert body
