"""Whether a request may be sent again, and where. Pure.

It may go elsewhere when no connection was made. Once written, it is sent again only if that
does no harm should it have been read after all (it is idempotent), and if there is a sign
that it was not: the other side threw the bytes away, or ended a kept connection in the moment
in which it was written to (RFC 9112 §9.3.1).
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from wakeful.proxy.request_body import RequestBody

# Instances that one request is tried with.
MOST_ATTEMPTS: Final = 8

# Seconds in which the end of a kept connection may have crossed a request. Later than that
# it was no longer about to end when the request came.
_CROSSING: Final = 1.0

# RFC 9110 §9.2.2
_IDEMPOTENT: Final = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))


class Again(Enum):
    NOWHERE = auto()
    OVER_ANOTHER = auto()  # connection to the same instance
    IF_ALIVE = auto()  # over another connection, if the instance then goes on
    IF_GONE = auto()  # elsewhere, if the instance then refuses a connection


def after_loss(
    method: bytes, body: RequestBody | None, *, discarded: bool, reused: bool, after: float
) -> Again:
    """What may be done for a request whose connection was lost before any answer.

    ``discarded``: what was written was thrown away, or so it seems. A connection that was
    ``reused`` had been closed before, so a fresh one may carry the request. A fresh one was
    reset by the instance, which then may have read the request, or by the kernel because
    the instance ended and had not: only then is another connection refused.

    If nothing was thrown away, a reused connection that ended within a moment ``after`` the
    request (seconds) was closed by an instance that did not want it any more, or that ended
    in the midst of the request: only in the first case does it go on.
    """
    if method not in _IDEMPOTENT or (body is not None and not body.replayable):
        return Again.NOWHERE
    if discarded:
        return Again.OVER_ANOTHER if reused else Again.IF_GONE
    return Again.IF_ALIVE if reused and after < _CROSSING else Again.NOWHERE


def possible(method: bytes, body: RequestBody | None, longest: int) -> bool:
    """Of a request that is not sent yet: whether it could be sent again."""
    whole = body is None or (body.done and body.size <= longest)
    return whole and method in _IDEMPOTENT
