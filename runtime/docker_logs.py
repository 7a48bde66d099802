"""Reading what containers write, by the engine's own copy of it.

Each read is a connection of its own, on the loop: followers may be many and silent for
hours, which threads would be too dear for. Nothing is read that is not asked for, so it
is the engine that waits for who is slow.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from urllib.parse import urlencode, urlsplit

import httptools

from wakeful.runtime import docker_container as containers
from wakeful.runtime.docker_client import DockerClient, innermost
from wakeful.runtime.docker_container import Writing
from wakeful.runtime.docker_endpoint import Endpoint, Tls, endpoint
from wakeful.runtime.docker_frames import BadFrame, Frames, RawLines
from wakeful.runtime.driver import DriverError, EngineUnavailable, OutputGone
from wakeful.runtime.output import NO_TIME, Asked, Line

_CONNECT_TIMEOUT = 10.0
_READ = 16 * 1024  # some 200 lines: they are taken apart on the loop, between requests
_LONGEST_REFUSAL = 64 * 1024
_RETRY = (0.1, 0.2, 0.5, 1.0, 2.0)  # seconds; then it is given up


class _Broken(Exception):
    """The stream ended before the engine had said so; what it brought was good."""


async def output(
    client: DockerClient, container: str, asked: Asked
) -> AsyncGenerator[list[Line], None]:
    """As Driver.output, of a container by its id; "" is none.

    A stream that breaks while it is followed is taken up again behind its last line:
    proxies cut those that are silent for long.
    """
    if not container:
        raise OutputGone("its container is not there any more")
    writing = await client.call(containers.writing, container)
    query = _query(asked)
    last, tries = NO_TIME, 0
    while True:
        path = f"/v{client.version}/containers/{container}/logs?{urlencode(query)}"
        try:
            async with aclosing(_stream(path, writing)) as pieces:
                async for lines in pieces:
                    if tries:  # the last line seen comes once more
                        lines = [line for line in lines if line.time > last]
                    if lines:
                        last, tries = lines[-1].time, 0
                        yield lines
            return
        except OutputGone:
            if tries:
                return  # it was removed meanwhile
            raise
        except (_Broken, OSError, httptools.HttpParserError, BadFrame) as error:
            if not asked.follow or tries == len(_RETRY):
                why = getattr(error, "strerror", None) or str(error) or "it ended early"
                raise EngineUnavailable(f"its output broke off: {why}") from None
        await asyncio.sleep(_RETRY[tries])
        tries += 1
        if last != NO_TIME:
            query = _query(asked) | {"tail": "all", "since": _unix(last)}


async def _stream(path: str, writing: Writing) -> AsyncGenerator[list[Line], None]:
    async with asyncio.timeout(_CONNECT_TIMEOUT):
        reader, connection = await _connect(endpoint())
    try:
        connection.write(f"GET {path} HTTP/1.1\r\nHost: docker\r\n\r\n".encode())
        answer = _Answer()
        decoder = RawLines() if writing.terminal else Frames()
        while not answer.complete:
            data = await reader.read(_READ)
            if data:
                answer.feed(data)
            elif answer.delimited:
                raise _Broken
            else:
                answer.complete = True
            if answer.status != 200:
                if answer.complete or len(answer.body) > _LONGEST_REFUSAL:
                    raise _refusal(writing, answer)
            elif lines := decoder.feed(answer.take()):
                yield lines
        if isinstance(decoder, RawLines) and (lines := decoder.end()):
            yield lines
    finally:
        connection.close()


class _Answer:
    """An answer of the engine's, as it comes."""

    def __init__(self) -> None:
        self.complete = False
        self.delimited = False  # by its length or by chunks, so that an early end shows
        self.status = 0
        self.body = b""
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def take(self) -> bytes:
        body, self.body = self.body, b""
        return body

    # Called by the parser

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self.delimited = True

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = True


def _query(asked: Asked) -> dict[str, str]:
    query = {"stdout": "1", "stderr": "1", "timestamps": "1"}
    if asked.follow:
        query["follow"] = "1"
    if asked.tail is not None:
        query["tail"] = str(asked.tail)
    if asked.since is not None:
        query["since"] = f"{asked.since:.6f}"
    return query


def _unix(time: bytes) -> str:
    """A time as engines write it, in seconds since 1970, to the nanosecond."""
    text = time.decode("ascii")
    whole, dot, rest = text.partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    zone = rest[len(digits) :] if dot else ""
    return f"{datetime.fromisoformat(whole + zone).timestamp():.0f}.{digits or 0}"


def _refusal(writing: Writing, answer: _Answer) -> DriverError:
    try:
        said = str(json.loads(answer.body)["message"])
    except (ValueError, KeyError, TypeError):
        said = answer.body.decode("utf-8", "replace").strip() or f"status {answer.status}"
    if answer.status == 404:
        return OutputGone(innermost(said))
    if "does not support reading" in said:
        return DriverError(
            f"logging driver {writing.logging} sends its output elsewhere, and keeps nothing that "
            "could be read here"
        )
    return DriverError(innermost(said))


async def _connect(engine: Endpoint) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Raises OSError."""
    if engine.url.startswith("unix://"):
        return await asyncio.open_unix_connection(engine.url.removeprefix("unix://"), limit=_READ)
    url = urlsplit(engine.url)
    context = _context(engine.tls) if engine.tls is not None else None
    port = url.port or (2375 if context is None else 2376)
    return await asyncio.open_connection(url.hostname, port, ssl=context, limit=_READ)


def _context(tls: Tls) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.ca)
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert is not None:
        context.load_cert_chain(tls.cert, tls.key)
    return context
