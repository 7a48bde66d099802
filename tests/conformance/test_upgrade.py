"""The switch of protocols: who may ask for what, and who may grant it (RFC 9110 §7.8)."""

from __future__ import annotations

import pytest

from tests.conformance.reading import form, goes_on_as_it_says, seen
from tests.proxy.harness import Harness, chunks, get, old
from tests.proxy.wire import Message, Peer, ok

HANDSHAKE = (
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Protocol: v2\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
    b"Origin: http://a.test\r\nCookie: a=b\r\n"
)
ASK = b"Connection: Upgrade\r\nUpgrade: websocket\r\n" + HANDSHAKE
ACCEPT = (
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
)
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\n"
SWITCH = SWITCHING + b"Connection: Upgrade\r\nUpgrade: websocket\r\n" + ACCEPT + b"\r\n"


def offered(head: Message) -> list[bytes]:
    """The protocols that a request offers; each only with its option (§7.8)."""
    options = b",".join(head.all("Connection")).lower().replace(b" ", b"").split(b",")
    protocols = [one.strip().lower() for one in b",".join(head.all("Upgrade")).split(b",")]
    if protocols == [b""]:
        assert b"upgrade" not in options
        return []
    assert b"upgrade" in options
    return protocols


def test_the_handshake_travels_byte_for_byte(harness: Harness) -> None:
    def script(peer: Peer) -> None:
        asked.append(peer.head())
        peer.send(SWITCH)
        peer.ending()

    asked: list[Message] = []
    harness.service(harness.backend(script))
    client = harness.connect()
    client.send(get(b"/chat?a=b", fields=ASK))
    granted = client.head()
    assert asked[0].start == b"GET /chat?a=b HTTP/1.1"
    for line in HANDSHAKE.split(b"\r\n")[:-1]:
        name, _, value = line.partition(b": ")
        assert value in asked[0].all(name.decode())
    assert form(seen(granted)) == form(SWITCH)
    assert asked[0].all("Sec-WebSocket-Protocol") == [b"chat, superchat", b"v2"]
    assert granted.all("Set-Cookie") == [b"a=1", b"b=2"]


# What a client may ask with, and which protocols the instance may then see.

