"""Access logs, line by line, as wakeful, nginx and Apache write them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from wakeful.config.load import loads
from wakeful.proxy.headers import first
from wakeful.simulate.logs import Log, read_logs
from wakeful.simulate.sources import Owners, SourceError
from wakeful.simulate.traffic import Arrival, ServiceTime

CONFIG = loads(
    "services:\n  hello: {command: x, domains: [hello.example.com]}\n  other: {command: x}\n",
    Path("/"),
).config
ALONE = loads("services: {hello: {command: x}}", Path("/")).config


class Reader:
    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def read(self, *lines: str | dict[str, object], rest: str | None = None) -> Log:
        file = self.directory / "access.log"
        texts = [one if isinstance(one, str) else json.dumps(one) for one in lines]
        file.write_text("\n".join(texts) + "\n")
        return read_logs([file], Owners(CONFIG, rest))

    def arrivals(self, *lines: str | dict[str, object], rest: str | None = None) -> list[Arrival]:
        log = self.read(*lines, rest=rest)
        assert log.remarks.bad == 0, log.remarks.first_bad
        return arrivals_of(log)


def arrivals_of(log: Log) -> list[Arrival]:
    return list(log.requests.traffic("", ServiceTime(0.1), seed=1).arrivals())


@pytest.fixture
def log(tmp_path: Path) -> Reader:
    return Reader(tmp_path)


def line(ts: float, duration: float, **fields: object) -> dict[str, object]:
    """As wakeful writes it of a request that an instance answered."""
    usual = {"status": 200, "method": "GET", "host": "hello.localhost", "uri": "/"}
    usual |= {"service": "hello", "revision": "hello-00001", "instance": "h-1", "queue_ms": 0.0}
    return {"ts": ts, **usual, "duration": duration, **fields}


# JSON


def test_a_request_held_its_place_for_its_duration_without_its_wait(log: Reader) -> None:
    assert log.arrivals(line(50.25, 1.5, queue_ms=400.0)) == [Arrival(0.25, "hello", 1.1)]


def test_lines_that_were_written_when_requests_were_over_are_put_in_the_order_of_their_start(
    log: Reader,
) -> None:
    found = log.arrivals(line(12, 0.5), line(13, 0.25), line(10, 9.0))
    assert found == [
        Arrival(0, "hello", 9.0),
        Arrival(2, "hello", 0.5),
        Arrival(3, "hello", 0.25),
    ]


def test_a_line_of_wakeful_s_own_pen_is_understood(log: Reader) -> None:
    # Written by `wakeful run` for GET / of a sleeping service.
    text = (
        '{"ts":1763990001.125,"status":200,"method":"GET","host":"hello.localhost:8080","uri":"/",'
        '"proto":"HTTP/1.1","user_agent":"curl/7.88.1","client_ip":"127.0.0.1","duration":0.392000,'
        '"size":52,"bytes_read":0,"service":"hello","revision":"hello-00001",'
        '"instance":"hello-00001-1f0c","queue_ms":390.000,"cold_start":true,'
        '"request_id":"0af7651916cd43dd8448eb211c80319c"}'
    )
    read = log.read(text)
    (arrival,) = arrivals_of(read)
    assert (arrival.at, arrival.service) == (0.125, "hello")
    assert arrival.seconds == pytest.approx(0.002)
    assert read.start_times == (0.39,)


def test_a_request_that_was_refused_is_demand_all_the_same(log: Reader) -> None:
    refused = line(11, 0.001, status=503, reason="queue_full")
    gave_up = line(12, 30.0, status=499)
    for one in (refused, gave_up):
        del one["instance"], one["queue_ms"]
    found = log.arrivals(line(10, 2.0), line(10, 4.0), line(10, 8.0), refused, gave_up)
    assert found[3:] == [Arrival(1, "hello", 4.0), Arrival(2, "hello", 4.0)]


def test_the_service_is_named_or_else_its_host_is_looked_up_as_the_proxy_does(log: Reader) -> None:
    found = log.arrivals(
        line(1, 1, service="other"),
        {"ts": 2, "duration": 3, "host": "HELLO.example.com.:8443"},
        {"ts": 3, "duration": 3, "host": "other.localhost"},
        line(4, 1, service="renamed", host="hello.localhost"),
    )
    assert [arrival.service for arrival in found] == ["other", "hello", "other", "hello"]


def test_what_nobody_is_known_for_is_counted_and_named(log: Reader) -> None:
    read = log.read(
        *[{"ts": n, "duration": 3, "host": "a.example.com"} for n in range(3)],
        {"ts": 3, "duration": 3, "host": "b.example.com", "service": "gone"},
        {"ts": 3, "duration": 3},
    )
    assert len(read.requests) == 0
    assert read.remarks.texts() == [
        "for services or hosts that the configuration does not have: 4 lines: "
        "a.example.com (3), gone (1)",
        "for nobody in particular: 1 line; --service NAME takes them",
    ]


def test_what_nobody_is_known_for_may_be_given_to_a_service(log: Reader) -> None:
    found = log.arrivals(
        {"ts": 1, "duration": 3, "host": "a.example.com"},
        {"ts": 2, "duration": 3},
        {"ts": 3, "duration": 3, "host": "hello.localhost"},
        rest="other",
    )
    assert [arrival.service for arrival in found] == ["other", "other", "hello"]


def test_the_only_service_has_what_names_none_but_not_what_names_another(tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    file.write_text('{"ts":1,"duration":1}\n{"ts":1,"duration":1,"host":"elsewhere"}\n')
    read = read_logs([file], Owners(ALONE))
    assert [arrival.service for arrival in arrivals_of(read)] == ["hello"]
    assert dict(read.remarks.strangers) == {"elsewhere": 1}


def test_what_was_answered_before_it_had_a_service_is_no_traffic(log: Reader) -> None:
    read = log.read(
        {"ts": 1, "status": 400, "reason": "bad_request", "client_ip": "127.0.0.1"},
        {"ts": 1, "status": 404, "host": "x", "duration": 0.1, "reason": "no_route"},
        '10.0.0.1 - - [10/Oct/2025:13:55:36 +0000] "-" 400 0',
    )
    assert (read.remarks.bad, len(read.requests)) == (0, 0)
    assert read.remarks.texts() == ["requests that no service was asked for: 3 lines"]


def test_an_upgraded_connection_is_a_tunnel(log: Reader) -> None:
    (arrival,) = log.arrivals(line(1, 1000, status=101))
    assert arrival.tunnel
    assert arrival.seconds == 1000


def test_a_start_took_as_long_as_the_first_that_waited_for_it_had_to(log: Reader) -> None:
    read = log.read(
        # In the order in which they were over.
        line(10.3, 0.3, instance="h-1", queue_ms=100.0, cold_start=True),
        line(10.0, 0.6, instance="h-1", queue_ms=400.0, cold_start=True),
        line(10.1, 5.0, instance="h-1", queue_ms=900.0, cold_start=True),
        line(10.1, 1.0, instance="h-2", queue_ms=450.0, cold_start=True),
        line(20.0, 1.0, instance="h-3", queue_ms=800.0),
        # Thaws, of one whose start the log does not have.
        line(30.0, 1.0, instance="h-4", queue_ms=0.371, cold_start=True),
        line(90.0, 1.0, instance="h-1", queue_ms=0.402, cold_start=True),
    )
    assert read.start_times == (0.4, 0.45)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"ts": 1, "duration": 1', "not JSON"),
        ("[" * 100_000, "neither JSON nor the common or combined format"),
        ('{"duration": 1}', "no 'ts'"),
        ('{"ts": 1}', "no 'duration'"),
        ('{"ts": "1", "duration": 1}', "'ts' is not a number"),
        ('{"ts": true, "duration": 1}', "'ts' is not a number"),
        ('{"ts": 1, "duration": -1}', "'duration' is out of range"),
        ('{"ts": 1, "duration": NaN}', "'duration' is out of range"),
        ('{"ts": 1763990001125, "duration": 1}', "'ts' is out of range"),  # milliseconds
        ('{"ts": 1, "duration": 1' + "0" * 400 + "}", "'duration' is out of range"),
        ('{"ts": 1, "duration": 1, "service": 3}', "'service' is not a text"),
        ('{"ts": 1, "duration": 1, "service": "hello", "queue_ms": "x"}', "'queue_ms' is not a"),
        ("hello", "neither JSON nor the common or combined format"),
        ('a - - [yesterday] "GET / HTTP/1.1" 200 5', "'yesterday' is not a time such as"),
        ('a - - [10/Okt/2025:13:55:36 +0000] "GET / HTTP/1.1" 200 5', "is not a time such as"),
        ('a - - [10/Oct/0000:13:55:36 +0000] "GET / HTTP/1.1" 200 5', "year"),
        ('a - - [10/Oct/2025:13:55:36 +0000] "GET / HTTP/1.1" OK 5', "neither JSON nor"),
    ],
)
def test_a_bad_line_is_counted_with_its_number_and_does_no_harm(
    log: Reader, text: str, why: str
) -> None:
    read = log.read(line(1, 1), "", text, line(2, 1))
    assert (read.remarks.lines, read.remarks.bad, len(read.requests)) == (3, 1, 2)
    (first,) = read.remarks.first_bad
    assert first.startswith(f"{log.directory}/access.log:3: ")
    assert why in first


def test_only_the_first_bad_lines_are_shown_and_nothing_of_them_moves_a_terminal(
    log: Reader,
) -> None:
    read = log.read(*["\x1b[2J" + "x" * 500] * 7)
    assert read.remarks.bad == 7
    assert len(read.remarks.first_bad) == 3
    assert all(text.isprintable() and len(text) < 300 for text in read.remarks.first_bad)
    assert read.remarks.texts()[0] == "could not be read: 7 of 7 lines"


# Common and combined


COMMON = '10.0.0.1 - frank [10/Oct/2025:13:55:36 -0700] "GET /a HTTP/1.1" 200 2326'


@pytest.mark.parametrize(
    "text",
    [
        COMMON,
        COMMON + ' "http://from.here/" "a \\x22browser\\x22"',
        COMMON + ' "-" "quoted \\" and [brackets]"',
        '::1 - - [10/Oct/2025:13:55:36 -0700] "GET /a?x=\\"b\\" HTTP/1.1" 304 -',
    ],
)
def test_a_common_or_combined_line_is_a_request_for_whoever_is_named(
    log: Reader, text: str
) -> None:
    assert log.arrivals(text, rest="hello") == [Arrival(0.5, "hello", 0.1)]


def test_a_line_may_begin_with_its_virtual_host_as_apache_s_vhost_combined(log: Reader) -> None:
    found = log.arrivals(
        f'hello.example.com:443 {COMMON} "-" "curl"', f'other.localhost:80 {COMMON} "-" "curl"'
    )
    assert [arrival.service for arrival in found] == ["hello", "other"]
    read = log.read(f"stranger.example.com:80 {COMMON}", COMMON)
    assert dict(read.remarks.strangers) == {"stranger.example.com": 1}
    assert read.remarks.anonymous == 1


def test_seconds_at_the_end_of_a_line_are_how_long_the_request_took(log: Reader) -> None:
    found = log.arrivals(f'{COMMON} "-" "curl" 0.250', f'{COMMON} "-" "curl" "2.000"', rest="hello")
    # They ended at :36.25 and :36.75, so they began at :36.0 and :34.75.
    assert found == [Arrival(0.75, "hello", 2.0), Arrival(2.0, "hello", 0.25)]


def test_the_lines_of_one_second_are_spread_over_it(log: Reader) -> None:
    later = COMMON.replace(":36 ", ":37 ")
    found = log.arrivals(COMMON, COMMON, later, COMMON, COMMON, rest="hello")
    assert [arrival.at for arrival in found] == [0.125, 0.375, 0.625, 0.875, 1.5]


def test_times_are_of_the_zone_that_they_name(log: Reader) -> None:
    utc = COMMON.replace("13:55:36 -0700", "20:56:36 +0000")
    india = COMMON.replace("10/Oct/2025:13:55:36 -0700", "11/Oct/2025:02:27:36 +0530")
    found = log.arrivals(COMMON, utc, india, rest="hello")
    assert [arrival.at for arrival in found] == [0.5, 60.5, 120.5]


# Who asked


def test_who_asked_is_remembered_where_a_wake_filter_wants_to_know(tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    own = line(1, 1, method="HEAD", uri="/x?y", user_agent="Bot\u00e9", client_ip="10.0.0.9")
    common = COMMON + ' "http://from.here/" "curl/8"'
    file.write_text("\n".join([json.dumps(own), json.dumps(own), common]) + "\n")
    assert all(one.asker is None for one in arrivals_of(read_logs([file], Owners(ALONE))))
    one, same, other = arrivals_of(read_logs([file], Owners(ALONE), filtered=True))
    assert one.asker is same.asker
    told = [
        (it.head.method, it.head.target, first(it.head.fields, b"user-agent"), it.address)
        for it in (one.asker, other.asker)
        if it is not None
    ]
    assert told == [
        (b"HEAD", b"/x?y", b"Bot\xe9", "10.0.0.9"),
        (b"GET", b"/a", b"curl/8", "10.0.0.1"),
    ]


# Files


def test_several_files_are_one_log_gzipped_or_not(tmp_path: Path) -> None:
    old, new = tmp_path / "access.log.1", tmp_path / "access.log"
    old.write_bytes(gzip.compress(json.dumps(line(10, 1)).encode()))
    new.write_text(json.dumps(line(20, 2)))
    read = read_logs([new, old], Owners(CONFIG))
    assert arrivals_of(read) == [Arrival(0, "hello", 1.0), Arrival(10, "hello", 2.0)]


def test_a_gzipped_file_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "access.log.gz"
    whole = gzip.compress("".join(json.dumps(line(n, n)) + "\n" for n in range(500)).encode())
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceError, match=r"access\.log\.gz: cannot be read: "):
        read_logs([file], Owners(CONFIG))
    file.write_bytes(whole[:100] + bytes(100) + whole[200:])
    with pytest.raises(SourceError, match=r"access\.log\.gz: cannot be read: "):
        read_logs([file], Owners(CONFIG))


def test_bytes_that_are_no_text_spoil_only_their_own_line(tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    file.write_bytes(b"\xff\xfe\x00\n" + json.dumps(line(10, 1)).encode() + b"\n")
    read = read_logs([file], Owners(CONFIG))
    assert (read.remarks.bad, len(read.requests)) == (1, 1)
