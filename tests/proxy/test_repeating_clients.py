"""A client that repeats itself is spared what others need, and only for as long as it does."""

from __future__ import annotations

import gc
import json
import threading
from itertools import count
from pathlib import Path

import pytest

from tests.proxy.conftest import Launch
from tests.proxy.harness import Harness, get, post
from tests.proxy.wire import PATIENCE, Message, Peer, Script, answering, ok
from wakeful.config.model import AccessLog, AccessLogFormat, Queue
from wakeful.proxy.downstream import Downstream
from wakeful.proxy.exchange import Exchange

HELLO = ok(fields=b"Date: x\r\n")  # an answer without a date would be given one
BODY = b"x" * 20_000  # is read at once: it is sent as one segment
BEGINNING = b"GET /more HTTP/1.1\r\nX-Before: "


def repeats(harness: Harness) -> Peer:
    """A client whose next request will be known as that of its last."""
    client = harness.connect()
    for _ in range(3):
        client.send(get())
        assert client.message().status == 200
    (connection,) = harness.plane.connections
    assert harness.call(lambda: connection._latest.raw) == get()
    assert harness.call(lambda: connection.spare) is not None
    return client


def holding_back(which: int, gate: threading.Event) -> Script:
    """Each request is answered at once, but for one of them."""

    def script(peer: Peer) -> None:
        for turn in count(1):
            peer.message()
            assert turn != which or gate.wait(PATIENCE)
            peer.send(HELLO)

    return script


def begins(connection: Downstream) -> bool:
    return connection._current is not None


def test_who_does_not_read_its_answers_is_given_no_more_of_them(harness: Harness) -> None:
    backend = harness.backend(answering(ok(BODY, fields=b"Date: x\r\n")))
    harness.service(backend)
    client = harness.connect()
    client.send(get())
    client.message()
    (connection,) = harness.plane.connections

    def ask() -> None:
        before = backend.requests
        client.send(get())
        harness.wait_for(lambda: backend.requests > before, "the request")
        harness.wait_for(lambda: not begins(connection), "the answer is with the transport")

    unread = 0
    while not harness.call(lambda: connection.write_paused):
        assert unread < 1000
        ask()
        unread += 1
    for _ in range(3):
        client.send(get())
        harness.beat()  # each is read for itself
    assert not harness.call(lambda: begins(connection))
    assert backend.requests == 1 + unread
    for _ in range(unread + 3):
        assert client.message().body == BODY
    assert backend.requests == 1 + unread + 3


def test_what_it_sends_behind_the_beginning_of_another_request_is_part_of_that(
    harness: Harness,
) -> None:
    backend = harness.backend(answering(HELLO))
    harness.service(backend)
    client = repeats(harness)
    client.send(BEGINNING)
    harness.beat()
    client.send(get())
    assert client.message().status == 200
    (stream,) = backend.received
    assert b"GET /more HTTP/1.1\r\n" in stream
    assert b"X-Before: GET / HTTP/1.1\r\n" in stream
    assert stream.count(b"\r\n\r\n") == 4


def test_also_if_that_began_before_the_last_answer(harness: Harness) -> None:
    gate = threading.Event()
    backend = harness.backend(holding_back(4, gate))
    harness.service(backend)
    client = repeats(harness)
    client.send(get())
    harness.wait_for(lambda: backend.requests == 4)
    client.send(BEGINNING)
    harness.beat()
    gate.set()
    assert client.message().status == 200
    client.send(get())
    assert client.message().status == 200
    (stream,) = backend.received
    assert b"X-Before: GET / HTTP/1.1\r\n" in stream
    assert stream.count(b"\r\n\r\n") == 5


def test_that_it_asks_again_before_it_was_answered_is_another_request(harness: Harness) -> None:
    gate = threading.Event()
    backend = harness.backend(holding_back(4, gate))
    throttler = harness.service(backend)
    client = repeats(harness)
    client.send(get())
    harness.wait_for(lambda: backend.requests == 4)
    client.send(get())
    harness.beat()  # so it is read for itself
    assert backend.requests == 4
    gate.set()
    for _ in range(2):
        assert client.message().body == b"hello"
    assert backend.requests == 5
    assert sum(throttler.counters.durations[b"GET", 200].counts) == 5
    harness.wait_for(lambda: throttler.breaker.active == throttler.stats.in_hand == 0)


