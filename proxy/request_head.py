"""From a client's bytes to the decided head of a request, or to why there is none.

Pure. Bounds its size; what it may look like is ``grammar``'s, what it means ``framing``'s.
"""

from __future__ import annotations

from wakeful.proxy import framing, grammar, reply
from wakeful.proxy.framing import BadRequest, RequestHead
from wakeful.proxy.grammar import Malformed
from wakeful.proxy.limits import Limits


def decided(head: bytes, limits: Limits, trusted: bool) -> RequestHead:
    """``head`` is whole, with the empty line that ends it. Raises Malformed, BadRequest.

    Of a ``trusted`` client it is believed that somebody asked it by https.
    """
    if len(head) > limits.target:
        _bound(head, limits)
    method, target, version, headers = grammar.request(head)
    if len(headers) > limits.fields:
        raise _refused(reply.HEAD_TOO_LARGE)
    request = framing.request_head(method, target, version, headers)
    if request.https and not trusted:
        raise _refused(reply.MISDIRECTED)
    return request


def check_beginning(beginning: bytes, seen: int, limits: Limits) -> None:
    """Raises Malformed, BadRequest when no more bytes can make a head of these.

    ``seen`` of them were checked before.
    """
    if len(beginning) > limits.target:
        _bound(beginning, limits)
    if grammar.hopeless(beginning, seen):
        raise Malformed("not a request in HTTP/1.1")


def _bound(head: bytes, limits: Limits) -> None:
    if grammar.target_length(head) > limits.target:
        raise _refused(reply.URI_TOO_LONG)
    if len(head) > limits.head:
        raise _refused(reply.HEAD_TOO_LARGE)


def _refused(answer: reply.Reply) -> BadRequest:
    return BadRequest(answer.detail, answer.status, answer.reason)
