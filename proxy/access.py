"""The access log: one line per request, formatted on the loop, written in a thread."""

from __future__ import annotations

import asyncio
import os
import queue
import sys
import threading
import time
from json.encoder import encode_basestring_ascii as quote
from typing import TYPE_CHECKING

from wakeful.config.model import AccessLog as Settings
from wakeful.config.model import AccessLogFormat
from wakeful.proxy.reply import Reply

if TYPE_CHECKING:
    from wakeful.proxy.downstream import Downstream
    from wakeful.proxy.exchange import Exchange
    from wakeful.proxy.throttler import Slot, Throttler

_FLUSH_SECONDS = 0.2
_FLUSH_LINES = 512
# When the reader of the log stands still, requests do not: what is over this
# many batches is dropped and counted.
_BACKLOG = 256


class AccessLog:
    """Formats records and hands them, in batches, to a writer of its own."""

    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop) -> None:
        self._format = settings.format
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
        if self._format is AccessLogFormat.JSON:
            self._append(_json(exchange, throttler, slot, now))
        else:
            line = _common(exchange)
            if self._format is AccessLogFormat.COMBINED:
                referer = _escape(_field(exchange, b"referer") or "-")
                agent = _escape(_field(exchange, b"user-agent") or "-")
                line += f' "{referer}" "{agent}"'
            self._append(line)

    def refusal(self, client: Downstream, answer: Reply) -> None:
        """A message that never became a request."""
        if self._format is AccessLogFormat.JSON:
            self._append(
                f'{{"ts":{time.time():.3f},"status":{answer.status},"reason":"{answer.reason}",'
                f'"client_ip":"{client.client}"}}'
            )
        else:
            tail = ' "-" "-"' if self._format is AccessLogFormat.COMBINED else ""
            self._append(f'{client.client} - - [{_clf_time()}] "-" {answer.status} 0{tail}')

    def reopen(self) -> None:
        """Follow a log rotation: write to the path anew."""
        self._flush()
        self._writer.reopen()

    def close(self) -> None:
        if self._flushing is not None:
            self._flushing.cancel()
        self._flush()
        self._writer.close()

    def _append(self, line: str) -> None:
        self._lines.append(line)
        if len(self._lines) >= _FLUSH_LINES:
            self._flush()
        elif self._flushing is None:
            self._flushing = self._loop.call_later(_FLUSH_SECONDS, self._timed_flush)

    def _timed_flush(self) -> None:
        self._flushing = None
        self._flush()

    def _flush(self) -> None:
        if self._lines:
            self._writer.write(self._lines)
            self._lines = []


class _Writer:
    """A thread that owns the file: a full disk or a slow pipe never stops the loop."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.dropped = 0
        self._batches: queue.Queue[list[str] | None] = queue.Queue(_BACKLOG)
        self._fd = self._open()
        self._moved = threading.Event()
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self._thread.start()

    def write(self, lines: list[str]) -> None:
        try:
            self._batches.put_nowait(lines)
        except queue.Full:
            self.dropped += len(lines)

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
        while (lines := self._batches.get()) is not None:
            if self._moved.is_set() and self._path != "-":
                self._moved.clear()
                os.close(self._fd)
                self._fd = self._open()
            data = memoryview(("\n".join(lines) + "\n").encode("utf-8", "replace"))
            try:
                while data:
                    data = data[os.write(self._fd, data) :]
            except OSError:
                self.dropped += len(lines)
        if self._path != "-":
            os.close(self._fd)


def _json(exchange: Exchange, throttler: Throttler | None, slot: Slot | None, now: float) -> str:
    head = exchange.head
    took = now - exchange.started
    line = (
        f'{{"ts":{time.time() - took:.3f},"status":{exchange.status},'
        f'"method":{_text(head.method)},"host":{_text(head.host)},"uri":{_text(head.target)},'
        f'"proto":"HTTP/{head.version}","client_ip":"{exchange.downstream.asked_by(head)}",'
        f'"duration":{took:.6f},"size":{exchange.sent},"bytes_read":{exchange.received}'
    )
    if throttler is not None:
        line += f',"service":"{throttler.service}","revision":"{throttler.name}"'
    if slot is not None:
        waited = exchange.admitted_at - exchange.started
        line += f',"instance":"{slot.endpoint.instance}","queue_ms":{waited * 1000:.3f}'
    if exchange.cold:
        line += ',"cold_start":true'
    if exchange.reason:
        line += f',"reason":"{exchange.reason}"'
    ident = exchange.request_id.decode("ascii") or _field(exchange, b"x-request-id")
    if ident:
        line += f',"request_id":{quote(ident)}'
    agent = _field(exchange, b"user-agent")
    if agent:
        line += f',"user_agent":{quote(agent)}'
    return line + "}"


def _common(exchange: Exchange) -> str:
    head = exchange.head
    request = f"{head.method.decode('latin-1')} {head.target.decode('latin-1')}"
    return (
        f"{exchange.downstream.asked_by(head)} - - [{_clf_time()}] "
        f'"{_escape(request)} HTTP/{head.version}" {exchange.status} {exchange.sent}'
    )


def _field(exchange: Exchange, name: bytes) -> str:
    fields = exchange.head.fields
    for at in range(0, len(fields), 4):
        if fields[at].lower() == name:
            return fields[at + 2].decode("latin-1")
    return ""


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


def _clf_time() -> str:
    return time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime())