def test_empty_lines_between_its_requests_are_counted_for_each_by_itself(harness: Harness) -> None:
    gate = threading.Semaphore(3)

    def script(peer: Peer) -> None:
        while True:
            peer.message()
            assert gate.acquire(timeout=PATIENCE)
            peer.send(HELLO)

    backend = harness.backend(script)
    harness.service(backend)
    client = repeats(harness)

    def ask(number: int) -> None:
        client.send(get())
        harness.wait_for(lambda: backend.requests == number)
        client.send(b"\r\n")
        harness.beat()
        gate.release()
        assert client.message().status == 200

    for turn in range(12):  # of which each may have eight
        ask(4 + turn)


def test_an_instance_that_takes_no_more_holds_it_up_for_that_exchange_only(
    harness: Harness,
) -> None:
    """As one may whose connection is still full of a body that it answered without reading it."""
    gate = threading.Event()
    backend = harness.backend(holding_back(4, gate))
    harness.service(backend)
    client = repeats(harness)
    (connection,) = harness.plane.connections
    client.send(get())
    harness.wait_for(lambda: backend.requests == 4)

    def fill() -> None:
        current = connection._current
        assert current is not None
        assert current._upstream is not None
        current._upstream.pause_writing()  # as its transport would

    harness.call(fill)
    gate.set()
    assert client.message().status == 200
    for _ in range(2):
        client.send(get())
        assert client.message().status == 200


def test_only_a_head_that_may_come_again_is_kept_for_an_idle_client(harness: Harness) -> None:
    harness.service(harness.backend(answering(HELLO)))
    client = repeats(harness)
    (connection,) = harness.plane.connections
    kept = harness.call(lambda: len(connection.outgoing))
    assert 0 < kept < 1000
    client.send(get(fields=b"X-Large: %b\r\n" % (b"x" * 20_000)))
    assert client.message().status == 200
    assert harness.call(lambda: (connection._latest.fields, connection.outgoing)) == ([], b"")
    assert harness.call(lambda: connection.spare) is None
    client.send(get())
    assert client.message().status == 200
    assert harness.call(lambda: len(connection.outgoing)) == kept


def test_nothing_is_left_to_the_collector_when_it_leaves(harness: Harness) -> None:
    harness.service(harness.backend(answering(HELLO)))
    gc.collect()
    before = connections_and_exchanges()
    client = repeats(harness)
    gc.disable()
    try:
        assert len(connections_and_exchanges()) == len(before) + 2
        client.close()
        harness.wait_for(lambda: not harness.plane.connections)
        harness.beat()
        assert connections_and_exchanges() <= before
    finally:
        gc.enable()


def connections_and_exchanges() -> set[int]:
    """Those that there are, by their ids."""
    return {id(one) for one in gc.get_objects() if isinstance(one, Downstream | Exchange)}


def test_each_request_is_answered_and_counted_for_itself(harness: Harness) -> None:
    """Whatever became of the one before."""
    throttler = harness.service(harness.backend(answering(HELLO)), queue=Queue(limit=0))
    client = repeats(harness)

    def ask(host: bytes = b"a.test") -> Message:
        client.send(get(host=host))
        return client.message()

    harness.publish([])
    full = ask()
    assert full.reason == b"queue_full"
    assert ask(b"nobody.test").reason == b"no_route"
    harness.publish(harness.endpoints(harness.backend(answering(HELLO))))
    assert ask().body == b"hello"
    assert ask(b"nobody.test").reason == b"no_route"
    assert ask().body == b"hello"
    counters = throttler.counters
    seen = {key: sum(histogram.counts) for key, histogram in counters.durations.items()}
    assert seen == {(b"GET", 200): 5, (b"GET", 503): 1}
    assert counters.sent == 5 * len(b"hello") + len(full.body)
    assert throttler.breaker.active == throttler.stats.in_hand == 0
    assert sum(slot.active for slot in throttler.slots) == 0


