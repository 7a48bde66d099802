"""Answers of broken and hostile instances: refused or cut, and never believed further.

Where RFC 9110 or 9112 lets a recipient mend an answer, the mended forms are
allowed beside the refusal, and no others.
"""

from __future__ import annotations

import threading

import pytest

from tests.conformance.reading import CUT, REFUSED, form, outcome
from tests.proxy.harness import Harness, chunks, get
from tests.proxy.wire import PATIENCE, Peer, Script, ok

OK = b"HTTP/1.1 200 OK\r\n"
HELLO = b"Content-Length: 5\r\n\r\nhello"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
FORGED = ok(b"forged")
DATE = b"Date: Mon, 23 Nov 2026 12:00:00 GMT\r\n"  # which makes a head one to be remembered


def once(answer: bytes, *, reset: bool = False) -> Script:
    """Answer one request, and end."""

    def script(peer: Peer) -> None:
        peer.message()
        peer.send(answer)
        if reset:
            peer.reset()
        peer.sock.close()

    return script


# The first line (RFC 9112 §4, §2.3): what is sent, and what may be told.

STARTS: dict[str, tuple[bytes, ...]] = {
    "an empty phrase": (b"HTTP/1.1 200 \r\n", b"HTTP/1.1 200 \r\n"),
    "a phrase in UTF-8": (b"HTTP/1.1 200 Na sch\xc3\xb6n\r\n",) * 2,
    # §4: the space MUST be there also without a phrase.
    "no phrase and no space": (b"HTTP/1.1 200\r\n", b"HTTP/1.1 200 \r\n", OK, REFUSED),
    # RFC 9110 §2.5: a higher minor version SHOULD be read as ours.
    "version 1.2": (b"HTTP/1.2 200 OK\r\n", OK, REFUSED),
    "version 1.9": (b"HTTP/1.9 200 OK\r\n", OK, REFUSED),
    "version 1.10": (b"HTTP/1.10 200 OK\r\n", REFUSED),
    "version 11.1": (b"HTTP/11.1 200 OK\r\n", REFUSED),
    "version 0.9": (b"HTTP/0.9 200 OK\r\n", REFUSED),
    "version 2": (b"HTTP/2 200\r\n", REFUSED),
    "version 2.0": (b"HTTP/2.0 200 OK\r\n", REFUSED),
    "version 1": (b"HTTP/1 200 OK\r\n", REFUSED),
    "no version": (b"HTTP 200 OK\r\n", REFUSED),
    "lower case": (b"http/1.1 200 OK\r\n", REFUSED),  # §2.3: case-sensitive
    "another protocol": (b"ICY 200 OK\r\n", REFUSED),
    "letters before": (b"xHTTP/1.1 200 OK\r\n", REFUSED),
    # §4: three digits; §15 of RFC 9110: a class from 1 to 5.
    "status 99": (b"HTTP/1.1 99 OK\r\n", REFUSED),
    "status 099": (b"HTTP/1.1 099 OK\r\n", REFUSED),
    "status 000": (b"HTTP/1.1 000 OK\r\n", REFUSED),
    "status 0200": (b"HTTP/1.1 0200 OK\r\n", REFUSED),
    "status 2000": (b"HTTP/1.1 2000 OK\r\n", REFUSED),
    "status 20x": (b"HTTP/1.1 20x OK\r\n", REFUSED),
    "status -200": (b"HTTP/1.1 -200 OK\r\n", REFUSED),
    "status +200": (b"HTTP/1.1 +200 OK\r\n", REFUSED),
    "no status": (b"HTTP/1.1 OK\r\n", REFUSED),
    "status 600": (b"HTTP/1.1 600 Odd\r\n", b"HTTP/1.1 600 Odd\r\n", REFUSED),
    "status 999": (b"HTTP/1.1 999 Odd\r\n", b"HTTP/1.1 999 Odd\r\n", REFUSED),
    # §4: MAY be read on word boundaries.
    "two spaces": (b"HTTP/1.1  200 OK\r\n", OK, REFUSED),
    "a tab": (b"HTTP/1.1\t200 OK\r\n", OK, REFUSED),
    "an empty line before": (b"\r\n" + OK, OK, REFUSED),
    # §2.2: a bare CR makes its element invalid, or is a space; so does NUL.
    "CR in the phrase": (b"HTTP/1.1 200 a\rX: b\r\n", b"HTTP/1.1 200 a X: b\r\n", REFUSED),
    "NUL in the phrase": (b"HTTP/1.1 200 a\0b\r\n", b"HTTP/1.1 200 a b\r\n", REFUSED),
    "another control in the phrase": (b"HTTP/1.1 200 a\x1bb\r\n", b"HTTP/1.1 200 a b\r\n", REFUSED),
    "DEL in the phrase": (b"HTTP/1.1 200 a\x7fb\r\n", b"HTTP/1.1 200 a b\r\n", REFUSED),
    "a bare LF": (b"HTTP/1.1 200 OK\n", OK, REFUSED),  # §2.2: MAY end the line
}

