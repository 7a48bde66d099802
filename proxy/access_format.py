"""What the lines of the access log say, and how: each field once, as bytes that are ASCII.

A line is pieces that are joined, of which most are the same in many lines, and found rather
than made: to write a number costs more than to join ten pieces. Heads are shared by the
requests that repeat them, slots by the requests in them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from json.encoder import encode_basestring_ascii as quote
from typing import TYPE_CHECKING, Final, TypeVar

from wakeful.config.model import AccessLogFormat
from wakeful.proxy.headers import first

if TYPE_CHECKING:
    from wakeful.events import Endpoint
    from wakeful.proxy.framing import RequestHead
    from wakeful.proxy.reply import Reply

_AT_ONCE: Final = "0.000"  # in the queue, in ms
_NAMED: Final = b',"request_id":"'
_MOST_KEPT: Final = 1024

Key = TypeVar("Key")

# Who asked, the date, and the head's note with status and size in it.
COMMON_LINE: Final = b"%b - - [%b] %b\n"

_MILLISECONDS: Final[list[bytes]] = [b"0.%03d" % number for number in range(1000)]
_MICROSECONDS: Final[list[bytes]] = [b"%03d" % number for number in range(1000)]


class JsonLines:
    """Lines of JSON. Numbers that come again and again are kept as they are written."""

    __slots__ = ("_sizes", "_statuses")

    def __init__(self) -> None:
        self._statuses: dict[int, bytes] = {}
        self._sizes: dict[int, bytes] = {}  # of answers to requests without a body

    def line(
        self,
        begun: bytes,
        status: int,
        note: bytes,
        client: bytes,
        seconds: float,
        sent: int,
        received: int,
        place: bytes,
        request_id: bytes,
    ) -> bytes:
        """``begun``, ``client`` and ``place`` are as the functions of these names say them.

        ``request_id``: none where ``note`` has one.
        """
        code = self._statuses.get(status)
        if code is None:
            code = _kept(self._statuses, status, b',"status":%d,' % status)
        sizes = None if received else self._sizes.get(sent)
        if sizes is None:
            sizes = b',"size":%d,"bytes_read":%d' % (sent, received)
            if not received:
                _kept(self._sizes, sent, sizes)
        microseconds = int(seconds * 1_000_000)
        if 0 <= microseconds < 1_000_000:
            took = _MILLISECONDS[microseconds // 1000]
            more = _MICROSECONDS[microseconds % 1000]
        else:
            took, more = b"%.6f" % seconds, b""
        if not request_id:
            return b"".join((begun, code, note, client, took, more, sizes, place, b"}\n"))
        named = (begun, code, note, client, took, more, sizes, place, _NAMED, request_id, b'"}\n')
        return b"".join(named)


def begun(at: float) -> bytes:
    """The beginning of a line of JSON; ``at`` is in seconds of the wall clock."""
    return b'{"ts":%.3f' % at


def client(peer: bytes) -> bytes:
    """Who asked, as far as the time that it took."""
    return b',"client_ip":"%b","duration":' % peer


def json_note(head: RequestHead) -> bytes:
    note = (
        f'"method":{_text(head.method)},"host":{_text(head.host)},"uri":{_text(head.target)},'
        f'"proto":"HTTP/{head.version}"'
    )
    for key, name in (("request_id", b"x-request-id"), ("user_agent", b"user-agent")):
        if value := _field(head, name):
            note += f',"{key}":{quote(value)}'
    return note.encode()


def common_note(head: RequestHead) -> bytes:
    """A format for the status and the size."""
    request = f"{head.method.decode('latin-1')} {head.target.decode('latin-1')}"
    return f'"{_escape(request)} HTTP/{head.version}"'.replace("%", "%%").encode() + b" %d %d"


def combined_note(head: RequestHead) -> bytes:
    referer = _escape(_field(head, b"referer") or "-")
    agent = _escape(_field(head, b"user-agent") or "-")
    return common_note(head) + f' "{referer}" "{agent}"'.replace("%", "%%").encode()


NOTES: Final[Mapping[AccessLogFormat, Callable[[RequestHead], bytes]]] = {
    AccessLogFormat.JSON: json_note,
    AccessLogFormat.COMMON: common_note,
    AccessLogFormat.COMBINED: combined_note,
}


def place(service: str, revision: str, endpoint: Endpoint | None) -> bytes:
    """Where it was answered, and that it did not wait for that."""
    where = f',"service":"{service}","revision":"{revision}"'
    if endpoint is not None:
        where += f',"instance":"{endpoint.instance}","queue_ms":{_AT_ONCE}'
    return where.encode("ascii", "backslashreplace")


def waited(place: bytes, seconds: float) -> bytes:
    """The same, with an endpoint, after so long in the queue."""
    return place[: -len(_AT_ONCE)] + b"%.3f" % (seconds * 1000)


def unusual(*, cold: bool, ignored: bool, reason: str) -> bytes:
    more = b',"cold_start":true' if cold else b""
    if ignored:
        more += b',"ignored":true'
    if reason:
        more += b',"reason":"%b"' % reason.encode()
    return more


def json_refusal(at: float, client: bytes, answer: Reply) -> bytes:
    """A message that never became a request, at this wall-clock time."""
    return b'{"ts":%.3f,"status":%d,"reason":"%b","client_ip":"%b"}\n' % (
        at,
        answer.status,
        answer.reason.encode(),
        client,
    )


def common_refusal(second: int, client: bytes, answer: Reply, format: AccessLogFormat) -> bytes:
    note = b'"-" %d 0' % answer.status
    if format is AccessLogFormat.COMBINED:
        note += b' "-" "-"'
    return COMMON_LINE % (client, date(second), note)


def date(second: int) -> bytes:
    """As the common formats write it."""
    return time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(second)).encode()


def _kept(texts: dict[Key, bytes], key: Key, text: bytes) -> bytes:
    if len(texts) == _MOST_KEPT:
        texts.clear()
    texts[key] = text
    return text


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
