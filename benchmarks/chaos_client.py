"""One request at a time over real sockets, and exactly what came of it."""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress

from benchmarks.chaos_record import Outcome

_PATIENCE = 45.0  # seconds for a whole request: longer than any timeout of the services
_GOING_AWAY = 1001
_FIN_TEXT, _FIN_BINARY, _FIN_CLOSE = 0x81, 0x82, 0x88


class Broken(Exception):
    """The exchange did not end as HTTP says; the outcome says how."""

    def __init__(self, outcome: Outcome, why: str) -> None:
        super().__init__(why)
        self.outcome = outcome


class Answer:
    """A whole one."""

    def __init__(self, status: int, fields: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.fields = fields
        self.body = body

    @property
    def reason(self) -> str:
        """Wakeful's, if the answer is its own."""
        return self.fields.get("x-wakeful-reason", "")


class Connection:
    """A connection to one service, used for one request after the other."""

    def __init__(self, port: int, service: str) -> None:
        self._port = port
        self._host = f"{service}.localhost"
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(
        self, method: str, target: str, body: list[bytes] | None = None, pause: float = 0.0
    ) -> Answer:
        """``body`` is sent in chunks, ``pause`` apart. Raises Broken."""
        reader, writer = await self._open()
        sending: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(_PATIENCE):
                fields = "" if body is None else "Transfer-Encoding: chunked\r\n"
                writer.write(self._head(method, target, fields))
                if body is not None:
                    sending = asyncio.create_task(_send(writer, body, pause))
                answer = await _read(reader)
            if sending is not None and not sending.done():
                self.close()  # answered before all was sent: a refusal
            if answer.fields.get("connection") == "close":
                self.close()
            return answer
        except TimeoutError:
            self.close()
            raise Broken(Outcome.WRONG, f"no answer within {_PATIENCE:g} s") from None
        except (OSError, EOFError, ValueError) as error:
            self.close()
            raise Broken(Outcome.CUT, repr(error)) from None
        finally:
            if sending is not None:
                sending.cancel()
                with suppress(asyncio.CancelledError, OSError):
                    await sending

    async def socket(self, target: str) -> Socket:
        """Upgrade to a WebSocket, after which it is good for nothing else. Raises Broken, and
        Refused for another answer than 101."""
        reader, writer = await self._open()
        fields = (
            "Connection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        )
        try:
            async with asyncio.timeout(_PATIENCE):
                writer.write(self._head("GET", target, fields))
                status, head = await _read_head(reader)
                if status != 101:
                    raise Refused(await _read_rest(reader, status, head))
        except TimeoutError:
            raise Broken(Outcome.WRONG, f"no answer within {_PATIENCE:g} s") from None
        except (OSError, EOFError, ValueError) as error:
            raise Broken(Outcome.CUT, repr(error)) from None
        # The example of RFC 6455 §1.3.
        if head.get("sec-websocket-accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=":
            raise Broken(Outcome.WRONG, f"accepted with {head}")
        return Socket(reader, writer)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is None or self._writer is None:
            try:
                self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError as error:
                raise Broken(Outcome.UNCONNECTED, repr(error)) from None
        return self._reader, self._writer

    def _head(self, method: str, target: str, fields: str) -> bytes:
        return f"{method} {target} HTTP/1.1\r\nHost: {self._host}\r\n{fields}\r\n".encode()


class Refused(Exception):
    """An answer where a WebSocket was to be."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class Told(Exception):
    """The other side goes away, and has said so (1001)."""


class Socket:
    """A WebSocket whose other end returns what it is sent."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def echo(self, payload: bytes) -> None:
        """Raises Told, Broken."""
        await self._send(_FIN_BINARY, payload)
        first, back = await self._receive()
        if first == _FIN_CLOSE:
            await self._send(_FIN_CLOSE, back)
            code = int.from_bytes(back[:2])
            if code == _GOING_AWAY:
                raise Told
            raise Broken(Outcome.WRONG, f"closed with {code}")
        if (first, back) != (_FIN_BINARY, payload):
            raise Broken(Outcome.WRONG, f"{len(back)} bytes came back for {len(payload)}")

    async def end(self) -> None:
        """Close in good order. Raises Told, Broken."""
        normal = struct.pack("!H", 1000)
        await self._send(_FIN_CLOSE, normal)
        first, back = await self._receive()
        if (first, back) != (_FIN_CLOSE, normal):
            if first == _FIN_CLOSE and int.from_bytes(back[:2]) == _GOING_AWAY:
                raise Told  # both were on their way
            raise Broken(Outcome.WRONG, f"a close was answered with {back[:20]!r}")

    async def _send(self, first: int, payload: bytes) -> None:
        mask = os.urandom(4)
        size = len(payload)
        if size < 126:
            head = bytes((first, 0x80 | size))
        else:
            head = struct.pack("!BBH", first, 0x80 | 126, size)
        key = int.from_bytes((mask * (size // 4 + 1))[:size])
        masked = (int.from_bytes(payload) ^ key).to_bytes(size)
        try:
            self._writer.write(head + mask + masked)
            await self._writer.drain()
        except OSError as error:
            raise Broken(Outcome.CUT, repr(error)) from None

    async def _receive(self) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(_PATIENCE):
                first, size = await self._reader.readexactly(2)
                if size == 126:
                    (size,) = struct.unpack("!H", await self._reader.readexactly(2))
                return first, await self._reader.readexactly(size)
        except TimeoutError:
            raise Broken(Outcome.WRONG, f"silent for {_PATIENCE:g} s") from None
        except (OSError, EOFError) as error:
            raise Broken(Outcome.CUT, repr(error)) from None


async def _send(writer: asyncio.StreamWriter, body: list[bytes], pause: float) -> None:
    for piece in body:
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        await writer.drain()
        await asyncio.sleep(pause)
    writer.write(b"0\r\n\r\n")
    await writer.drain()


async def _read(reader: asyncio.StreamReader) -> Answer:
    status, fields = await _read_head(reader)
    return await _read_rest(reader, status, fields)


async def _read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in head[1:] if line)
    return int(head[0].split(" ")[1]), {n.lower(): v.strip() for n, _, v in pairs}


async def _read_rest(reader: asyncio.StreamReader, status: int, fields: dict[str, str]) -> Answer:
    if "chunked" in fields.get("transfer-encoding", ""):
        body = b"".join([piece async for piece in _chunks(reader)])
    else:
        body = await reader.readexactly(int(fields["content-length"]))
    return Answer(status, fields, body)


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while size := int((await reader.readline()).strip() or b"x", 16):
        yield (await reader.readexactly(size + 2))[:-2]
    await reader.readline()
