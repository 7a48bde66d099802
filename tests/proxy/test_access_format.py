"""A line of JSON says what it was given, whichever of it has been said before."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from wakeful.events import Endpoint
from wakeful.proxy import access_format
from wakeful.proxy.access_format import JsonLines, place, waited

LINES = JsonLines()  # over all examples: what it keeps must not be told of others

seconds = st.one_of(
    st.floats(-1, 2_000_000),
    st.floats(0, 1),
    st.integers(0, 2_000_000).map(lambda microseconds: microseconds / 1_000_000),
)


@given(
    status=st.integers(100, 999),
    peer=st.ip_addresses().map(lambda address: str(address).encode()),
    seconds=seconds,
    sent=st.integers(0, 2**63),
    received=st.one_of(st.just(0), st.integers(0, 2**63)),
    request_id=st.one_of(st.just(b""), st.binary(min_size=16).map(lambda b: b.hex().encode())),
)
def test_a_line_says_what_it_was_given(
    status: int, peer: bytes, seconds: float, sent: int, received: int, request_id: bytes
) -> None:
    where = place("hello", "hello-00001", None)
    client = access_format.client(peer)
    line = LINES.line(
        b'{"ts":1.000', status, b'"uri":"/"', client, seconds, sent, received, where, request_id
    )
    assert line.endswith(b"}\n")
    said = json.loads(line)
    assert abs(said.pop("duration") - seconds) < 1.5e-6
    assert said.pop("request_id", "") == request_id.decode()
    assert said == {
        "ts": 1.0,
        "status": status,
        "uri": "/",
        "client_ip": peer.decode(),
        "size": sent,
        "bytes_read": received,
        "service": "hello",
        "revision": "hello-00001",
    }


def test_more_than_are_kept_are_said_all_the_same() -> None:
    lines = JsonLines()
    client = access_format.client(b"10.0.0.1")
    for _ in range(2):
        for number in range(10_000):
            took = number / 1000
            line = lines.line(b'{"ts":1.000', 200, b'"uri":"/"', client, took, number, 0, b"", b"")
            said = json.loads(line)
            assert said["size"] == number
            assert abs(said["duration"] - took) < 1.5e-6
    assert len(lines._sizes) <= 1024


def test_the_time_in_the_queue_takes_the_place_of_none() -> None:
    where = place("hello", "hello-00001", Endpoint("hello-00001-1", "10.0.0.1", 80))
    for text, milliseconds in ((where, 0.0), (waited(where, 1.2345), 1234.5)):
        said = json.loads(b'{"x":1' + text + b"}")
        assert (said["instance"], said["queue_ms"]) == ("hello-00001-1", milliseconds)
