"""The access log: what there is to say of a request is put into a line as it ends, and many
lines are handed to a thread that writes them."""

from __future__ import annotations

import asyncio
import time
from math import inf
from typing import TYPE_CHECKING, Final

from wakeful.config.model import AccessLog as Settings
from wakeful.config.model import AccessLogFormat
from wakeful.proxy import access_format
from wakeful.proxy.access_writer import Writer
from wakeful.proxy.identities import request_id
from wakeful.proxy.reply import Reply

if TYPE_CHECKING:
    from wakeful.proxy.downstream import Downstream
    from wakeful.proxy.exchange import Exchange
    from wakeful.proxy.framing import RequestHead
    from wakeful.proxy.throttler import Slot, Throttler

_FLUSH_SECONDS: Final = 0.2
# Lines handed over at once. To wake the writer, and to share the interpreter with it, costs as
# much as to make some; what is joined at once keeps requests waiting.
_HANDED: Final = 256


class AccessLog:
    """Collects records and hands them, in batches, to a writer of its own."""

    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop) -> None:
        self._format = settings.format
        self._is_json = settings.format is AccessLogFormat.JSON
        self._note = access_format.NOTES[settings.format]
        self._second = 0
        self._date = b""  # the second, as the common formats write it
        self._begun = b""  # a millisecond, as JSON shows it,
        self._since = self._until = -inf  # and when it is, on the data plane's clock
        self._writer = Writer(settings.file)
        self._loop = loop
        self._json = access_format.JsonLines()
        self._lines: list[bytes] = []
        self._flushing: asyncio.TimerHandle | None = None

    @property
    def dropped(self) -> int:
        """Lines lost because nobody read the log."""
        return self._writer.dropped

    def record(
        self, exchange: Exchange, throttler: Throttler | None, slot: Slot | None, now: float
    ) -> None:
        head, downstream = exchange.head, exchange.downstream
        note = head.note
        if not note:
            note = head.note = self._note(head)
        if not self._is_json:
            what = note % (exchange.status, exchange.sent)
            asked_by = _asked_by(downstream, head)
            self._add(access_format.COMMON_LINE % (asked_by, self._today(), what))
            return
        client = downstream.note
        if not client or head.claims is not None:
            client = access_format.client(_asked_by(downstream, head))
            if head.claims is None:
                downstream.note = client
        started = exchange.started
        if not self._since <= started < self._until:
            self._begin(started, now)
        place = b""
        if slot is not None:
            place = slot.note
            if not place:
                assert throttler is not None
                place = access_format.place(throttler.service, throttler.name, slot.endpoint)
                slot.note = place
            if exchange.admitted_at != started:
                place = access_format.waited(place, exchange.admitted_at - started)
        elif throttler is not None:
            place = access_format.place(throttler.service, throttler.name, None)
        unusual = exchange.unusual
        if unusual is not None:
            place += access_format.unusual(
                cold=unusual.cold, ignored=unusual.ignored is not None, reason=unusual.reason
            )
        line = self._json.line(
            self._begun,
            exchange.status,
            note,
            client,
            now - started,
            exchange.sent,
            exchange.received,
            place,
            b"" if head.has_request_id else request_id(exchange.identity),
        )
        self._add(line)

    def refusal(self, client: Downstream, answer: Reply) -> None:
        """A message that never became a request."""
        at = time.time()
        if self._is_json:
            line = access_format.json_refusal(at, client.peer, answer)
        else:
            line = access_format.common_refusal(int(at), client.peer, answer, self._format)
        self._add(line)

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
        self._begun = access_format.begun(millisecond / 1000)
        self._since = millisecond / 1000 - wall
        self._until = (millisecond + 1) / 1000 - wall

    def _today(self) -> bytes:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._date = access_format.date(second)
        return self._date

    def _add(self, line: bytes) -> None:
        lines = self._lines
        lines.append(line)
        if len(lines) >= _HANDED:
            self._flush()
        elif self._flushing is None:
            self._flushing = self._loop.call_later(_FLUSH_SECONDS, self._timed_flush)

    def _timed_flush(self) -> None:
        self._flushing = None
        self._flush()

    def _flush(self) -> None:
        if self._lines:
            self._writer.write(b"".join(self._lines), len(self._lines))
            self._lines.clear()


def _asked_by(downstream: Downstream, head: RequestHead) -> bytes:
    if head.claims is None:
        return downstream.peer
    return downstream.asked_by(head).encode("ascii", "replace")
