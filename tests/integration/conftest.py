"""A Docker engine for the tests that need one, and nothing left on it afterwards."""

from __future__ import annotations

import gc
import os
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from docker.api.client import APIClient
from docker.errors import APIError

from tests.integration.relay import Relay
from wakeful.demo import image
from wakeful.runtime.docker_client import new_client
from wakeful.runtime.docker_endpoint import endpoint
from wakeful.runtime.docker_engine import docker_answers


@pytest.fixture(scope="session")
def engine() -> Iterator[APIClient]:
    """A client of our own, to see what the driver did. Without an engine the test is skipped."""
    reason = docker_answers()
    if reason is not None:
        reason = f"no Docker engine: {reason}"
        if os.environ.get("WAKEFUL_REQUIRE_DOCKER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    client = new_client()
    yield client
    client.close()


@pytest.fixture(scope="session")
def app_image(engine: APIClient) -> Iterator[str]:
    """An image with app.py, under a name that no other run of the tests uses."""
    app = Path(__file__).with_name("app.py").read_bytes()
    name = image.build(
        {"/app/app.py": app},
        ["python3", "/app/app.py", "polite"],
        tag=f"wakeful-test:{uuid.uuid4().hex[:12]}",
    )
    yield name
    engine.remove_image(name, force=True)


@pytest.fixture
def owner(engine: APIClient) -> Iterator[str]:
    """The owner of all that one test creates, which is removed whatever happens."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    yield name
    for container in engine.containers(all=True, filters={"label": f"wakeful.owner={name}"}):
        with suppress(APIError):
            engine.remove_container(container["Id"], v=True, force=True)


@pytest.fixture
def relay(engine: APIClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    """What is started from now on finds the engine behind it; ``engine`` was found before."""
    url = endpoint().url
    if not url.startswith("unix://"):
        pytest.skip("the engine is not on a unix socket")
    relay = Relay(tmp_path / "docker.sock", url.removeprefix("unix://"))
    relay.mend()
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    yield relay
    relay.cut()
    gc.collect()  # while unclosed sockets are expected (failed_connects_leak)