# A line between sound ones.

LINES: dict[str, tuple[bytes, ...]] = {
    # §5.2: a fold MUST be refused or become one or more spaces.
    "a fold": (b"X: a\r\n b\r\n", *(b"X: a%bb\r\n" % (b" " * n) for n in (1, 2, 3)), REFUSED),
    "a fold by a tab": (
        b"X: a\r\n\tb\r\n",
        *(b"X: a%bb\r\n" % (b" " * n) for n in (1, 2, 3)),
        REFUSED,
    ),
    "a fold of a forged field": (
        b"X: a\r\n Set-Cookie: b\r\n",
        *(b"X: a%bSet-Cookie: b\r\n" % (b" " * n) for n in (1, 2, 3)),
        REFUSED,
    ),
    # §5.1: a proxy MUST remove this space before it forwards the answer.
    "a space before the colon": (b"X : a\r\n", b"X: a\r\n"),
    "a tab before the colon": (b"X\t: a\r\n", b"X: a\r\n"),
    "both before several colons": (b"X \t: a: b\r\nY : c\r\n", b"X: a: b\r\nY: c\r\n"),
    "a space before the colon of a date": (
        b"Date : Mon, 23 Nov 1998 12:00:00 GMT\r\n",
        b"",
    ),
    "a space before the colon of a nominated field": (
        b"Connection : X\r\nX: a\r\n",
        b"",
    ),
    "a space before the colon in a fold": (b"X: a\r\n b : c\r\n", b"X: a b : c\r\n", REFUSED),
    "a colon behind two words": (b"X Y : a\r\n", REFUSED),
    "nothing but a space before the colon": (b" : a\r\n", REFUSED),
    # RFC 9110 §5.1: no name at all; nothing of it may travel on.
    "no name": (b": a\r\n", b"", REFUSED),
    "no colon": (b"X a\r\n", b"", REFUSED),
    "a space in the name": (b"X Y: a\r\n", b"", REFUSED),
    "a parenthesis in the name": (b"X(Y): a\r\n", b"", REFUSED),
    "an octet above ASCII in the name": (b"X\xe9: a\r\n", b"", REFUSED),
    "NUL in the name": (b"X\0: a\r\n", b"", REFUSED),
    "CR in the name": (b"X\rY: a\r\n", b"", REFUSED),
    # RFC 9110 §5.5: MUST be refused or replaced by a space.
    "NUL in a value": (b"X: a\0b\r\n", b"X: a b\r\n", REFUSED),
    "CR in a value": (b"X: a\rb\r\n", b"X: a b\r\n", REFUSED),
    "CR that would split": (b"X: a\rSet-Cookie: b\r\n", b"X: a Set-Cookie: b\r\n", REFUSED),
    "CR before the end": (b"X: a\r\r\n", b"X: a\r\n", REFUSED),
    "another control": (b"X: a\x01b\r\n", b"X: a b\r\n", REFUSED),
    "DEL in a value": (b"X: a\x7fb\r\n", b"X: a b\r\n", REFUSED),
    "a bare LF": (b"X: a\nY: b\r\n", b"X: a\r\nY: b\r\n", b"X: a Y: b\r\n", REFUSED),  # §2.2
    # RFC 9112 §6.3 (5), RFC 9110 §8.6: an invalid length MUST be refused; like ones may be one.
    "a like length": (b"Content-Length: 5\r\n", b"", REFUSED),
    "another length": (b"Content-Length: 6\r\n", REFUSED),
    "a shorter length": (b"Content-Length: 0\r\n", REFUSED),
    # §6.1: both MUST lose the length, or be refused. As chunks this body makes no sense.
    "a coding": (b"Transfer-Encoding: chunked\r\n", REFUSED, CUT),
    "a hidden coding": (b"Transfer-Encoding : chunked\r\n", REFUSED, CUT),
    "a folded coding": (b"Transfer-Encoding:\r\n chunked\r\n", REFUSED, CUT),
    "an unknown coding": (b"Transfer-Encoding: x\r\n", REFUSED, CUT),
}

