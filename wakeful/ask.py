"""Asking a wakeful that runs, by its admin listener."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any

from wakeful.config.model import HostPort

_PATIENCE = 10.0  # seconds
_READ = 64 * 1024


class Unanswered(Exception):
    """Nothing answers, or not as it should; the message says what to do."""


class Stream:
    """An answer that comes as it is made."""

    def __init__(self, response: HTTPResponse, connection: socket.socket) -> None:
        self._response = response
        self._connection = connection

    def reads(self) -> Iterator[bytes]:
        """Until it has ended. Raises Unanswered when it breaks off."""
        try:
            while data := self._response.read1(_READ):
                yield data
        except (OSError, HTTPException):
            raise Unanswered("wakeful has gone away") from None

    def hang_up(self) -> None:
        """Whoever reads finds that it has broken off; for another thread to call."""
        self._connection.shutdown(socket.SHUT_RDWR)


def ask(address: HostPort, path: str) -> Any:
    """The JSON at ``path``. Raises Unanswered."""
    connection = HTTPConnection(_host(address), address.port, timeout=_PATIENCE)
    try:
        return json.loads(_answer(connection, path).read())
    except (OSError, HTTPException, ValueError) as error:
        raise _silence(connection, error) from None
    finally:
        connection.close()


@contextmanager
def stream(address: HostPort, path: str) -> Iterator[Stream]:
    """What comes from ``path``, however long it may be silent. Raises Unanswered."""
    connection = HTTPConnection(_host(address), address.port, timeout=_PATIENCE)
    try:
        try:
            connection.connect()
            sock: socket.socket = connection.sock  # the response may take it over
            response = _answer(connection, path)
            sock.settimeout(None)
            # A wakeful on another host may vanish without a word.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        except (OSError, HTTPException) as error:
            raise _silence(connection, error) from None
        with response:
            yield Stream(response, sock)
    finally:
        connection.close()


def _host(address: HostPort) -> str:
    """What listens on every interface is asked on this one."""
    return address.host if address.host not in ("", "0.0.0.0", "::") else "127.0.0.1"


def _answer(connection: HTTPConnection, path: str) -> HTTPResponse:
    connection.request("GET", path)
    response = connection.getresponse()
    if response.status != 200:
        raise Unanswered(response.read().decode("utf-8", "replace").strip())
    return response


def _silence(connection: HTTPConnection, error: Exception) -> Unanswered:
    said = getattr(error, "strerror", None) or str(error)
    return Unanswered(
        f"no wakeful answers at {connection.host}:{connection.port} ({said.lower()}); "
        "is it running, and is this the file it was started with?"
    )
