"""Traces in CSV: single requests, counts per minute, and the Azure Functions traces of 2019."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from wakeful.config.load import loads
from wakeful.simulate.sources import Owners, SourceError
from wakeful.simulate.traces import Trace, read_trace
from wakeful.simulate.traffic import Arrival, ServiceTime

CONFIG = loads("services: {hello: {command: x}, other: {command: x}}", Path("/")).config
ALONE = loads("services: {hello: {command: x}}", Path("/")).config


class Reader:
    def __init__(self, directory: Path) -> None:
        self.file = directory / "trace.csv"

    def read(self, text: str, *, alone: bool = False, rest: str | None = None) -> Trace:
        self.file.write_text(text)
        return read_trace(self.file, Owners(ALONE if alone else CONFIG, rest), seed=5)


def arrivals_of(trace: Trace) -> list[Arrival]:
    return list(trace.requests.traffic("", ServiceTime(0.1), seed=1).arrivals())


def per_minute(trace: Trace, service: str) -> list[int]:
    minutes = [int(one.at // 60) for one in arrivals_of(trace) if one.service == service]
    return [minutes.count(minute) for minute in range(max(minutes, default=-1) + 1)]


@pytest.fixture
def trace(tmp_path: Path) -> Reader:
    return Reader(tmp_path)


def test_a_line_may_be_a_request(trace: Reader) -> None:
    read = trace.read(
        "time,service,duration\n2.5,hello,120ms\n1.25,other,3\n1763990000e-9,hello,\n"
    )
    found = arrivals_of(read)
    assert found == [
        Arrival(0.25, "other", 3.0),
        Arrival(0.76399, "hello", 0.12),
        Arrival(1.5, "hello", 0.12),
    ]


def test_columns_may_stand_in_any_order_and_only_the_time_is_needed(trace: Reader) -> None:
    read = trace.read("note,Service,TIME\nx,other,1\ny,hello,0\n")
    assert arrivals_of(read) == [Arrival(0, "hello", 0.1), Arrival(1, "other", 0.1)]
    assert arrivals_of(trace.read("time\n0\n", alone=True)) == [Arrival(0, "hello", 0.1)]


def test_counts_per_minute_come_at_random_within_their_minutes(trace: Reader) -> None:
    text = "minute,count\n0,300\n1,0\n2,5\n"
    read = trace.read(text, alone=True)
    assert per_minute(read, "hello") == [300, 0, 5]
    moments = [arrival.at for arrival in arrivals_of(read)]
    assert len(set(moments)) == 305
    # Uniform: of 300, half are in each half of the minute, give or take 4 deviations.
    assert sum(moment < 30 for moment in moments) == pytest.approx(150, abs=35)
    assert arrivals_of(trace.read(text, alone=True)) == arrivals_of(read)


def test_counts_may_be_of_several_services(trace: Reader) -> None:
    read = trace.read("minute,service,count\n10,hello,4\n10,other,2\n11,hello,1\n")
    assert (per_minute(read, "hello"), per_minute(read, "other")) == ([4, 1], [2])


AZURE = "HashOwner,HashApp,HashFunction,Trigger," + ",".join(map(str, range(1, 1441)))


def azure(function: str, counts: dict[int, int]) -> str:
    row = [str(counts.get(minute, 0)) for minute in range(1, 1441)]
    return ",".join(["o1", "a1", function, "http", *row])


def test_the_azure_traces_have_a_function_a_line_and_a_column_a_minute(trace: Reader) -> None:
    read = trace.read(
        "\n".join(
            [AZURE, azure("hello", {1: 7, 3: 2}), azure("other", {2: 5}), azure("f00d", {1: 90})]
        )
    )
    assert (per_minute(read, "hello"), per_minute(read, "other")) == ([7, 0, 2], [0, 5])
    assert dict(read.remarks.strangers) == {"f00d": 1}


def test_functions_of_nobody_are_added_up_for_the_only_service_or_the_one_that_takes_the_rest(
    trace: Reader,
) -> None:
    text = "\n".join([AZURE, azure("f1", {1: 3}), azure("f2", {1: 4, 2: 1})])
    assert per_minute(trace.read(text, alone=True), "hello") == [7, 1]
    assert per_minute(trace.read(text, rest="other"), "other") == [7, 1]


def test_a_trace_of_few_minutes_and_other_columns_will_do(trace: Reader) -> None:
    read = trace.read("name,1,2\nhello,2,\nother,1,1\n")
    assert (per_minute(read, "hello"), per_minute(read, "other")) == ([2], [1, 1])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("time,service\n-1,hello\n", "-1 is no time in seconds"),
        ("time,service\nnan,hello\n", "nan is no time in seconds"),
        ("time,service\n1e30,hello\n", "1e30 is no time in seconds"),
        ("time,service\nsoon,hello\n", "expected a duration"),
        ("time,service,duration\n1,hello,long\n", "expected a duration"),
        ("time,service\n1\n", "1 columns, not 2"),
        ("minute,count,service\n1.5,2,hello\n", "expected a whole number"),
        ("minute,count,service\n1,-2,hello\n", "expected a whole number"),
        ("minute,count,service\n1,10000001,hello\n", "10000001 requests in one minute"),
        ("f,1,2\nhello,3,x\n", "expected a whole number"),
    ],
)
def test_a_bad_row_is_counted_with_its_line_and_does_no_harm(
    trace: Reader, text: str, why: str
) -> None:
    header, bad, _ = text.split("\n")
    good = ",".join("hello" if name in ("service", "f") else "1" for name in header.split(","))
    read = trace.read(f"{header}\n{good}\n\n{bad}\n{good}\n")
    assert (read.remarks.lines, read.remarks.bad) == (3, 1)
    assert len(arrivals_of(read)) == 2 * (2 if header == "f,1,2" else 1)
    assert read.remarks.first_bad[0].startswith(f"{trace.file}:4: {why}")


def test_a_row_of_nobody_is_counted(trace: Reader) -> None:
    read = trace.read("time,service\n1,gone\n2,gone\n3,\n4,hello\n")
    assert dict(read.remarks.strangers) == {"gone": 2}
    assert read.remarks.anonymous == 1
    assert len(read.requests) == 1


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "minute,service\n1,hello\n"])
def test_without_a_header_that_is_known_it_is_no_trace(trace: Reader, text: str) -> None:
    with pytest.raises(SourceError, match=r"trace\.csv: the first line names no columns"):
        trace.read(text)


def test_what_is_no_csv_is_refused_with_its_line(trace: Reader) -> None:
    with pytest.raises(SourceError, match=r"trace\.csv:2: not CSV: field larger than"):
        trace.read("time\n" + "1" * 200_000 + "\n")


def test_a_trace_may_be_gzipped_and_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv.gz"
    file.write_bytes(gzip.compress(b"\xef\xbb\xbftime,service\r\n1,hello\r\n"))
    assert arrivals_of(read_trace(file, Owners(CONFIG), 1)) == [Arrival(0, "hello", 0.1)]
