"""What names a request that came without: W3C Trace Context §3.2, and a request id with it."""

from __future__ import annotations

import re
from itertools import islice

import pytest

from wakeful.proxy.identities import identities, missing

LINES = re.compile(
    rb"(X-Request-Id: ([0-9a-f]{32})\r\n)(traceparent: 00-([0-9a-f]{32})-([0-9a-f]{16})-01\r\n)\r\n"
)


def test_no_two_are_alike_and_the_request_id_is_the_trace_id() -> None:
    seen = list(islice(identities(), 1000))
    parents = set()
    for trace, lines in seen:
        match = LINES.fullmatch(lines)
        assert match is not None
        assert match[2] == match[4] == trace
        parents.add(match[5])
    assert len({trace for trace, _ in seen}) == len(parents) == 1000


@pytest.mark.parametrize("has_request_id", [False, True])
@pytest.mark.parametrize("has_traceparent", [False, True])
def test_what_a_request_brought_is_not_said_again(
    has_request_id: bool, has_traceparent: bool
) -> None:
    _, lines = next(identities())
    match = LINES.fullmatch(lines)
    assert match is not None
    wanted = (
        (b"" if has_request_id else match[1]) + (b"" if has_traceparent else match[3]) + b"\r\n"
    )
    given = missing(lines, has_request_id=has_request_id, has_traceparent=has_traceparent)
    assert given == wanted
