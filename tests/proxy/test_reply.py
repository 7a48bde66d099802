from __future__ import annotations

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proxy.test_framing import Seen
from wakeful.proxy import reply
from wakeful.proxy.reply import DateField, Reply, render

EVERY = [value for value in vars(reply).values() if isinstance(value, Reply)]


@given(
    st.sampled_from([*EVERY, reply.bad_request("no", 417, "expectation_failed")]),
    st.booleans(),
    st.booleans(),
)
def test_an_answer_of_our_own_is_one_whole_message(
    answer: Reply, head_only: bool, close: bool
) -> None:
    seen = Seen()
    parser = httptools.HttpResponseParser(seen)
    whole = render(answer, head_only=False, close=close, date=b"now")
    parser.feed_data(whole)
    assert (parser.get_status_code(), seen.messages) == (answer.status, 1)
    assert seen.body.decode() == answer.detail + "\n"
    assert seen.all(b"x-wakeful-reason") == [answer.reason.encode()]
    assert seen.all(b"connection") == ([b"close"] if close else [])
    assert seen.all(b"retry-after") == ([] if answer.retry_after is None else [b"1"])
    if head_only:
        head = render(answer, head_only=True, close=close, date=b"now")
        assert head + seen.body == whole


def test_no_answer_of_our_own_may_be_kept_by_a_cache() -> None:
    for answer in EVERY:
        head = render(answer, head_only=True, close=False, date=b"now")
        assert b"\r\nCache-Control: no-store\r\n" in head


def test_a_204_has_neither_a_body_nor_its_length() -> None:
    whole = render(reply.asleep(204), head_only=False, close=False, date=b"now")
    assert whole == (
        b"HTTP/1.1 204 No Content\r\nCache-Control: no-store\r\nDate: now\r\n"
        b"X-Wakeful-Reason: asleep\r\n\r\n"
    )


def test_retry_after_is_said_where_it_has_a_meaning() -> None:
    asleep = [reply.asleep(status).retry_after for status in (200, 404, 429, 503)]
    assert asleep == [None, None, 300, 300]
    assert [reply.busy(status).retry_after for status in (200, 503)] == [None, 1]


@given(st.text(max_size=50))
def test_any_detail_stays_within_the_body(detail: str) -> None:
    seen = Seen()
    answer = reply.start_failed("start_failed", detail, 3.6)
    httptools.HttpResponseParser(seen).feed_data(
        render(answer, head_only=False, close=False, date=b"now")
    )
    assert seen.messages == 1
    assert seen.body == detail.encode("utf-8", "replace") + b"\n"
    assert seen.all(b"retry-after") == [b"4"]


@pytest.mark.parametrize(("wait", "seconds"), [(-5.0, 1), (0.2, 1), (2.6, 3), (60.0, 60)])
def test_a_retry_is_never_sooner_than_a_second(wait: float, seconds: int) -> None:
    assert reply.start_failed("start_failed", "x", wait).retry_after == seconds


def test_the_date_is_that_of_its_second() -> None:
    date = DateField()
    assert date.at(784111777.9) == b"Sun, 06 Nov 1994 08:49:37 GMT"
    assert date.at(784111777.1) is date.at(784111777.2)
    assert date.at(784111778.0) == b"Sun, 06 Nov 1994 08:49:38 GMT"
