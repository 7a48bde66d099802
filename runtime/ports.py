"""Loopback ports for instances."""

from __future__ import annotations

import random
import socket
from pathlib import Path

_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST = 10_000  # below are the ports that services are known by
_FEWEST = 1_000  # with a range smaller than this one is no better off


class Ports:
    """Promises each port to one instance at a time.

    The instance takes it later, and whoever is first has it. So it is none of
    those that the kernel gives to outgoing connections and to whoever asks for
    any port: by chance nobody takes it meanwhile.
    """

    def __init__(self, host: str, ephemeral: tuple[int, int] | None = None) -> None:
        self._host = host
        self._promised: set[int] = set()
        self._range = _outside(ephemeral or _ephemeral_range())
        # Where another driver on this machine hardly begins as well.
        self._next = random.randrange(len(self._range)) if self._range else 0

    def promise(self) -> int:
        """A port that nobody has now. Raises OSError when there is none."""
        for _ in self._range:
            port = self._range[self._next]
            self._next = (self._next + 1) % len(self._range)
            if port not in self._promised and _is_free(self._host, port):
                self._promised.add(port)
                return port
        while True:
            port = _any_free(self._host)
            if port not in self._promised:
                self._promised.add(port)
                return port

    def hold(self, port: int) -> None:
        """It was promised before this driver began."""
        self._promised.add(port)

    def release(self, port: int) -> None:
        self._promised.discard(port)

    def clear(self) -> None:
        self._promised.clear()


def _ephemeral_range() -> tuple[int, int]:
    """Both ends included; everything, where the platform does not tell."""
    try:
        low, high = _EPHEMERAL.read_text().split()
        return int(low), int(high)
    except (OSError, ValueError):
        return 0, 65535


def _outside(ephemeral: tuple[int, int]) -> range:
    low, high = ephemeral
    widest = max(range(_LOWEST, low), range(high + 1, 65536), key=len)
    return widest if len(widest) >= _FEWEST else range(0)


def _is_free(host: str, port: int) -> bool:
    """Also of connections that still wind down, since not every instance binds over them."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _any_free(host: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
