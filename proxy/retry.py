"""Whether a request may be sent again, and where. Pure.

It may go elsewhere when no connection was made. Once written, it is sent again only if that
does no harm should it have been read after all (it is idempotent), and if there is a sign
that it was not: the other side threw the bytes away.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from wakeful.proxy.request_body import RequestBody

# Instances that one request is tried with.
MOST_ATTEMPTS: Final = 8

# RFC 9110 §9.2.2
_IDEMPOTENT: Final = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))


class Again(Enum):
    NOWHERE = auto()
    OVER_ANOTHER = auto()  # connection to the same instance
    IF_GONE = auto()  # elsewhere, if the instance then refuses a connection


def after_loss(method: bytes, body: RequestBody | None, *, discarded: bool, reused: bool) -> Again:
    """What may be done for a request whose connection was lost before any answer.

    ``discarded``: what was written was thrown away, or so it seems. A connection that was
    ``reused`` had been closed before, so a fresh one may carry the request. A fresh one was
    reset by the instance, which then may have read the request, or by the kernel because
    the instance ended and had not: only then is another connection refused.
    """
    if not discarded or method not in _IDEMPOTENT:
        return Again.NOWHERE
    if body is not None and not body.replayable:
        return Again.NOWHERE
    return Again.OVER_ANOTHER if reused else Again.IF_GONE


def possible(method: bytes, body: RequestBody | None, longest: int) -> bool:
    """Of a request that is not sent yet: whether it could be sent again."""
    whole = body is None or (body.done and body.size <= longest)
    return whole and method in _IDEMPOTENT
