"""Network sandboxes, and the other networks an instance may be put on, on the real engine."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from docker.api.client import APIClient

from tests.exits import Exits
from tests.integration.driving import (
    containers,
    get,
    new_id,
    opened,
    revision,
    running,
    until,
)
from wakeful.config.model import Container, Readiness, Revision
from wakeful.runtime import docker_sandbox
from wakeful.runtime.docker import DockerDriver
from wakeful.runtime.docker_events import DockerEvents
from wakeful.runtime.driver import DriverError
from wakeful.runtime.instance import InstanceId
from wakeful.runtime.probe import ready


def on(image: str, network: str, *behaviour: str) -> Revision:
    return revision(image, *(behaviour or ("polite",)), container=Container(network=network))


def sandboxes(engine: APIClient, owner: str) -> set[str]:
    """Those that run."""
    return {
        one["Id"]
        for one in containers(engine, owner)
        if one["Labels"].get("wakeful.role") == "sandbox" and one["State"] == "running"
    }


def network_of(engine: APIClient, instance: InstanceId) -> str:
    mode: str = engine.inspect_container(instance)["HostConfig"]["NetworkMode"]
    return mode


class Stock:
    """A driver with one sandbox ready, and the revision that asks for it."""

    def __init__(self, engine: APIClient, owner: str, image: str) -> None:
        self.engine = engine
        self.owner = owner
        self.image = image
        self.hello = on(image, "sandbox")
        self.driver = DockerDriver(owner)
        self.exits = Exits()
        self.sandbox = ""

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Stock]:
        """Afterwards nothing is left on the engine."""
        await self.driver.open(self.exits)
        try:
            self.driver.expect([self.hello])
            await until(lambda: len(self.running()) == 1)
            await known(self.driver, 1)
            (self.sandbox,) = self.running()
            yield self
        finally:
            await self.driver.close()
        assert containers(self.engine, self.owner) == []

    def running(self) -> set[str]:
        return sandboxes(self.engine, self.owner)

    async def start(self) -> InstanceId:
        """One more instance, that listens."""
        instance, _ = await running(self.driver, self.hello)
        return instance


@pytest.fixture
def stock(app_image: str, owner: str, engine: APIClient) -> Stock:
    return Stock(engine, owner, app_image)


async def known(driver: DockerDriver, number: int) -> None:
    """The engine has started one before the driver has heard of it."""
    await until(lambda: driver.sandboxes_ready == number)


def test_an_instance_joins_a_sandbox_that_was_ready_and_serves(stock: Stock) -> None:
    async def story() -> None:
        async with stock.opened() as it:
            instance = new_id()
            launched = await it.driver.start(it.hello, instance)
            assert [phase for phase, _ in launched.phases][-3:] == ["sandbox", "create", "start"]
            await ready(launched.address, Readiness())
            assert get(launched.address, "/")["env"]["PORT"] == "8080"
            assert network_of(it.engine, instance) == f"container:{it.sandbox}"

            # The stock is filled again, and what was used is not used again.
            await until(lambda: len(it.running()) == 2)
            await it.driver.stop(instance, 5)
            assert it.sandbox not in it.running()

    asyncio.run(story())


def test_when_there_is_none_ready_an_instance_is_on_the_bridge(stock: Stock) -> None:
    async def story() -> None:
        async with stock.opened() as it:
            ids = [new_id(), new_id(), new_id()]
            launched = await asyncio.gather(*(it.driver.start(it.hello, one) for one in ids))
            modes = sorted(network_of(it.engine, one).partition(":")[0] for one in ids)
            assert modes == ["container", "default", "default"]
            for one in launched:
                await ready(one.address, Readiness())
            # Three were asked for at once, so three are kept from now on.
            await until(lambda: len(it.running()) == 1 + 3)
            await asyncio.gather(*(it.driver.stop(one, 5) for one in ids))
            assert len(it.running()) == 3

    asyncio.run(story())


def test_an_instance_whose_sandbox_is_killed_is_over(stock: Stock) -> None:
    async def story() -> None:
        async with stock.opened() as it:
            instance = await it.start()
            it.engine.kill(it.sandbox)
            assert await it.exits.of(instance) == "its network sandbox ended: killed by signal 9"
            await it.driver.stop(instance, 5)
            assert [exit.instance for exit in it.exits.seen] == [instance]

    asyncio.run(story())


def test_a_sandbox_that_ends_while_it_is_ready_is_replaced(stock: Stock) -> None:
    async def story() -> None:
        async with stock.opened() as it:
            it.engine.kill(it.sandbox)
            await until(lambda: len(it.running() - {it.sandbox}) == 1)
            await known(it.driver, 1)
            instance = await it.start()
            await it.driver.stop(instance, 5)
            assert [exit.instance for exit in it.exits.seen] == [instance]

    asyncio.run(story())


def test_a_sandbox_that_ended_just_before_it_is_joined_costs_no_start(stock: Stock) -> None:
    async def story() -> None:
        async with stock.opened() as it:
            await it.driver.moved([it.hello])  # settles which image it is: nothing to wait for then
            # No turn of the loop between the two, so nobody has heard of its end.
            it.engine.remove_container(it.sandbox, force=True)
            instance = new_id()
            launched = await it.driver.start(it.hello, instance)
            await ready(launched.address, Readiness())
            assert network_of(it.engine, instance) == "default"
            assert it.exits.seen == []
            await it.driver.stop(instance, 5)

    asyncio.run(story())


def test_an_ending_that_no_event_told_of_is_found(
    stock: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with stock.opened() as it:
            instance = await it.start()
            monkeypatch.setattr(DockerEvents, "_handle", lambda *_: None)
            it.engine.kill(it.sandbox)
            await it.driver._opened().lives.reconcile()
            assert await it.exits.of(instance) == "its network sandbox ended: nobody saw how"
            await it.driver.stop(instance, 5)

    asyncio.run(story())


def stray(stock: Stock) -> str:
    """As of an engine that was killed when it had made one, before it could say so."""
    return docker_sandbox._create(stock.engine, stock.owner, "bridge")


def test_a_sandbox_of_nobody_is_removed_while_others_are_in_use(stock: Stock) -> None:
    async def story() -> None:
        async with stock.opened() as it:
            instance = await it.start()
            await known(it.driver, 1)
            used, lost = it.running(), stray(it)
            await it.driver._opened().lives.reconcile()
            await until(lambda: lost not in {one["Id"] for one in containers(it.engine, it.owner)})
            assert it.running() == used
            assert it.exits.seen == []
            await it.driver.stop(instance, 5)

    asyncio.run(story())


def test_no_sandbox_of_nobody_is_left_at_the_end(stock: Stock) -> None:
    async def story() -> None:
        async with stock.opened() as it:
            stray(it)

    asyncio.run(story())


def test_an_adopted_instance_keeps_its_sandbox_and_those_of_nobody_are_removed(
    app_image: str, owner: str, engine: APIClient
) -> None:
    hello = on(app_image, "sandbox")

    async def story() -> None:
        first, exits = DockerDriver(owner), Exits()
        await first.open(exits)
        first.expect([hello])
        await known(first, 1)
        (mine,) = sandboxes(engine, owner)
        instance, address = await running(first, hello)
        await known(first, 1)
        (orphan,) = sandboxes(engine, owner) - {mine}

        # As after kill -9: the first does nothing more, and nothing was closed.
        keeper = first._opened().places.sandboxes._keeper
        assert keeper is not None
        keeper.cancel()
        async with opened(owner) as (second, _):
            await until(lambda: sandboxes(engine, owner) == {mine})
            (found,) = await second.instances()
            assert (found.instance, found.address) == (instance, address)
            assert get(found.address, "/")["env"]["PORT"] == "8080"
            await second.stop(instance, 5)
            assert sandboxes(engine, owner) == set()
        await first.close()
        assert orphan not in {one["Id"] for one in containers(engine, owner)}
        assert containers(engine, owner) == []

    asyncio.run(story())


def test_a_service_that_goes_takes_the_stock_along(stock: Stock) -> None:
    async def story() -> None:
        async with stock.opened() as it:
            it.driver.expect([on(it.image, "bridge")])
            await until(lambda: containers(it.engine, it.owner) == [])

    asyncio.run(story())


def test_without_a_service_that_asks_there_are_no_sandboxes(
    app_image: str, owner: str, engine: APIClient
) -> None:
    hello = on(app_image, "bridge")

    async def story() -> None:
        async with opened(owner) as (driver, _):
            driver.expect([hello])
            instance = new_id()
            launched = await driver.start(hello, instance)
            assert [phase for phase, _ in launched.phases][-2:] == ["create", "start"]
            assert [one["Names"] for one in containers(engine, owner)] == [[f"/{instance}"]]
            await driver.stop(instance, 5)

    asyncio.run(story())


def test_a_sandbox_has_no_rights_and_its_image_is_made_without_a_registry(stock: Stock) -> None:
    async def story() -> None:
        async with stock.opened() as it:
            made = it.engine.inspect_container(it.sandbox)
            host = made["HostConfig"]
            assert made["Config"]["Image"] == "wakeful/sandbox:1"
            assert made["Config"]["User"] == "65534:65534"
            assert (host["CapDrop"], host["SecurityOpt"]) == (["ALL"], ["no-new-privileges"])
            assert host["ReadonlyRootfs"] is True
            assert host["Privileged"] is False

    asyncio.run(story())


def test_whoever_else_stops_a_sandbox_need_not_wait_for_it(stock: Stock) -> None:
    async def story() -> None:
        async with stock.opened() as it:
            began = int(time.time())
            await asyncio.to_thread(it.engine.stop, it.sandbox, timeout=60)
            signals = it.engine.events(
                since=began,
                until=int(time.time()) + 1,
                filters={"container": it.sandbox, "event": "kill"},
                decode=True,
            )
            assert [event["Actor"]["Attributes"]["signal"] for event in signals] == ["9"]

    asyncio.run(story())


# Other networks


def test_instances_on_the_hosts_network_each_have_a_port_of_their_own(
    app_image: str, owner: str, engine: APIClient
) -> None:
    hello = on(app_image, "host")

    async def story() -> None:
        async with opened(owner) as (driver, _):
            ids = [new_id(), new_id()]
            launched = await asyncio.gather(*(driver.start(hello, one) for one in ids))
            for instance, one in zip(ids, launched, strict=True):
                assert one.address.host == "127.0.0.1"
                await ready(one.address, Readiness())
                assert get(one.address, "/")["env"]["PORT"] == str(one.address.port)
                assert network_of(engine, instance) == "host"
            assert launched[0].address.port != launched[1].address.port

            async with opened(owner) as (second, _):
                found = {one.instance: one.address for one in await second.instances()}
                assert found == {i: one.address for i, one in zip(ids, launched, strict=True)}
            await asyncio.gather(*(driver.stop(one, 5) for one in ids))
        assert containers(engine, owner) == []

    asyncio.run(story())


@pytest.fixture
def network(engine: APIClient) -> Any:
    name = f"wakeful-test-{uuid.uuid4().hex[:8]}"
    engine.create_network(name, driver="bridge")
    yield name
    engine.remove_network(name)


def test_a_network_that_there_is_can_be_the_one_an_instance_is_reached_through(
    app_image: str, owner: str, engine: APIClient, network: str
) -> None:
    hello = on(app_image, network)

    async def story() -> None:
        async with opened(owner) as (driver, _):
            instance = new_id()
            launched = await driver.start(hello, instance)
            await ready(launched.address, Readiness())
            settings = engine.inspect_container(instance)["NetworkSettings"]["Networks"]
            assert {name: one["IPAddress"] for name, one in settings.items()} == {
                network: launched.address.host
            }
            await driver.stop(instance, 5)

    asyncio.run(story())


def test_a_network_that_there_is_not_is_named(
    app_image: str, owner: str, engine: APIClient
) -> None:
    missing = on(app_image, "no-such-network")

    async def story() -> None:
        async with opened(owner) as (driver, _):
            with pytest.raises(DriverError, match="no-such-network"):
                await driver.start(missing, new_id())
        assert containers(engine, owner) == []

    asyncio.run(story())


# The stock, when it cannot be made


def test_a_stock_that_cannot_be_made_is_tried_again(
    app_image: str, owner: str, engine: APIClient, caplog: pytest.LogCaptureFixture
) -> None:
    name = f"wakeful-test-{uuid.uuid4().hex[:8]}"

    async def story() -> None:
        driver = DockerDriver(owner, network=name)
        await driver.open(Exits())
        try:
            driver.expect([on(app_image, "sandbox")])
            await until(lambda: "cannot make a network sandbox" in caplog.text)
            assert f"network {name} not found" in caplog.text
            assert containers(engine, owner) == []
            engine.create_network(name, driver="bridge")
            await known(driver, 1)
        finally:
            await driver.close()
            engine.remove_network(name)
        assert containers(engine, owner) == []

    asyncio.run(story())


def test_the_image_is_made_where_there_is_none(
    stock: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"wakeful-test-{uuid.uuid4().hex[:8]}"
    monkeypatch.setattr(docker_sandbox, "_REPOSITORY", name)

    async def story() -> None:
        async with stock.opened() as it:
            assert it.engine.inspect_container(it.sandbox)["Config"]["Image"] == f"{name}:1"
            (image,) = it.engine.images(name=name)
            assert image["Size"] < 4096

    try:
        asyncio.run(story())
    finally:
        stock.engine.remove_image(f"{name}:1", force=True)