def test_each_line_of_the_log_is_of_its_request_alone(launch: Launch, tmp_path: Path) -> None:
    gate = threading.Event()
    path = tmp_path / "log"
    harness = launch(log=AccessLog(AccessLogFormat.JSON, str(path)))
    backend = harness.backend(holding_back(6, gate))
    throttler = harness.service(backend)
    client = repeats(harness)
    lost, found = (get(host=b"nobody.test"), 404), (get(), 200)
    for request, status in (lost, lost, found, lost, found):  # the third that is lost is known
        client.send(request)
        assert client.message().status == status
    client.send(get())
    harness.wait_for(lambda: backend.requests == 6)
    client.close()
    harness.wait_for(lambda: not throttler.breaker.active)
    gate.set()
    assert harness.plane.access is not None
    harness.call(harness.plane.access.close)
    harness.plane.access = None

    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    told = [(line["status"], line["size"], line.get("instance")) for line in lines]
    answered, refused = (200, 5, "i0"), (404, lines[3]["size"], None)
    between = [refused, refused, answered, refused, answered]
    assert told == [*[answered] * 3, *between, (499, 0, "i0")]
    named = [line["request_id"] for line in lines if line["status"] != 404]
    assert len(set(named)) == len(named) == 6
    assert not any("request_id" in line for line in lines if line["status"] == 404)
    assert [line.get("reason") for line in lines if line["status"] == 200] == [None] * 5


@pytest.mark.parametrize(
    "between",
    [
        get(b"/other"),
        get(fields=b"Accept: text/html\r\n"),
        get(fields=b"X-Request-Id: mine\r\n"),
        get(host=b"a.test:80"),
        post(b"body"),
        post(b"body", chunked=True),
    ],
)
def test_another_request_between_two_alike_is_itself(harness: Harness, between: bytes) -> None:
    backend = harness.backend(answering(HELLO))
    harness.service(backend)
    client = repeats(harness)
    for _ in range(3):
        for request in (between, get()):
            client.send(request)
            assert client.message().status == 200
    (stream,) = backend.received
    seen = [head for head in stream.split(b"\r\n\r\n") if b" HTTP/1.1\r\n" in head]
    mine, others = seen[3::2], seen[4::2]
    for head, wanted in ((mine, between), (others, get())):
        for one in head:
            line, _, rest = wanted.partition(b"\r\n\r\n")[0].partition(b"\r\n")
            assert line + b"\r\n" in one + b"\r\n"
            assert all(field in one.split(b"\r\n") for field in rest.split(b"\r\n"))
            assert one.count(b"X-Request-Id: ") == 1
    assert len(mine) == len(others) == 3


def test_head_and_get_in_turn_have_each_its_answer(harness: Harness) -> None:
    """The same head ends an answer to one, and begins one to the other."""
    head = b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 5\r\n\r\n"

    def script(peer: Peer) -> None:
        while True:
            asked = peer.head()
            peer.send(head if asked.start.startswith(b"HEAD ") else head + b"hello")

    harness.service(harness.backend(script))
    client = harness.connect()
    for bodiless in (False, False, True, True, False, True, False, False):
        client.send(get().replace(b"GET", b"HEAD") if bodiless else get())
        answer = client.message(bodiless=bodiless)
        assert (answer.status, answer.body) == (200, b"" if bodiless else b"hello")


def test_the_instances_of_a_service_need_not_answer_alike(harness: Harness) -> None:
    """Each connection has its own latest head, and none is held for another's."""
    answers = [ok(b"a" * n, fields=b"Date: %b\r\n" % (b"x" * n)) for n in (1, 2, 3)]
    harness.service(*(harness.backend(answering(answer)) for answer in answers))
    client = harness.connect()
    seen = []
    for _ in range(12):
        client.send(get())
        answer = client.message()
        date = answer.get("Date")
        assert date is not None
        assert len(date) == len(answer.body)
        seen.append(len(answer.body))
    assert sorted(seen) == [1] * 4 + [2] * 4 + [3] * 4
