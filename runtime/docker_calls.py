"""Short calls of the engine's API over its Unix socket, for the docker package.

What the package brings along (requests, urllib3, the email parser for heads) takes 0.4 ms of
Python for a call. The thread that makes it holds the interpreter meanwhile, and on a machine
that is busy with starts it is put off the processor in the middle of it, for tens of
milliseconds, in which no request moves.
"""

from __future__ import annotations

import io
import socket
from collections.abc import Mapping
from contextlib import suppress
from errno import ECONNRESET
from typing import Any
from urllib.parse import urlencode

import httptools
import requests
from requests.structures import CaseInsensitiveDict

_READ = 64 * 1024
_FRAMING = ("Content-Length", "Transfer-Encoding")


class Calls:
    """Connections that are kept, each for one call at a time. Threads may share it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._idle: list[socket.socket] = []

    def call(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes,
        timeout: float | None,
    ) -> requests.Response:
        """Its answer, whole. Nothing is asked twice. Raises requests.ConnectionError, Timeout."""
        fields = {**headers, "Host": "localhost"}
        if body or method != "GET":
            fields["Content-Length"] = str(len(body))
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        request = f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode() + body
        try:
            connection = self._idling() or self._connect(timeout)
            kept = False
            try:
                connection.settimeout(timeout)
                connection.sendall(request)
                answer, kept = _read(connection, target)
            finally:
                if kept:
                    self._idle.append(connection)
                else:
                    connection.close()
        except TimeoutError as error:
            raise requests.Timeout("timed out") from error
        except (OSError, httptools.HttpParserError) as error:
            raise requests.ConnectionError(str(error)) from error
        return answer

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _idling(self) -> socket.socket | None:
        """One that the engine has not closed meanwhile."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if not _has_ended(connection):
                return connection
            connection.close()

    def _connect(self, timeout: float | None) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(timeout)
            connection.connect(self._path)
        except BaseException:
            connection.close()
            raise
        return connection


def _read(connection: socket.socket, target: str) -> tuple[requests.Response, bool]:
    """An answer, and whether another may come over the same connection."""
    answer = _Answer()
    parser = httptools.HttpResponseParser(answer)
    while not answer.whole:
        data = connection.recv(_READ)
        if data:
            parser.feed_data(data)
        elif answer.until_closed:
            break
        else:
            raise ConnectionResetError(ECONNRESET, "the engine closed the connection")
    closing = answer.headers.get("Connection", "").lower() == "close"
    kept = answer.whole and not closing and parser.get_http_version() == "1.1"
    return answer.as_response(target, parser.get_status_code()), kept


class _Answer:
    """What httptools calls as the bytes come."""

    def __init__(self) -> None:
        self.whole = False
        self.until_closed = False  # it says nowhere how long it is
        self._reason = b""
        self.headers: CaseInsensitiveDict[str] = CaseInsensitiveDict()
        self._body = io.BytesIO()

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1")] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.until_closed = not any(name in self.headers for name in _FRAMING)

    def on_body(self, data: bytes) -> None:
        self._body.write(data)

    def on_message_complete(self) -> None:
        self.whole = True

    def as_response(self, target: str, status: int) -> requests.Response:
        response = requests.Response()
        response.status_code = status
        response.reason = self._reason.decode("latin-1")
        response.headers = self.headers
        response.encoding = "utf-8"
        response.url = target
        self._body.seek(0)
        response.raw = self._body
        return response


def with_parameters(target: str, parameters: Mapping[str, Any] | None) -> str:
    """As requests puts them into an address: those that are None are left out."""
    given = {name: value for name, value in (parameters or {}).items() if value is not None}
    return f"{target}?{urlencode(given, doseq=True)}" if given else target


def _has_ended(connection: socket.socket) -> bool:
    """Whether the other side has closed it, or said what nobody asked for."""
    with suppress(BlockingIOError):
        connection.setblocking(False)
        connection.recv(1, socket.MSG_PEEK)
        return True
    return False
