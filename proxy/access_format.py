"""What the lines of the access log say, and how: each field once, as bytes that are ASCII.

A line is a format and the values that go into it, so that many lines are one
formatting. What is the same in many lines is a value that is made once: heads
are shared by the requests that repeat them, slots by the requests in them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from json.encoder import encode_basestring_ascii as quote
from typing import TYPE_CHECKING, Final

from wakeful.config.model import AccessLogFormat
from wakeful.proxy.headers import first

if TYPE_CHECKING:
    from wakeful.events import Endpoint
    from wakeful.proxy.framing import RequestHead
    from wakeful.proxy.reply import Reply

# Values: when it began, the status, the head's note, who asked, the seconds it
# took, body bytes to and from the client, where it was answered, how long it
# waited there, and what is not said of every request.
JSON_LINE: Final = (
    b'{"ts":%b,"status":%d,%b,"client_ip":"%b","duration":%.6f,"size":%d,"bytes_read":%d%b%b%b}\n'
)
# Values: who asked, the date, and the head's note with status and size in it.
COMMON_LINE: Final = b"%b - - [%b] %b\n"


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
    """Where it was answered; with an endpoint, up to the time in the queue, in ms."""
    where = f',"service":"{service}","revision":"{revision}"'
    if endpoint is not None:
        where += f',"instance":"{endpoint.instance}","queue_ms":'
    return where.encode("ascii", "backslashreplace")


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
