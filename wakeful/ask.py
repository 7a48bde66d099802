"""Asking a wakeful that runs, by its admin listener."""

from __future__ import annotations

import json
from http.client import HTTPConnection, HTTPException
from typing import Any

from wakeful.config.model import HostPort

_PATIENCE = 10.0  # seconds


class Unanswered(Exception):
    """Nothing answers, or not as it should; the message says what to do."""


def ask(address: HostPort, path: str) -> Any:
    """The JSON at ``path``. Raises Unanswered."""
    # What listens on every interface is asked on this one.
    host = address.host if address.host not in ("", "0.0.0.0", "::") else "127.0.0.1"
    connection = HTTPConnection(host, address.port, timeout=_PATIENCE)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise Unanswered(body.decode("utf-8", "replace").strip())
        return json.loads(body)
    except (OSError, HTTPException, ValueError) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise Unanswered(
            f"no wakeful answers at {host}:{address.port} ({said.lower()}); "
            "is it running, and is this the file it was started with?"
        ) from None
    finally:
        connection.close()
