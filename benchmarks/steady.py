"""A constant rate of requests to several ports at once, whatever becomes of the answers.

    python benchmarks/steady.py FILE HOST RATE PORT [PORT ...]

Each request has its moment, and its latency counts from there: one that could not be sent
in time, because answers are late or because this program was, has waited all the same.
Every port gets RATE requests a second. Until SIGTERM; then FILE has what was measured,
as ``read`` returns it.

Its own loop, since timers of an event loop are kept to a millisecond, which is the distance
between two requests.
"""

from __future__ import annotations

import gc
import select
import signal
import socket
import sys
import time
from array import array
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_MOST_CONNECTIONS = 200  # to one port; select() knows no descriptors above 1023
_PATIENCE = 2.0  # seconds that answers are waited for at the end
_FAILED = -1.0


class Sample(NamedTuple):
    port: int
    at: float  # when it was to be sent, on the monotonic clock
    seconds: float | None  # until its answer was complete; None: there was none, or not 200


class _Connection:
    __slots__ = ("answer", "at", "socket", "target")

    def __init__(self, target: _Target) -> None:
        self.target = target
        self.socket = socket.create_connection(("127.0.0.1", target.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.at = 0.0
        self.answer = b""

    def fileno(self) -> int:
        return self.socket.fileno()

    def ask(self, at: float) -> None:
        self.at, self.answer = at, b""
        self.target.asked.add(self)
        try:
            self.socket.sendall(self.target.request)
        except OSError:
            self.target.over(self, _FAILED)

    def read(self) -> None:
        try:
            data = self.socket.recv(65536)
        except OSError:
            data = b""
        if not data:
            self.target.over(self, _FAILED)
            return
        self.answer += data
        head = self.answer.find(b"\r\n\r\n")
        if head < 0:
            return
        if len(self.answer) >= head + 4 + _length(self.answer[:head]):
            good = self.answer.startswith(b"HTTP/1.1 200 ")
            self.target.over(self, time.monotonic() - self.at if good else _FAILED)


class _Target:
    """One port, its connections, and what is due for it."""

    def __init__(self, port: int, host: str, samples: array[float]) -> None:
        self.port = port
        self.request = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        self.asked: set[_Connection] = set()
        self._samples = samples
        self._free: list[_Connection] = []
        self._due: deque[float] = deque()  # those for which there is no connection

    def ask(self, at: float) -> None:
        self._due.append(at)
        while self._due and (self._free or len(self.asked) < _MOST_CONNECTIONS):
            at = self._due.popleft()
            try:
                connection = self._free.pop() if self._free else _Connection(self)
            except OSError:
                self._note(at, _FAILED)
            else:
                connection.ask(at)

    def over(self, connection: _Connection, seconds: float) -> None:
        self.asked.discard(connection)
        self._note(connection.at, seconds)
        if seconds == _FAILED:
            connection.socket.close()
        else:
            self._free.append(connection)

    def give_up(self) -> None:
        """What was not answered by now is not."""
        for connection in list(self.asked):
            self.over(connection, _FAILED)
        for at in self._due:
            self._note(at, _FAILED)

    def _note(self, at: float, seconds: float) -> None:
        self._samples.extend((self.port, at, seconds))


def read(file: Path) -> list[Sample]:
    numbers: array[float] = array("d", file.read_bytes())
    return [
        Sample(int(port), at, None if seconds == _FAILED else seconds)
        for port, at, seconds in zip(*[iter(numbers)] * 3, strict=True)
    ]


def load(file: Path, host: str, rate: float, ports: Sequence[int]) -> None:
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    samples: array[float] = array("d")
    targets = [_Target(port, host, samples) for port in ports]
    gc.disable()  # its pauses would be taken for others'
    interval, began, sent = 1 / (rate * len(targets)), time.monotonic(), 0
    while not ended:
        due = began + sent * interval
        if time.monotonic() >= due:
            targets[sent % len(targets)].ask(due)
            sent += 1
            continue
        _read_until(due, targets)
    ended_at = time.monotonic()
    while any(target.asked for target in targets) and time.monotonic() < ended_at + _PATIENCE:
        _read_until(ended_at + _PATIENCE, targets)
    for target in targets:
        target.give_up()
    file.write_bytes(samples.tobytes())


def _read_until(moment: float, targets: Sequence[_Target]) -> None:
    """What there is to read, or will be before that moment."""
    asked = [each for target in targets for each in target.asked]
    readable, _, _ = select.select(asked, (), (), max(0.0, moment - time.monotonic()))
    for each in readable:
        each.read()


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


if __name__ == "__main__":
    load(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), [int(port) for port in sys.argv[4:]])
