"""Header fields that are not simply passed on: which they are, and what is nominated.

Pure. Names are compared in lower case.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Final

Headers = list[tuple[bytes, bytes]]

NOTHING: Final[frozenset[bytes]] = frozenset()

# Fields that are about this connection only, or that this proxy writes itself.
# RFC 9110 §7.6.1; Proxy-Connection and Keep-Alive are its named relics.
CONNECTION: Final = b"connection"
_HOP_BY_HOP: Final = frozenset(
    (b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade", CONNECTION)
)
# What a client or a proxy before us says of who asked; see ``forwarding``. A hop adds itself to
# Forwarded and X-Forwarded-For, and passes these on as they are.
KEPT_CLAIMS: Final = (
    b"X-Forwarded-Proto",
    b"X-Forwarded-Host",
    b"X-Forwarded-Port",
    b"X-Forwarded-Prefix",
    b"X-Forwarded-Protocol",
    b"X-Forwarded-Scheme",
    b"X-Forwarded-Server",
    b"X-Forwarded-Ssl",
    b"X-Real-IP",
)
CLAIMS: Final = frozenset(
    (b"forwarded", b"x-forwarded-for", *(name.lower() for name in KEPT_CLAIMS))
)
# To a CGI or WSGI program X_Forwarded_For is the same as X-Forwarded-For.
_DISGUISED_CLAIMS: Final = frozenset(
    b"".join(marks)
    for name in CLAIMS
    for marks in product(*((b"-", b"_") if byte == 0x2D else (b"%c" % byte,) for byte in name))
)
# To such programs these, too, are what they are not: the framing, and with Proxy the
# environment's HTTP_PROXY (httpoxy, CVE-2016-5385).
_DISGUISES: Final = frozenset((b"content_length", b"transfer_encoding", b"proxy"))
REQUEST_SPECIAL: Final = (
    _HOP_BY_HOP
    | _DISGUISED_CLAIMS
    | _DISGUISES
    | frozenset(
        (b"host", b"content-length", b"expect", b"x-request-id", b"traceparent", b"tracestate")
    )
)
RESPONSE_SPECIAL: Final = _HOP_BY_HOP | frozenset((b"content-length", b"date"))

# A trailer must not change how its message is framed, routed, authorised, or
# what it asks and says as a whole (RFC 9110 §6.5.1).
FORBIDDEN_TRAILERS: Final = (
    _HOP_BY_HOP
    | _DISGUISED_CLAIMS
    | _DISGUISES
    | frozenset(
        (
            b"age",
            b"authorization",
            b"cache-control",
            b"content-encoding",
            b"content-length",
            b"content-range",
            b"content-type",
            b"cookie",
            b"date",
            b"expect",
            b"expires",
            b"host",
            b"if-match",
            b"if-modified-since",
            b"if-none-match",
            b"if-range",
            b"if-unmodified-since",
            b"location",
            b"max-forwards",
            b"pragma",
            b"proxy-authenticate",
            b"proxy-authorization",
            b"range",
            b"retry-after",
            b"set-cookie",
            b"trailer",
            b"vary",
            b"warning",
            b"www-authenticate",
        )
    )
)

_USUAL_OPTIONS: Final = {
    b"keep-alive": frozenset((b"keep-alive",)),
    b"Keep-Alive": frozenset((b"keep-alive",)),
    b"close": frozenset((b"close",)),
    b"Upgrade": frozenset((b"upgrade",)),
}
# Names no field but the connection's own.
_HARMLESS_OPTIONS: Final = frozenset(_USUAL_OPTIONS.values())


def nominated(options: Sequence[bytes]) -> frozenset[bytes]:
    """The options of all Connection fields, lower-cased (RFC 9110 §7.6.1)."""
    if len(options) == 1:
        usual = _USUAL_OPTIONS.get(options[0])
        if usual is not None:
            return usual
    return frozenset(option.lower() for option in elements(options))


def elements(values: Sequence[bytes]) -> list[bytes]:
    """The elements of a list over all its fields, without the empty ones (RFC 9110 §5.6.1)."""
    parts = (part.strip(b" \t") for value in values for part in value.split(b","))
    return [part for part in parts if part]


def first(fields: list[bytes], name: bytes) -> bytes:
    """The value of the first field with this lower-case name, of pieces as a head has them."""
    for at in range(0, len(fields), 4):
        if fields[at].lower() == name:
            return fields[at + 2]
    return b""


def without(fields: list[bytes], named: frozenset[bytes]) -> list[bytes]:
    """``fields`` less those that a Connection field nominated."""
    if named in _HARMLESS_OPTIONS:
        return fields
    kept: list[bytes] = []
    for at in range(0, len(fields), 4):
        if fields[at].lower() not in named:
            kept += fields[at : at + 4]
    return kept


def trailer_fields(trailers: Headers, nominated: frozenset[bytes]) -> bytes:
    """The trailers that may travel on, as they stand before the last CRLF."""
    return b"".join(
        b"%b: %b\r\n" % (name, value)
        for name, value in trailers
        if (lower := name.lower()) not in FORBIDDEN_TRAILERS and lower not in nominated
    )
