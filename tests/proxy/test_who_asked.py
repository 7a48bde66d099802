"""What an instance is told of who asked, and whose word is taken for it."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proxy.conftest import Launch
from tests.proxy.harness import get
from tests.proxy.wire import PATIENCE, Peer, ok
from wakeful.config.model import AccessLog, AccessLogFormat, Network
from wakeful.proxy import forwarding
from wakeful.proxy.forwarding import Claims

OURS = [ip_network("10.0.0.0/8"), ip_network("::1"), ip_network("127.0.0.0/8")]


def told(peer: bytes, claims: Claims = ()) -> dict[bytes, bytes]:
    block = forwarding.fields(peer, b"a.test", "1.1", claims)
    assert block.endswith(b"\r\n")
    fields = [line.split(b": ", 1) for line in block[:-2].split(b"\r\n")]
    assert len({name for name, _ in fields}) == len(fields)
    return {name: value for name, value in fields}


@pytest.mark.parametrize(
    ("address", "trusted"),
    [
        ("10.255.0.1", True),
        ("11.0.0.1", False),
        ("::1", True),
        ("::ffff:10.0.0.1", True),
        ("::ffff:11.0.0.1", False),
        ("fe80::1%eth0", False),
        ("unknown", False),
        ("", False),
    ],
)
def test_whose_word_is_taken(address: str, trusted: bool) -> None:
    assert forwarding.within(OURS, address) is trusted


def test_who_asks_directly_is_the_one_who_asked() -> None:
    assert told(b"192.0.2.1") == {
        b"X-Forwarded-For": b"192.0.2.1",
        b"X-Forwarded-Proto": b"http",
        b"X-Forwarded-Host": b"a.test",
        b"Forwarded": b'for=192.0.2.1;host="a.test";proto=http',
        b"Via": b"1.1 wakeful",
    }
    assert told(b"2001:db8::1")[b"Forwarded"] == b'for="[2001:db8::1]";host="a.test";proto=http'


def test_what_a_proxy_of_ours_says_is_kept_and_the_proxy_is_added() -> None:
    claims = [
        (b"x-forwarded-for", b"192.0.2.1"),
        (b"x-forwarded-for", b"2001:db8::1,10.0.0.1"),
        (b"x-forwarded-proto", b"https"),
        (b"x-forwarded-host", b"shop.example"),
        (b"x-forwarded-port", b"443"),
        (b"x-forwarded-ssl", b"on"),
        (b"x-forwarded-prefix", b"/shop"),
        (b"x-real-ip", b"192.0.2.1"),
    ]
    assert told(b"10.0.0.2", claims) == {
        b"X-Forwarded-For": b"192.0.2.1, 2001:db8::1, 10.0.0.1, 10.0.0.2",
        b"X-Forwarded-Proto": b"https",
        b"X-Forwarded-Host": b"shop.example",
        b"X-Forwarded-Port": b"443",
        b"X-Forwarded-Ssl": b"on",
        b"X-Forwarded-Prefix": b"/shop",
        b"X-Real-IP": b"192.0.2.1",
        b"Forwarded": b'for=192.0.2.1;host="shop.example";proto=https, '
        b'for="[2001:db8::1]", for=10.0.0.1, for=10.0.0.2',
        b"Via": b"1.1 wakeful",
    }


def test_its_forwarded_field_is_added_to() -> None:
    claims = [(b"forwarded", b"for=192.0.2.1;proto=https"), (b"forwarded", b"for=10.0.0.1")]
    assert told(b"10.0.0.2", claims)[b"Forwarded"] == (
        b"for=192.0.2.1;proto=https, for=10.0.0.1, for=10.0.0.2"
    )


@pytest.mark.parametrize(
    ("values", "passed"),
    [
        ([b"for=1.1.1.1,"], b"for=1.1.1.1, "),
        ([b"for=1.1.1.1", b"", b" , ,", b"for=2.2.2.2"], b"for=1.1.1.1, for=2.2.2.2, "),
        ([b'for="a,b"; by="c\\"d" ,e=f'], b'for="a,b"; by="c\\"d", e=f, '),
        # RFC 9110 §5.6.1.1: no empty element is generated; here there is no other.
        ([b""], b""),
        ([b" ,, "], b""),
        # What is added to an open quote would be within it.
        ([b'for="1.1.1.1'], b""),
        ([b'for="1.1.1.1\\"'], b""),
    ],
)
def test_a_forwarded_field_that_cannot_be_added_to_is_none(
    values: list[bytes], passed: bytes
) -> None:
    forwarded = told(b"10.0.0.2", [(b"forwarded", value) for value in values])[b"Forwarded"]
    assert forwarded == (passed + b"for=10.0.0.2" if passed else told(b"10.0.0.2")[b"Forwarded"])


def test_what_is_claimed_with_no_word_is_not_claimed() -> None:
    names = (b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto")
    assert told(b"10.0.0.2", [(name, b"") for name in names]) == told(b"10.0.0.2")


@pytest.mark.parametrize(
    ("hop", "node"),
    [
        (b"192.0.2.1:4711", b"192.0.2.1"),
        (b"[2001:db8::1]:80", b'"[2001:db8::1]"'),
        (b"[2001:db8::1]", b'"[2001:db8::1]"'),
        (b"2001:db8::1", b'"[2001:db8::1]"'),
        (b"192.0.2.1:", b"unknown"),
        (b"192.0.2.1:x", b"unknown"),
        (b"[192.0.2.1", b"unknown"),
        (b"host:80", b"unknown"),
    ],
)
def test_a_port_behind_an_address_hides_it_from_nobody(hop: bytes, node: bytes) -> None:
    claims = [(b"x-forwarded-for", hop)]
    said = told(b"10.0.0.2", claims)
    assert said[b"X-Forwarded-For"] == hop + b", 10.0.0.2"
    assert said[b"Forwarded"].startswith(b"for=" + node + b";host=")
    address = node.strip(b'"[]').decode()
    assert forwarding.client(OURS, "10.0.0.2", claims) == (
        "10.0.0.2" if address == "unknown" else address
    )


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"]),
            st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)).map(str.encode),
        )
    )
)
def test_nothing_claimed_leaves_its_place_in_forwarded(claims: list[tuple[bytes, bytes]]) -> None:
    forwarded = told(b"10.0.0.2", claims)[b"Forwarded"]
    outside = b"".join(forwarded.split(b'"')[::2])
    assert forwarded.count(b'"') % 2 == 0
    assert outside.count(b";") == 2
    assert forwarded.endswith((b", for=10.0.0.2", b"proto=http", b"proto=" + _proto(claims)))


def _proto(claims: list[tuple[bytes, bytes]]) -> bytes:
    return b", ".join(value for name, value in claims if name == b"x-forwarded-proto" and value)


@pytest.mark.parametrize(
    ("peer", "chain", "asked"),
    [
        ("192.0.2.1", "6.6.6.6", "192.0.2.1"),  # its word is not taken
        ("10.0.0.2", "6.6.6.6, 192.0.2.1", "192.0.2.1"),  # what was before it is not, either
        ("10.0.0.2", "192.0.2.1, 10.0.0.1", "192.0.2.1"),
        ("10.0.0.2", "10.0.0.1", "10.0.0.1"),
        ("10.0.0.2", '"evil', "10.0.0.2"),
        ("10.0.0.2", "", "10.0.0.2"),
    ],
)
def test_who_asked_is_the_last_that_is_not_a_proxy_of_ours(
    peer: str, chain: str, asked: str
) -> None:
    assert forwarding.client(OURS, peer, [(b"x-forwarded-for", chain.encode())]) == asked


def test_behind_a_trusted_proxy_the_instance_and_the_log_know_who_asked(
    launch: Launch, tmp_path: Path
) -> None:
    file = tmp_path / "access.log"
    harness = launch(trusted=OURS, log=AccessLog(AccessLogFormat.JSON, str(file)))
    backend = harness.backend()
    harness.service(backend)
    client = harness.connect()
    client.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")  # the proxy's own question
    assert client.message().status == 200
    for address in (b"192.0.2.1", b"192.0.2.2", b"192.0.2.2"):  # the last by a known head
        client.send(
            b"GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: %b\r\n"
            b"X-Forwarded-Proto: https\r\n\r\n" % address
        )
        assert client.message().status == 200
    client.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
    assert client.message().status == 200
    lines = backend.received[0].split(b"\r\n")
    assert [line for line in lines if line.startswith(b"X-Forwarded-For")] == [
        b"X-Forwarded-For: 127.0.0.1",
        b"X-Forwarded-For: 192.0.2.1, 127.0.0.1",
        b"X-Forwarded-For: 192.0.2.2, 127.0.0.1",
        b"X-Forwarded-For: 192.0.2.2, 127.0.0.1",
        b"X-Forwarded-For: 127.0.0.1",
    ]
    assert [line for line in lines if line.startswith(b"X-Forwarded-Proto")] == [
        b"X-Forwarded-Proto: http",
        b"X-Forwarded-Proto: https",
        b"X-Forwarded-Proto: https",
        b"X-Forwarded-Proto: https",
        b"X-Forwarded-Proto: http",
    ]
    assert harness.plane.access is not None
    harness.call(harness.plane.access.close)
    harness.plane.access = None
    logged = [json.loads(line)["client_ip"] for line in file.read_text().splitlines()]
    assert logged == ["127.0.0.1", "192.0.2.1", "192.0.2.2", "192.0.2.2", "127.0.0.1"]


@pytest.mark.parametrize("amid", [False, True], ids=["between requests", "amid one"])
def test_a_change_of_whose_word_is_taken_counts_for_connections_that_there_are(
    launch: Launch, tmp_path: Path, amid: bool
) -> None:
    file, go_on = tmp_path / "access.log", threading.Semaphore(0)

    def script(peer: Peer) -> None:
        for _ in range(9):
            peer.message()
            assert go_on.acquire(timeout=PATIENCE)
            peer.send(known)
        peer.ending()

    known = ok(fields=b"Date: Mon, 30 Nov 2026 14:26:52 GMT\r\n")
    harness = launch(log=AccessLog(AccessLogFormat.JSON, str(file)))
    backend = harness.backend(script)
    harness.service(backend)
    client = harness.connect()
    changes: dict[int, Sequence[Network]] = {2: OURS, 5: ()}
    for at in range(9):
        client.send(get(fields=b"X-Forwarded-For: 192.0.2.1\r\n"))
        harness.wait_for(lambda: backend.requests == at + 1)  # noqa: B023
        if amid and at in changes:
            harness.call(lambda: harness.plane.trust(changes[at]))  # noqa: B023
        go_on.release()
        assert client.message().status == 200
        if not amid and at in changes:
            harness.call(lambda: harness.plane.trust(changes[at]))  # noqa: B023
    lines = backend.received[0].split(b"\r\n")
    theirs, ours = b"X-Forwarded-For: 192.0.2.1, 127.0.0.1", b"X-Forwarded-For: 127.0.0.1"
    assert [line for line in lines if line.startswith(b"X-Forwarded-For")] == [
        *[ours] * 3,
        *[theirs] * 3,
        *[ours] * 3,
    ]
    assert harness.plane.access is not None
    harness.call(harness.plane.access.close)
    harness.plane.access = None
    logged = [json.loads(line)["client_ip"] for line in file.read_text().splitlines()]
    assert logged[:2] == logged[6:8] == ["127.0.0.1"] * 2
    assert logged[3:5] == ["192.0.2.1"] * 2
