"""A wakeful to start, on processes and on containers, and held to leaving nothing."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from docker.api.client import APIClient
from docker.errors import APIError

from tests.e2e.harness import APP, DEMO, Definition, Platform, Wakeful
from tests.integration.conftest import engine, relay
from wakeful.demo import image

__all__ = ["engine", "relay"]

Launch = Callable[..., Wakeful]

DOCKER = pytest.param("docker", marks=pytest.mark.docker)


@pytest.fixture(scope="session")
def processes() -> Platform:
    return Platform("process")


@pytest.fixture(scope="session")
def containers(engine: APIClient) -> Iterator[Platform]:
    """An image of this Python with the programs in it, which is removed at the end."""
    files = {f"/app/{name}": APP.with_name(name).read_bytes() for name in ("app.py", "writer.py")}
    for name in ("serve.py", "hello.py", "slow.py", "echo.py"):
        files[f"/app/{name}"] = (DEMO / name).read_bytes()
    tag = image.build(
        files, ["python3", "-S", "/app/app.py"], tag=f"wakeful-e2e:{uuid.uuid4().hex[:12]}"
    )
    yield Platform("docker", tag)
    engine.remove_image(tag, force=True)


@pytest.fixture(params=["process", DOCKER])
def platform(request: pytest.FixtureRequest) -> Platform:
    """The test runs once for each."""
    name = "containers" if request.param == "docker" else "processes"
    platform: Platform = request.getfixturevalue(name)
    return platform


@pytest.fixture
def launch(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Launch]:
    """Starts one; when the test is over, each must end well and leave nothing."""
    started: list[Wakeful] = []

    def launch(
        services: Mapping[str, Definition], *arguments: str, start: bool = True, **top: Any
    ) -> Wakeful:
        one = Wakeful(tmp_path / f"wakeful-{len(started)}", services, **top)
        started.append(one)
        return one.start(*arguments) if start else one

    yield launch
    owners = [one.owner for one in started]
    try:
        for one in started:
            one.end()
    finally:
        for one in started:
            if one.alive:
                one.kill()
        left = []
        if "engine" in request.fixturenames:
            client: APIClient = request.getfixturevalue("engine")
            left = [name for owner in owners for name in containers_of(client, owner)]
            for name in left:
                with suppress(APIError):
                    client.remove_container(name, v=True, force=True)
    assert not left, f"these containers were left: {left}"


def containers_of(client: APIClient, owner: str, *, all: bool = True) -> list[str]:
    """The names of the containers of one wakeful, by its label."""
    found = client.containers(all=all, filters={"label": f"wakeful.owner={owner}"})
    return [container["Names"][0].removeprefix("/") for container in found]
