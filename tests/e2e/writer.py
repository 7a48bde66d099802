"""A service that writes what it is asked to: python3 -S writer.py [exit|loud].

/say?text=   a line on standard output; &err on standard error
/count?n=    so many lines, numbered
/bytes       a line that is no text, and one of 100,000 characters

With "loud" it has written 100,000 lines before it listens.
"""

from __future__ import annotations

import io
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wakeful.demo.serve import INSTANCE, Exchange, serve
else:
    from serve import INSTANCE, Exchange, serve

MANY = 100_000


def write(data: bytes, stream: int = 1) -> None:
    while data:
        data = data[os.write(stream, data) :]


def handle(exchange: Exchange) -> None:
    for _ in exchange.body():
        pass
    if exchange.path == "/say":
        text = exchange.query.get("text", "")
        write(text.encode() + b"\n", 2 if "err" in exchange.query else 1)
    elif exchange.path == "/count":
        count(exchange.number("n", default=10, most=MANY))
    elif exchange.path == "/bytes":
        write(b"no \xff\xfe text\n" + b"x" * 100_000 + b"\n")
    exchange.answer(INSTANCE.encode())


def count(lines: int) -> None:
    write(b"".join(b"line %d %s\n" % (number, b"." * 60) for number in range(lines)))


if __name__ == "__main__":
    write(b"begun\n")
    if "exit" in sys.argv:
        write(b"no database\n", 2)
        sys.exit(3)
    if "loud" in sys.argv:
        count(MANY)
    sys.stdout = io.StringIO()  # where it says that it listens
    serve(handle)
