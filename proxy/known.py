"""Heads that came before, byte for byte, and what was decided about them.

A client on a keep-alive connection repeats its header fields, and an instance
its answers' heads (but for the second in Date). What the parser and
``framing`` accepted once need not be taken apart again: the same bytes mean
the same. Anything else, and anything that is not a whole head in one read,
takes the long way. On a small request this saves about a third of the time
spent in Python.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, TypeVar

from wakeful.proxy.framing import LENGTH, NONE, RequestHead, ResponseHead

H = TypeVar("H", RequestHead, ResponseHead)

# The keys are bytes that others choose, so their number and size are bounded.
_MOST: Final = 1024
_LARGEST: Final = 4096

# No body, and no meaning of their own to the parser.
_METHODS: Final = frozenset((b"GET", b"HEAD", b"DELETE"))
# Of a target in origin-form: visible ASCII less the fragment's mark.
_TARGET_BYTES: Final = bytes(byte for byte in range(0x21, 0x7F) if byte != 0x23)


class KnownHeads(Generic[H]):
    """A bounded memory; when it is full it begins anew."""

    __slots__ = ("_heads", "_on_sight", "_seen", "get")

    def __init__(self, *, on_sight: bool = False) -> None:
        """``on_sight``: what comes for the first time is taken for what came before."""
        self._heads: dict[bytes, H] = {}
        self._on_sight = on_sight
        self._seen: set[int] = set()  # hashes of keys that came once
        # Called in two steps: as a method it would be looked for in the class first.
        self.get: Callable[[bytes], H | None] = self._heads.get

    def again(self, key: bytes) -> bool:
        """Whether it came before: most heads that are new never come back."""
        if len(key) > _LARGEST:
            return False
        digest = hash(key)
        if self._on_sight or digest in self._seen:
            return True
        if len(self._seen) >= _MOST:
            self._seen.clear()
        self._seen.add(digest)
        return False

    def put(self, key: bytes, head: H) -> None:
        if len(self._heads) >= _MOST:
            self._heads.clear()
        self._heads[key] = head

    def forget(self) -> None:
        self._heads.clear()
        self._seen.clear()


class KnownRequests:
    """Requests by all their bytes, and by their fields alone."""

    __slots__ = ("_by_fields", "_whole", "get")

    def __init__(self, *, on_sight: bool = False) -> None:
        self._whole: KnownHeads[RequestHead] = KnownHeads(on_sight=on_sight)
        self._by_fields: KnownHeads[RequestHead] = KnownHeads(on_sight=on_sight)
        self.get: Callable[[bytes], RequestHead | None] = self._whole.get  # by all bytes

    def by_fields(self, data: bytes, longest: int) -> RequestHead | None:
        """The request that ``data`` is, if it is one whole head with fields seen before."""
        end = data.find(b"\r\n")
        seen = self._by_fields.get(data[end:])
        if seen is None:
            return None
        line = data[:end].split(b" ")
        if len(line) != 3 or line[2] != b"HTTP/1.1" or line[0] not in _METHODS:
            return None
        target = line[1]
        if target[:1] != b"/" or len(target) > longest or target.translate(None, _TARGET_BYTES):
            return None
        head = RequestHead(line[0], target, seen.version)
        head.plain = seen.plain
        head.host = seen.host
        head.fields = seen.fields
        head.claims = seen.claims
        head.has_request_id = seen.has_request_id
        head.has_traceparent = seen.has_traceparent
        head.ordinary = not (head.is_head or head.has_request_id or head.has_traceparent)
        head.block = data[:end] + seen.block[seen.block.find(b"\r\n") :]
        if self._whole.again(data):
            self._whole.put(data, head)
            head.raw = data
        return head

    def remember(self, data: bytes, head: RequestHead) -> None:
        """``data`` was read at once and parsed as ``head``, and as nothing else."""
        end = data.find(b"\r\n")
        fields = data[end:]
        if not self._by_fields.again(fields):
            return
        line = b"%b %b HTTP/1.1" % (head.method, head.target)
        if (
            data[-4:] == b"\r\n\r\n"
            and head.method in _METHODS
            and data[:end] == line
            and head.framing is NONE
            and head.keep_alive
            and not head.expect_continue
            and head.upgrade is None
        ):
            head.block = b"%b\r\nHost: %b\r\n%b" % (line, head.host, b"".join(head.fields))
            self._by_fields.put(fields, head)


def remember_response(data: bytes, head: ResponseHead, known: KnownHeads[ResponseHead]) -> None:
    """``data`` begins with the head that was parsed as ``head``."""
    key = data[: data.find(b"\r\n\r\n")]
    if (
        known.again(key)
        and key.startswith(b"HTTP/1.1 ")
        and head.framing is LENGTH
        and head.reusable
        and head.has_date
    ):
        head.block = b"%b%bContent-Length: %d\r\n\r\n" % (
            head.status_line,
            b"".join(head.fields),
            head.length,
        )
        head.raw = key + b"\r\n\r\n"
        known.put(key, head)
