"""Knative's recorded timeouts and its full queue, over connections.

Its statuses and bodies, but for the texts of its errors: ours have a reason. And where an
answer has begun it appends such a text and ends it well; here it is cut.
"""

from __future__ import annotations

import queue
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests import knative_data
from tests.proxy.harness import Harness
from tests.proxy.wire import PATIENCE, Ended, Peer
from wakeful.config.load import loads
from wakeful.config.model import Queue, Template

# Seconds to a millisecond of the recording, so that no time of this machine matters.
SCALE = 100


def template(given: dict[str, Any]) -> Template:
    """As a file says it, which has rules between these keys."""
    whole = given.get("timeout_ms", 60_000)
    keys = {
        "timeout": whole,
        "response-start-timeout": min(given.get("response_start_ms") or whole, whole),
        "response-idle-timeout": min(given.get("idle_ms", 0), whole),
    }
    said = ", ".join(f"{key}: {value * SCALE}s" for key, value in keys.items())
    text = f"services: {{a: {{image: x, {said}}}}}"
    return loads(text, Path("/")).config.services["a"].template


@pytest.mark.parametrize("vector", knative_data.vector_params("timeout_handler"))
def test_a_timeout_is_knatives(harness: Harness, vector: dict[str, Any]) -> None:
    writes: queue.Queue[bytes] = queue.Queue()

    def script(peer: Peer) -> None:
        peer.message()
        head = b"HTTP/1.1 200 OK\r\n\r\n"
        with suppress(OSError):  # it was cut off
            while text := writes.get(timeout=PATIENCE):
                peer.send(head + text)
                head = b""
            peer.end()

    given, expect = vector["input"], vector["expect"]
    meant = template(given)
    backend = harness.backend(script)
    harness.service(
        backend,
        timeout=meant.timeout,
        response_start_timeout=meant.response_start_timeout,
        response_idle_timeout=meant.response_idle_timeout,
    )
    client = harness.get(fields=b"Connection: close\r\n")
    harness.wait_for(lambda: backend.requests)
    refused = expect["status"] != 200
    for event in given["events"]:
        verb, _, what = event.partition(" ")
        if verb == "advance":
            harness.clock.forward(int(what.removesuffix("ms")) * SCALE)
            harness.sweep()
            continue
        assert verb == "write", f"an event that is not known: {event}"
        text = what.strip('"').encode()
        writes.put(text)
        if not refused:
            with suppress(Ended, ConnectionResetError):
                client.until(text)
    writes.put(b"")
    if refused:
        answer = client.message()
        assert answer.status == expect["status"]
        assert answer.reason in (b"response_timeout", b"request_timeout")
        return
    client.ending()
    head, _, chunks = bytes(client.received).partition(b"\r\n\r\n")
    assert b" %d " % expect["status"] in head
    appended = given.get("message", "request timeout")
    if expect["body"].endswith(appended):
        assert not chunks.endswith(b"0\r\n\r\n")
        assert b"".join(chunks.split(b"\r\n")[1::2]) == expect["body"][: -len(appended)].encode()
    else:
        assert chunks.endswith(b"0\r\n\r\n")
        assert b"".join(chunks.split(b"\r\n")[1:-3:2]) == expect["body"].encode()


@pytest.mark.parametrize("vector", knative_data.vector_params("queue_proxy_http"))
def test_a_queue_is_as_full_as_knatives(harness: Harness, vector: dict[str, Any]) -> None:
    def silent(peer: Peer) -> None:
        peer.message()
        peer.rest()

    given, expect = vector["input"], vector["expect"]
    throttler = harness.service(
        harness.backend(silent),
        concurrency=given["max_concurrency"],
        queue=Queue(limit=given["queue_depth"]),
    )
    held = given["max_concurrency"] + given["queue_depth"]
    for _ in range(held):
        harness.get()
    harness.wait_for(lambda: throttler.breaker.active + throttler.breaker.waiting == held)
    for _ in range(given["concurrent_requests"] - held):
        assert harness.get().message().status == expect["one_of_three"]["status"]
