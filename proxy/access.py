"""The access log: what there is to say of a request is noted as it ends; of many at once lines
are made, and many lines are handed to a thread that writes them."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from wakeful.config.model import AccessLog as Settings
from wakeful.proxy import access_format
from wakeful.proxy.access_format import Record
from wakeful.proxy.access_writer import Writer
from wakeful.proxy.reply import Reply

if TYPE_CHECKING:
    from wakeful.proxy.downstream import Downstream
    from wakeful.proxy.exchange import Exchange
    from wakeful.proxy.throttler import Slot, Throttler

_FLUSH_SECONDS: Final = 0.2
# Requests of which lines are made at once. Between two requests the same work takes longer,
# since other code and data are at hand then; for as long as it takes, others wait.
_MADE: Final = 64
# Bytes handed over at once, if it is not time before. To wake the writer, and to share the
# interpreter with it, costs as much as to make a hundred lines.
_HANDED: Final = 2**19
# Bytes that are said of a request, and kept of each client for when it repeats itself.
_KEPT: Final = 1024


class AccessLog:
    """Collects records and hands them, in batches, to a writer of its own."""

    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop) -> None:
        self._format = access_format.lines_of(settings.format)
        self._writer = Writer(settings.file)
        self._loop = loop
        self._records: list[Record] = []
        self._due = 1  # the number of them with which there is something to do
        self._lead = 0.0  # seconds that the wall clock is before the data plane's, for these
        self._made: list[bytes] = []
        self._lines = self._bytes = 0  # in those
        self._flushing: asyncio.TimerHandle | None = None

    @property
    def dropped(self) -> int:
        """Lines lost because nobody read the log."""
        return self._writer.dropped

    def record(
        self, exchange: Exchange, throttler: Throttler | None, slot: Slot | None, now: float
    ) -> None:
        downstream, started = exchange.downstream, exchange.started
        what = (exchange.head, slot, exchange.status, exchange.sent, exchange.unusual)
        if what != downstream.told or exchange.admitted_at != started:
            said = self._say(exchange, throttler, slot, what)
        else:  # clients repeat themselves
            said = downstream.said
        records = self._records
        records.append((started, now, said, exchange.identity))
        if len(records) >= self._due:
            self._proceed(now)

    def refusal(self, client: Downstream, answer: Reply) -> None:
        """A message that never became a request."""
        self._make()
        self._add(self._format.refusal(time.time(), client.peer, answer), 1)
        self._flush_soon()

    def reopen(self) -> None:
        """Follow a log rotation: write to the path anew."""
        self._writer.reopen()

    def close(self) -> None:
        if self._flushing is not None:
            self._flushing.cancel()
        self._flush()
        self._writer.close()

    def _say(
        self,
        exchange: Exchange,
        throttler: Throttler | None,
        slot: Slot | None,
        what: tuple[object, ...],
    ) -> bytes:
        """All but its times and its id, kept with its client if ``what`` may come again."""
        head, downstream, unusual = exchange.head, exchange.downstream, exchange.unusual
        note = head.note
        if not note:
            note = head.note = self._format.note(head)
        client = downstream.asked_by(head).encode("ascii", "replace")
        waited = 0.0
        if slot is not None:
            place = slot.note
            if not place:
                assert throttler is not None
                place = access_format.place(throttler.service, throttler.name, slot.endpoint)
                slot.note = place
            waited = exchange.admitted_at - exchange.started
            if waited:
                place = access_format.waited(place, waited)
        elif throttler is not None:
            place = access_format.nowhere(throttler.service, throttler.name)
        else:
            place = b""
        place += access_format.name(head, exchange.identity)
        more = b""
        if unusual is not None:
            cold, ignored = unusual.cold, unusual.ignored is not None
            more = access_format.unusual(cold, ignored, unusual.reason)
        said = self._format.said(
            note, more, client, place, exchange.status, exchange.sent, exchange.received
        )
        plain = slot is not None and exchange.identity and unusual is None and not waited
        if plain and head.raw and len(said) <= _KEPT:  # a known head: it has no body
            downstream.told, downstream.said = what, said
        return said

    def _proceed(self, now: float) -> None:
        """The first record of a batch is here, or the last."""
        if len(self._records) == _MADE:
            self._make()
        else:
            self._due = _MADE
            self._lead = time.time() - now
            self._flush_soon()

    def _make(self) -> None:
        records = self._records
        if records:
            self._add(self._format.lines(records, self._lead), len(records))
            records.clear()
            self._due = 1

    def _add(self, made: bytes, lines: int) -> None:
        self._made.append(made)
        self._lines += lines
        self._bytes += len(made)
        if self._bytes >= _HANDED:
            self._hand_over()

    def _hand_over(self) -> None:
        self._writer.write(self._made, self._lines)
        self._made, self._lines, self._bytes = [], 0, 0

    def _flush_soon(self) -> None:
        if self._flushing is None:
            self._flushing = self._loop.call_later(_FLUSH_SECONDS, self._timed_flush)

    def _timed_flush(self) -> None:
        self._flushing = None
        self._flush()

    def _flush(self) -> None:
        self._make()
        if self._made:
            self._hand_over()
