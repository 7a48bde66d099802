"""Answers in one form, so that what was sent and what came can be compared as bytes.

What no rule fixes is taken out: the order of unlike fields and the case of
their names (RFC 9110 §5.1, §5.3), where a body is cut into chunks, a Via of the
proxy's own (§7.6.3: MAY), and Date, which must be there (§6.6.1).
"""

from __future__ import annotations

import re

from tests.proxy.harness import get
from tests.proxy.wire import Ended, Message, Peer

REFUSED = b"502"  # the proxy says so instead, and believes the instance nothing more
CUT = b"cut"  # the connection ends in the middle of the answer, and it shows

_IMF_FIXDATE = re.compile(
    rb"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
    rb" \d{4} \d\d:\d\d:\d\d GMT"
)
_OUR_VIA = re.compile(rb"1\.[01] wakeful")


def form(written: bytes) -> bytes:
    """A message given as bytes, its body as the receiver has it in the end."""
    head, _, body = written.partition(b"\r\n\r\n")
    start, *lines = head.split(b"\r\n")
    pairs = (line.partition(b":") for line in lines)
    return _form(start, tuple((name, value.strip(b" \t")) for name, _, value in pairs), body)


def seen(answer: Message) -> bytes:
    """The same form, of an answer that came."""
    if answer.status >= 200:
        assert _IMF_FIXDATE.fullmatch(answer.get("Date") or b""), "no Date"
    return _form(answer.start, answer.fields, answer.body)


def outcome(client: Peer, *, bodiless: bool = False) -> bytes:
    """The next answer, or REFUSED or CUT; whatever it is, it came in good form."""
    try:
        answer = client.message(bodiless=bodiless)
    except (Ended, ConnectionResetError):
        return CUT
    goes_on_as_it_says(client, answer)
    return REFUSED if answer.status == 502 else seen(answer)


def goes_on_as_it_says(client: Peer, answer: Message) -> None:
    """Behind an answer comes the next one or the end, and no stray byte (RFC 9112 §9.6)."""
    if (answer.get("Connection") or b"").lower() == b"close":
        assert client.rest() == b""
        return
    client.send(get(host=b"nobody.test"))
    after = client.message()
    assert (after.status, after.reason) == (404, b"no_route")


def _form(start: bytes, fields: tuple[tuple[bytes, bytes], ...], body: bytes) -> bytes:
    kept = [(name.lower(), value) for name, value in fields if not _free(name.lower(), value)]
    kept.sort(key=lambda field: field[0])  # stable: like names keep their order (§5.3)
    return b"".join((start, *(b"\r\n%b: %b" % field for field in kept), b"\r\n\r\n", body))


def _free(name: bytes, value: bytes) -> bool:
    if name == b"connection":
        return value.lower() in (b"close", b"keep-alive")
    return name == b"date" or (name == b"via" and _OUR_VIA.fullmatch(value) is not None)
