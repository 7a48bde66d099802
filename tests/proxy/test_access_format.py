"""A line of JSON says what it was given, whichever of it has been said before."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from wakeful.events import Endpoint
from wakeful.proxy.access_format import NAMED, JsonLines, Record, nowhere, place, waited
from wakeful.proxy.identities import identities

LINES = JsonLines()  # over all examples: what it keeps must not be told of others

seconds = st.one_of(
    st.floats(-1, 2_000_000),
    st.floats(0, 1),
    st.just(-2e-6),
    st.integers(0, 2_000_000).map(lambda microseconds: microseconds / 1_000_000),
)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3_000_000).map(lambda microseconds: microseconds / 1_000_000),
            seconds,
            st.integers(100, 999),
            st.integers(0, 2**63),
            st.one_of(st.just(0), st.integers(0, 2**63)),
            st.ip_addresses().map(str),
            st.booleans(),
        )
    ),
    st.one_of(st.just(0.0), st.floats(0, 2_000_000_000)),
)
def test_lines_say_what_they_were_given(
    requests: list[tuple[float, float, int, int, int, str, bool]], lead: float
) -> None:
    where, names = nowhere("hello", "hello-00001"), identities()
    given: list[tuple[dict[str, object], float, float]] = []
    records: list[Record] = []
    for started, took, status, sent, received, peer, named in requests:
        identity = next(names)[0] if named else b""
        client = LINES.client(peer.encode())
        ended = started + took
        records.append(
            (started, ended, status, sent, received, b'"uri":"/"', client, where, identity)
        )
        said: dict[str, object] = {
            "status": status,
            "uri": "/",
            "client_ip": peer,
            "size": sent,
            "bytes_read": received,
            "service": "hello",
            "revision": "hello-00001",
        }
        if named:
            said["request_id"] = identity.decode()
        given.append((said, started + lead, ended - started))
    lines = LINES.lines(records, lead).splitlines(keepends=True)
    assert len(lines) == len(given)
    for line, (fields, at, seconds) in zip(lines, given, strict=True):
        assert line.endswith(b"}\n")
        found = json.loads(line)
        assert abs(found.pop("duration") - seconds) < 1.5e-6
        assert -1e-6 < at - found.pop("ts") < 0.001 + 1e-6
        assert found == fields


def test_more_than_are_kept_are_said_all_the_same() -> None:
    lines = JsonLines()
    client = lines.client(b"10.0.0.1")
    for _ in range(2):
        records: list[Record] = [
            (0.0, number / 1000, 200, number, 0, b'"uri":"/"', client, NAMED, b"")
            for number in range(10_000)
        ]
        said = [json.loads(line) for line in lines.lines(records, 1.0).splitlines()]
        assert [line["size"] for line in said] == list(range(10_000))
        assert all(abs(line["duration"] - line["size"] / 1000) < 1.5e-6 for line in said)
    assert len(lines._sizes) <= 1024


def test_the_time_in_the_queue_takes_the_place_of_none() -> None:
    where = place("hello", "hello-00001", Endpoint("hello-00001-1", "10.0.0.1", 80))
    for text, milliseconds in ((where, 0.0), (waited(where, 1.2345), 1234.5)):
        said = json.loads(b'{"x":1' + text + b'"}')
        assert said["instance"] == "hello-00001-1"
        assert (said["queue_ms"], said["request_id"]) == (milliseconds, "")