LENGTHS: dict[bytes, tuple[bytes, ...]] = {
    b"5": (b"5",),
    # §5: no part of the value, before it or behind; a tab is as good as a space.
    b"  5": (b"5",),
    b"\t5": (b"5",),
    b"5 ": (b"5",),
    b"5\t": (b"5",),
    b"0005": (b"5", b"0005", REFUSED),
    b"5, 5": (b"5", REFUSED),
    b"5,6": (REFUSED,),
    b"5,": (b"5", REFUSED),
    b"+5": (REFUSED,),
    b"-5": (REFUSED,),
    b"-0": (REFUSED,),
    b"0x5": (REFUSED,),
    b"5 5": (REFUSED,),
    b"5_0": (REFUSED,),
    b"5;5": (REFUSED,),
    b"5.0": (REFUSED,),
    b"5e0": (REFUSED,),
    b"": (REFUSED,),
    b"\x0b5": (REFUSED,),
    b"\xd9\xa5": (REFUSED,),  # a digit, in Arabic
    b"%d" % (2**64 + 5): (REFUSED, CUT),  # a number: too large to hold, or truncated
    b"9" * 400: (REFUSED, CUT),
}

# §6.1, §7: only chunked, once and last, can be understood without TE.
CODINGS: dict[bytes, tuple[bytes, ...]] = {
    b"chunked": (b"hello",),
    b"\tChUnKeD": (b"hello",),
    b"chunked ": (b"hello",),
    b"chunked,": (b"hello",),  # RFC 9110 §5.6.1.2: empty members mean nothing
    b", chunked": (b"hello",),
    b"chunked, chunked": (REFUSED,),
    b"chunked\r\nTransfer-Encoding: chunked": (REFUSED,),
    b"gzip, chunked": (REFUSED,),
    b"chunked, gzip": (REFUSED,),
    b"gzip": (REFUSED,),
    b"gzip\r\nTransfer-Encoding: chunked": (REFUSED,),
    b"identity": (REFUSED,),
    b"identity, chunked": (REFUSED,),
    b"chunked, identity": (REFUSED,),
    b"xchunked": (REFUSED,),
    b"chunkedx": (REFUSED,),
    b'"chunked"': (REFUSED,),
    b"chunked;q=1": (REFUSED,),  # §7.1: parameters SHOULD be an error
    b"chunked chunked": (REFUSED,),
    b"\x0bchunked": (REFUSED,),
    b"chunked\x00": (REFUSED,),
    b"": (REFUSED,),
}


def _messages() -> dict[str, tuple[bytes, ...]]:
    """All of them as whole answers: what is sent, and the forms of what may be told."""

    def told(before: bytes, allowed: tuple[bytes, ...], behind: bytes) -> tuple[bytes, ...]:
        return tuple(
            one if one in (REFUSED, CUT) else form(before + one + behind) for one in allowed
        )

    cases: dict[str, tuple[bytes, ...]] = {}
    for name, (sent, *allowed) in STARTS.items():
        cases[f"start: {name}"] = (sent + HELLO, *told(b"", tuple(allowed), HELLO))
    for name, (sent, *allowed) in LINES.items():
        line = OK + b"A: 1\r\n"
        cases[f"line: {name}"] = (line + sent + HELLO, *told(line, tuple(allowed), HELLO))
    for value, lengths in LENGTHS.items():
        before = OK + b"Content-Length: "
        sent = before + value + b"\r\n\r\nhello"
        cases[f"length: {value[:30]!r}"] = (sent, *told(before, lengths, b"\r\n\r\nhello"))
    for value, bodies in CODINGS.items():
        sent = OK + b"Transfer-Encoding: " + value + b"\r\n\r\n" + chunks(b"hello")
        cases[f"coding: {value!r}"] = (sent, *told(CHUNKED, bodies, b""))
    old = b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(b"hello")
    cases["coding in 1.0"] = (old, REFUSED, form(CHUNKED + b"hello"))  # §6.1: faulty framing
    return cases


MESSAGES = _messages()


@pytest.mark.parametrize("case", MESSAGES)
def test_an_odd_answer_is_mended_as_the_rules_allow_or_refused(harness: Harness, case: str) -> None:
    sent, *allowed = MESSAGES[case]
    backend = harness.backend(once(sent))
    harness.service(backend)
    for _ in range(2):
        client = harness.get()
        assert outcome(client) in allowed
    assert len(backend.connections) == 2  # RFC 9112 §6.3 (5): and the one to the instance ends


# Chunks (RFC 9112 §7.1): what comes behind the head, and the body or CUT.

