"""What the lines of the access log say, and how: each field once, as bytes that are ASCII.

Most of a line is the same for all requests that are alike: it is made once, as long as a client
repeats itself, and joined with the times and the id of each.
"""

from __future__ import annotations

import time
from json.encoder import encode_basestring_ascii as quote
from math import floor, inf
from typing import TYPE_CHECKING, Final, TypeAlias

from wakeful.config.model import AccessLogFormat
from wakeful.proxy.headers import first

if TYPE_CHECKING:
    from wakeful.events import Endpoint
    from wakeful.proxy.framing import RequestHead
    from wakeful.proxy.reply import Reply

# Of a request that ended: when it began and ended, on the data plane's clock; what else there is
# to say of it; and the id that was made for it, if any.
Record: TypeAlias = "tuple[float, float, bytes, bytes]"

# What is said of a request ends within a string: its id may be the rest of that, if it was made
# for it, and _END ends it.
_END: Final = b'"}\n'
_NAMED: Final = b'","request_id":"'
_AT_ONCE: Final = b'","queue_ms":0.000'

_GAP: Final = b"\0"  # for what is not known yet; no text of a client's has one when it is written

# The two parts of a duration below a tenth of a second. Few of the first are in use at a time, and
# there are few of the second, so that they are at hand.
_HUNDREDS: Final[list[bytes]] = [b"0.%04d" % number for number in range(1000)]  # of microseconds
_MICROSECONDS: Final[list[bytes]] = [b"%02d" % number for number in range(100)]


class JsonLines:
    __slots__ = ()

    def note(self, head: RequestHead) -> bytes:
        note = (
            f'"method":{_text(head.method)},"host":{_text(head.host)},"uri":{_text(head.target)},'
            f'"proto":"HTTP/{head.version}"'
        )
        if agent := _field(head, b"user-agent"):
            note += f',"user_agent":{quote(agent)}'
        return note.encode()

    def said(
        self,
        note: bytes,
        more: bytes,
        client: bytes,
        place: bytes,
        status: int,
        sent: int,
        received: int,
    ) -> bytes:
        """All but the times and the id. ``sent`` and ``received``: bytes of the bodies."""
        return b',"status":%d,%b,"size":%d,"bytes_read":%d%b,"client_ip":"%b%b' % (
            status,
            note,
            sent,
            received,
            more,
            client,
            place,
        )

    def lines(self, records: list[Record], lead: float) -> bytes:
        """``lead``: seconds that the wall clock is before the one of the records."""
        pieces: list[bytes] = []
        since = until = -inf  # a millisecond, and how it begins a line
        begun = b""
        for started, ended, said, identity in records:
            if started < since or started >= until:
                millisecond = floor((started + lead) * 1000)
                since, until = millisecond / 1000 - lead, (millisecond + 1) / 1000 - lead
                begun = b'%b{"ts":%.3f,"duration":' % (_END, millisecond / 1000)
            took = floor((ended - started) * 1e6)
            if 0 <= took < 100_000:
                pieces += (begun, _HUNDREDS[took // 100], _MICROSECONDS[took % 100], said, identity)
            else:
                pieces += (begun, b"%.6f" % (ended - started), said, identity)
        pieces.append(_END)
        return b"".join(pieces)[len(_END) :]  # the first one ends no line

    def refusal(self, at: float, client: bytes, answer: Reply) -> bytes:
        """A message that never became a request, at this wall-clock time."""
        return b'{"ts":%.3f,"status":%d,"reason":"%b","client_ip":"%b"}\n' % (
            at,
            answer.status,
            answer.reason.encode(),
            client,
        )


class CommonLines:
    """What Apache calls common, and combined."""

    __slots__ = ("_combined", "_date", "_second")

    def __init__(self, *, combined: bool) -> None:
        self._combined = combined
        self._second = -1
        self._date = b""  # that second

    def note(self, head: RequestHead) -> bytes:
        """All that it says of the head, with a gap for the status and the size."""
        request = _escape(f"{head.method.decode('latin-1')} {head.target.decode('latin-1')}")
        note = f'"{request} HTTP/{head.version}" \0'
        if self._combined:
            referer = _escape(_field(head, b"referer") or "-")
            agent = _escape(_field(head, b"user-agent") or "-")
            note += f' "{referer}" "{agent}"'
        return note.encode()

    def said(
        self,
        note: bytes,
        more: bytes,
        client: bytes,
        place: bytes,
        status: int,
        sent: int,
        received: int,
    ) -> bytes:
        """All, with a gap for the date."""
        return b"%b - - [\0] %b\n" % (client, note.replace(_GAP, b"%d %d" % (status, sent)))

    def lines(self, records: list[Record], lead: float) -> bytes:
        """``lead``: seconds that the wall clock is before the one of the records."""
        return b"".join(said.replace(_GAP, self._at(ended + lead)) for _, ended, said, _ in records)

    def refusal(self, at: float, client: bytes, answer: Reply) -> bytes:
        """A message that never became a request, at this wall-clock time."""
        note = b'"-" %d 0' % answer.status
        if self._combined:
            note += b' "-" "-"'
        return b"%b - - [%b] %b\n" % (client, self._at(at), note)

    def _at(self, at: float) -> bytes:
        second = int(at)
        if second != self._second:
            self._second = second
            self._date = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(second)).encode()
        return self._date


def lines_of(format: AccessLogFormat) -> JsonLines | CommonLines:
    if format is AccessLogFormat.JSON:
        return JsonLines()
    return CommonLines(combined=format is AccessLogFormat.COMBINED)


def place(service: str, revision: str, endpoint: Endpoint) -> bytes:
    """Where it was answered, without having waited for that."""
    where = f',"service":"{service}","revision":"{revision}","instance":"{endpoint.instance}'
    return _AT_ONCE + where.encode("ascii", "backslashreplace")


def waited(place: bytes, seconds: float) -> bytes:
    """The same after so long in the queue."""
    return b'","queue_ms":%.3f' % (seconds * 1000) + place[len(_AT_ONCE) :]


def nowhere(service: str, revision: str) -> bytes:
    """The same of a request that no instance answered."""
    where = f'","service":"{service}","revision":"{revision}'
    return where.encode("ascii", "backslashreplace")


def name(head: RequestHead, identity: bytes) -> bytes:
    """What the id that was made for a request follows; if none was, the one it brought."""
    if identity:
        return _NAMED
    own = _field(head, b"x-request-id")
    return _NAMED + quote(own)[1:-1].encode() if own else b""


def unusual(cold: bool, ignored: bool, reason: str) -> bytes:
    more = b',"cold_start":true' if cold else b""
    if ignored:
        more += b',"ignored":true'
    if reason:
        more += b',"reason":"%b"' % reason.encode()
    return more


def _field(head: RequestHead, name: bytes) -> str:
    return first(head.fields, name).decode("latin-1")


def _text(value: bytes) -> str:
    return quote(value.decode("latin-1"))


def _escape(text: str) -> str:
    """Nothing a client sent may end the line or the quotes it stands in."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return "".join(
        c if c.isascii() and c.isprintable() and c not in '"\\' else f"\\x{ord(c):02x}"
        for c in text
    )
