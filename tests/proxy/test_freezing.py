"""Requests that meet a frozen instance: it is roused first, and old connections are left alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.proxy.harness import Harness, get, post
from tests.proxy.test_stale_connections import Closing
from wakeful.config.model import Idle, WaitingPage
from wakeful.events import Backends

AFTER_TEN = Idle(freeze_after=10.0)
AT_ONCE = Idle(freeze_after=0.0)


def test_an_idle_instance_is_frozen_and_roused_by_the_next_request(harness: Harness) -> None:
    harness.service(harness.backend(), idle=AFTER_TEN)
    assert harness.get().message().status == 200
    harness.beat()  # the answer is out a moment before the instance counts as empty
    harness.clock.forward(9.0)
    harness.sweep()
    assert harness.signals.frozen == set()
    harness.clock.forward(1.5)
    harness.wait_for(lambda: harness.signals.frozen == {"i0"})
    assert harness.get().message().status == 200
    assert harness.signals.roused == ["i0"]


def test_an_instance_that_was_never_asked_is_frozen_as_well(harness: Harness) -> None:
    harness.service(harness.backend(), idle=AFTER_TEN)
    harness.clock.forward(10.5)
    harness.wait_for(lambda: harness.signals.frozen == {"i0"})


def test_nothing_is_looked_at_while_everything_is_frozen(harness: Harness) -> None:
    harness.service(harness.backend(), idle=AFTER_TEN)
    harness.clock.forward(10.5)
    harness.wait_for(lambda: harness.signals.frozen == {"i0"})
    harness.wait_for(lambda: harness.plane._sweeping is None, "no timer")


@pytest.mark.parametrize("idle", [Idle(freeze_after=None), None], ids=["never", "fixed"])
def test_some_are_never_frozen(harness: Harness, idle: Idle | None) -> None:
    backend = harness.backend()
    if idle is None:
        harness.fixed(backend.port)
    else:
        harness.service(backend, idle=idle)
    assert harness.get().message().status == 200
    harness.clock.forward(1000.0)
    harness.sweep()
    assert harness.signals.frozen == set()


@pytest.mark.parametrize(
    ("request_", "seconds", "connections"),
    [
        (get(), 1.5, 1),  # it can be sent again, if need be
        (post(b"body"), 0.5, 1),
        (post(b"body"), 1.5, 2),
        (post(b"body").replace(b"POST", b"PUT"), 1.5, 1),
    ],
)
def test_what_cannot_be_sent_again_gets_no_connection_that_is_old_by_the_instances_clock(
    harness: Harness, request_: bytes, seconds: float, connections: int
) -> None:
    backend = harness.backend()
    harness.service(backend, idle=AT_ONCE)
    client = harness.connect()
    for _ in range(2):
        client.send(request_)
        assert client.message().status == 200
        harness.wait_for(lambda: harness.signals.frozen == {"i0"})
        harness.clock.forward(seconds)
    assert len(backend.connections) == connections


def test_an_old_connection_that_the_instance_ends_as_it_wakes_costs_a_get_nothing(
    harness: Harness,
) -> None:
    closing = Closing(harness)
    harness.service(closing.backend, idle=AT_ONCE)
    client = harness.connect()
    client.send(get())
    assert client.message().status == 200
    harness.wait_for(lambda: harness.signals.frozen == {"i0"})
    harness.clock.forward(20.0)
    release = harness.stall()
    client.send(get())
    closing.end()
    release()
    assert client.message().status == 200
    assert len(closing.backend.connections) == 2


def test_whoever_asks_for_a_page_waits_for_a_spare_rather_than_be_told_to(
    harness: Harness,
) -> None:
    throttler = harness.service(waiting_page=WaitingPage(enabled=True))
    harness.call(lambda: harness.plane.publish("a-00001", Backends((), None, spares=True)))
    client = harness.get(fields=b"Accept: text/html\r\n")
    harness.wait_for(lambda: throttler.breaker.waiting == 1)
    harness.publish(harness.endpoints(harness.backend()))
    assert client.message().status == 200


def test_a_setting_that_changes_counts_from_then_on(harness: Harness) -> None:

    throttler = harness.service(harness.backend(), idle=Idle(freeze_after=None))
    template = replace(throttler.template, idle=AFTER_TEN)
    harness.call(lambda: throttler.retune(replace(throttler.revision, template=template)))
    harness.clock.forward(10.5)
    harness.wait_for(lambda: harness.signals.frozen == {"i0"})
