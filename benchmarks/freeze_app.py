"""What runs in the containers of benchmarks/freeze.py: it counts, and answers at once."""

from __future__ import annotations

import itertools
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wakeful.demo.serve import Exchange, serve
else:
    from serve import Exchange, serve

TICK = 0.02


def tick() -> None:
    for number in itertools.count():
        print(f"tick {number}", flush=True)
        time.sleep(TICK)


def answer(exchange: Exchange) -> None:
    exchange.answer(b"awake\n")


if __name__ == "__main__":
    threading.Thread(target=tick, daemon=True).start()
    serve(answer)
