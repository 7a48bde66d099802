"""The access log: what there is to say of a request is collected as it ends, and formatted,
many lines at once, when there is a batch of them."""

from __future__ import annotations

import asyncio
import time
from math import inf
from typing import TYPE_CHECKING, Final

from wakeful.config.model import AccessLog as Settings
from wakeful.config.model import AccessLogFormat
from wakeful.proxy import access_format
from wakeful.proxy.access_writer import Writer
from wakeful.proxy.reply import Reply

if TYPE_CHECKING:
    from wakeful.proxy.downstream import Downstream
    from wakeful.proxy.exchange import Exchange
    from wakeful.proxy.throttler import Slot, Throttler

_FLUSH_SECONDS: Final = 0.2
_BATCH: Final = 128  # lines formatted at once: not felt by the request that is next
# Lines handed over at once: to wake the writer, and to share the interpreter with it, costs
# as much as to format some fifty.
_HANDED: Final = 1024


class AccessLog:
    """Collects records and hands them, in batches, to a writer of its own."""

    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop) -> None:
        self._format = settings.format
        self._is_json = settings.format is AccessLogFormat.JSON
        self._note = access_format.NOTES[settings.format]
        self._line = access_format.JSON_LINE if self._is_json else access_format.COMMON_LINE
        self._whole_batch = self._line * _BATCH
        self._full = self._whole_batch.count(b"%")  # values of a whole batch
        self._second = 0
        self._date = b""  # the second, as the common formats write it
        self._begun = b""  # a millisecond, as JSON shows it,
        self._since = self._until = -inf  # and when it is, on the data plane's clock
        self._writer = Writer(settings.file)
        self._loop = loop
        self._values: list[bytes | int | float] = []  # of lines to be formatted
        self._text: list[bytes] = []  # of lines that are
        self._lines = 0  # in it
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
        client = downstream.peer
        if head.claims is not None:
            client = downstream.asked_by(head).encode()
        if not self._is_json:
            self._values += (client, self._today(), note % (exchange.status, exchange.sent))
            self._collected()
            return
        started = exchange.started
        if not self._since <= started < self._until:
            self._begin(started, now)
        place = waited = b""
        if slot is not None:
            place = slot.note
            if not place:
                assert throttler is not None
                place = access_format.place(throttler.service, throttler.name, slot.endpoint)
                slot.note = place
            waited = b"0.000"
            if exchange.admitted_at != started:
                waited = b"%.3f" % ((exchange.admitted_at - started) * 1000)
        elif throttler is not None:
            place = access_format.place(throttler.service, throttler.name, None)
        more = b""
        if exchange.identity and not head.has_request_id:
            more = b',"request_id":"%.32b"' % exchange.identity
        if exchange.reason or exchange.cold is not None or exchange.ignored is not None:
            more += access_format.unusual(
                cold=exchange.cold is not None,
                ignored=exchange.ignored is not None,
                reason=exchange.reason,
            )
        values = self._values
        values += (
            self._begun,
            exchange.status,
            note,
            client,
            now - started,
            exchange.sent,
            exchange.received,
            place,
            waited,
            more,
        )
        if len(values) >= self._full or self._flushing is None:
            self._collected()

    def refusal(self, client: Downstream, answer: Reply) -> None:
        """A message that never became a request."""
        at = time.time()
        if self._is_json:
            line = access_format.json_refusal(at, client.peer, answer)
        else:
            line = access_format.common_refusal(int(at), client.peer, answer, self._format)
        self._format_values()  # what came before it stands before it
        self._text.append(line)
        self._lines += 1
        self._collected()

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
        self._begun = b"%.3f" % (millisecond / 1000)
        self._since = millisecond / 1000 - wall
        self._until = (millisecond + 1) / 1000 - wall

    def _today(self) -> bytes:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._date = access_format.date(second)
        return self._date

    def _collected(self) -> None:
        if len(self._values) >= self._full:
            self._format_values()
        if self._lines >= _HANDED:
            self._flush()
        elif self._flushing is None:
            self._flushing = self._loop.call_later(_FLUSH_SECONDS, self._timed_flush)

    def _timed_flush(self) -> None:
        self._flushing = None
        self._flush()

    def _flush(self) -> None:
        self._format_values()
        if self._lines:
            self._writer.write(b"".join(self._text), self._lines)
            self._text.clear()
            self._lines = 0

    def _format_values(self) -> None:
        lines = len(self._values) * _BATCH // self._full
        if lines:
            them = self._whole_batch if lines == _BATCH else self._line * lines
            self._text.append(them % tuple(self._values))
            self._lines += lines
            self._values.clear()
