"""The grammar of a message's head, held against whole heads at once (RFC 9112 §2 to §5).

Pure. What passes here is well formed, byte for byte; what it means is decided
in ``framing``. Every pattern is possessive, so none can run longer than its
input is long.
"""

from __future__ import annotations

import re
from typing import Final

from wakeful.proxy.headers import Headers

# RFC 9110 §5.6.2 and §5.5: a token, and the bytes of a field's value. No
# control character but the tab is one, so there is no folding and no splitting.
TOKEN: Final[bytes] = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_VALUE: Final = rb"[\t\x20-\x7e\x80-\xff]*+"

_FIELD_LINES: Final = re.compile(rb"(?:%b:%b\r\n)*+" % (TOKEN, _VALUE))
# The same with no white space behind a value, as nearly everybody writes them.
_USUAL_LINES: Final = re.compile(rb"(?:%b:%b(?<![\t ])\r\n)*+" % (TOKEN, _VALUE))
_FIELD: Final = re.compile(rb"(%b):[\t ]*+(%b)\r\n" % (TOKEN, _VALUE))
# RFC 9112 §5.1: white space before the colon MUST be removed from an answer. In a
# request it is refused: there it has hidden fields from one of two readers.
_SPACED_NAME: Final = re.compile(rb"(?<=\r\n)(%b)[\t ]++(?=:)" % TOKEN)
# The target as it is forwarded: no blank or control character, which would end
# it, and no fragment, which is never sent (RFC 9112 §3.2). Bytes above ASCII
# are no URI, but common, and as unambiguous as any.
_REQUEST_LINE: Final = re.compile(
    rb"(%b) ([\x21\x22\x24-\x7e\x80-\xff]++) HTTP/([0-9]\.[0-9])\r\n" % TOKEN
)
# RFC 9112 §4; many leave out the blank before a phrase that is empty.
_STATUS_LINE: Final = re.compile(
    rb"HTTP/([0-9]\.[0-9]) ([0-9]{3})(?: ([\t\x20-\x7e\x80-\xff]*+))?+\r\n"
)
# What no head has: other control characters, and a line end that is not CR LF.
_NEVER: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?![\n]|\Z)")
_METHOD: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}+(?: |\Z)")


class Malformed(Exception):
    """Not in the grammar; the message says which part."""


def request(head: bytes) -> tuple[bytes, bytes, str, Headers]:
    """Method, target, version and fields of a head up to its empty line, which is included.

    Raises Malformed.
    """
    line = _REQUEST_LINE.match(head)
    if line is None:
        raise Malformed("the request line is malformed")
    method, target, version = line.groups()
    return (
        method,
        target,
        "1.1" if version == b"1.1" else version.decode("ascii"),
        fields(head, line.end()),
    )


def response(head: bytes) -> tuple[int, bytes, str, Headers]:
    """Status, phrase, version and fields of a head up to its empty line, which is included.

    Raises Malformed.
    """
    line = _STATUS_LINE.match(head)
    if line is None:
        raise Malformed("the status line is malformed")
    version, status, phrase = line.groups(b"")
    headers = response_fields(head, line.end())
    return int(status), phrase, version.decode("ascii"), headers


def fields(block: bytes, start: int = 0) -> Headers:
    """The fields of ``block[start:]``, which ends with an empty line. Raises Malformed."""
    end = len(block) - 2
    lines = _USUAL_LINES.match(block, start)
    if lines is not None and lines.end() == end:
        usual: Headers = _FIELD.findall(block, start)
        return usual
    lines = _FIELD_LINES.match(block, start)
    if lines is None or lines.end() != end:
        raise Malformed("a header field is malformed")
    return [(name, value.rstrip(b"\t ")) for name, value in _FIELD.findall(block, start)]


def response_fields(block: bytes, start: int = 0) -> Headers:
    """The same of an answer, where white space before a colon is no error."""
    try:
        return fields(block, start)
    except Malformed:
        return fields(_SPACED_NAME.sub(rb"\1", b"\r\n" + block[start:]), 2)


def target_length(beginning: bytes) -> int:
    """Bytes of the target, as far as it is here."""
    words = beginning.partition(b"\r\n")[0].split(b" ", 2)
    return len(words[1]) if len(words) > 1 else 0


def malformed(beginning: bytes, seen: int = 0) -> bool:
    """Whether a byte is in it that no line of a head has; the first ``seen`` were looked at."""
    return _NEVER.search(beginning, max(seen - 1, 0)) is not None


def hopeless(beginning: bytes, seen: int = 0) -> bool:
    """Whether no bytes to come can make a request's head of these: it need not be waited for."""
    if _METHOD.match(beginning) is None or malformed(beginning, seen):
        return True
    # HTTP/0.9 is a line alone, and would wait for an answer to it.
    line_is_new = beginning.find(b"\r\n") >= max(seen - 1, 0)
    return line_is_new and _REQUEST_LINE.match(beginning) is None
