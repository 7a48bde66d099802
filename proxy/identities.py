"""What names a request on its way: a request id and a trace context, for one that came without."""

from __future__ import annotations

import os
from binascii import hexlify
from collections.abc import Iterator
from itertools import chain
from struct import Struct
from typing import Final

# Before a trace's digits, between them and the same again, and behind those of a parent.
REQUEST_ID: Final = b"X-Request-Id: "
TRACE: Final = b"\r\ntraceparent: 00-"
# W3C Trace Context §3.2: version, trace id, parent id, flags. Nothing is recorded here, but
# most tracers do as their caller says, and "not sampled" would silence them.
END: Final = b"-01\r\n\r\n"

_AT_A_TIME: Final = 128
_TRACES: Final = Struct("32s" * _AT_A_TIME)
_PARENTS: Final = Struct("16x16s" * _AT_A_TIME)  # each in its trace


def identities() -> Iterator[tuple[bytes, bytes]]:
    """Random ones without end: a trace, which names the request too, and its parent, in hex."""
    return chain.from_iterable(iter(_some, None))


def missing(trace: bytes, parent: bytes, *, has_request_id: bool, has_traceparent: bool) -> bytes:
    """The lines that a request did not bring, and the end of its head."""
    name = b"" if has_request_id else b"%b%b\r\n" % (REQUEST_ID, trace)
    context = b"\r\n" if has_traceparent else b"%b%b-%b%b" % (TRACE[2:], trace, parent, END)
    return name + context


def _some() -> Iterator[tuple[bytes, bytes]]:
    digits = hexlify(os.urandom(16 * _AT_A_TIME))
    return zip(_TRACES.unpack(digits), _PARENTS.unpack(digits), strict=False)
