"""A name of an image that comes to mean another one is a change like any other."""

from __future__ import annotations

import io
import signal
import uuid
from collections.abc import Callable, Iterator

import pytest
from docker.api.client import APIClient

from tests.e2e.conftest import Launch
from tests.e2e.harness import Platform, until

pytestmark = pytest.mark.docker


@pytest.fixture
def build(engine: APIClient, containers: Platform) -> Iterator[Callable[[str], str]]:
    """Makes a name mean an image that says ``note`` in its environment."""
    name = f"wakeful-e2e-{uuid.uuid4().hex[:12]}:latest"
    made: set[str] = set()

    def build(note: str) -> str:
        dockerfile = f"FROM {containers.image}\nENV NOTE={note}\n".encode()
        for line in engine.build(fileobj=io.BytesIO(dockerfile), tag=name, rm=True, decode=True):
            assert "error" not in line, line
        made.add(engine.inspect_image(name)["Id"])  # type: ignore[no-untyped-call]
        return name

    yield build
    for image in made:
        engine.remove_image(image, force=True)


def test_a_moved_name_is_a_new_revision_at_the_next_reload_and_at_the_next_start(
    containers: Platform, build: Callable[[str], str], launch: Launch
) -> None:
    hello = Platform("docker", build("first")).service()
    wakeful = launch({"hello": hello}, runtime="docker")

    def seen() -> tuple[str, str]:
        env = wakeful.get("hello", "/seen").json()["environment"]
        return env["K_REVISION"], env["NOTE"]

    assert seen() == ("hello-00001", "first")
    build("second")
    assert seen() == ("hello-00001", "first")

    assert wakeful.reload() == "reloaded: nothing changed"
    until(lambda: seen() == ("hello-00002", "second"), "the new image answers")
    until(lambda: wakeful.instances("hello") == 1, "the old revision stopped")

    wakeful.send(signal.SIGTERM)
    assert wakeful.exit_code() == 0
    build("third")
    wakeful.start()
    until(lambda: seen() == ("hello-00003", "third"), "the new image answers")
    said = wakeful.messages()
    assert sum("is another image now, for hello" in line for line in said) == 2
