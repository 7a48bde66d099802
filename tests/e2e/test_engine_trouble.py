"""An engine that is gone, slow, or does not tell what happens: through a relay in front of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from docker.api.client import APIClient

from tests.e2e.conftest import Launch
from tests.e2e.harness import Answer, Platform, Wakeful, until
from tests.integration.driving import pause
from tests.integration.relay import Relay

pytestmark = pytest.mark.docker

# The stream of events is asked for what happened in the second before it stood.
OVERLAP = 1.0


@pytest.fixture
def mended(relay: Relay, launch: Launch) -> Iterator[Relay]:
    """In the end wakeful has an engine that it can stop its instances with."""
    yield relay
    relay.delay, relay.deaf = 0.0, False


def container_of(answer: Answer) -> str:
    """Its host name is its id."""
    return str(answer.json()["instance"]).partition("-")[0]


def test_while_the_engine_is_gone_what_runs_is_served_and_what_sleeps_says_why(
    containers: Platform, mended: Relay, launch: Launch
) -> None:
    services = {
        "warm": containers.service(idle={"freeze-after": "0s"}),
        "cold": containers.service(),
    }
    wakeful = launch(services, runtime="docker")
    first = container_of(wakeful.get("warm"))
    assert container_of(wakeful.get("warm")) == first  # and it has been frozen in between

    mended.cut()
    until(lambda: [m for m in wakeful.messages() if "stream of Docker events broke" in m], "a word")
    answers = [wakeful.get("warm") for _ in range(300)]
    refused = wakeful.get("cold")
    mended.mend()

    assert {answer.status for answer in answers} == {200}
    assert {container_of(answer) for answer in answers} == {first}
    assert (refused.status, refused.reason) == (503, "start_failed")
    assert refused.body == b"the container engine does not answer\n"
    # It did not wait for what may come: queue.timeout is a minute.
    assert refused.seconds < 10.0
    until(lambda: wakeful.get("cold").status == 200, "it recovers by itself")
    assert container_of(wakeful.get("warm")) == first


def test_what_ended_while_the_engine_was_gone_is_found_when_it_is_back(
    containers: Platform, engine: APIClient, mended: Relay, launch: Launch
) -> None:
    """To wakeful this is also what a restart of the engine is that keeps some of its containers."""
    wakeful = launch(
        {name: containers.service() for name in ("lost", "kept", "paused")}, runtime="docker"
    )
    lost, kept, paused = (container_of(wakeful.get(name)) for name in ("lost", "kept", "paused"))
    mended.cut()
    engine.remove_container(lost, force=True)
    pause(engine, paused)
    ended_at = time.time()
    until(lambda: time.time() > ended_at + 2 * OVERLAP, "what no event will tell of")
    assert wakeful.instances("lost", state="ready") == 1  # nobody can know yet
    mended.mend()

    until(lambda: wakeful.metric("wakeful_instance_crashes_total", "lost") == 1, "its end", 15)
    until(lambda: wakeful.instances("paused", state="paused") == 1, "its pause", 15)
    until(lambda: wakeful.get("lost").status == 200, "another one")
    assert container_of(wakeful.get("lost")) != lost
    assert container_of(wakeful.get("paused")) != paused
    assert container_of(wakeful.get("kept")) == kept


def test_what_no_event_tells_of_is_found_by_listing_while_and_after_the_stream_is_cut(
    containers: Platform, engine: APIClient, mended: Relay, launch: Launch
) -> None:
    service = containers.service(min_instances=1, max_instances=1)
    wakeful = launch({"hello": service}, runtime="docker")
    mended.deafen()
    for number, deaf in enumerate([True, False], 1):
        mended.deaf = deaf
        if not deaf:
            until(lambda: [m for m in wakeful.messages() if "stands again" in m], "it is mended")
        engine.kill(container_of(until_served(wakeful)))
        crashes = "wakeful_instance_crashes_total"
        # Sooner than by the look that is taken every half minute in any case
        until(lambda: wakeful.metric(crashes, "hello") == number, "its end", 15)  # noqa: B023
        until(lambda: wakeful.instances("hello", state="ready") == 1, "another one", 40)


def until_served(wakeful: Wakeful) -> Answer:
    """One that ended soon after its start is tried again with a pause."""
    answers: list[Answer] = []

    def served() -> bool:
        answers.append(wakeful.get("hello"))
        return answers[-1].status == 200

    until(served, "an answer")
    return answers[-1]


class Asking:
    """One client after the other asks, until it is enough."""

    def __init__(self, wakeful: Wakeful, service: str) -> None:
        self.answers: list[Answer] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, args=(wakeful, service))

    def __enter__(self) -> list[Answer]:
        self._thread.start()
        return self.answers

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask(self, wakeful: Wakeful, service: str) -> None:
        while not self._over.is_set():
            self.answers.append(wakeful.get(service))


def test_no_request_of_a_warm_service_waits_for_a_slow_engine(
    containers: Platform, mended: Relay, launch: Launch
) -> None:
    services = {
        "warm": containers.service(idle={"freeze-after": "0s"}),
        "cold": containers.service(queue={"timeout": "120s"}),
        "other": containers.service(),
    }
    wakeful = launch(services, runtime="docker")
    first = container_of(wakeful.get("warm"))
    wakeful.get("warm")
    wakeful.get("other")
    mended.delay = 5.0
    with Asking(wakeful, "warm") as answers:
        cold = wakeful.get("cold", timeout=120)
        # While instances are looked at, and one is stopped, too.
        assert wakeful.ask("/v1/instances")[0] == 200
        wakeful.write(services | {"other": containers.service(env={"A": "b"})})
        assert wakeful.reload() == "reloaded: 1 changed"
        until(lambda: len(answers) > 300, "several hundred requests", 60)
    mended.delay = 0.0

    assert cold.status == 200
    assert cold.seconds > 2 * 5.0  # the engine was asked to make it, and to start it
    assert {answer.status for answer in answers} == {200}
    assert {container_of(answer) for answer in answers} == {first}
    assert max(answer.seconds for answer in answers) < 5.0
