"""Starting instances through the Docker driver, and seeing what came of it."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from docker.api.client import APIClient
from docker.errors import APIError

from tests.exits import Exits
from wakeful.config.model import Readiness, Revision, Template
from wakeful.runtime.docker import DockerDriver
from wakeful.runtime.instance import Address, InstanceId
from wakeful.runtime.probe import ready

APP = ("python3", "/app/app.py")


@asynccontextmanager
async def opened(owner: str) -> AsyncIterator[tuple[DockerDriver, Exits]]:
    driver, exits = DockerDriver(owner), Exits()
    await driver.open(exits)
    try:
        yield driver, exits
    finally:
        await driver.close()


def revision(image: str, *behaviour: str, **template: Any) -> Revision:
    command = (*APP, *behaviour) if behaviour else ()
    return Revision("hello", 3, Template(image=image, command=command, **template))


def new_id() -> InstanceId:
    return InstanceId(f"hello-00003-{uuid.uuid4().hex[:8]}")


async def running(driver: DockerDriver, of: Revision) -> tuple[InstanceId, Address]:
    """One more instance, which listens."""
    instance = new_id()
    address = (await driver.start(of, instance)).address
    await ready(address, Readiness(path="/"))
    return instance, address


def get(address: Address, path: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://{address.host}:{address.port}{path}") as response:
        answer: dict[str, Any] = json.load(response)
    return answer


def containers(engine: APIClient, owner: str) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = engine.containers(
        all=True, filters={"label": f"wakeful.owner={owner}"}
    )
    return listed


def pause(engine: APIClient, container: str) -> None:
    """As by somebody else. An engine under load does not always manage to freeze everything;
    and what we have paused ourselves has to run first."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with suppress(APIError):
            engine.pause(container)
            return
        time.sleep(0.02)
    engine.pause(container)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 (the engine has no event for it)
            await asyncio.sleep(0.01)
