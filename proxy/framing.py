"""What a message head means: its framing, its connection rules, what is forwarded.

The one place that decides where a message ends. Pure: from a parsed head to a
decision, or to the error that refuses the message. A head is forwarded only
in the one unambiguous form written here; Content-Length and Transfer-Encoding
are never copied.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import IntEnum
from functools import lru_cache
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Final

from wakeful.proxy.headers import (
    CLAIMS,
    CONNECTION,
    NOTHING,
    REQUEST_SPECIAL,
    RESPONSE_SPECIAL,
    Headers,
    elements,
    nominated,
    without,
)

if TYPE_CHECKING:
    from wakeful.proxy.wake_filters import Rule, WakeFilters


class Framing(IntEnum):
    """How the end of a body is known (RFC 9112 §6.3)."""

    NONE = 0
    LENGTH = 1
    CHUNKED = 2
    UNTIL_CLOSE = 3  # responses only


# Looked up once: by way of the class each costs 60 ns on the path of a request.
NONE: Final = Framing.NONE
LENGTH: Final = Framing.LENGTH
CHUNKED: Final = Framing.CHUNKED
UNTIL_CLOSE: Final = Framing.UNTIL_CLOSE


class BadRequest(Exception):
    """The client's message is refused; ``status`` and ``reason`` name the reply."""

    def __init__(self, detail: str, status: int = 400, reason: str = "bad_request") -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason


class BadResponse(Exception):
    """The instance's message cannot be forwarded in one unambiguous form."""


class RequestHead:
    """One request head, decided."""

    __slots__ = (
        "block",
        "claims",
        "expect_continue",
        "fields",
        "framing",
        "has_request_id",
        "has_traceparent",
        "host",
        "https",
        "is_head",
        "judged",
        "keep_alive",
        "last_hop",
        "length",
        "method",
        "nominated",
        "note",
        "ordinary",
        "plain",
        "raw",
        "target",
        "upgrade",
        "version",
    )

    def __init__(self, method: bytes, target: bytes, version: str) -> None:
        self.method = method
        self.is_head = method == b"HEAD"  # its answer ends with its own head
        self.target = target  # origin-form or asterisk-form, as it will be sent
        self.version = version
        self.host = b""
        self.fields: list[bytes] = []  # name, ": ", value, CRLF, name, ... as they came
        self.framing = NONE
        self.length = 0
        self.keep_alive = True
        self.plain = False  # HTTP/1.1, no body, and the connection is kept
        self.expect_continue = False
        self.upgrade: bytes | None = None  # the Upgrade value of a request that may become a tunnel
        self.claims: Headers | None = None  # lower-case names; kept apart from the fields
        self.nominated = NOTHING  # names of fields that are about this connection only
        self.https = False  # the target is an https URI
        self.last_hop = False  # it may go no further than this proxy
        self.has_request_id = False
        self.has_traceparent = False
        # Has no body and neither of these, is not for HEAD, and may go on: most are like that
        self.ordinary = False
        self.note = b""  # what the access log says of it, once it was said
        # By whom it was held against wake filters, and which of them it fits
        self.judged: tuple[WakeFilters, tuple[Rule, ...]] | None = None
        # Once the head is known
        self.block = b""  # all of it that comes from the client
        self.raw = b""  # the whole request, as it came


class ResponseHead:
    """One response head, decided."""

    __slots__ = (
        "block",
        "fields",
        "framing",
        "has_date",
        "length",
        "nominated",
        "raw",
        "reusable",
        "status",
        "status_line",
    )

    def __init__(self, status: int, status_line: bytes) -> None:
        self.status = status
        self.status_line = status_line
        self.fields: list[bytes] = []
        self.framing = NONE
        self.length = 0
        self.reusable = True  # the instance keeps the connection open after this message
        self.has_date = False
        self.nominated = NOTHING
        # Once the head is known
        self.block = b""  # all of it but Connection
        self.raw = b""  # as it came, with the empty line that ends it


# RFC 3986 §3.2.2 and a port, less the comma: a list is how two hosts look like one.
_HOST: Final = re.compile(
    rb"(?:(?:[A-Za-z0-9\-._~!$&'()*+;=]|%[0-9A-Fa-f]{2})++|\[([0-9A-Fa-f:.]++)\])(?::[0-9]{0,5}+)?+"
)
MAX_LENGTH: Final = 2**63 - 1


