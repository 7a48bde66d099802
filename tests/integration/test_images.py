"""Which image an instance is made from, and when a registry is asked; both are real."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from docker.api.client import APIClient
from docker.errors import APIError

from tests.exits import Exits
from tests.integration.driving import new_id
from tests.integration.private_registry import (
    PASSWORD,
    PROGRAM,
    USER,
    PrivateRegistry,
    private_registry,
    small_image,
)
from wakeful.config.model import Container, Pull, Revision, Template
from wakeful.runtime.docker import DockerDriver
from wakeful.runtime.driver import ImageNotFound

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateRegistry]:
    if PROGRAM is None:
        reason = "no docker-registry (Debian's package of that name)"
        if os.environ.get("WAKEFUL_REQUIRE_DOCKER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with private_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def logged_in(registry: PrivateRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config.json that knows the password."""
    folder = tmp_path / "docker"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(registry.login))
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    return folder / "config.json"


@pytest.fixture
def names(engine: APIClient, owner: str) -> Iterator[list[str]]:
    """Images to be removed, when the containers of ``owner`` are gone."""
    made: list[str] = []
    yield made
    for container in engine.containers(all=True, filters={"label": f"wakeful.owner={owner}"}):
        engine.remove_container(container["Id"], force=True)
    for name in made:
        with suppress(APIError):
            engine.remove_image(name, force=True)


@pytest.fixture
def local(names: list[str]) -> str:
    """A name that no registry knows."""
    names.append(f"wakeful-test-{uuid.uuid4().hex[:8]}:1")
    return names[-1]


@pytest.fixture
def remote(registry: PrivateRegistry, names: list[str]) -> str:
    names.append(f"{registry.host}/t-{uuid.uuid4().hex[:8]}:1")
    return names[-1]


def hello(image: str, pull: Pull = Pull.MISSING, generation: int = 1, **container: Any) -> Revision:
    template = Template(image, container=Container(pull=pull, **container))
    return Revision("hello", generation, template)


class Wakeful:
    """Driver after driver, as of one installation that is restarted."""

    def __init__(self, engine: APIClient, owner: str, state: Path) -> None:
        self._engine = engine
        self._driver = DockerDriver(owner, state)

    async def __aenter__(self) -> Wakeful:
        await self._driver.open(Exits())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._driver.close()

    async def start(self, revision: Revision) -> str:
        """The image that a new instance is made from. The instance does not stay."""
        instance = new_id()
        await self._driver.start(revision, instance)
        seen = await asyncio.to_thread(self._engine.inspect_container, instance)
        assert seen["Config"]["Labels"]["wakeful.image"] == revision.template.image
        await self._driver.stop(instance, 0)
        return str(seen["Image"])

    async def moved(self, *revisions: Revision) -> list[Revision]:
        return await self._driver.moved(revisions)


@pytest.fixture
def wakeful(engine: APIClient, owner: str, tmp_path: Path) -> Any:
    return lambda: Wakeful(engine, owner, tmp_path)


def test_instances_of_a_revision_stay_with_its_image_when_the_name_moves(
    engine: APIClient, wakeful: Any, local: str, names: list[str]
) -> None:
    first = small_image(engine, local, "first")
    names.append(first)

    async def story() -> None:
        one, two = hello(local), hello(local, generation=2)
        async with wakeful() as running:
            assert await running.start(one) == first
            assert await running.moved(one) == []
            second = small_image(engine, local, "second")
            assert second != first
            assert await running.start(one) == first
            assert await running.moved(one) == [one]
            assert await running.start(two) == second
        async with wakeful() as restarted:
            assert await restarted.moved(two) == []
            third = small_image(engine, local, "third")
            assert await restarted.moved(two) == [two]
            assert await restarted.start(two) == second
            assert await restarted.start(hello(local, generation=3)) == third
            names.append(second)

    asyncio.run(story())


def test_a_revision_that_was_looked_at_needs_no_start_to_keep_its_image(
    engine: APIClient, wakeful: Any, local: str, names: list[str]
) -> None:
    names.append(first := small_image(engine, local, "first"))

    async def story() -> None:
        async with wakeful() as running:
            assert await running.moved(hello(local)) == []
            small_image(engine, local, "second")
            assert await running.start(hello(local)) == first

    asyncio.run(story())


