"""The access log: one line per request, formatted on the loop, written in a thread."""

from __future__ import annotations

import asyncio
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Mapping
from json.encoder import encode_basestring_ascii as quote
from math import inf
from typing import TYPE_CHECKING, Final

from wakeful.config.model import AccessLog as Settings
from wakeful.config.model import AccessLogFormat
from wakeful.proxy.headers import first
from wakeful.proxy.reply import Reply

if TYPE_CHECKING:
    from wakeful.proxy.downstream import Downstream
    from wakeful.proxy.exchange import Exchange
    from wakeful.proxy.framing import RequestHead
    from wakeful.proxy.throttler import Slot, Throttler

_FLUSH_SECONDS = 0.2
_FLUSH_LINES = 512
# When the reader of the log stands still, requests do not: what is over this
# many batches is dropped and counted.
_BACKLOG = 256


class AccessLog:
    """Formats records and hands them, in batches, to a writer of its own."""

    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop) -> None:
        self._is_json = settings.format is AccessLogFormat.JSON
        self._is_combined = settings.format is AccessLogFormat.COMBINED
        self._note = _NOTES[settings.format]
        self._second = 0
        self._shown = ""  # the second, as the common formats write it
        self._begun = ""  # a millisecond, as JSON shows it,
        self._since = self._until = -inf  # and when it is, on the data plane's clock
        self._writer = _Writer(settings.file)
        self._loop = loop
        self._lines: list[str] = []
        self._flushing: asyncio.TimerHandle | None = None

    @property
    def dropped(self) -> int:
        """Lines lost because nobody read the log."""
        return self._writer.dropped

    def record(
        self, exchange: Exchange, throttler: Throttler | None, slot: Slot | None, now: float
    ) -> None:
        head = exchange.head
        note = head.note
        if not note:
            note = head.note = self._note(head)
        lines = self._lines
        if not self._is_json:
            lines.append(
                f"{exchange.downstream.asked_by(head)} - - [{self._date()}] "
                + note % (exchange.status, exchange.sent)
            )
            self._appended()
            return
        started = exchange.started
        if not self._since <= started < self._until:
            self._begin(started, now)
        place, waited = "", ""
        if slot is not None:
            place = slot.note or self._place(throttler, slot)
            waited = "0.000"
            if exchange.admitted_at != started:
                waited = f"{(exchange.admitted_at - started) * 1000:.3f}"
        elif throttler is not None:
            place = self._place(throttler, None)
        more = ""
        if exchange.reason or exchange.cold is not None or exchange.ignored is not None:
            more = _unusual(exchange)
        if exchange.identity and not head.has_request_id:
            more += f',"request_id":"{str(exchange.identity[:32], "ascii")}"'
        downstream = exchange.downstream
        client = downstream.client if head.claims is None else downstream.asked_by(head)
        # One piece of formatting, and no calls around it: that is what a line costs.
        lines.append(
            f'{{"ts":{self._begun},"status":{exchange.status},{note},"client_ip":"{client}",'
            f'"duration":{now - started:.6f},"size":{exchange.sent},'
            f'"bytes_read":{exchange.received}{place}{waited}{more}}}'
        )
        if len(lines) >= _FLUSH_LINES or self._flushing is None:
            self._appended()

    def refusal(self, client: Downstream, answer: Reply) -> None:
        """A message that never became a request."""
        if self._is_json:
            self._lines.append(
                f'{{"ts":{time.time():.3f},"status":{answer.status},"reason":"{answer.reason}",'
                f'"client_ip":"{client.client}"}}'
            )
        else:
            tail = ' "-" "-"' if self._is_combined else ""
            self._lines.append(f'{client.client} - - [{self._date()}] "-" {answer.status} 0{tail}')
        self._appended()

    def reopen(self) -> None:
        """Follow a log rotation: write to the path anew."""
        self._flush()
        self._writer.reopen()

    def close(self) -> None:
        if self._flushing is not None:
            self._flushing.cancel()
        self._flush()
        self._writer.close()

    def _begin(self, started: float, now: float) -> None:
        """Another millisecond: of the wall clock, which leads the data plane's by so much."""
        wall = time.time() - now
        millisecond = int((wall + started) * 1000)
        self._begun = f"{millisecond / 1000:.3f}"
        self._since = millisecond / 1000 - wall
        self._until = (millisecond + 1) / 1000 - wall

    @staticmethod
    def _place(throttler: Throttler | None, slot: Slot | None) -> str:
        """Where it was answered; of a slot it is said once, up to the time in the queue."""
        place = ""
        if throttler is not None:
            place = f',"service":"{throttler.service}","revision":"{throttler.name}"'
        if slot is not None:
            place += f',"instance":"{slot.endpoint.instance}","queue_ms":'
            slot.note = place
        return place

    def _date(self) -> str:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._shown = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(second))
        return self._shown

    def _appended(self) -> None:
        if len(self._lines) >= _FLUSH_LINES:
            self._flush()
        elif self._flushing is None:
            self._flushing = self._loop.call_later(_FLUSH_SECONDS, self._timed_flush)

    def _timed_flush(self) -> None:
        self._flushing = None
        self._flush()

    def _flush(self) -> None:
        if self._lines:
            # Joined here: for that the thread would have to take the interpreter from
            # the loop, which costs more than the joining.
            text = "\n".join((*self._lines, ""))
            self._writer.write(text.encode("utf-8", "replace"), len(self._lines))
            self._lines = []