def request_head(method: bytes, target: bytes, version: str, headers: Headers) -> RequestHead:
    """Decide a request, or raise BadRequest."""
    if version[:2] != "1.":
        raise BadRequest(f"HTTP/{version} is not served here", 505, "version_not_supported")
    if version != "1.0":
        version = "1.1"  # RFC 9110 §2.5: a higher minor version is served as the highest known
    head = RequestHead(method, target, version)
    fields = head.fields
    hosts: list[bytes] = []
    lengths: list[bytes] = []
    codings: list[bytes] = []
    options: list[bytes] = []
    upgrade: list[bytes] = []
    claims: Headers = []
    has_tracestate = False
    special = REQUEST_SPECIAL

    for name, value in headers:
        lower = name.lower()
        if lower not in special:
            fields += (name, b": ", value, b"\r\n")
        elif lower == b"host":
            hosts.append(value)
        elif lower == b"content-length":
            lengths.append(value)
        elif lower == b"transfer-encoding":
            codings.append(value)
        elif lower == CONNECTION:
            options.append(value)
        elif lower == b"upgrade":
            upgrade.append(value)
        elif lower == b"expect":
            head.expect_continue |= _expects_continue(value)
        elif lower == b"x-request-id":
            if value:
                head.has_request_id = True
                fields += (name, b": ", value, b"\r\n")
        elif lower == b"traceparent":
            if value:
                head.has_traceparent = True
                fields += (name, b": ", value, b"\r\n")
        elif lower == b"tracestate":
            has_tracestate = True
            fields += (name, b": ", value, b"\r\n")
        elif lower in CLAIMS:
            claims.append((lower, value))

    _decide_host(head, hosts)
    _decide_request_framing(head, lengths, codings)
    if claims:
        head.claims = claims
    bodiless = head.framing is not CHUNKED and not head.length
    named = nominated(options) if options else NOTHING
    head.keep_alive = b"close" not in named and (version == "1.1" or b"keep-alive" in named)
    head.plain = bodiless and head.keep_alive and version == "1.1"
    if named:
        head.nominated = named
        head.fields = without(fields, named)
        head.has_request_id &= b"x-request-id" not in named
        head.has_traceparent &= b"traceparent" not in named
        if upgrade and b"upgrade" in named and version == "1.1" and bodiless:
            head.upgrade = _offered(upgrade)
    if has_tracestate and not head.has_traceparent:
        # W3C Trace Context §3.3: it is of a trace that is not gone on with.
        head.fields = without(head.fields, _TRACESTATE)
    if version == "1.0":
        head.expect_continue = False  # RFC 9110 §10.1.1
    if method in _BY_HOPS:
        _count_hop(head)
    head.ordinary = bodiless and not (
        head.is_head or head.has_request_id or head.has_traceparent or head.last_hop
    )
    return head


def _expects_continue(value: bytes) -> bool:
    """RFC 9110 §10.1.1: a list, of which nothing else can be met."""
    expected = {name.lower() for name in elements([value])}
    if expected - {b"100-continue"}:
        raise BadRequest("this expectation cannot be met", 417, "expectation_failed")
    return bool(expected)


def _offered(upgrade: list[bytes]) -> bytes | None:
    """The protocols that an instance may switch to.

    Not HTTP/2, and not TLS: neither is spoken here, and ignoring the field is
    the answer that RFC 9110 §7.8 provides for.
    """
    names = [name for name in elements(upgrade) if not name.lower().startswith((b"h2", b"tls"))]
    return b", ".join(names) or None


def was_offered(offered: bytes, chosen: list[bytes]) -> bool:
    """Whether an instance switches to what it may, and to anything at all."""
    names = {name.lower() for name in elements(chosen)}
    return bool(names) and names <= {name.lower() for name in elements([offered])}


def _decide_host(head: RequestHead, hosts: list[bytes]) -> None:
    if len(hosts) > 1:
        raise BadRequest("more than one Host field")  # RFC 9112 §3.2
    if not hosts and head.version == "1.1":
        raise BadRequest("a Host field is required")
    host = hosts[0] if hosts else b""
    if host and not _is_host(host):
        raise BadRequest("the Host field is not a host name")
    if head.method == b"CONNECT":
        raise BadRequest("CONNECT is not served here", 501, "method_not_implemented")
    target = head.target
    if target[:1] != b"/":
        if target == b"*":
            if head.method != b"OPTIONS":
                raise BadRequest("only OPTIONS may ask for *")
        else:
            # RFC 9112 §3.2.2: in absolute-form the target's authority counts, not Host.
            host, head.target = _absolute_form(target)
            head.https = target[:6].lower() == b"https:"
            if not head.target:
                # RFC 9112 §3.2.4: without a path OPTIONS asks about the whole server.
                head.target = b"*" if head.method == b"OPTIONS" else b"/"
    if not host:
        raise BadRequest("the Host field is empty")
    head.host = host


@lru_cache(maxsize=1024)
def _is_host(text: bytes) -> bool:
    match = _HOST.fullmatch(text)
    if match is None:
        return False
    if match[1] is not None:
        try:
            IPv6Address(match[1].decode("ascii"))
        except ValueError:
            return False
    return True


def _absolute_form(target: bytes) -> tuple[bytes, bytes]:
    scheme, mark, rest = target.partition(b"://")
    if not mark or scheme.lower() not in (b"http", b"https"):
        raise BadRequest("the request target is neither a path nor an http URI")
    end = min(at if (at := rest.find(mark)) >= 0 else len(rest) for mark in (b"/", b"?"))
    authority, path = rest[:end], rest[end:]
    if not _is_host(authority):
        raise BadRequest("the request target has no valid authority")
    return authority, b"/" + path if path[:1] == b"?" else path


