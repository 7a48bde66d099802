"""python plain_server.py PORT SIZE: answers every request with SIZE bytes, and does no more."""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import httptools
import uvloop


class Answer(asyncio.Protocol):
    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None

    # Called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not inherit from it

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    # Called by the parser

    def on_message_complete(self) -> None:
        assert self._transport is not None
        self._transport.write(self._answer)


async def main(port: int, size: int) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (size, b"x" * size)
    server = await asyncio.get_running_loop().create_server(
        lambda: Answer(answer), "127.0.0.1", port
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