LAST = b"\r\n0\r\n\r\n"
BODIES: dict[str, tuple[bytes, ...]] = {
    "leading zeros": (b"00000005\r\nhello" + LAST, b"hello"),
    "many zeros at last": (b"5\r\nhello\r\n00000\r\n\r\n", b"hello"),
    "hexadecimal digits": (b"A\r\n0123456789\r\na\r\n0123456789" + LAST, b"0123456789" * 2),
    "what looks like an end": (b"7\r\n\r\n0\r\n\r\n" + LAST, b"\r\n0\r\n\r\n"),
    # §7.1.1: an extension that is not known MUST be ignored.
    "an extension": (b"5;a=b;c\r\nhello" + LAST, b"hello"),
    "a quoted extension": (b'5;a="b;c\\"d"\r\nhello' + LAST, b"hello"),
    "an extension at last": (b"5\r\nhello\r\n0;a=b\r\n\r\n", b"hello"),
    "an extension amid white space": (b"5 ; a = b\r\nhello" + LAST, b"hello", CUT),
    # Not in the grammar, but all proxies read it: old servers fill up a place of fixed width.
    "white space behind a size": (b"5 \t\r\nhello\r\n0   \r\n\r\n", b"hello"),
    "white space before a size": (b" 5\r\nhello" + LAST, CUT),
    "a size with 0x": (b"0x5\r\nhello" + LAST, CUT),
    "a size with a sign": (b"+5\r\nhello" + LAST, CUT),
    "a negative size": (b"-5\r\nhello" + LAST, CUT),
    "a size in two parts": (b"0_5\r\nhello" + LAST, CUT),
    "no size": (b"\r\nhello" + LAST, CUT),
    "an extension without a size": (b";a\r\nhello" + LAST, CUT),
    "letters for a size": (b"xyz\r\nhello" + LAST, CUT),
    "a size that wraps at 64 bits": (b"10000000000000005\r\nhello" + LAST, CUT),
    "a size that wraps at 32 bits": (b"100000005\r\nhello" + LAST, CUT),
    "a size of 40 digits": (b"f" * 40 + b"\r\nhello" + LAST, CUT),
    "no line end behind data": (b"5\r\nhello0\r\n\r\n", CUT),
    "more data than the size": (b"4\r\nhello" + LAST, CUT),
    "less data than the size": (b"6\r\nhello" + LAST, CUT),
    # The leave of §2.2 is for the start line and fields: to read a bare LF or CR here is
    # how two readers come to see different chunks.
    "LF behind a size": (b"5\nhello" + LAST, CUT),
    "LF behind data": (b"5\r\nhello\n0\r\n\r\n", CUT),
    "LF at the end": (b"5\r\nhello\r\n0\n\n", CUT),
    "LF in an extension": (b"5;a\nb\r\nhello" + LAST, CUT),
    "CR behind a size": (b"5\rhello" + LAST, CUT),
    "CR in an extension": (b"5;a\rb\r\nhello" + LAST, CUT),
    "NUL in an extension": (b"5;a\0b\r\nhello" + LAST, CUT),
    # Trailers may be dropped (RFC 9110 §6.5.1); a broken line may not travel on.
    "a trailer without a colon": (b"5\r\nhello\r\n0\r\nX\r\n\r\n", b"hello", CUT),
    "NUL in a trailer": (b"5\r\nhello\r\n0\r\nX: a\0b\r\n\r\n", b"hello", CUT),
    "CR in a trailer": (b"5\r\nhello\r\n0\r\nX: a\rY: b\r\n\r\n", b"hello", CUT),
    # RFC 9112 §5.1: white space before a colon MUST be removed.
    "a space before the colon of a trailer": (b"5\r\nhello\r\n0\r\nX : a\r\n\r\n", b"hello"),
    "a space in a trailer's name": (b"5\r\nhello\r\n0\r\nX Y: a\r\n\r\n", b"hello", CUT),
} | {
    f"ends after {part!r}": (part, CUT)
    for part in (
        *(b"", b"5", b"5\r", b"5\r\n", b"5\r\nhel", b"5\r\nhello", b"5\r\nhello\r\n"),
        *(b"5\r\nhello\r\n0", b"5\r\nhello\r\n0\r\n", b"5\r\nhello\r\n0\r\n\r"),
        b"5\r\nhello\r\n0\r\nX: 1\r\n",
    )
}


@pytest.mark.parametrize("case", BODIES)
def test_chunks_are_told_whole_or_cut_so_that_it_shows(harness: Harness, case: str) -> None:
    sent, *allowed = BODIES[case]
    harness.service(harness.backend(once(CHUNKED + sent)))
    client = harness.get()
    came = outcome(client)
    if came in (CUT, REFUSED):
        assert CUT in allowed
        assert not client.received.endswith(b"\r\n0\r\n\r\n")
    else:
        assert came in [form(CHUNKED + one) for one in allowed]
    for broken in (b"\0", b"X Y", b"a\rY"):
        assert broken not in client.received


