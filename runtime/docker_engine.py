"""Whether a Docker engine answers, without importing the docker package.

That import takes longer than everything else at start-up, and is wasted when
there is no engine.
"""

from __future__ import annotations

import os
import socket
import time
from urllib.parse import urlsplit

DEFAULT_HOST = "unix:///var/run/docker.sock"


def docker_host() -> str:
    return os.environ.get("DOCKER_HOST") or DEFAULT_HOST


def docker_answers(timeout: float = 1.0) -> str | None:
    """None when an engine answers; else why not, in one line. Blocks up to ``timeout``."""
    host = docker_host()
    deadline = time.monotonic() + timeout
    try:
        with _connect(host, timeout) as connection:
            if _encrypted(host):
                return None  # it listens; the handshake is for the client that has the keys
            connection.settimeout(max(0.01, deadline - time.monotonic()))
            connection.sendall(
                b"GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n",
            )
            answer = connection.recv(64)
    except PermissionError:
        return f"no permission to use {host} (the docker group has it)"
    except FileNotFoundError:
        return f"there is no {host}"
    except ValueError as error:
        return f"DOCKER_HOST {host!r} is not understood: {error}"
    except TimeoutError:
        return f"{host} did not answer within {timeout:g} s"
    except OSError as error:
        return f"{host} does not answer: {(error.strerror or str(error)).lower()}"
    if answer.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")):
        return None
    return f"what listens at {host} is not a Docker engine"


def _connect(host: str, timeout: float) -> socket.socket:
    url = urlsplit(host)
    if url.scheme == "unix":
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(timeout)
            connection.connect(host.removeprefix("unix://"))
        except BaseException:
            connection.close()
            raise
        return connection
    if url.scheme in ("tcp", "http", "https") and url.hostname:
        port = url.port or (2376 if _encrypted(host) else 2375)
        return socket.create_connection((url.hostname, port), timeout)
    raise ValueError("unix://PATH and tcp://HOST:PORT are")


def _encrypted(host: str) -> bool:
    return not host.startswith("unix:") and bool(
        host.startswith("https:")
        or os.environ.get("DOCKER_TLS_VERIFY")
        or os.environ.get("DOCKER_CERT_PATH")
    )
