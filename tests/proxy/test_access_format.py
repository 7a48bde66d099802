"""A line of JSON says what it was given, whichever of it has been said before."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from wakeful.events import Endpoint
from wakeful.proxy.access_format import JsonLines, place, waited

LINES = JsonLines()  # over all examples: what it keeps must not be told of others

seconds = st.one_of(
    st.floats(-1, 2_000_000),
    st.floats(0, 1),
    st.integers(0, 2_000_000).map(lambda microseconds: microseconds / 1_000_000),
)


@given(
    status=st.integers(100, 999),
    client=st.ip_addresses().map(lambda address: str(address).encode()),
    seconds=seconds,
    sent=st.integers(0, 2**63),
    received=st.one_of(st.just(0), st.integers(0, 2**63)),
    identity=st.one_of(
        st.just(b""), st.binary(min_size=24, max_size=24).map(lambda b: b.hex().encode())
    ),
)
def test_a_line_says_what_it_was_given(
    status: int, client: bytes, seconds: float, sent: int, received: int, identity: bytes
) -> None:
    where = place("hello", "hello-00001", None)
    line = LINES.line(
        b'{"ts":1.000', status, b'"uri":"/"', client, seconds, sent, received, where, identity
    )
    assert line.endswith(b"}\n")
    said = json.loads(line)
    assert abs(said.pop("duration") - seconds) < 1.5e-6
    assert said.pop("request_id", "") == identity[:32].decode()
    assert said == {
        "ts": 1.0,
        "status": status,
        "uri": "/",
        "client_ip": client.decode(),
        "size": sent,
        "bytes_read": received,
        "service": "hello",
        "revision": "hello-00001",
    }


def test_more_than_are_kept_are_said_all_the_same() -> None:
    lines = JsonLines()
    for _ in range(2):
        for size in range(3000):
            client = b"10.0.%d.%d" % divmod(size, 256)
            line = lines.line(b'{"ts":1.000', 200, b'"uri":"/"', client, 0.25, size, 0, b"", b"")
            said = json.loads(line)
            assert (said["size"], said["client_ip"], said["duration"]) == (
                size,
                client.decode(),
                0.25,
            )


def test_the_time_in_the_queue_takes_the_place_of_none() -> None:
    where = place("hello", "hello-00001", Endpoint("hello-00001-1", "10.0.0.1", 80))
    for text, milliseconds in ((where, 0.0), (waited(where, 1.2345), 1234.5)):
        said = json.loads(b'{"x":1' + text + b"}")
        assert (said["instance"], said["queue_ms"]) == ("hello-00001-1", milliseconds)
