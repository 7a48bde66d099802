"""What an answer says of the start that its request waited for."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from tests.proxy.harness import Harness, get
from tests.proxy.wire import Backend, Message, Peer, answering, ok, unused_port
from wakeful.config.model import Revision
from wakeful.events import Backends, Endpoint, Phases, Start, StartPhase
from wakeful.proxy import cold_start
from wakeful.proxy.throttler import Throttler

PHASES: Phases = (
    (StartPhase.QUEUED, 0.0),
    (StartPhase.CREATE, 0.0111),
    (StartPhase.START, 0.2239),
    (StartPhase.LISTENING, 0.05),
)
# Those of the start are the text of PHASES; the others are measured.
TIMING = re.compile(
    rb"queued;dur=0\.0, create;dur=11\.1, start;dur=223\.9, listening;dur=50\.0, "
    rb"first_byte;dur=(\d+\.\d), total;dur=(\d+\.\d)"
)


def test_the_fields_are_in_the_syntax_of_the_w3c_and_in_milliseconds() -> None:
    phases = ((StartPhase.QUEUED, 0.00004), (StartPhase.START, 1.5))
    assert cold_start.fields(phases, 0.00326, 1.6) == (
        b"Server-Timing: queued;dur=0.0, start;dur=1500.0, first_byte;dur=3.3, total;dur=1600.0\r\n"
        b"X-Wakeful-Cold-Start: 1\r\n"
    )


def up(harness: Harness, *backends: Backend, ago: float = 0.0) -> tuple[Endpoint, ...]:
    """Instances that became ready so many seconds ago."""
    start = Start(harness.clock() - ago, PHASES)
    return tuple(replace(one, start=start) for one in harness.endpoints(*backends))


def waits(harness: Harness, throttler: Throttler, *fields: bytes) -> Peer:
    client = harness.connect()
    client.send(get(fields=b"".join(fields)))
    harness.wait_for(lambda: throttler.breaker.waiting)
    return client


def told(message: Message) -> tuple[list[bytes], list[bytes]]:
    return message.all("Server-Timing"), message.all("X-Wakeful-Cold-Start")


def test_an_answer_that_waited_for_a_start_says_so_and_the_next_one_does_not(
    harness: Harness,
) -> None:
    throttler = harness.service()
    client = waits(harness, throttler)
    harness.clock.forward(3)
    harness.publish(up(harness, harness.backend()))
    answer = client.message()
    assert (answer.status, answer.body) == (200, b"hello")
    ((timing,), cold) = told(answer)
    assert cold == [b"1"]
    found = TIMING.fullmatch(timing)
    assert found is not None, timing
    first_byte, total = map(float, found.groups())
    assert 0 <= first_byte < 3000 <= total < 60_000
    client.send(get())
    assert told(client.message()) == ([], [])


def test_one_that_had_to_try_another_instance_waited_for_no_start(harness: Harness) -> None:
    throttler = harness.service(unused_port(), harness.backend(), concurrency=1)
    answer = harness.get().message()
    assert (answer.status, told(answer)) == (200, ([], []))
    assert throttler.counters.retries == 1
    assert sum(throttler.counters.cold_starts.counts) == 0


def test_a_head_that_is_known_is_told_of_each_time_somebody_waited_and_no_other(
    harness: Harness,
) -> None:
    answer = ok(fields=b"Date: Tue, 15 Nov 1994 08:12:31 GMT\r\n")
    throttler = harness.service()
    for _ in range(3):
        client = waits(harness, throttler)
        harness.publish(up(harness, harness.backend(answering(answer))))
        message = client.message()
        assert told(message)[1] == [b"1"]
        assert (message.get("Content-Length"), message.body) == (b"5", b"hello")
        for _ in range(3):
            client.send(get())
            assert told(client.message()) == ([], [])
        harness.publish(())


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize(
    "answer",
    [
        ok(b"ok", b"Server-Timing: db;dur=53\r\n"),
        b"HTTP/1.1 200 OK\r\nServer-Timing: db;dur=53\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\nok\r\n0\r\n\r\n",
    ],
)
def test_what_the_instance_says_of_its_time_stays(
    answer: bytes, version: bytes, harness: Harness
) -> None:
    throttler = harness.service()
    client = harness.connect()
    client.send(b"GET / HTTP/%b\r\nHost: a.test\r\nConnection: close\r\n\r\n" % version)
    harness.wait_for(lambda: throttler.breaker.waiting)
    harness.publish(up(harness, harness.backend(answering(answer))))
    message = client.message()
    assert message.body == b"ok"
    (theirs, ours), cold = told(message)
    assert theirs == b"db;dur=53"
    assert TIMING.fullmatch(ours)
    assert cold == [b"1"]


def test_a_switch_of_protocols_says_it_too(harness: Harness) -> None:
    def script(peer: Peer) -> None:
        peer.head()
        peer.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: a\r\n\r\nhello"
        )
        peer.ending()

    throttler = harness.service()
    client = waits(harness, throttler, b"Connection: Upgrade\r\nUpgrade: a\r\n")
    harness.publish(up(harness, harness.backend(script)))
    head = client.head()
    assert head.status == 101
    ((timing,), cold) = told(head)
    assert TIMING.fullmatch(timing)
    assert cold == [b"1"]
    assert client.take(5) == b"hello"


def test_a_service_can_keep_it_to_itself_and_change_its_mind(harness: Harness) -> None:
    throttler = harness.service(cold_start_headers=False)
    client = waits(harness, throttler)
    harness.publish(up(harness, harness.backend()))
    assert told(client.message()) == ([], [])
    assert throttler.counters.first_bytes.count == 1

    harness.publish(())
    template = replace(throttler.template, cold_start_headers=True)
    harness.call(lambda: throttler.retune(Revision("a", 1, template)))
    another = waits(harness, throttler)
    harness.publish(up(harness, harness.backend()))
    assert told(another.message())[1] == [b"1"]


@pytest.mark.parametrize("ago", [None, 60.0])
def test_what_waited_for_an_instance_that_was_there_before_waited_for_no_start(
    ago: float | None, harness: Harness
) -> None:
    """It was adopted, or out of balancing for a while: its start delayed nobody."""
    throttler = harness.service()
    client = waits(harness, throttler)
    backend = harness.backend()
    instances = harness.endpoints(backend)
    if ago is not None:
        instances = up(harness, backend, ago=ago)
    harness.publish(instances)
    assert told(client.message()) == ([], [])
    assert throttler.counters.first_bytes.count == 0
    assert sum(throttler.counters.cold_starts.counts) == 1


def test_the_first_byte_is_counted_once_for_a_start_however_many_waited(harness: Harness) -> None:
    throttler = harness.service(concurrency=1)
    clients = [harness.get() for _ in range(5)]
    harness.wait_for(lambda: throttler.breaker.waiting == 5)
    harness.publish(up(harness, harness.backend(), harness.backend()))
    answers = [client.message() for client in clients]
    assert [told(answer)[1] for answer in answers] == [[b"1"]] * 5
    assert throttler.counters.first_bytes.count == 2


def test_the_first_byte_counts_from_when_the_request_was_sent(harness: Harness) -> None:
    def slow(peer: Peer) -> None:
        peer.message()
        harness.clock.forward(5)
        peer.send(ok())

    throttler = harness.service()
    client = waits(harness, throttler)
    harness.clock.forward(30)
    harness.publish(up(harness, harness.backend(slow)))
    assert client.message().status == 200
    assert 5 <= throttler.counters.first_bytes.sum < 30


def test_the_first_byte_does_not_count_what_it_takes_to_connect(harness: Harness) -> None:
    throttler = harness.service()
    client = waits(harness, throttler)
    instances = up(harness, harness.backend())

    def appear() -> None:
        harness.plane.publish("a-00001", Backends(instances))
        harness.clock.forward(30)  # the connection is made in a later turn of the loop

    harness.call(appear)
    assert client.message().status == 200
    assert throttler.counters.first_bytes.count == 1
    assert throttler.counters.first_bytes.sum < 30


def test_a_request_that_did_not_wait_for_the_first_instance_says_nothing(
    harness: Harness,
) -> None:
    def held(peer: Peer) -> None:
        peer.message()
        peer.ending()

    busy = harness.backend(held)
    throttler = harness.service(busy, concurrency=1)
    harness.get()
    harness.wait_for(lambda: throttler.breaker.active)
    client = waits(harness, throttler)
    (second,) = up(harness, harness.backend())
    harness.publish((*harness.endpoints(busy), replace(second, instance="i1")))
    assert told(client.message()) == ([], [])