def _decide_request_framing(head: RequestHead, lengths: list[bytes], codings: list[bytes]) -> None:
    if codings:
        # RFC 9112 §6.1, §6.3: both together, an HTTP/1.0 sender, or codings
        # that do not end in one chunked are how requests are smuggled.
        if lengths:
            raise BadRequest("both Content-Length and Transfer-Encoding")
        if head.version != "1.1":
            raise BadRequest("Transfer-Encoding in an HTTP/1.0 request")
        *others, last = [name.lower() for name in elements(codings)] or [b""]
        if last != b"chunked" or b"chunked" in others:
            raise BadRequest("Transfer-Encoding does not end in one chunked")
        if others:
            raise BadRequest("a transfer coding other than chunked", 501, "coding_not_implemented")
        head.framing = CHUNKED
    elif lengths:
        head.length = _content_length(lengths, BadRequest)
        # A length of zero is said aloud: a POST without any framing field is
        # answered with 411 by some servers.
        head.framing = LENGTH


def _content_length(values: Sequence[bytes], error: type[Exception]) -> int:
    value = values[0]
    if len(values) > 1 or not value.isdigit() or len(value) > 19:
        raise error("Content-Length is not one whole number")
    length = int(value)
    if length > MAX_LENGTH:
        raise error("Content-Length is out of range")
    return length


def _count_hop(head: RequestHead) -> None:
    """RFC 9110 §7.6.2: one hop less is left, and at none the request goes no further."""
    fields = head.fields
    for at in range(0, len(fields), 4):
        if fields[at].lower() == b"max-forwards" and fields[at + 2].isdigit():
            left = int(fields[at + 2].lstrip(b"0")[:18] or b"0")
            head.last_hop |= left == 0
            fields[at + 2] = b"%d" % max(left - 1, 0)


_TRACESTATE: Final = frozenset((b"tracestate",))
# Methods that Max-Forwards is for.
_BY_HOPS: Final = frozenset((b"OPTIONS", b"TRACE"))


def response_head(
    request: RequestHead, status: int, phrase: bytes, version: str, headers: Headers
) -> ResponseHead:
    """Decide a response, or raise BadResponse."""
    if version[:2] != "1.":
        raise BadResponse(f"an answer in HTTP/{version}")
    if status < 100:
        raise BadResponse("the status is not a number of three digits")
    head = ResponseHead(status, b"HTTP/1.1 %d %b\r\n" % (status, phrase))
    fields = head.fields
    lengths: list[bytes] = []
    codings: list[bytes] = []
    options: list[bytes] = []
    upgrade: list[bytes] = []
    special = RESPONSE_SPECIAL

    for name, value in headers:
        lower = name.lower()
        if lower not in special:
            fields += (name, b": ", value, b"\r\n")
        elif lower == b"content-length":
            lengths.append(value)
        elif lower == b"date":
            head.has_date = True
            fields += (name, b": ", value, b"\r\n")
        elif lower == b"transfer-encoding":
            codings.append(value)
        elif lower == CONNECTION:
            options.append(value)
        elif lower == b"upgrade":
            upgrade.append(value)

    if options:
        head.nominated = nominated(options)
        head.fields = without(fields, head.nominated)
        head.has_date &= b"date" not in head.nominated
    if upgrade and status == 426:  # RFC 9110 §15.5.22: the answer must say what is required
        head.fields += (b"Connection: Upgrade\r\nUpgrade: %b\r\n" % b", ".join(upgrade),)
    if codings and lengths:
        raise BadResponse("both Content-Length and Transfer-Encoding")
    if lengths:
        head.length = _content_length(lengths, BadResponse)
    head.reusable = b"close" not in head.nominated and (
        version != "1.0" or b"keep-alive" in head.nominated
    )

    # RFC 9112 §6.3, in its order.
    if request.is_head or status < 200 or status in (204, 304):
        head.framing = NONE
        # The length a GET would have had; RFC 9110 §8.6: never with 1xx and 204.
        if lengths and status >= 200 and status != 204:
            head.fields += (b"Content-Length: %d\r\n" % head.length,)
    elif codings:
        if version == "1.0" or [name.lower() for name in elements(codings)] != [b"chunked"]:
            raise BadResponse("a transfer coding other than chunked")
        head.framing = CHUNKED
    elif lengths:
        head.framing = LENGTH
    else:
        head.framing = UNTIL_CLOSE
        head.reusable = False
    return head


def is_close_framed(head: ResponseHead, version: str) -> bool:
    """Whether a client that speaks HTTP/``version`` knows the end of the body by the connection's.

    RFC 9112 §6.3: before HTTP/1.1 there is no chunked coding.
    """
    return version != "1.1" and head.framing in (CHUNKED, UNTIL_CLOSE)
