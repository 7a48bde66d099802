"""Containers that somebody else pauses, renames or copies, on a real engine."""

from __future__ import annotations

import asyncio
import logging
import secrets
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from docker.api.client import APIClient
from docker.errors import APIError
from docker.types import IPAMConfig, IPAMPool

from tests.exits import Exits
from tests.integration.driving import (
    containers,
    get,
    new_id,
    opened,
    pause,
    revision,
    running,
    until,
)
from tests.integration.test_freezer import kind
from wakeful.config.model import Container, FreezerKind, Readiness
from wakeful.runtime.docker import DockerDriver
from wakeful.runtime.docker_events import DockerEvents
from wakeful.runtime.instance import Address, InstanceId
from wakeful.runtime.probe import ready

__all__ = ["kind"]

pytestmark = pytest.mark.docker


class Pauses:
    """What the driver told of pauses."""

    def __init__(self) -> None:
        self.told: list[tuple[InstanceId, bool]] = []

    def __call__(self, instance: InstanceId, paused: bool) -> None:
        self.told.append((instance, paused))


@asynccontextmanager
async def told_of_pauses(
    owner: str, kind: FreezerKind
) -> AsyncIterator[tuple[DockerDriver, Pauses]]:
    driver, pauses = DockerDriver(owner, freezer=kind), Pauses()
    await driver.open(Exits(), pauses)
    try:
        yield driver, pauses
    finally:
        await driver.close()


async def started(driver: DockerDriver, image: str) -> tuple[InstanceId, Address]:
    return await running(driver, revision(image, "polite"))


def test_a_pause_by_somebody_else_is_told_and_so_is_its_end(
    engine: APIClient, app_image: str, owner: str, kind: FreezerKind
) -> None:
    async def story() -> None:
        async with told_of_pauses(owner, kind) as (driver, pauses):
            instance, _ = await started(driver, app_image)
            for _ in range(3):
                pauses.told.clear()
                await asyncio.to_thread(pause, engine, instance)
                await until(lambda: pauses.told == [(instance, True)])
                await asyncio.to_thread(engine.unpause, instance)
                await until(lambda: pauses.told == [(instance, True), (instance, False)])

    asyncio.run(story())


def test_our_own_freezing_is_not_taken_for_somebody_elses_pause(
    engine: APIClient, app_image: str, owner: str, kind: FreezerKind
) -> None:
    async def story() -> None:
        async with told_of_pauses(owner, kind) as (driver, pauses):
            (mine, address), (other, _) = [await started(driver, app_image) for _ in range(2)]
            for _ in range(10):
                driver.freeze(mine, lambda instance: None)
                await asyncio.sleep(0.02)  # in the middle of the call, or after it
                driver.thaw(mine)
                await asyncio.to_thread(get, address, "/")
            # Events come in order: when this one was heard all others were.
            await asyncio.to_thread(pause, engine, other)
            await until(lambda: (other, True) in pauses.told)
            assert pauses.told == [(other, True)]

    asyncio.run(story())