WISHES: dict[str, tuple[bytes, list[list[bytes]]]] = {
    "plain": (b"Connection: Upgrade\r\nUpgrade: websocket\r\n", [[b"websocket"]]),
    "in another case": (b"connection: UPGRADE\r\nupgrade: WebSocket\r\n", [[b"websocket"]]),
    "as Firefox does": (
        b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n",
        [[b"websocket"]],
    ),
    "options in two fields": (
        b"Connection: keep-alive\r\nConnection: upgrade\r\nUpgrade: websocket\r\n",
        [[b"websocket"]],
    ),
    # A length of zero is no content (RFC 9110 §8.6): some clients write it.
    "a length of zero": (
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n",
        [[b"websocket"]],
    ),
    "another protocol": (b"Connection: Upgrade\r\nUpgrade: foo/2\r\n", [[b"foo/2"]]),
    # §7.8: a list in order of preference; a gateway may offer less of it, or nothing.
    "two protocols": (
        b"Connection: Upgrade\r\nUpgrade: websocket, foo\r\n",
        [[b"websocket", b"foo"], [b"websocket"], []],
    ),
    "two fields": (
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: foo\r\n",
        [[b"websocket", b"foo"], [b"websocket"], []],
    ),
    # §7.8: without the option the field is not for us; it goes no further either way.
    "no option": (b"Upgrade: websocket\r\n", [[]]),
    "another option": (b"Connection: keep-alive\r\nUpgrade: websocket\r\n", [[]]),
    "no protocol": (b"Connection: Upgrade\r\n", [[]]),
    "an empty protocol": (b"Connection: Upgrade\r\nUpgrade:\r\n", [[]]),
    # A switch to HTTP/2 that passes through makes a tunnel of which the proxy sees nothing:
    # "h2c smuggling" (2020); RFC 9113 §3.1 has withdrawn it.
    "h2c": (b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: a\r\n", [[]]),
    "h2c without settings": (b"Connection: Upgrade\r\nUpgrade: h2c\r\n", [[]]),
    "H2C": (b"Connection: Upgrade\r\nUpgrade: H2C\r\n", [[]]),
    "h2c behind": (b"Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n", [[b"websocket"], []]),
    "h2c before": (b"Connection: Upgrade\r\nUpgrade: h2c,websocket\r\n", [[b"websocket"], []]),
    "h2c in a second field": (
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n",
        [[b"websocket"], []],
    ),
    "h2c amid white space": (b"Connection: Upgrade\r\nUpgrade: \t h2c \t\r\n", [[]]),
    "h2c as a member": (b"Connection: Upgrade\r\nUpgrade: ,h2c\r\n", [[]]),
    "h2": (b"Connection: Upgrade\r\nUpgrade: h2\r\n", [[], [b"h2"]]),
    "TLS": (b"Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n", [[], [b"tls/1.0"]]),
}


@pytest.mark.parametrize("case", WISHES)
def test_the_instance_is_offered_what_may_be_asked_for(harness: Harness, case: str) -> None:
    fields, allowed = WISHES[case]

    def script(peer: Peer) -> None:
        head = peer.head()
        protocols = offered(head)
        assert protocols in allowed
        assert head.get("HTTP2-Settings") is None
        if protocols:
            upgrade = protocols[0]
            peer.send(SWITCHING + b"Connection: Upgrade\r\nUpgrade: %b\r\n\r\nhello" % upgrade)
            peer.ending()
        else:
            peer.send(ok())

    backend = harness.backend(script)
    harness.service(backend)
    client = harness.connect()
    client.send(get(fields=fields))
    head = client.head()
    assert head.status == (101 if b"\r\nupgrade:" in backend.received[0].lower() else 200)
    if head.status == 101:
        assert (head.get("Connection") or b"").lower() == b"upgrade"
    assert client.take(5) == b"hello"


@pytest.mark.parametrize("grants", [False, True])
def test_http_1_0_cannot_switch(harness: Harness, grants: bool) -> None:
    """§7.8: MUST be ignored; and a 101 is no answer to HTTP/1.0 (§15.2)."""

    def script(peer: Peer) -> None:
        assert offered(peer.head()) == []
        peer.send(SWITCH if grants else ok())
        peer.ending()

    harness.service(harness.backend(script))
    client = harness.connect()
    client.send(old(get(fields=ASK)))
    assert client.message().status == (502 if grants else 200)


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_wish_with_a_body_takes_nothing_from_the_body(harness: Harness, chunked: bool) -> None:
    """§7.8: the body comes first; a gateway may serve such a request without the switch."""

    def script(peer: Peer) -> None:
        while True:
            request = peer.message()
            assert request.body in (b"hello", b"")
            peer.send(ok(request.body))

    harness.service(harness.backend(script))
    client = harness.connect()
    framing = b"Transfer-Encoding: chunked\r\n" if chunked else b"Content-Length: 5\r\n"
    body = chunks(b"hello") if chunked else b"hello"
    for _ in range(2):
        client.send(b"POST / HTTP/1.1\r\nHost: a.test\r\n" + ASK + framing + b"\r\n" + body)
        answer = client.message()
        assert (answer.status, answer.body) == (200, b"hello")
        goes_on_as_it_says(client, answer)


# Grants that were not asked for. Nothing behind them may reach the client as bytes of a tunnel.

BAD: dict[str, tuple[bytes, bytes]] = {
    "unasked": (b"", b"Connection: Upgrade\r\nUpgrade: websocket\r\n"),
    "unasked and bare": (b"", b""),
    "without a protocol": (ASK, b"Connection: Upgrade\r\n"),
    "bare": (ASK, b""),
    "with an empty protocol": (ASK, b"Connection: Upgrade\r\nUpgrade:\r\n"),
    # §7.8: a server MUST NOT switch to what was not asked for.
    "another protocol": (ASK, b"Connection: Upgrade\r\nUpgrade: foo\r\n"),
    "h2c": (ASK, b"Connection: Upgrade\r\nUpgrade: h2c\r\n"),
    "h2c for h2c": (
        b"Connection: Upgrade\r\nUpgrade: h2c\r\n",
        b"Connection: Upgrade\r\nUpgrade: h2c\r\n",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_switch_that_was_not_asked_for_is_refused(harness: Harness, case: str) -> None:
    asks, grants = BAD[case]

    def script(peer: Peer) -> None:
        peer.head()
        peer.send(SWITCHING + grants + b"\r\nforged")
        peer.ending()

    harness.service(harness.backend(script))
    client = harness.connect()
    client.send(get(fields=asks))
    answer = client.message()
    assert answer.status == 502
    assert b"forged" not in client.received


SLOPPY = {
    "no option": b"Upgrade: websocket\r\n",
    "another option": b"Connection: keep-alive\r\nUpgrade: websocket\r\n",
    "a length": b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n",
    "a coding": b"Connection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n",
}


@pytest.mark.parametrize("case", SLOPPY)
def test_a_sloppy_grant_is_mended_or_refused(harness: Harness, case: str) -> None:
    """§7.8: the option MUST be there. RFC 9112 §6.1, RFC 9110 §8.6: framing MUST NOT, in a 101."""

    def script(peer: Peer) -> None:
        peer.head()
        peer.send(SWITCHING + SLOPPY[case] + b"\r\nhello")
        peer.ending()

    harness.service(harness.backend(script))
    client = harness.connect()
    client.send(get(fields=ASK))
    head = client.head()
    if head.status != 502:
        assert (head.status, (head.get("Connection") or b"").lower()) == (101, b"upgrade")
        assert head.get("Content-Length") is head.get("Transfer-Encoding") is None
        assert client.take(5) == b"hello"


REFUSALS = {
    "200": ok(b"plain"),
    "400": b"HTTP/1.1 400 Bad\r\nContent-Length: 3\r\n\r\nbad",
    "401": b"HTTP/1.1 401 Who\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
    "403 in chunks": b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(b"n", b"o"),
    "404 until the end": b"HTTP/1.1 404 No\r\nConnection: close\r\n\r\nno",
    "426": b"HTTP/1.1 426 U\r\nSec-WebSocket-Version: 13\r\nContent-Length: 2\r\n\r\nno",
    "204": b"HTTP/1.1 204 N\r\n\r\n",
    "hints first": b"HTTP/1.1 103 E\r\nLink: </a>\r\n\r\n" + ok(b"plain"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_is_an_answer_and_http_goes_on(harness: Harness, case: str) -> None:
    def script(peer: Peer) -> None:
        while True:
            request = peer.message()
            if request.start.startswith(b"GET /next"):
                peer.send(ok(b"next"))
            else:
                peer.send(REFUSALS[case])
                if b"Connection: close" in REFUSALS[case]:
                    return

    harness.service(harness.backend(script))
    client = harness.connect()
    for behind in (b"", get(b"/next")):
        client.send(get(fields=ASK) + behind)
        while (answer := client.message()).status == 103:
            pass
        assert answer.status == int(REFUSALS[case].split(b" ")[1]) or answer.status == 200
        assert answer.body in (b"plain", b"bad", b"no", b"")
        client.send(get(b"/next") if not behind else b"")
        assert client.message().body == b"next"


def test_an_instance_that_ends_instead_of_answering_is_an_error(harness: Harness) -> None:
    def script(peer: Peer) -> None:
        peer.head()

    harness.service(harness.backend(script))
    client = harness.connect()
    client.send(get(fields=ASK))
    answer = client.message()
    assert answer.status == 502
    goes_on_as_it_says(client, answer)
