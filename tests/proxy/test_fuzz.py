"""Whatever comes in: no exception reaches the loop, and nothing is left behind."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.proxy.harness import Harness, chunks, get, post
from tests.proxy.wire import Backend, Ended, Peer, ok
from wakeful.proxy import server

UPGRADE = b"Connection: Upgrade\r\nUpgrade: %b\r\n"
REQUESTS = [
    get(),
    get(host=b"nobody.test"),
    get(fields=b"Connection: close\r\n"),
    get().replace(b"1.1", b"1.0"),
    get(fields=UPGRADE % b"websocket") + b"frames",
    get(fields=UPGRADE % b"h2c"),
    post(b"some body"),
    post(b"some body", chunked=True),
    post(b"some body", chunked=True)[:-2] + b"X-T: 1\r\n\r\n",
    post(b"some body", chunked=True, fields=UPGRADE % b"h2c"),
    post(b"some body", fields=b"Expect: 100-continue\r\n"),
    b"HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n",
    b"GET http://a.test/ HTTP/1.1\r\nHost: x\r\n\r\n",
    b"CONNECT a.test:1 HTTP/1.1\r\nHost: a.test\r\n\r\n",
]
ANSWERS = [
    ok(),
    ok(fields=b"Date: x\r\n"),
    ok(b""),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(b"abc", trailers=b"X: 1\r\n"),
    b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.1 204 No\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" + ok(),
    b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nframes",
    b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc",
]


@st.composite
def mutated(draw: st.DrawFn, messages: list[bytes]) -> bytes:
    data = bytearray(b"".join(draw(st.lists(st.sampled_from(messages), min_size=1, max_size=4))))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        match draw(st.integers(0, 3)):
            case 0:
                data[at : at + 1] = draw(st.binary(max_size=3))
            case 1:
                del data[at : at + draw(st.integers(0, 20))]
            case 2:
                data[at:at] = draw(
                    st.sampled_from([b"\r\n", b"\n", b":", b" ", b"0", b"\x00", b","])
                )
            case _:
                other = draw(st.integers(0, len(data)))
                data[at:at] = data[min(at, other) : max(at, other)][:200]
    return bytes(data)


STREAMS = st.one_of(mutated(REQUESTS), mutated(REQUESTS), st.binary(max_size=200))
ENDINGS = st.sampled_from(["close", "reset", "end", "stay"])


class Instance:
    """Answers each read with the next of its answers, good or not."""

    def __init__(self) -> None:
        self.answers = [ok()]

    def script(self, peer: Peer) -> None:
        for answer in self.answers:
            if not peer.sock.recv(65536):
                return
            peer.send(answer)


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[tuple[Harness, Instance]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "_SWEEP_SECONDS", 0.01)
        harness = Harness()
        instance = Instance()
        harness.service(harness.backend(instance.script), max_request_body=100)
        yield harness, instance
        harness.close()


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    stream=STREAMS,
    cuts=st.lists(st.integers(0, 300), max_size=3),
    answers=st.lists(st.one_of(mutated(ANSWERS), st.sampled_from(ANSWERS)), min_size=1, max_size=3),
    ending=ENDINGS,
)
def test_no_bytes_from_either_side_do_harm(
    fuzzed: tuple[Harness, Instance],
    stream: bytes,
    cuts: list[int],
    answers: list[bytes],
    ending: str,
) -> None:
    harness, instance = fuzzed
    instance.answers = answers
    client = harness.connect()
    marks = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    try:
        for start, end in pairwise(marks):
            client.send(stream[start:end])
            harness.beat()
        if ending == "reset":
            client.reset()
        elif ending == "end":
            client.end()
        elif ending == "close":
            client.close()
        else:
            client.send(get())
            harness.beat()
            harness.clock.forward(301)
            client.head()
    except (OSError, Ended):
        pass  # refused, cut or waited for in vain: as long as it is let go
    client.close()
    harness._clients.clear()
    harness.clock.forward(301)
    harness.wait_for(harness._empty, "nothing in hand")
    assert harness.reported == []
    assert type(harness._backends[0]) is Backend
