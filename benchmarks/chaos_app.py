"""What runs in the containers under chaos: python3 -S chaos_app.py, beside serve.py and echo.py.

/work      reads the body, takes ?ms=, answers with its digest and ?size= bytes
/stream    ?n= lines, ?ms= apart
/ws        a WebSocket that returns every frame

Every request has an ?id=, and what becomes of it is noted in a file of this
instance in /ledger, a line each, appended at once, so that SIGKILL loses none:

  TIME seen ID     its first bytes are in our socket; nothing was taken out yet
  TIME begun ID    it was read and is being worked on
  TIME ended ID    all but the last byte of the answer is done
  TIME left ID     the last byte is out
  TIME cut ID      whoever asked has hung up before that
  TIME told -      SIGTERM: it leaves at once, whatever it has in hand
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wakeful.demo.echo import echo
    from wakeful.demo.serve import Exchange, Gone, Leaving, Refused, Wire
else:
    from echo import echo
    from serve import Exchange, Gone, Leaving, Refused, Wire

SERVICE = os.environ.get("K_SERVICE", "?")
INSTANCE = os.uname().nodename
_HEAD = 64 * 1024


class Notes:
    """The file of this instance; CLOCK_MONOTONIC is the same in all containers of a host."""

    def __init__(self, folder: str) -> None:
        path = f"{folder}/{SERVICE}.{INSTANCE}"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(self, what: str, name: str) -> None:
        os.write(self._file, f"{time.monotonic():.6f} {what} {name}\n".encode())


def converse(connection: socket.socket, leaving: Leaving, notes: Notes) -> None:
    """The life of one connection, on its own thread."""
    try:
        with connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            wire = Wire(connection, leaving)
            while wire.wait():
                if name := _announced(connection.recv(_HEAD, socket.MSG_PEEK)):
                    notes.write("seen", name)
                exchange = Exchange(wire, wire.until(b"\r\n\r\n", _HEAD))
                name = exchange.query.get("id", "-")
                notes.write("begun", name)
                try:
                    _handle(exchange, notes, name)
                except BaseException:
                    notes.write("cut", name)
                    raise
                if not exchange.reusable:
                    break
    except (Gone, OSError, Refused):
        pass  # nobody is there to be told


def _announced(head: bytes) -> str:
    """The id in a request line that nobody has taken out of the socket yet."""
    _, found, rest = head.partition(b"\r\n")[0].partition(b"id=")
    return rest.split(b" ")[0].split(b"&")[0].decode("latin-1") if found else ""


def _handle(exchange: Exchange, notes: Notes, name: str) -> None:
    if exchange.path == "/stream":
        _stream(exchange, notes, name)
    elif exchange.path == "/ws":
        echo(exchange)
        notes.write("ended", name)
    else:
        _work(exchange, notes, name)
    notes.write("left", name)


def _work(exchange: Exchange, notes: Notes, name: str) -> None:
    from hashlib import sha256

    digest = sha256()
    for piece in exchange.body():
        digest.update(piece)
    if exchange.wire.closed(within=exchange.number("ms", default=0, most=60_000) / 1000):
        raise Gone
    first = f"{name} {SERVICE} {INSTANCE} {digest.hexdigest()}\n"
    size = exchange.number("size", default=0, most=1 << 24)
    filler = (f"{name}\n" * (size // (len(name) + 1) + 1))[:size]
    notes.write("ended", name)
    exchange.answer((first + filler).encode())


def _stream(exchange: Exchange, notes: Notes, name: str) -> None:
    pause = exchange.number("ms", default=100, most=60_000) / 1000
    exchange.stream("text/plain")
    for number in range(exchange.number("n", default=10, most=100_000)):
        if number and exchange.wire.closed(within=pause):
            raise Gone
        exchange.send(f"{name} {SERVICE} {number}\n".encode())
    notes.write("ended", name)
    exchange.end()


def _leave(notes: Notes) -> None:
    signal.sigwait({signal.SIGTERM})
    notes.write("told", "-")
    os._exit(0)


def main() -> None:
    notes = Notes(sys.argv[1])
    leaving = Leaving()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_leave, args=(notes,), daemon=True).start()
    port = int(os.environ["PORT"])
    with socket.create_server(("0.0.0.0", port), backlog=1024) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(
                target=converse, args=(connection, leaving, notes), daemon=True
            ).start()


if __name__ == "__main__":
    main()