class _Writer:
    """A thread that owns the file: a full disk or a slow pipe never stops the loop."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.dropped = 0
        self._batches: queue.Queue[tuple[bytes, int] | None] = queue.Queue(_BACKLOG)
        self._fd = self._open()
        self._moved = threading.Event()
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self._thread.start()

    def write(self, data: bytes, lines: int) -> None:
        try:
            self._batches.put_nowait((data, lines))
        except queue.Full:
            self.dropped += lines

    def reopen(self) -> None:
        self._moved.set()

    def close(self) -> None:
        try:
            self._batches.put(None, timeout=1)
        except queue.Full:
            return  # its reader stands still; the thread is a daemon
        self._thread.join(timeout=2)

    def _open(self) -> int:
        if self._path == "-":
            return sys.stdout.fileno()
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def _run(self) -> None:
        while (batch := self._batches.get()) is not None:
            if self._moved.is_set() and self._path != "-":
                self._moved.clear()
                os.close(self._fd)
                self._fd = self._open()
            data, lines = memoryview(batch[0]), batch[1]
            try:
                while data:
                    data = data[os.write(self._fd, data) :]
            except OSError:
                self.dropped += lines
        if self._path != "-":
            os.close(self._fd)


def _unusual(exchange: Exchange) -> str:
    more = ""
    if exchange.cold is not None:
        more = ',"cold_start":true'
    if exchange.ignored is not None:
        more += ',"ignored":true'
    if exchange.reason:
        more += f',"reason":"{exchange.reason}"'
    return more


# What a log says of a head. It is said once: heads are shared by the requests that repeat them.


def _json_note(head: RequestHead) -> str:
    note = (
        f'"method":{_text(head.method)},"host":{_text(head.host)},"uri":{_text(head.target)},'
        f'"proto":"HTTP/{head.version}"'
    )
    for key, name in (("request_id", b"x-request-id"), ("user_agent", b"user-agent")):
        if value := _field(head, name):
            note += f',"{key}":{quote(value)}'
    return note


def _common_note(head: RequestHead) -> str:
    """A format for status and size."""
    request = f"{head.method.decode('latin-1')} {head.target.decode('latin-1')}"
    return f'"{_escape(request)} HTTP/{head.version}"'.replace("%", "%%") + " %d %d"


def _combined_note(head: RequestHead) -> str:
    referer = _escape(_field(head, b"referer") or "-")
    agent = _escape(_field(head, b"user-agent") or "-")
    return _common_note(head) + f' "{referer}" "{agent}"'.replace("%", "%%")


_NOTES: Final[Mapping[AccessLogFormat, Callable[[RequestHead], str]]] = {
    AccessLogFormat.JSON: _json_note,
    AccessLogFormat.COMMON: _common_note,
    AccessLogFormat.COMBINED: _combined_note,
}


def _field(head: RequestHead, name: bytes) -> str:
    return first(head.fields, name).decode("latin-1")


def _text(value: bytes) -> str:
    return quote(value.decode("latin-1"))


def _escape(text: str) -> str:
    """Nothing a client sent may end the line or the quotes it stands in."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return "".join(
        c if c.isascii() and c.isprintable() and c not in '"\\' else f"\\x{ord(c):02x}"
        for c in text
    )
