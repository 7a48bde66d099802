"""Ports for programs that tests start: free, and none of them twice."""

from __future__ import annotations

import random
import socket
from contextlib import suppress

# Below those that the kernel gives to whoever asks for any, instances among them.
_UNTRIED = iter(random.sample(range(20_000, 32_000), 12_000))


def free_port() -> int:
    for port in _UNTRIED:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("all ports have been given away")
