"""`wakeful logs`: what the instances of a service write, as lines on a terminal or in a pipe."""

from __future__ import annotations

import os
import select
import sys
import threading
from contextlib import suppress
from datetime import datetime
from typing import BinaryIO
from urllib.parse import quote, urlencode

from wakeful.ask import Stream, Unanswered, stream
from wakeful.config.model import HostPort
from wakeful.config.quantity import duration

# A line may come in pieces, and others between them: it is shown when it is whole, or so long.
_LONGEST = 1024 * 1024
_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
_NOTES = (b"note", b"error")


def moment(text: str, now: float) -> float:
    """Seconds since 1970, from a duration before ``now`` or a date and time. Raises ValueError."""
    with suppress(ValueError):
        return now - duration(text)
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise ValueError(
            f"--since: expected a duration such as 10m, or a time such as 2026-01-31T12:00:00Z, "
            f"not {text!r}"
        ) from None


class Lines:
    """Takes apart what the admin listener sends (wakeful/admin/log_lines.py), and writes it.

    Output goes to ``out``, in whole lines; what wakeful has to say itself to ``notes``.
    """

    def __init__(
        self,
        service: str,
        out: BinaryIO,
        notes: BinaryIO,
        *,
        prefix: bool,
        times: bool,
        colour: bool,
    ) -> None:
        self.failed = False
        self._service = f"{service}-".encode()
        self._out = out
        self._notes = notes
        self._prefix = prefix
        self._times = times
        self._colour = colour
        self._rest = b""
        self._pieces: dict[tuple[bytes, bytes], list[bytes]] = {}  # of lines begun
        self._seen: dict[bytes, bytes] = {}  # instances, and what stands before their lines

    def feed(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            instance, time, stream, tag, text = line.split(b" ", 4)
            if stream in _NOTES:
                self._say(instance, stream, text)
                continue
            pieces = self._pieces.setdefault((instance, stream), [])
            pieces.append(text)
            if tag == b"F" or sum(map(len, pieces)) >= _LONGEST:
                self._write(instance, time, b"".join(pieces))
                del self._pieces[instance, stream]
        self._out.flush()

    def end(self) -> None:
        """Nothing more comes, not even the ends of lines begun."""
        for (instance, _), pieces in self._pieces.items():
            self._write(instance, b"-", b"".join(pieces))
        self._pieces.clear()
        self._out.flush()

    def _write(self, instance: bytes, time: bytes, text: bytes) -> None:
        prefix = self._before(instance) if self._prefix else b""
        stamp = time + b" " if self._times else b""
        self._out.write(prefix + stamp + text + b"\n")

    def _say(self, instance: bytes, stream: bytes, text: bytes) -> None:
        self.failed |= stream == b"error"
        self._out.flush()
        whose = b"" if instance == b"-" else self._short(instance) + b" "
        self._notes.write(b"wakeful: " + whose + text + b"\n")
        self._notes.flush()

    def _before(self, instance: bytes) -> bytes:
        before = self._seen.get(instance)
        if before is None:
            before = self._short(instance) + b" |"
            if self._colour:
                colour = _COLOURS[len(self._seen) % len(_COLOURS)]
                before = b"\x1b[%dm%b\x1b[0m" % (colour, before)
            before += b" "
            self._seen[instance] = before
        return before

    def _short(self, instance: bytes) -> bytes:
        return instance.removeprefix(self._service)


def show(
    address: HostPort,
    service: str,
    *,
    follow: bool,
    tail: int | None,
    since: float | None,
    instance: str | None,
    times: bool,
    prefix: bool,
) -> int:
    """Write them until they have ended, and return an exit code. Raises Unanswered."""
    query = {
        "follow": "1" if follow else None,
        "tail": None if tail is None else str(tail),
        "since": None if since is None else f"{since:.6f}",
        "instance": instance,
    }
    asked = urlencode({name: value for name, value in query.items() if value is not None})
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    lines = Lines(
        service,
        sys.stdout.buffer,
        sys.stderr.buffer,
        prefix=prefix and instance is None,
        times=times,
        colour=colour,
    )
    path = f"/v1/services/{quote(service, safe='')}/logs?{asked}"
    with stream(address, path) as answer:
        reader = _Reader(answer)
        try:
            for data in answer.reads():
                lines.feed(data)
            lines.end()
        except BrokenPipeError:
            return _nobody_reads()
        except Unanswered:
            if reader.left:
                return _nobody_reads()
            raise
    return 1 if lines.failed else 0


class _Reader:
    """Whoever reads our output: seen to leave (`| head`) also while there is nothing to write."""

    def __init__(self, answer: Stream) -> None:
        self.left = False
        self._answer = answer
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)  # errors only: of a pipe, that its reader is gone
        poll.poll()
        self.left = True
        with suppress(OSError):
            self._answer.hang_up()


def _nobody_reads() -> int:
    """What is still buffered can go nowhere: let the interpreter's own flush succeed."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
