"""A demo service that takes its time: 200 ms per request, or ?ms=500.

It counts the requests it has in hand, so that a reader can see that nobody
gives an instance more than its concurrency limit. Run as a file,
python3 slow.py, so that it needs nothing installed.
"""

from __future__ import annotations

import os
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wakeful.demo.serve import INSTANCE, Exchange, serve
else:
    from serve import INSTANCE, Exchange, serve

REVISION = os.environ.get("K_REVISION", "none")


class Work:
    """The requests in hand."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[Exchange] = set()
        self.most_at_once = 0

    def begin(self, exchange: Exchange) -> int:
        """How many are in hand now, this one included."""
        with self._lock:
            # Whoever hung up is no longer served, even if its thread has not noticed yet.
            self._running = {other for other in self._running if not other.wire.closed(within=0)}
            self._running.add(exchange)
            self.most_at_once = max(self.most_at_once, len(self._running))
            return len(self._running)

    def finish(self, exchange: Exchange) -> None:
        with self._lock:
            self._running.discard(exchange)


WORK = Work()


def dawdle(exchange: Exchange) -> None:
    milliseconds = exchange.number("ms", default=200, most=600_000)
    for _ in exchange.body():
        pass
    in_progress = WORK.begin(exchange)
    try:
        exchange.wire.closed(within=milliseconds / 1000)
    finally:
        # Before the answer is written: by the time its last byte is read, the
        # next request may already be here.
        WORK.finish(exchange)
    # Names and numbers that need no escaping, so json need not be imported.
    text = (
        f'{{"instance": "{INSTANCE}", "revision": "{REVISION}", "took_ms": {milliseconds}, '
        f'"in_progress": {in_progress}, "most_at_once": {WORK.most_at_once}}}\n'
    )
    exchange.answer(text.encode(), content_type="application/json")


if __name__ == "__main__":
    serve(dawdle)
