"""What runs in the instances of these tests: python3 -S app.py [BEHAVIOUR].

/            who answered, and how many requests it has had at once; ?ms= takes that long
/seen        the environment, and the request's fields
/page        the same in HTML, for browsers
/drip        ?n= pieces, ?ms= apart, in a stream

It is run as a file beside serve.py of the demo, so that it starts as quickly.
But it leaves at once when it is told to, in the middle of an answer too: whoever
stops it while it is in use is found out.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wakeful.demo.serve import INSTANCE, Exchange, serve
else:
    from serve import INSTANCE, Exchange, serve

REVISION = os.environ["K_REVISION"]


class Hands:
    """The requests this instance has in hand."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = 0
        self._answered = 0
        self.most = 0

    def take(self) -> None:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)

    def let_go(self) -> int:
        with self._lock:
            self._now -= 1
            self._answered += 1
            return self._answered


HANDS = Hands()


def handle(exchange: Exchange) -> None:
    for _ in exchange.body():
        pass
    if exchange.path == "/seen":
        _tell_what_is_seen(exchange)
    elif exchange.path == "/page":
        page = f"<!doctype html><title>the page of {REVISION}</title><h1>{INSTANCE}</h1>"
        exchange.answer(page.encode(), content_type="text/html")
    elif exchange.path == "/drip":
        _drip(exchange)
    else:
        _answer(exchange)


def _answer(exchange: Exchange) -> None:
    HANDS.take()
    try:
        time.sleep(exchange.number("ms", default=0, most=60_000) / 1000)
    finally:
        # Before the last byte is written: whoever has read it may be back at once.
        number = HANDS.let_go()
    text = (
        f'{{"instance": "{INSTANCE}", "pid": {os.getpid()}, "revision": "{REVISION}", '
        f'"most_at_once": {HANDS.most}, "number": {number}}}'
    )
    exchange.answer(text.encode(), content_type="application/json")


def _tell_what_is_seen(exchange: Exchange) -> None:
    import json

    seen = {"environment": dict(os.environ), "fields": exchange.headers}
    exchange.answer(json.dumps(seen).encode(), content_type="application/json")


def _drip(exchange: Exchange) -> None:
    pause = exchange.number("ms", default=100, most=60_000) / 1000
    exchange.stream("text/plain")
    for number in range(exchange.number("n", default=10, most=1_000_000)):
        time.sleep(pause if number else 0)
        exchange.send(f"{INSTANCE} {number}\n".encode())
    exchange.end()


def _leave_at_once() -> None:
    signal.sigwait({signal.SIGTERM})
    os._exit(0)


if __name__ == "__main__":
    behaviour = sys.argv[1] if len(sys.argv) > 1 else "serve"
    print(f"about to {behaviour}", flush=True)
    if behaviour == "exit":
        print("cannot find my database", file=sys.stderr, flush=True)
        sys.exit(3)
    while behaviour == "never-listen":
        time.sleep(60)
    if behaviour == "listen-late":
        time.sleep(3)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_leave_at_once, daemon=True).start()
    serve(handle)