def test_a_pause_that_no_event_told_of_is_found_and_so_is_its_end(
    engine: APIClient, app_image: str, owner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with told_of_pauses(owner, FreezerKind.AUTO) as (driver, pauses):
            instance, _ = await started(driver, app_image)
            monkeypatch.setattr(DockerEvents, "_handle", lambda *_: None)
            for paused in (True, False):
                act = pause if paused else APIClient.unpause
                await asyncio.to_thread(act, engine, instance)
                await driver._opened().lives.reconcile()
                await until(lambda: pauses.told[-1:] == [(instance, paused)])  # noqa: B023
            assert len(pauses.told) == 2

    asyncio.run(story())


@pytest.fixture
def narrow(engine: APIClient, owner: str) -> Iterator[str]:
    """A network with one address for containers."""
    name = f"wakeful-test-{uuid.uuid4().hex[:8]}"
    subnet = f"10.{secrets.randbelow(50) + 200}.{secrets.randbelow(256)}.0/30"
    engine.create_network(name, ipam=IPAMConfig(pool_configs=[IPAMPool(subnet=subnet)]))
    yield name
    for container in containers(engine, owner):
        engine.remove_container(container["Id"], v=True, force=True)
    engine.remove_network(name)


@pytest.mark.parametrize("adopted", [False, True])
def test_an_instance_whose_address_the_engine_gave_to_another_has_ended(
    engine: APIClient,
    app_image: str,
    owner: str,
    narrow: str,
    monkeypatch: pytest.MonkeyPatch,
    adopted: bool,
) -> None:
    """Nobody told of its end, and what is sent to it would go to the other one."""
    hello = revision(app_image, "polite", container=Container(network=narrow))

    async def story() -> None:
        first = new_id()
        async with opened(owner) as (driver, exits):
            address = (await driver.start(hello, first)).address
            if not adopted:
                await move_in(driver, exits, address)
        if adopted:
            async with opened(owner) as (driver, exits):
                assert [found.instance for found in await driver.instances()] == [first]
                await move_in(driver, exits, address)

    async def move_in(driver: DockerDriver, exits: Exits, address: Address) -> None:
        (one,) = containers(engine, owner)
        monkeypatch.setattr(DockerEvents, "_handle", lambda *_: None)
        engine.remove_container(one["Id"], force=True)
        second = new_id()
        assert (await driver.start(hello, second)).address == address
        assert [exit.detail for exit in exits.seen] == [f"{second} has its address now"]
        await driver.stop(second, 5)

    asyncio.run(story())


def test_a_container_that_was_renamed_is_known_all_the_same(
    engine: APIClient, app_image: str, owner: str
) -> None:
    async def story() -> None:
        async with opened(owner) as (driver, exits):
            instance, _ = await started(driver, app_image)
            engine.rename(instance, f"{instance}-renamed")
            assert await driver.tail(instance, 10) == ["serving"]
            assert (await driver.usage(instance)).memory
            # Another takes its name, and is none of ours.
            stranger = engine.create_container(
                app_image, name=instance, environment={"PORT": "8080"}
            )["Id"]
            try:
                engine.start(stranger)
                await driver.stop(instance, 60)
                assert await exits.of(instance) == "exit code 0"
                assert containers(engine, owner) == []
                assert engine.inspect_container(stranger)["State"]["Running"]
            finally:
                engine.remove_container(stranger, force=True)

    asyncio.run(story())


def test_a_container_that_was_renamed_is_adopted(
    engine: APIClient, app_image: str, owner: str
) -> None:
    async def story() -> None:
        async with opened(owner) as (driver, _):
            instance, address = await started(driver, app_image)
        engine.rename(instance, f"{instance}-renamed")
        async with opened(owner) as (driver, exits):
            assert [(f.instance, f.address) for f in await driver.instances()] == [
                (instance, address)
            ]
            await asyncio.to_thread(engine.kill, f"{instance}-renamed")
            assert await exits.of(instance) == "killed by signal 9"

    asyncio.run(story())


@pytest.fixture
def snapshots(engine: APIClient) -> Iterator[list[str]]:
    """Names of images that are removed in the end."""
    names: list[str] = []
    yield names
    for name in names:
        engine.remove_image(name, force=True)


def copy_of(engine: APIClient, container: str, snapshots: list[str]) -> str:
    """What docker commit and docker run make: it has all its labels. Returns its id."""
    image = f"wakeful-test-copy-{uuid.uuid4().hex[:8]}"
    engine.commit(container, repository=image, tag="1")
    snapshots.append(f"{image}:1")
    copy: str = engine.create_container(f"{image}:1", name=f"copy-{uuid.uuid4().hex[:8]}")["Id"]
    engine.start(copy)
    assert engine.inspect_container(copy)["Config"]["Labels"]["wakeful.instance"]
    return copy


def test_a_copy_with_all_the_labels_is_not_taken_for_the_instance(
    engine: APIClient,
    app_image: str,
    owner: str,
    snapshots: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story() -> None:
        async with opened(owner) as (driver, exits):
            instance, _ = await started(driver, app_image)
            await driver.instances()  # as at a start
            copy = await asyncio.to_thread(copy_of, engine, instance, snapshots)
            await until(lambda: f"container {copy[:12]}, started by somebody else" in caplog.text)

            # Its pause and its end are not the instance's.
            await asyncio.to_thread(engine.kill, copy)
            other, _ = await started(driver, app_image)
            await asyncio.to_thread(engine.kill, other)
            await exits.of(other)
            assert [exit.instance for exit in exits.seen] == [other]
            await driver.stop(other, 0)

            await asyncio.to_thread(engine.start, copy)
            await driver.stop(instance, 60)
            assert await exits.of(instance) == "exit code 0"
            (left,) = containers(engine, owner)
            assert (left["Id"], left["State"]) == (copy, "running")

    with caplog.at_level(logging.WARNING):
        asyncio.run(story())


def test_beside_its_copy_the_instance_itself_is_adopted_and_the_copy_left_alone(
    engine: APIClient,
    app_image: str,
    owner: str,
    snapshots: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story() -> None:
        async with opened(owner) as (driver, _):
            instance, address = await started(driver, app_image)
        copy = await asyncio.to_thread(copy_of, engine, instance, snapshots)
        async with opened(owner) as (driver, exits):
            assert [found.address for found in await driver.instances()] == [address]
            assert f"container {copy[:12]} has the labels of instance {instance}" in caplog.text
            await driver.stop(instance, 60)
            assert await exits.of(instance) == "exit code 0"
            (left,) = containers(engine, owner)
            assert left["Id"] == copy

    asyncio.run(story())


def test_a_container_that_somebody_gave_our_labels_is_found_at_the_next_start(
    engine: APIClient, app_image: str, owner: str, caplog: pytest.LogCaptureFixture
) -> None:
    labels = {
        "wakeful.owner": owner,
        "wakeful.service": "hello",
        "wakeful.revision": "hello-00003",
        "wakeful.instance": "hello-00003-by-hand",
        "wakeful.port": "8080",
    }

    async def story() -> None:
        async with opened(owner) as (driver, _):
            assert await driver.instances() == []
            made = engine.create_container(app_image, labels=labels, environment={"PORT": "8080"})
            await asyncio.to_thread(engine.start, made["Id"])
            await until(lambda: f"container {made['Id'][:12]}, started by" in caplog.text)
        async with opened(owner) as (driver, _):
            (found,) = await driver.instances()
            assert (found.instance, found.revision) == ("hello-00003-by-hand", "hello-00003")
            await ready(found.address, Readiness(path="/"))

    asyncio.run(story())


def test_labels_of_another_owner_are_nobody_of_ours(
    engine: APIClient, app_image: str, owner: str
) -> None:
    async def story() -> None:
        async with opened(owner) as (driver, _):
            instance, _ = await started(driver, app_image)
            async with opened(f"{owner}-other") as (other, exits):
                assert await other.instances() == []
                await other.stop(instance, 0)
                with pytest.raises(APIError):
                    engine.unpause(instance)  # nor was it frozen
                assert exits.seen == []
            assert len(containers(engine, owner)) == 1

    asyncio.run(story())
