"""Somebody else pauses, stops, removes or renames containers, while wakeful runs and while not."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from docker.api.client import APIClient
from docker.errors import APIError

from tests.e2e.conftest import Launch
from tests.e2e.harness import Answer, Platform, Wakeful, until, wakeful_command
from tests.integration.driving import pause

pytestmark = pytest.mark.docker


def answered_by(wakeful: Wakeful, service: str, **options: Any) -> str:
    """The id of the container that a request to it is answered by: its host name."""
    answer = wakeful.get(service, **options)
    return str(answer.json()["instance"]).partition("-")[0]


def there(engine: APIClient, wakeful: Wakeful) -> set[str]:
    """The ids of its containers, whatever their names."""
    found = engine.containers(all=True, filters={"label": f"wakeful.owner={wakeful.owner}"})
    return {container["Id"][:12] for container in found}


def name_of(engine: APIClient, container: str) -> str:
    return str(engine.inspect_container(container)["Name"]).removeprefix("/")


class Inside:
    """A request that is in an instance, which is paused under it."""

    def __init__(self, wakeful: Wakeful, engine: APIClient, container: str) -> None:
        self.container = container
        self.name = name_of(engine, container)
        self._wakeful = wakeful
        self._engine = engine
        self.answers: list[Answer] = []

    def __enter__(self) -> Inside:
        self._client = threading.Thread(target=self._ask)
        self._client.start()
        wakeful = self._wakeful
        until(lambda: wakeful.metric("kn_revision_request_concurrency", "hello") > 0, "one inside")
        pause(self._engine, self.container)
        until(lambda: wakeful.instances("hello", state="paused") == 1, "its pause is seen")
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.unpause(self.container)
        self._client.join()

    def _ask(self) -> None:
        self.answers.append(self._wakeful.get("hello", "/?ms=3000"))


@pytest.mark.parametrize("freezer", ["auto", "engine"])
def test_requests_go_elsewhere_while_an_instance_is_paused_and_it_comes_back(
    freezer: str, containers: Platform, engine: APIClient, launch: Launch
) -> None:
    # Frozen between any two requests: if that is by docker pause, it must not be taken for
    # somebody else's.
    hello = containers.service(max_instances=1, idle={"freeze-after": "0s", "stop-after": "0s"})
    wakeful = launch({"hello": hello}, runtime="docker", freezer=freezer)
    first = answered_by(wakeful, "hello")
    assert {answered_by(wakeful, "hello") for _ in range(10)} == {first}

    with Inside(wakeful, engine, first) as inside:
        others = {answered_by(wakeful, "hello", timeout=20) for _ in range(10)}
        assert first not in others
        (second,) = others
        assert inside.answers == []  # what was inside stays there
        said = f"instance {inside.name} was paused by somebody else"
        assert [line for line in wakeful.messages() if said in line]
        assert f"{inside.name}  paused " in wakeful_command("ps", "-c", str(wakeful.file)).stdout
    assert inside.answers[0].json()["instance"].startswith(first)

    # It is back, and one of them is too many.
    until(lambda: wakeful.instances("hello", state="paused") == 0, "it is back")
    until(lambda: len(there(engine, wakeful)) == 1, "one of them is stopped")
    assert answered_by(wakeful, "hello") in {first, second}


def stop(engine: APIClient, container: str) -> None:
    engine.stop(container, timeout=5)


def remove(engine: APIClient, container: str) -> None:
    engine.remove_container(container, force=True)


def restart(engine: APIClient, container: str) -> None:
    with suppress(APIError):  # it may be cleaned up in the middle
        engine.restart(container, timeout=5)


def rename_and_kill(engine: APIClient, container: str) -> None:
    engine.rename(container, f"{container}-renamed")
    engine.kill(container)


@pytest.mark.parametrize("act", [stop, remove, restart, rename_and_kill])
def test_what_somebody_ends_is_replaced_and_nothing_of_it_is_left(
    act: Callable[[APIClient, str], None], containers: Platform, engine: APIClient, launch: Launch
) -> None:
    wakeful = launch({"hello": containers.service()}, runtime="docker")
    first = answered_by(wakeful, "hello")
    act(engine, first)
    until(lambda: wakeful.metric("wakeful_instance_crashes_total", "hello") == 1, "its end")
    # It may have been soon after its start, which is answered with a reason and tried again.
    until(lambda: wakeful.get("hello").status == 200, "another one")
    second = answered_by(wakeful, "hello")
    assert second != first
    until(lambda: there(engine, wakeful) == {second}, "nothing is left of the first")


def test_a_renamed_instance_serves_on_and_is_stopped_like_any_other(
    containers: Platform, engine: APIClient, launch: Launch
) -> None:
    hello = containers.service(scale={"window": "6s"}, idle={"freeze-after": "0s"})
    wakeful = launch({"hello": hello}, runtime="docker")
    first = answered_by(wakeful, "hello")
    engine.rename(first, f"{first}-renamed")
    assert {answered_by(wakeful, "hello") for _ in range(5)} == {first}
    until(lambda: not there(engine, wakeful), "it is stopped and removed", 40)


@pytest.fixture
def stranger(engine: APIClient, containers: Platform) -> Iterator[str]:
    """A container of another wakeful, for a service of the same name."""
    labels = {
        "wakeful.owner": f"other-{uuid.uuid4().hex[:8]}",
        "wakeful.service": "same",
        "wakeful.revision": "same-00001",
        "wakeful.instance": "same-00001-0badcafe",
        "wakeful.port": "8080",
    }
    environment = {"PORT": "8080", "K_REVISION": "same-00001"}
    made = engine.create_container(containers.image, labels=labels, environment=environment)["Id"]
    engine.start(made)
    engine.pause(made)
    yield made
    engine.remove_container(made, force=True)


def test_a_killed_wakeful_finds_its_containers_again_whatever_was_done_to_them(
    containers: Platform, engine: APIClient, stranger: str, launch: Launch
) -> None:
    kept = ("same", "paused", "renamed")
    lost = ("stopped", "removed")
    services = {name: containers.service() for name in (*kept, *lost, "changed", "deleted")}
    wakeful = launch(services, runtime="docker")
    before = {name: answered_by(wakeful, name) for name in services}
    wakeful.kill()

    pause(engine, before["paused"])
    engine.rename(before["renamed"], f"{before['renamed']}-renamed")
    engine.stop(before["stopped"], timeout=5)
    engine.remove_container(before["removed"], force=True)
    del services["deleted"]
    wakeful.write(services | {"changed": containers.service(env={"A": "b"})})
    wakeful.start()

    for name in kept:
        assert answered_by(wakeful, name) == before[name]
    for name in lost:
        assert answered_by(wakeful, name) != before[name]
    until(lambda: wakeful.get("changed").json()["revision"] == "changed-00002", "the new one")
    assert wakeful.get("deleted").status == 404
    until(lambda: len(there(engine, wakeful)) == 6, "what fits nothing is gone")
    assert {before[name] for name in kept} == there(engine, wakeful) & set(before.values())
    assert engine.inspect_container(stranger)["State"]["Paused"]
