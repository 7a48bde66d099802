"""What names a request on its way: a request id and a trace context, for one that came without."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain, repeat
from typing import Final

_TRACE_BYTES: Final = 16
_PARENT_BYTES: Final = 8
_REQUEST_ID: Final = b"X-Request-Id: "
# W3C Trace Context §3.2: version, trace id, parent id, flags. Nothing is recorded here, but
# most tracers do as their caller says, and "not sampled" would silence them.
_TRACE: Final = b"\r\ntraceparent: 00-"
_END: Final = b"-01\r\n\r\n"

_LINE: Final = len(_REQUEST_ID) + 2 * _TRACE_BYTES + len(b"\r\n")
_AT_A_TIME: Final = 128


def identities() -> Iterator[bytes]:
    """Random ones without end, each the lines of the two fields and the end of a head.

    The request id is the trace id, so that either leads to the other.
    """
    return chain.from_iterable(iter(_some, None))


def request_id(lines: bytes) -> bytes:
    return lines[len(_REQUEST_ID) : _LINE - 2]


def missing(lines: bytes, *, has_request_id: bool, has_traceparent: bool) -> bytes:
    """Of the two lines those that a request did not bring, and the end of its head."""
    if has_request_id:
        return lines[-2:] if has_traceparent else lines[_LINE:]
    return lines[:_LINE] + lines[-2:] if has_traceparent else lines


def _some() -> Iterator[bytes]:
    traces, parents = _digits(_TRACE_BYTES), _digits(_PARENT_BYTES)
    pieces = zip(
        repeat(_REQUEST_ID), traces, repeat(_TRACE), traces, repeat(b"-"), parents, repeat(_END)
    )
    return map(b"".join, pieces)


def _digits(size: int) -> list[bytes]:
    """Random numbers of ``size`` bytes, in hex."""
    return os.urandom(size * _AT_A_TIME).hex(" ", size).encode("ascii").split()