# Answers that end too early: what the instance sends before it ends.

SHORT = {
    "no byte": b"",
    "half a word": b"HTTP/1",
    "half a head": OK + b"Content-Length: 5\r\n",
    "no body": OK + b"Content-Length: 5\r\n\r\n",
    "half a body": OK + b"Content-Length: 10\r\n\r\nhello",
    "half a chunk": CHUNKED + b"9\r\nhello",
    "no last chunk": CHUNKED + b"5\r\nhello\r\n",
}


@pytest.mark.parametrize("reset", [False, True], ids=["end", "reset"])
@pytest.mark.parametrize("case", SHORT)
def test_a_short_answer_never_looks_whole(harness: Harness, case: str, reset: bool) -> None:
    """RFC 9112 §8; to HTTP/1.0 the end of the connection may be the end of the body."""
    harness.service(harness.backend(once(SHORT[case], reset=reset)))
    for version in (b"HTTP/1.1", b"HTTP/1.0"):
        client = harness.connect()
        client.send(get().replace(b"HTTP/1.1", version))
        assert outcome(client) in (CUT, REFUSED)


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_an_answer_until_the_end_that_is_reset_never_looks_whole(
    harness: Harness, version: bytes
) -> None:
    def script(peer: Peer) -> None:
        peer.message()
        peer.send(OK + b"\r\nhello")
        arrived.wait(PATIENCE)
        peer.reset()

    arrived = threading.Event()
    harness.service(harness.backend(script))
    client = harness.connect()
    client.send(get().replace(b"HTTP/1.1", b"HTTP/%b" % version))
    client.until(b"hello")
    arrived.set()
    ending = client.ending()
    assert ending == "reset" or version == b"1.1"
    assert not client.received.endswith(b"0\r\n\r\n")


# Bytes behind a whole answer, at once with it: they answer nobody, and what
# else comes on that connection is not believed (RFC 9112 §9.2).

EXTRA = {
    "behind a length": ok() + FORGED,
    "the beginning of a word": ok() + b"H",
    "half a head that would swallow the next": ok() + OK + b"X: ",
    "half an answer behind chunks": CHUNKED + chunks(b"hello") + OK + b"Content-Length: 5\r\n\r\n",
    "behind a head that comes again": ok(fields=DATE) + ok(b"forged", DATE),
    "half a head behind one that comes again": ok(fields=DATE) + OK + b"X: ",
    "behind a length of zero": ok(b"") + FORGED,
    "behind chunks": CHUNKED + chunks(b"hello") + FORGED,
    "behind trailers": CHUNKED + chunks(b"hello", trailers=b"X: 1\r\n") + FORGED,
    "a line end and half a head": ok() + b"\r\n\r\n" + OK,
    "two answers": ok() + FORGED + FORGED,
    "a switch": ok() + b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nforged",
}


@pytest.mark.parametrize("case", EXTRA)
def test_bytes_behind_an_answer_reach_no_client(harness: Harness, case: str) -> None:
    def script(peer: Peer) -> None:
        peer.message()
        peer.send(EXTRA[case])
        peer.message()
        peer.send(ok(b"again"))

    backend = harness.backend(script)
    harness.service(backend)
    victims = [harness.connect() for _ in range(3)]
    for victim in victims:
        victim.send(get())
        assert victim.message().body == (b"" if "zero" in case else b"hello")
    for victim in victims:
        victim.send(get(host=b"nobody.test"))
        assert victim.message().status == 404
        assert b"forged" not in victim.received
    assert len(backend.connections) == 3


@pytest.mark.parametrize("late", [b"H", b"\r\n", FORGED, b"HTTP/1.1 408 Late\r\n\r\n"])
def test_bytes_that_come_between_two_requests_answer_nobody(harness: Harness, late: bytes) -> None:
    """Known from servers that send 408 before they close an idle connection."""

    def script(peer: Peer) -> None:
        peer.message()
        peer.send(ok())
        if peer is backend.connections[0]:
            told.wait(PATIENCE)
            peer.send(late)
            said.set()
        peer.rest()

    told, said = threading.Event(), threading.Event()
    backend = harness.backend(script)
    harness.service(backend)
    client = harness.get()
    assert client.message().body == b"hello"
    told.set()
    assert said.wait(PATIENCE)
    harness.beat()
    client.send(get())
    assert client.message().body == b"hello"
    assert len(backend.connections) == 2