def test_a_deleted_image_gives_way_to_what_its_name_means_now(
    engine: APIClient, wakeful: Any, local: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = small_image(engine, local, "first")

    async def story() -> None:
        async with wakeful() as running:
            assert await running.start(hello(local)) == first
            second = small_image(engine, local, "second")
            engine.remove_image(first)
            starts = [running.start(hello(local)) for _ in range(3)]
            assert await asyncio.gather(*starts) == [second] * 3
            engine.remove_image(local)
            with pytest.raises(ImageNotFound, match="cannot be pulled"):
                await running.start(hello(local))

    with caplog.at_level(logging.WARNING):
        asyncio.run(story())
    assert f"hello-00001: its image {first[7:19]} is gone; it runs {local} as" in caplog.text


def test_a_deleted_image_is_pulled_again_and_not_the_newer_one_of_its_name(
    engine: APIClient, wakeful: Any, remote: str, registry: PrivateRegistry, logged_in: Path
) -> None:
    first = small_image(engine, remote, "first")
    registry.push(engine, remote)

    async def story() -> None:
        async with wakeful() as running:
            assert await running.start(hello(remote)) == first
            engine.remove_image(first, force=True)
            second = small_image(engine, remote, "second")
            registry.push(engine, remote)
            assert await running.start(hello(remote)) == first
            assert await running.start(hello(remote, generation=2)) == second
        engine.remove_image(first, force=True)

    asyncio.run(story())


def test_pull_missing_asks_no_registry_while_the_image_is_here_and_always_asks_once_a_revision(
    engine: APIClient, wakeful: Any, remote: str, registry: PrivateRegistry, logged_in: Path
) -> None:
    first = small_image(engine, remote, "first")
    registry.push(engine, remote)

    async def story() -> None:
        async with wakeful() as running:
            before = registry.asked_for(remote)
            assert await running.start(hello(remote)) == first
            assert registry.asked_for(remote) == before

            second = small_image(engine, remote, "second")
            registry.push(engine, remote)
            repository, _, tag = remote.rpartition(":")
            engine.tag(first, repository, tag)  # as if another host had pushed the second
            before = registry.asked_for(remote)
            always = hello(remote, Pull.ALWAYS, generation=2)
            for _ in range(2):
                assert await running.start(always) == second
            assert registry.asked_for(remote) == before + 1
            assert await running.moved(always) == []
            assert registry.asked_for(remote) == before + 2

    asyncio.run(story())
    engine.remove_image(first, force=True)


def test_pull_never_fails_with_the_reason_and_asks_nobody(
    engine: APIClient, wakeful: Any, remote: str, registry: PrivateRegistry, logged_in: Path
) -> None:
    small_image(engine, remote, "first")
    registry.push(engine, remote)
    engine.remove_image(remote, force=True)
    before = registry.asked_for(remote)

    async def story() -> None:
        async with wakeful() as running:
            with pytest.raises(ImageNotFound) as caught:
                await running.start(hello(remote, Pull.NEVER))
            assert str(caught.value) == (
                f"cannot start hello: image {remote} is not on this host, "
                "and 'pull: never' keeps it so"
            )

    asyncio.run(story())
    assert registry.asked_for(remote) == before


def test_a_private_registry_is_entered_with_what_docker_login_left(
    engine: APIClient,
    wakeful: Any,
    remote: str,
    registry: PrivateRegistry,
    logged_in: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = small_image(engine, remote, "first")
    registry.push(engine, remote)
    engine.remove_image(remote, force=True)
    helper = tmp_path / "docker-credential-wakefultest"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def configure(config: dict[str, object], program: str = "exit 1") -> None:
        logged_in.write_text(json.dumps(config))
        helper.write_text(f"#!/bin/sh\n{program}\n")
        helper.chmod(0o755)

    async def story() -> None:
        async with wakeful() as running:
            # Each in turn, with no restart between them.
            configure({})
            with pytest.raises(ImageNotFound, match=r"cannot be pulled: .*no basic auth cred"):
                await running.start(hello(remote))

            helped: dict[str, object] = {"credHelpers": {registry.host: "wakefultest"}}
            configure(helped, "echo this helper is broken; exit 1")
            with pytest.raises(ImageNotFound, match="cannot be pulled: Credentials store error"):
                await running.start(hello(remote))

            secret = {"ServerURL": registry.host, "Username": USER, "Secret": PASSWORD}
            configure(helped, f"echo '{json.dumps(secret)}'")
            assert await running.start(hello(remote)) == first

            engine.remove_image(first, force=True)
            configure(registry.login)
            assert await running.start(hello(remote, generation=2)) == first

    asyncio.run(story())


def test_a_pull_tells_how_far_it_is(
    engine: APIClient,
    wakeful: Any,
    remote: str,
    registry: PrivateRegistry,
    logged_in: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("wakeful.runtime.docker_pull._REPORT", 0.0)
    small_image(engine, remote, uuid.uuid4().hex)  # no layer of it is here already
    registry.push(engine, remote)
    engine.remove_image(remote, force=True)

    async def story() -> None:
        async with wakeful() as running:
            await running.start(hello(remote))

    with caplog.at_level(logging.INFO, "wakeful.runtime.docker_pull"):
        asyncio.run(story())
    messages = [record.getMessage() for record in caplog.records]
    assert messages[0] == f"pulling image {remote}"
    assert f"pulling image {remote}: 0 of 1 layers, 1.0 of 1.0 MB so far" in messages[1:-1]
    assert messages[-1].startswith(f"pulled image {remote} in ")
    assert ": 1 of 1 layers" in messages[-1]


def test_a_lost_file_of_pins_is_no_reason_not_to_start(
    engine: APIClient, wakeful: Any, local: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = small_image(engine, local, "first")

    async def story() -> None:
        async with wakeful() as running:
            await running.start(hello(local))
        (tmp_path / "images.json").write_text('{"hello": {"1": {"id": ""}}}')
        async with wakeful() as running:
            assert await running.start(hello(local)) == first

    with caplog.at_level(logging.WARNING):
        asyncio.run(story())
    assert f"{tmp_path}/images.json cannot be read" in caplog.text


def test_a_secret_that_the_user_of_the_image_cannot_read_is_warned_of(
    engine: APIClient, wakeful: Any, local: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small_image(engine, local, "first")
    secret = tmp_path / "key"
    secret.write_text("x")
    secret.chmod(0o600)
    asking = hello(local, user="4711:4712", secrets=(("key", str(secret)),))

    async def story() -> None:
        async with wakeful() as running:
            await running.start(asking)
            secret.chmod(0o644)
            await running.start(asking)

    with caplog.at_level(logging.WARNING):
        asyncio.run(story())
    [warning] = [record.getMessage() for record in caplog.records]
    owner = f"{os.getuid()}:{os.getgid()}"
    assert warning == (
        f"hello-00001: secret key: user 4711:4712 cannot read {secret}, "
        f"which has mode 600 of {owner}"
    )
