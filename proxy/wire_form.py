"""Decided heads as they are written, in the one form we use."""

from __future__ import annotations

from collections.abc import Callable

from wakeful.proxy.framing import CHUNKED, LENGTH, NONE, RequestHead, ResponseHead


def request(head: RequestHead, forwarded: bytes) -> bytes:
    """For an instance, but for what names the request, which ends its head."""
    if head.block:
        return head.block + forwarded
    lines = [head.method, b" ", head.target, b" HTTP/1.1\r\nHost: ", head.host, b"\r\n"]
    lines += head.fields
    if head.framing is LENGTH:
        lines.append(b"Content-Length: %d\r\n" % head.length)
    elif head.framing is CHUNKED:
        lines.append(b"Transfer-Encoding: chunked\r\n")
    if head.expect_continue:
        lines.append(b"Expect: 100-continue\r\n")
    if head.upgrade is not None:
        lines.append(b"Connection: Upgrade\r\nUpgrade: %b\r\n" % head.upgrade)
    lines.append(forwarded)
    return b"".join(lines)


def with_fields(lines: list[bytes], more: bytes) -> list[bytes]:
    """The head that ``lines`` are, with whole field lines at its end."""
    return [*lines[:-1], lines[-1][:-2], more, b"\r\n"]


def response(
    head: ResponseHead, version: str, keep_alive: bool, date: Callable[[], bytes]
) -> list[bytes]:
    """For a client that speaks HTTP/``version``."""
    if head.block:
        if keep_alive and version == "1.1":
            return [head.block]
        lines = [head.block[:-2]]
    else:
        lines = [head.status_line, *head.fields]
        if head.framing is LENGTH:
            lines.append(b"Content-Length: %d\r\n" % head.length)
        elif head.framing is not NONE and version == "1.1":
            lines.append(b"Transfer-Encoding: chunked\r\n")
        if not head.has_date:
            lines.append(b"Date: %b\r\n" % date())
    if not keep_alive:
        lines.append(b"Connection: close\r\n\r\n")
    elif version == "1.0":
        lines.append(b"Connection: keep-alive\r\n\r\n")
    else:
        lines.append(b"\r\n")
    return lines
