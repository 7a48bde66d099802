"""What an engine that was killed in a start has forgotten: it says "created", and it runs.

When that happens is a matter of luck, so the process is put into the cgroup of a container
that was created; the chaos kills engines.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from docker.api.client import APIClient

from tests.integration.driving import containers, new_id, opened, revision, until
from tests.integration.relay import Relay, failed_connects_leak
from wakeful.runtime import docker_sandbox
from wakeful.runtime.driver import EngineUnavailable
from wakeful.runtime.freezer import mounted

pytestmark = pytest.mark.docker

Forget = Callable[[str], "subprocess.Popen[bytes]"]


@pytest.fixture
def forget() -> Iterator[Forget]:
    """Have a process run in the cgroup of a container, of which the engine knows nothing."""
    mount = mounted().freezer or mounted().unified
    if os.geteuid() != 0 or mount is None or not os.access(mount.point, os.W_OK):
        pytest.skip("cgroups cannot be made here")
    parent = Path(mount.point) / f"wakeful-test-{os.getpid()}"
    processes: list[subprocess.Popen[bytes]] = []

    def run(container: str) -> subprocess.Popen[bytes]:
        cgroup = parent / container
        cgroup.mkdir(parents=True)
        process = subprocess.Popen(["sleep", "60"])
        processes.append(process)
        (cgroup / "cgroup.procs").write_text(str(process.pid))
        return process

    yield run
    for process in processes:
        process.kill()
        process.wait()
    if parent.exists():
        for cgroup in parent.glob("*/"):
            cgroup.rmdir()
        parent.rmdir()


def created(engine: APIClient, image: str, **labels: str) -> str:
    named = {f"wakeful.{name}": value for name, value in labels.items()}
    container: str = engine.create_container_from_config(  # type: ignore[no-untyped-call]
        {"Image": image, "Labels": named}
    )["Id"]
    return container


def test_it_is_ended_when_wakeful_starts(
    engine: APIClient, app_image: str, owner: str, forget: Forget
) -> None:
    process = forget(created(engine, app_image, owner=owner, instance=new_id()))
    stranger = created(engine, app_image)
    others = forget(stranger)

    async def story() -> None:
        async with opened(owner):
            assert process.wait(10) == -signal.SIGKILL
            await until(lambda: not containers(engine, owner))

    try:
        asyncio.run(story())
        assert others.poll() is None
    finally:
        engine.remove_container(stranger)


def test_it_is_ended_when_its_instance_is_stopped(
    engine: APIClient, app_image: str, owner: str, forget: Forget
) -> None:
    async def story() -> None:
        async with opened(owner) as (driver, _):
            instance = new_id()
            container = created(engine, app_image, owner=owner, instance=instance)
            process = forget(container)
            await driver.stop(instance, 5)
            assert process.wait(10) == -signal.SIGKILL
            assert not containers(engine, owner)

    asyncio.run(story())


@failed_connects_leak
def test_it_is_ended_before_another_start_may_be_given_its_address(
    engine: APIClient, app_image: str, owner: str, forget: Forget, relay: Relay
) -> None:
    async def story() -> None:
        async with opened(owner) as (driver, _):
            hello = revision(app_image, "polite")
            relay.held = b"/start"
            lost = asyncio.create_task(driver.start(hello, new_id()))
            await asyncio.to_thread(relay.holds.wait)
            await asyncio.to_thread(relay.cut)
            with pytest.raises(EngineUnavailable, match="does not answer"):
                await lost
            process = forget(containers(engine, owner)[0]["Id"])
            relay.held = None
            relay.mend()
            await driver.start(hello, new_id())
            assert process.wait(10) == -signal.SIGKILL

    asyncio.run(story())


def test_one_that_holds_a_network_is_ended_too(
    engine: APIClient, app_image: str, owner: str, forget: Forget
) -> None:
    container = created(engine, app_image, owner=owner, role="sandbox")
    process = forget(container)
    docker_sandbox.sweep(engine, container)
    assert process.wait(10) == -signal.SIGKILL
    assert not containers(engine, owner)
