"""Every answer of wakeful's own: one table from a failure to its status."""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import Final


@dataclass(frozen=True, slots=True)
class Reply:
    """What a client is told when no instance answers it.

    ``retry_after`` is whole seconds. ``detail`` is one line of text for the
    client: the cause, and never an instance's output. ``page`` is HTML in its
    place.
    """

    status: int
    reason: str
    detail: str
    retry_after: int | None = None
    page: str = ""


NO_ROUTE: Final = Reply(404, "no_route", "no service answers for this host")
QUEUE_FULL: Final = Reply(503, "queue_full", "too many requests are waiting for this service", 1)
QUEUE_TIMEOUT: Final = Reply(504, "queue_timeout", "no instance had room in time")
COLD_START_TIMEOUT: Final = Reply(504, "cold_start_timeout", "no instance was ready in time")
RESPONSE_TIMEOUT: Final = Reply(504, "response_timeout", "the instance did not answer in time")
REQUEST_TIMEOUT: Final = Reply(504, "request_timeout", "the request took too long")
UPSTREAM_FAILED: Final = Reply(502, "upstream_failed", "the instance broke the exchange")
UPSTREAM_UNREACHABLE: Final = Reply(502, "upstream_unreachable", "no instance could be reached")
BAD_RESPONSE: Final = Reply(502, "bad_response", "the instance's answer was malformed")
BODY_TOO_LARGE: Final = Reply(413, "body_too_large", "the request's body is over the limit")
URI_TOO_LONG: Final = Reply(414, "uri_too_long", "the request's target is over the limit")
MISDIRECTED: Final = Reply(421, "misdirected_request", "https is not served on this connection")
HEAD_TOO_LARGE: Final = Reply(431, "head_too_large", "the request's head is over the limit")
HEAD_TIMEOUT: Final = Reply(408, "head_timeout", "the request's head did not arrive in time")


# When to ask again for what nothing will start meanwhile.
_ASLEEP_SECONDS: Final = 300
# RFC 9110 §15.6.4 and RFC 6585 §4: the statuses that Retry-After belongs to.
_RETRIED: Final = frozenset((429, 503))


def asleep(status: int = 503) -> Reply:
    """To a request that is no activity, while no instance is ready."""
    retry = _ASLEEP_SECONDS if status in _RETRIED else None
    return Reply(status, "asleep", "asleep; this request does not wake it", retry)


def busy(status: int = 503) -> Reply:
    """To a request that is no activity, while no instance has room for it."""
    return Reply(status, "busy", "every instance is busy", 1 if status in _RETRIED else None)


def bad_request(detail: str, status: int = 400, reason: str = "bad_request") -> Reply:
    return Reply(status, reason, detail)


def start_failed(reason: str, detail: str, wait: float) -> Reply:
    """No instance can be had; ``wait`` is the seconds until the next try."""
    return Reply(503, reason, detail, max(1, round(wait)))


def last_hop(method: bytes) -> Reply:
    """To a request that may go no further (RFC 9110 §7.6.2)."""
    status = 200 if method == b"OPTIONS" else 501
    return Reply(status, "last_hop", "Max-Forwards ends at this proxy")


class DateField:
    """The Date field's value, made anew once a second (RFC 9110 §6.6.1)."""

    __slots__ = ("_second", "_value")

    def __init__(self) -> None:
        self._second = -1
        self._value = b""

    def at(self, unix: float) -> bytes:
        second = int(unix)
        if second != self._second:
            self._second = second
            self._value = formatdate(second, usegmt=True).encode("ascii")
        return self._value


# A page of ours shows itself, and loads and runs nothing.
_PAGE: Final = (
    b"Content-Type: text/html; charset=utf-8\r\n"
    b"Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; img-src data:\r\n"
)


def render(reply: Reply, *, head_only: bool, close: bool, date: bytes) -> bytes:
    """The whole message, head and body. No cache may keep it: soon it will not be true."""
    body, content = b"", b""
    if reply.status != 204:  # RFC 9110 §8.6: with 204 not even a length
        body = (reply.page or reply.detail + "\n").encode("utf-8", "replace")
        form = _PAGE if reply.page else b"Content-Type: text/plain; charset=utf-8\r\n"
        content = b"%bContent-Length: %d\r\n" % (form, len(body))
    retry = b"" if reply.retry_after is None else b"Retry-After: %d\r\n" % reply.retry_after
    head = (
        b"HTTP/1.1 %d %b\r\n"
        b"%b"
        b"Cache-Control: no-store\r\n"
        b"Date: %b\r\n"
        b"X-Wakeful-Reason: %b\r\n%b%b\r\n"
        % (
            reply.status,
            _phrase(reply.status),
            content,
            date,
            reply.reason.encode("ascii"),
            retry,
            b"Connection: close\r\n" if close else b"",
        )
    )
    return head if head_only else head + body


def _phrase(status: int) -> bytes:
    return HTTPStatus(status).phrase.encode("ascii")
