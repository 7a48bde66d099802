"""python plain_client.py HOST PORT CONNECTIONS SECONDS UPLOAD VARIED: load for want of wrk.

Each connection sends its next request, with UPLOAD bytes of body, as soon as it
has read the answer to the last, as wrk does; no two heads are alike if VARIED is 1.
Prints what it saw as JSON. It takes several times as much processor time per
request as wrk, so the figures of the two do not compare.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from itertools import count, repeat
from statistics import quantiles
from time import perf_counter  # the loop's own clock counts milliseconds
from typing import cast

import httptools
import uvloop

_MOST_SAMPLES = 1_000_000


class Tally:
    def __init__(self) -> None:
        self.requests = 0
        self.errors = 0
        self.bytes = 0
        self.latencies: list[float] = []  # seconds

    def count(self, latency: float, status: int) -> None:
        self.requests += 1
        if not 200 <= status < 300:
            self.errors += 1
        if len(self.latencies) < _MOST_SAMPLES:
            self.latencies.append(latency)

    def report(self, seconds: float) -> dict[str, float]:
        # Two points at least, for there to be anything between them.
        hundredths = quantiles((self.latencies or [0.0]) * 2, n=100, method="inclusive")
        return {
            "requests": self.requests,
            "seconds": seconds,
            "p50_ms": hundredths[49] * 1000,
            "p99_ms": hundredths[98] * 1000,
            "errors": self.errors,
            "bytes": self.bytes,
        }


class Asker(asyncio.Protocol):
    def __init__(self, requests: Iterator[bytes], upload: int, tally: Tally) -> None:
        self._requests = requests
        self._upload = upload
        self._tally = tally
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._sent = 0.0
        self.stopping = False

    # Called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not inherit from it
        self._ask()

    def data_received(self, data: bytes) -> None:
        if not self._upload and not self.stopping:
            self._tally.bytes += len(data)
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.stopping:
            self._tally.errors += 1

    # Called by the parser

    def on_message_complete(self) -> None:
        if not self.stopping:
            self._tally.bytes += self._upload
            self._tally.count(perf_counter() - self._sent, self._parser.get_status_code())
            self._ask()

    def _ask(self) -> None:
        assert self._transport is not None
        self._sent = perf_counter()
        self._transport.write(next(self._requests))


def requests_to(host: str, upload: int, varied: bool) -> Iterator[bytes]:
    head = f"GET /{{}} HTTP/1.1\r\nHost: {host}\r\n"
    if upload:
        head = f"POST /{{}} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {upload}\r\n"
    body = b"x" * upload
    if varied:
        for number in count():
            cookie = f"Cookie: id={number}\r\n\r\n"
            yield (head.format(f"?page={number}") + cookie).encode() + body
    yield from repeat((head.format("") + "\r\n").encode() + body)


async def main(
    host: str, port: int, connections: int, seconds: int, upload: int, varied: int
) -> None:
    loop = asyncio.get_running_loop()
    tally, requests = Tally(), requests_to(host, upload, bool(varied))
    began = loop.time()
    pairs = [
        await loop.create_connection(lambda: Asker(requests, upload, tally), "127.0.0.1", port)
        for _ in range(connections)
    ]
    await asyncio.sleep(began + seconds - loop.time())
    took = loop.time() - began
    for transport, asker in pairs:
        asker.stopping = True
        transport.close()
    print(json.dumps(tally.report(took)))


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], *map(int, sys.argv[2:])))
