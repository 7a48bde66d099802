"""Frozen containers, by their cgroups and by the engine, on a real one."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from docker.api.client import APIClient

from tests.exits import Exits
from tests.integration.driving import containers, new_id, revision, running, until
from tests.integration.relay import Relay, failed_connects_leak
from wakeful.config.model import FreezerKind, Readiness
from wakeful.runtime.docker import DockerDriver
from wakeful.runtime.driver import DriverError
from wakeful.runtime.freezer import CgroupFreezer, cgroup_of, direct_problem
from wakeful.runtime.instance import Address, InstanceId
from wakeful.runtime.probe import ready

pytestmark = pytest.mark.docker

KINDS = [FreezerKind.DIRECT, FreezerKind.ENGINE]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> FreezerKind:
    kind: FreezerKind = request.param
    if kind is FreezerKind.DIRECT and (problem := direct_problem() or not_root()):
        pytest.skip(f"cgroups cannot be written here: {problem}")
    return kind


def not_root() -> str | None:
    return None if os.geteuid() == 0 else "not root"


class Stage:
    """A driver that freezes in one way, and what it has started."""

    def __init__(self, engine: APIClient, image: str, owner: str, kind: FreezerKind) -> None:
        self.engine = engine
        self.image = image
        self.owner = owner
        self.kind = kind
        self.exits = Exits()
        self.driver = DockerDriver(owner, freezer=kind)
        self.failed: list[InstanceId] = []

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Stage]:
        await self.driver.open(self.exits)
        try:
            yield self
        finally:
            await self.driver.close()

    def again(self) -> Stage:
        """As another run of wakeful finds it."""
        return Stage(self.engine, self.image, self.owner, self.kind)

    async def start(self, behaviour: str = "polite") -> tuple[InstanceId, Address]:
        return await running(self.driver, revision(self.image, behaviour))

    async def start_frozen(self) -> tuple[InstanceId, Address]:
        instance, address = await self.start()
        self.freeze(instance)
        await until(lambda: self.frozen(instance))
        return instance, address

    def freeze(self, instance: InstanceId) -> None:
        self.driver.freeze(instance, self.failed.append)

    def frozen(self, instance: InstanceId) -> bool:
        """By what the kernel says of its processes."""
        (container,) = (c for c in containers(self.engine, self.owner) if named(c) == instance)
        state = self.engine.inspect_container(container["Id"])["State"]
        # proc(5): what waits to be thawed sleeps uninterruptibly, or is "frozen" to the cgroup.
        return frozen_by_kernel(state["Pid"])

    def paused(self, instance: InstanceId) -> bool:
        (container,) = (c for c in containers(self.engine, self.owner) if named(c) == instance)
        return bool(container["State"] == "paused")

    async def ticks(self, instance: InstanceId) -> int:
        lines = await self.driver.tail(instance, 2)  # one may be another thread's
        return max((int(line.split()[1]) for line in lines if "tick" in line), default=0)

    async def passed(self, instance: InstanceId, ticks: int) -> None:
        """Wait until another container has counted so much further."""
        begun = await self.ticks(instance)
        async with asyncio.timeout(20):
            while await self.ticks(instance) < begun + ticks:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


def exit_code(engine: APIClient, container: str) -> int:
    """Of one that is gone, as the engine told of it."""
    deaths = engine.events(
        since=int(time.time()) - 60,
        until=int(time.time()) + 1,
        filters={"container": container, "event": "die"},
        decode=True,
    )
    (death,) = deaths
    return int(death["Actor"]["Attributes"]["exitCode"])


def named(container: dict[str, object]) -> str:
    labels = container["Labels"]
    assert isinstance(labels, dict)
    return str(labels["wakeful.instance"])


def frozen_by_kernel(pid: int) -> bool:
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "freezer":
            return Path(f"/sys/fs/cgroup/freezer{path}/freezer.state").read_text() == "FROZEN\n"
    events = Path(f"/sys/fs/cgroup{path}/cgroup.events").read_text()
    return "frozen 1" in events


@pytest.fixture
def stage(engine: APIClient, app_image: str, owner: str, kind: FreezerKind) -> Stage:
    return Stage(engine, app_image, owner, kind)


def test_a_counter_in_a_frozen_container_does_not_move(stage: Stage) -> None:
    async def story() -> None:
        async with stage.opened() as it:
            frozen, _ = await it.start("ticking")
            other, _ = await it.start("ticking")
            it.freeze(frozen)
            await until(lambda: it.frozen(frozen))
            await it.passed(other, 10)  # what it had written is read by now
            before = await it.ticks(frozen)
            await it.passed(other, 50)
            assert await it.ticks(frozen) == before

            it.driver.thaw(frozen)
            await it.passed(frozen, 10)
            assert it.failed == []

    asyncio.run(story())


def test_a_request_written_to_a_frozen_container_is_answered_when_it_is_thawed(
    stage: Stage,
) -> None:
    async def story() -> None:
        async with stage.opened() as it:
            instance, address = await it.start_frozen()
            with socket.create_connection((address.host, address.port), 5) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
                client.setblocking(False)
                with pytest.raises(BlockingIOError):
                    client.recv(1)
                it.driver.thaw(instance)
                loop = asyncio.get_running_loop()
                answer = await asyncio.wait_for(loop.sock_recv(client, 100), 10)
                assert answer.startswith(b"HTTP/1.0 200")

    asyncio.run(story())


def test_the_last_word_counts_whatever_is_under_way(stage: Stage) -> None:
    async def story() -> None:
        async with stage.opened() as it:
            instance, address = await it.start()
            for turns in range(12):
                it.freeze(instance)
                for _ in range(turns):
                    await asyncio.sleep(0.001)
                it.driver.thaw(instance)
                await ready(address, Readiness(path="/"))
            it.driver.thaw(instance)
            it.freeze(instance)
            it.driver.thaw(instance)
            it.freeze(instance)
            await until(lambda: it.frozen(instance))
            await it.driver._freezer.settled(instance)  # the engine says so once its call is over
            assert it.paused(instance) == (stage.kind is FreezerKind.ENGINE)

    asyncio.run(story())


def test_a_frozen_container_is_asked_to_end_and_not_killed(stage: Stage) -> None:
    async def story() -> None:
        async with stage.opened() as it:
            instance, _ = await it.start_frozen()
            await it.driver.stop(instance, 10)
            assert await it.exits.of(instance) == "exit code 0"
            assert containers(stage.engine, stage.owner) == []

    asyncio.run(story())


@pytest.mark.parametrize("known", [True, False], ids=["adopted", "stranger"])
def test_what_an_earlier_run_left_frozen_is_thawed(stage: Stage, known: bool) -> None:
    async def story() -> None:
        async with stage.opened() as it:
            instance, address = await it.start_frozen()
        async with stage.again().opened() as it:
            if known:
                (found,) = await it.driver.instances()
                assert (found.instance, found.address) == (instance, address)
                await ready(address, Readiness(path="/"))
            (container,) = containers(stage.engine, stage.owner)
            await it.driver.stop(instance, 10)
            assert exit_code(stage.engine, container["Id"]) == 0
            assert containers(stage.engine, stage.owner) == []

    asyncio.run(story())


def test_what_it_uses_is_known(stage: Stage) -> None:
    async def story() -> None:
        async with stage.opened() as it:
            instance, _ = await it.start()
            it.freeze(instance)
            used = await it.driver.usage(instance)
            assert used.memory is not None
            assert 2 * 2**20 < used.memory < 64 * 2**20  # a Python with a small server in it
            assert used.cpu is not None
            assert 0 < used.cpu < 60
            with pytest.raises(DriverError):
                await it.driver.usage(new_id())

    asyncio.run(story())


def test_a_container_that_ended_while_it_was_frozen_is_reported_and_can_be_thawed(
    stage: Stage,
) -> None:
    async def story() -> None:
        async with stage.opened() as it:
            instance, _ = await it.start_frozen()
            stage.engine.remove_container(instance, force=True)
            assert await it.exits.of(instance) == "killed by signal 9"
            it.driver.thaw(instance)
            await it.driver.stop(instance, 1)

    asyncio.run(story())


def test_one_that_is_not_there_cannot_be_frozen_and_that_is_said(stage: Stage) -> None:
    async def story() -> None:
        async with stage.opened() as it:
            nobody = new_id()
            it.freeze(nobody)
            await until(lambda: bool(it.failed))
            assert it.failed == [nobody]

    asyncio.run(story())


def test_a_container_that_somebody_else_paused_is_asked_to_end_and_not_killed(stage: Stage) -> None:
    async def story() -> None:
        async with stage.opened() as it:
            instance, _ = await it.start()
            stage.engine.pause(instance)
            await it.driver.stop(instance, 10)
            assert await it.exits.of(instance) == "exit code 0"

    asyncio.run(story())


def test_one_that_the_engine_takes_for_paused_while_it_runs_is_adopted(
    engine: APIClient, app_image: str, owner: str
) -> None:
    """Somebody paused it, and what thawed its cgroup did not ask the engine."""
    if problem := direct_problem() or not_root():
        pytest.skip(f"cgroups cannot be written here: {problem}")

    stage = Stage(engine, app_image, owner, FreezerKind.DIRECT)

    async def story() -> None:
        async with stage.opened() as it:
            instance, _ = await it.start()
        (container,) = containers(engine, owner)
        engine.pause(container["Id"])
        cgroup = cgroup_of(
            engine.inspect_container(container["Id"])["State"]["Pid"], container["Id"]
        )
        assert cgroup is not None
        with closing(CgroupFreezer(cgroup)) as freezer:
            freezer.thaw()
        async with stage.again().opened() as it:
            (found,) = await it.driver.instances()
            await ready(found.address, Readiness(path="/"))
            assert not it.paused(instance)
            await it.driver.stop(instance, 10)
            assert exit_code(engine, container["Id"]) == 0

    asyncio.run(story())


@failed_connects_leak
def test_what_was_paused_is_thawed_as_soon_as_the_engine_is_back(
    engine: APIClient, app_image: str, owner: str, relay: Relay
) -> None:
    async def story() -> None:
        async with Stage(engine, app_image, owner, FreezerKind.ENGINE).opened() as it:
            paused, address = await it.start()
            other, _ = await it.start()
            it.freeze(paused)
            await until(lambda: it.frozen(paused))
            await it.driver._freezer.settled(paused)  # the call that paused it is over, too

            await asyncio.to_thread(relay.cut)
            it.driver.thaw(paused)
            it.freeze(other)
            await until(lambda: it.failed == [other])  # nobody is told that it is frozen
            assert it.frozen(paused)

            relay.mend()
            await ready(address, Readiness(path="/"))
            assert not it.frozen(other)

    asyncio.run(story())


def test_a_cgroup_that_must_be_written_and_cannot_be_is_said_at_the_start(
    engine: APIClient, app_image: str, owner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = "/sys/fs/cgroup is not writable"
    monkeypatch.setattr("wakeful.runtime.docker_freezer.direct_problem", lambda: problem)

    async def refused() -> None:
        with pytest.raises(DriverError, match=f"freezer direct: {problem}"):
            async with Stage(engine, app_image, owner, FreezerKind.DIRECT).opened():
                pass

    async def fallen_back() -> None:
        async with Stage(engine, app_image, owner, FreezerKind.AUTO).opened() as it:
            assert it.driver.freezer == f"docker pause ({problem})"

    asyncio.run(refused())
    asyncio.run(fallen_back())


@pytest.mark.parametrize("kind", [FreezerKind.AUTO, FreezerKind.DIRECT])
def test_one_container_whose_cgroup_cannot_be_reached_is_paused_or_not_frozen(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    if problem := direct_problem():
        pytest.skip(f"cgroups cannot be written here: {problem}")
    monkeypatch.setattr("wakeful.runtime.docker_container.cgroup_of", lambda pid, id: None)

    async def story() -> None:
        async with stage.opened() as it:
            instance, address = await it.start()
            it.freeze(instance)
            if stage.kind is FreezerKind.DIRECT:
                await until(lambda: it.failed == [instance])
            else:
                await until(lambda: it.paused(instance))
                used = await it.driver.usage(instance)
                assert used.memory is not None
                assert used.memory > 2 * 2**20
            it.driver.thaw(instance)
            await ready(address, Readiness(path="/"))

    asyncio.run(story())
