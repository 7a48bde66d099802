"""A demo service that says back what it is told.

/         the request as it arrived: request line, headers, body
/stream   the body alone, each piece as soon as it arrives
/events   server-sent events, one per half second, until the client leaves or ?n= of them
/ws       a WebSocket that returns every frame

Run as a file, python3 echo.py, so that it needs nothing installed.
"""

from __future__ import annotations

import struct
from itertools import count, islice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wakeful.demo.serve import Exchange, Refused, Wire, serve
else:
    from serve import Exchange, Refused, Wire, serve

_LONGEST_BODY = 16 * 1024 * 1024  # kept whole to be echoed; /stream has no limit
_LONGEST_FRAME = 1024 * 1024


def echo(exchange: Exchange) -> None:
    match exchange.path:
        case "/stream":
            _stream(exchange)
        case "/events":
            _events(exchange)
        case "/ws":
            _websocket(exchange)
        case _:
            _mirror(exchange)


def _mirror(exchange: Exchange) -> None:
    body = bytearray()
    for piece in exchange.body():
        body += piece
        if len(body) > _LONGEST_BODY:
            raise Refused("413 Content Too Large")
    lines = [f"{exchange.method} {exchange.target} {exchange.version}"]
    lines += [f"{name}: {value}" for name, value in exchange.headers]
    head = "".join(f"{line}\n" for line in lines).encode("latin-1")
    exchange.answer(head + b"\n" + body)


def _stream(exchange: Exchange) -> None:
    pieces = exchange.body()  # before the answer begins, which would read and drop it
    exchange.stream(exchange.header("content-type") or "application/octet-stream")
    for piece in pieces:
        exchange.send(piece)
    exchange.end()


def _events(exchange: Exchange) -> None:
    finite = "n" in exchange.query
    numbers = islice(count(1), exchange.number("n", default=0, most=1_000_000) if finite else None)
    for _ in exchange.body():
        pass
    exchange.stream("text/event-stream")
    for number in numbers:
        if number > 1 and exchange.wire.closed(within=0.5):
            return
        # What was promised is finished; what has no end is ended on SIGTERM.
        if exchange.wire.leaving and not finite:
            break
        exchange.send(f"id: {number}\ndata: event {number}\n\n".encode())
    exchange.end()


# RFC 6455 from here on.

_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_GOING_AWAY, _PROTOCOL_ERROR, _TOO_BIG = 1001, 1002, 1009


class _Failed(Exception):
    """The connection cannot go on; the code says why (RFC 6455 §7.4.1)."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def _websocket(exchange: Exchange) -> None:
    import hashlib  # 5 ms that only this path needs
    from base64 import b64encode

    key = exchange.header("sec-websocket-key")
    if "websocket" not in exchange.tokens("upgrade") or not key or exchange.method != "GET":
        raise Refused("426 Upgrade Required")
    if exchange.header("sec-websocket-version") != "13":
        raise Refused("400 Bad Request")
    # §4.2.2: the constant is from the RFC, and proves that both ends speak it.
    proof = hashlib.sha1(
        f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode(), usedforsecurity=False
    ).digest()
    wire = exchange.switch("websocket", f"Sec-WebSocket-Accept: {b64encode(proof).decode()}\r\n")
    try:
        code = _return_frames(wire)
    except _Failed as failed:
        code = struct.pack("!H", failed.code)
    wire.write(_frame(0x80 | _CLOSE, code))


def _return_frames(wire: Wire) -> bytes:
    """Echo frame by frame until the client closes; its close code."""
    fragmented = False
    while not wire.leaving and wire.wait():
        first, payload = _read_frame(wire)
        final, opcode = bool(first & 0x80), first & 0x0F
        if opcode == _CLOSE:
            return payload[:2]
        if opcode == _PING:
            wire.write(_frame(0x80 | _PONG, payload))
        elif opcode in (_CONTINUATION, _TEXT, _BINARY):
            # §5.4: a message goes on with continuations and nothing else.
            if (opcode == _CONTINUATION) != fragmented:
                raise _Failed(_PROTOCOL_ERROR)
            fragmented = not final
            wire.write(_frame(first, payload))
        elif opcode != _PONG:
            raise _Failed(_PROTOCOL_ERROR)
    raise _Failed(_GOING_AWAY)


def _read_frame(wire: Wire) -> tuple[int, bytes]:
    """The first byte of a frame (final, reserved bits, opcode), and its payload unmasked."""
    first, second = wire.exactly(2)
    length = second & 0x7F
    control = first & 0x08
    # §5.1: clients mask. §5.2: no extension was agreed. §5.5: control frames are short and whole.
    if not second & 0x80 or first & 0x70 or (control and (length > 125 or not first & 0x80)):
        raise _Failed(_PROTOCOL_ERROR)
    if length == 126:
        (length,) = struct.unpack("!H", wire.exactly(2))
    elif length == 127:
        (length,) = struct.unpack("!Q", wire.exactly(8))
    if length > _LONGEST_FRAME:
        raise _Failed(_TOO_BIG)
    mask, payload = wire.exactly(4), wire.exactly(length)
    # One exclusive or over the whole payload as a number, not a loop over its bytes.
    key = int.from_bytes((mask * (length // 4 + 1))[:length])
    return first, (int.from_bytes(payload) ^ key).to_bytes(length)


def _frame(first: int, payload: bytes) -> bytes:
    if len(payload) < 126:
        return bytes((first, len(payload))) + payload
    if len(payload) < 1 << 16:
        return struct.pack("!BBH", first, 126, len(payload)) + payload
    return struct.pack("!BBQ", first, 127, len(payload)) + payload


if __name__ == "__main__":
    serve(echo)
