"""A demo service: greets, and says which revision and which process answered.

Run as a file, python3 hello.py, so that it needs nothing installed.
"""

from __future__ import annotations

import os
from itertools import count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wakeful.demo.serve import INSTANCE, Exchange, serve
else:
    from serve import INSTANCE, Exchange, serve

TARGET = os.environ.get("TARGET") or "World"
REVISION = os.environ.get("K_REVISION", "none")
REQUESTS = count(1)


def greet(exchange: Exchange) -> None:
    number = next(REQUESTS)
    text = f"Hello {TARGET}!\nrevision {REVISION}, instance {INSTANCE}, request {number}\n"
    exchange.answer(text.encode())


if __name__ == "__main__":
    serve(greet)
