"""One cold start, and the moments it is made of."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from itertools import pairwise

_PATIENCE = 75.0  # longer than that of wakeful, which then says why


@dataclass(frozen=True, slots=True)
class Sample:
    """Milliseconds of each phase; None where nobody can see it from outside."""

    total: float  # from being asked for to the first byte of the answer
    create: float | None = None
    start: float | None = None
    listening: float | None = None  # the application's own time
    first_byte: float | None = None  # from listening on

    @classmethod
    def between(cls, *moments: int) -> Sample:
        """From asked, created, started, listening and answered, in ns of one clock."""
        phases = [(b - a) / 1e6 for a, b in pairwise(moments)]
        return cls((moments[-1] - moments[0]) / 1e6, *phases)


class NotAnswered(Exception):
    pass


def ask(address: tuple[str, int], host: str) -> tuple[int, bytes]:
    """Request / on a new connection: the moment of the first byte, and the body."""
    with socket.create_connection(address, timeout=_PATIENCE) as connection:
        connection.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = connection.recv(65536)
        moment = time.time_ns()  # the engine's clock, which its own moments are in
        while piece := connection.recv(65536):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        raise NotAnswered(answer.decode("latin-1"))
    return moment, body


def ask_until_it_listens(address: tuple[str, int]) -> int:
    """What everyone who starts something by hand does: try again until it answers."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return ask(address, "localhost")[0]
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.001)
