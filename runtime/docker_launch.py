"""From a revision to a container of it that runs: its image, its place, the engine's calls."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import replace

from wakeful.config.model import Revision
from wakeful.events import StartPhase
from wakeful.runtime import docker_container as containers
from wakeful.runtime.docker_client import DockerClient
from wakeful.runtime.docker_container import LeftBehind, Started
from wakeful.runtime.docker_forgotten import end_if_forgotten
from wakeful.runtime.docker_images import DockerImages, Pin
from wakeful.runtime.docker_places import DockerPlaces
from wakeful.runtime.driver import DriverError, EngineUnavailable, ImageNotFound, Turn
from wakeful.runtime.instance import InstanceId
from wakeful.runtime.place import Place

log = logging.getLogger(__name__)

_REMOVE_POLL = 0.05
_REMOVE_PATIENCE = 20.0


class DockerLaunches:
    """Those of ``owner``. A start that is cancelled is cleaned up after in the background."""

    def __init__(
        self, client: DockerClient, owner: str, images: DockerImages, places: DockerPlaces
    ) -> None:
        self._client = client
        self._owner = owner
        self._images = images
        self._places = places
        self._discards: dict[InstanceId, asyncio.Task[None]] = {}  # of cancelled starts
        self._left_behind: set[str] = set()  # containers

    async def launch(self, revision: Revision, instance: InstanceId, turn: Turn) -> Started:
        """Raises DriverError."""
        began = time.monotonic()
        pin = self._images.pinned(revision)
        if pin is None:
            pin = await self._images.pin(revision)
        else:
            try:
                async with turn():
                    return await self._from(pin, revision, instance)
            except ImageNotFound:
                pin = await self._images.again(revision, pin)
        pull = (StartPhase.PULL, time.monotonic() - began)
        async with turn():
            started = await self._from(pin, revision, instance)
        return replace(started, phases=(pull, *started.phases))

    async def discarded(self, instance: InstanceId) -> None:
        """Wait for a start that was cancelled to have left nothing."""
        discard = self._discards.get(instance)
        if discard is not None:
            await asyncio.wait([discard])

    @property
    def discards(self) -> frozenset[InstanceId]:
        return frozenset(self._discards)

    async def remove(self, container: str) -> None:
        """Kill it and remove it. Raises DriverError."""
        try:
            async with asyncio.timeout(_REMOVE_PATIENCE):
                while not await self._client.call(containers.remove, container):  # noqa: ASYNC110
                    await asyncio.sleep(_REMOVE_POLL)
        except TimeoutError:
            raise DriverError(f"container {container:.12} is still being removed") from None

    async def close(self) -> None:
        while self._discards:
            await asyncio.wait(self._discards.values())

    async def _from(self, pin: Pin, revision: Revision, instance: InstanceId) -> Started:
        await self._clear_away()
        places, began = self._places, time.monotonic()
        place = places.give(revision, instance)
        given = (StartPhase.SANDBOX, time.monotonic() - began)
        if not places.sandboxes.holder_of(instance):
            return await self._at(place, pin, revision, instance)
        try:
            started = await self._at(place, pin, revision, instance)
        except DriverError:
            if not await places.sandboxes.gave_way(instance):
                raise
            await places.release(instance)
            return await self._at(places.bridge(revision), pin, revision, instance)
        return replace(started, phases=(given, *started.phases))

    async def _at(
        self, place: Place, pin: Pin, revision: Revision, instance: InstanceId
    ) -> Started:
        abandoned = threading.Event()
        launching = asyncio.ensure_future(
            self._watching(
                self._client.call(
                    containers.launch,
                    *(self._owner, revision, instance, pin, place),
                    *(abandoned, time.monotonic()),
                )
            )
        )
        try:
            return await asyncio.shield(launching)
        except asyncio.CancelledError:
            # A thread cannot be cancelled: it cleans up at its next step, and
            # when it had none left, its container is removed here.
            abandoned.set()
            self._discards[instance] = asyncio.create_task(self._discard(launching, instance))
            raise

    async def _watching(self, launch: Awaitable[Started]) -> Started:
        try:
            return await launch
        except LeftBehind as error:
            self._left_behind.add(error.container)
            raise EngineUnavailable(str(error)) from None

    async def _clear_away(self) -> None:
        """What is left behind may have the address that the next start is given."""
        for container in list(self._left_behind):
            await self._client.call(end_if_forgotten, container)
            self._left_behind.discard(container)

    async def _discard(self, launching: asyncio.Future[Started], instance: InstanceId) -> None:
        try:
            with suppress(DriverError):  # then nothing is left, or ``stop`` will find it
                await self.remove((await launching).container)
        finally:
            del self._discards[instance]
