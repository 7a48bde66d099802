"""What may be sent again, and what is kept of a body for that."""

from __future__ import annotations

import pytest

from wakeful.proxy.framing import CHUNKED, LENGTH, Framing, RequestHead
from wakeful.proxy.request_body import RequestBody
from wakeful.proxy.retry import Again, after_loss, possible

LONGEST = 8


def body(*, framing: Framing = LENGTH, pieces: tuple[bytes, ...] = (b"hello",)) -> RequestBody:
    head = RequestHead(b"PUT", b"/", "1.1")
    head.framing = framing
    it = RequestBody(head)
    for piece in pieces:
        it.keep(it.framed(piece), len(piece))
    return it


def whole(*pieces: bytes) -> RequestBody:
    it = body(pieces=pieces)
    it.end([])
    return it


def test_what_was_thrown_away_unread_by_a_kept_connection_goes_over_another() -> None:
    assert after_loss(b"GET", None, discarded=True, reused=True, after=0.0) is Again.OVER_ANOTHER


def test_what_a_fresh_connection_threw_away_is_sent_again_only_if_the_instance_is_gone() -> None:
    assert after_loss(b"GET", None, discarded=True, reused=False, after=0.0) is Again.IF_GONE


@pytest.mark.parametrize(
    ("reused", "after", "again"),
    [
        (True, 0.0, Again.IF_ALIVE),
        (True, 0.99, Again.IF_ALIVE),
        (True, 1.0, Again.NOWHERE),  # long after: its connection was not about to end
        (False, 0.0, Again.NOWHERE),
    ],
)
def test_what_may_have_been_read_is_sent_again_only_if_the_instance_may_not_have_wanted_it(
    reused: bool, after: float, again: Again
) -> None:
    assert after_loss(b"GET", None, discarded=False, reused=reused, after=after) is again


@pytest.mark.parametrize("method", [b"POST", b"PATCH", b"CONNECT", b"BREW"])
@pytest.mark.parametrize("discarded", [True, False])
def test_what_does_harm_twice_is_sent_once(method: bytes, discarded: bool) -> None:
    assert after_loss(method, None, discarded=discarded, reused=True, after=0.0) is Again.NOWHERE
    assert not possible(method, None, LONGEST)


def test_a_small_whole_body_is_kept_to_be_sent_again() -> None:
    it = whole(b"four", b"more")
    assert it.take(LONGEST) == [b"four", b"more"]
    assert it.take(LONGEST) == [b"four", b"more"]
    assert after_loss(b"PUT", it, discarded=True, reused=True, after=0.0) is Again.OVER_ANOTHER


@pytest.mark.parametrize("it", [whole(b"too long!"), body()], ids=["long", "not whole"])
def test_other_bodies_are_written_once(it: RequestBody) -> None:
    assert not possible(b"PUT", it, LONGEST)
    assert it.take(LONGEST)
    assert it.take(LONGEST) == []
    assert after_loss(b"PUT", it, discarded=True, reused=True, after=0.0) is Again.NOWHERE


def test_a_body_that_has_yet_to_begin_does_not_stand_in_the_way() -> None:
    it = body(pieces=())
    assert it.take(LONGEST) == []
    assert after_loss(b"PUT", it, discarded=True, reused=True, after=0.0) is Again.OVER_ANOTHER


def test_chunks_are_framed_and_ended_by_the_trailers_that_may_travel_on() -> None:
    it = body(framing=CHUNKED, pieces=(b"hello", b"!"))
    last = it.end([(b"Checksum", b"1"), (b"Content-Length", b"9")])
    assert it.take(LONGEST) == [b"5\r\nhello\r\n", b"1\r\n!\r\n"]
    assert last == b"0\r\nChecksum: 1\r\n\r\n"
