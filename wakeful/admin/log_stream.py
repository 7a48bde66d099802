"""The logs of a service as an answer that lasts: for as long as its client reads it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from starlette.types import Receive, Scope, Send

from wakeful.admin.reader import Reader


class LogStream:
    """Ends with the reader, or with its client, whichever is first, and closes the reader.

    An application of its own, since Starlette's responses do not close what they stream
    when their client leaves while it takes nothing.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        pump = asyncio.create_task(self._pump(send), name="log reader")
        self._reader.cut = pump.cancel
        left = asyncio.create_task(_left(receive), name="log reader's client")
        try:
            await asyncio.wait([pump, left], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (pump, left):
                task.cancel()
            await asyncio.wait([pump, left])
            await self._reader.close()
        if not pump.cancelled():
            pump.result()

    async def _pump(self, send: Send) -> None:
        headers = [(b"content-type", b"text/plain; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async with aclosing(self._reader.pieces()) as pieces:
            async for piece in pieces:
                # Waits while the client does not take what it was sent.
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                # What an engine has at once must not keep requests waiting.
                await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b""})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
