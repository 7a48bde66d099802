"""HAProxy in front of the engine's socket, from a file of configuration."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from wakeful.runtime.docker_endpoint import endpoint

# Debian keeps it where the PATH of users does not look.
_PROGRAM = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@contextmanager
def haproxy(configuration: Path, folder: Path) -> Iterator[str]:
    """Its address, HOST:PORT. The file says ${LISTEN} and ${DOCKER_SOCKET}."""
    if _PROGRAM is None:
        reason = "no haproxy"
        if os.environ.get("WAKEFUL_REQUIRE_DOCKER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    url = endpoint().url
    if not url.startswith("unix://"):
        pytest.skip("the engine is not on a unix socket")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = folder / "haproxy.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [_PROGRAM, "-db", "-f", str(configuration)],
            env={
                **os.environ,
                "LISTEN": f"127.0.0.1:{port}",
                "DOCKER_SOCKET": url.removeprefix("unix://"),
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_for(port, log)
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()  # what it has open must not keep it
        process.wait(20)


def _wait_for(port: int, log: Path) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.01)
