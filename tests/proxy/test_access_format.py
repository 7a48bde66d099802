"""A line says what it was given."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wakeful.events import Endpoint
from wakeful.proxy.access_format import (
    CommonLines,
    JsonLines,
    Record,
    name,
    nowhere,
    place,
    waited,
)
from wakeful.proxy.framing import RequestHead
from wakeful.proxy.identities import identities

LINES = JsonLines()

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
    where, ids = nowhere("hello", "hello-00001"), identities()
    head = RequestHead(b"GET", b"/", "1.1")
    given: list[tuple[dict[str, object], float, float]] = []
    records: list[Record] = []
    for started, took, status, sent, received, peer, named in requests:
        identity = next(ids)[0] if named else b""
        place = where + name(head, identity)
        about = LINES.said(b'"uri":"/"', b"", peer.encode(), place, status, sent, received)
        records.append((started, started + took, about, identity))
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
        given.append((said, started + lead, took))
    lines = LINES.lines(records, lead).splitlines(keepends=True)
    assert len(lines) == len(given)
    for line, (fields, at, seconds) in zip(lines, given, strict=True):
        assert line.endswith(b"}\n")
        found = json.loads(line)
        assert abs(found.pop("duration") - seconds) < 1.5e-6
        assert -1e-6 < at - found.pop("ts") < 0.001 + 1e-6
        assert found == fields


@pytest.mark.parametrize("seconds", [0.0, 0.099999, 0.1, 0.999999, 1.0, 3600.25])
def test_a_duration_may_have_any_length(seconds: float) -> None:
    said = LINES.said(b'"uri":"/"', b"", b"10.0.0.1", b"", 200, 0, 0)
    line = json.loads(LINES.lines([(0.0, seconds, said, b"")], lead=1000.0))
    assert abs(line["duration"] - seconds) < 1.5e-6
    assert line["ts"] == 1000.0


def test_the_time_in_the_queue_takes_the_place_of_none() -> None:
    where = place("hello", "hello-00001", Endpoint("hello-00001-1", "10.0.0.1", 80))
    for text, milliseconds in ((where, 0.0), (waited(where, 1.2345), 1234.5)):
        said = json.loads(b'{"x":"' + text + b'"}')
        assert said["instance"] == "hello-00001-1"
        assert said["queue_ms"] == milliseconds


@given(
    st.binary(max_size=20),
    st.sampled_from([b"10.0.0.1", b"fe80::1%eth0", b"unknown"]),
    st.integers(100, 999),
    st.integers(0, 2**63),
)
def test_a_common_line_says_what_it_was_given(
    path: bytes, client: bytes, status: int, sent: int
) -> None:
    """Percent signs too, which are the formats' own."""
    lines, head = CommonLines(combined=False), RequestHead(b"GET", b"/%d%b" + path, "1.1")
    about = lines.said(lines.note(head), b"", client, b"", status, sent, 0)
    made = lines.lines([(0.0, 86_399.5, about, b"")] * 2, 0.0)
    date = r"\[01/Jan/1970:23:59:59 \+0000\]"
    request = re.escape('"GET /%d%b') + '[ -~]* HTTP/1.1"'
    line = f"{re.escape(client.decode())} - - {date} {request} {status} {sent}\n"
    assert re.fullmatch(f"({line}){{2}}", made.decode("ascii"))
