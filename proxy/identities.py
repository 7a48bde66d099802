"""What names a request on its way: a request id and a trace context, for one that came without."""

from __future__ import annotations

import os
from binascii import hexlify
from collections.abc import Iterator
from itertools import chain, repeat
from struct import Struct
from typing import Final

# Before a trace's digits, between them and the same again, and behind those of a parent.
_REQUEST_ID: Final = b"X-Request-Id: "
_TRACE: Final = b"\r\ntraceparent: 00-"
# W3C Trace Context §3.2: version, trace id, parent id, flags. Nothing is recorded here, but
# most tracers do as their caller says, and "not sampled" would silence them.
_END: Final = b"-01\r\n\r\n"

_LINE: Final = len(_REQUEST_ID) + 32 + 2  # bytes of the first one

_AT_A_TIME: Final = 128
_TRACES: Final = Struct("32s" * _AT_A_TIME)
_PARENTS: Final = Struct("16x16s" * _AT_A_TIME)  # each in its trace


def identities() -> Iterator[tuple[bytes, bytes]]:
    """Random ones without end: a trace in hex, which names the request too, and what says so.

    That is the lines of X-Request-Id and traceparent, and the end of the head.
    """
    return chain.from_iterable(iter(_some, None))


def missing(lines: bytes, *, has_request_id: bool, has_traceparent: bool) -> bytes:
    """Of the lines those that a request did not bring, and the end of its head."""
    if has_traceparent:
        lines = lines[:_LINE] + b"\r\n"
    return lines[_LINE:] if has_request_id else lines


def _some() -> Iterator[tuple[bytes, bytes]]:
    digits = hexlify(os.urandom(16 * _AT_A_TIME))
    traces, parents = _TRACES.unpack(digits), _PARENTS.unpack(digits)
    pieces = zip(
        repeat(_REQUEST_ID), traces, repeat(_TRACE), traces, repeat(b"-"), parents, repeat(_END)
    )
    return zip(traces, map(b"".join, pieces), strict=False)
