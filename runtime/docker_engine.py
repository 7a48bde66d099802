"""Whether a Docker engine answers, without importing the docker package."""

from __future__ import annotations

import socket
import time
from urllib.parse import urlsplit

from wakeful.runtime.docker_endpoint import Endpoint, EndpointError, endpoint


def docker_answers(timeout: float = 1.0) -> str | None:
    """None when an engine answers; else why not, in one line. Blocks up to ``timeout``."""
    deadline = time.monotonic() + timeout
    try:
        engine = endpoint()
    except EndpointError as error:
        return str(error)
    try:
        with _connect(engine, timeout) as connection:
            if engine.tls is not None:
                return None  # it listens; the handshake is for the client that has the keys
            connection.settimeout(max(0.01, deadline - time.monotonic()))
            connection.sendall(
                b"GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n",
            )
            answer = connection.recv(64)
    except PermissionError:
        return f"no permission to use {engine.url} (the docker group has it)"
    except FileNotFoundError:
        return f"there is no {engine.url}"
    except ValueError as error:
        return f"{engine.named_by} {engine.url!r} is not understood: {error}"
    except TimeoutError:
        return f"{engine.url} did not answer within {timeout:g} s"
    except OSError as error:
        return f"{engine.url} does not answer: {(error.strerror or str(error)).lower()}"
    if answer.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")):
        return None
    return f"what listens at {engine.url} is not a Docker engine"


def _connect(engine: Endpoint, timeout: float) -> socket.socket:
    url = urlsplit(engine.url)
    if url.scheme == "unix":
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(timeout)
            connection.connect(engine.url.removeprefix("unix://"))
        except BaseException:
            connection.close()
            raise
        return connection
    if url.scheme in ("tcp", "http", "https") and url.hostname:
        port = url.port or (2375 if engine.tls is None else 2376)
        return socket.create_connection((url.hostname, port), timeout)
    if url.scheme == "ssh":
        raise ValueError(f"forward its socket: ssh -nNT -L /tmp/docker.sock:{_SOCKET} {url.netloc}")
    raise ValueError("unix://PATH and tcp://HOST:PORT are")


_SOCKET = "/var/run/docker.sock"
