"""Instances as containers of a Docker engine.

What lives is kept on the loop and nowhere else (docker_lives); the calls are made in
threads (docker_client), and one more hears of what happens (docker_events).
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from wakeful.config.model import FreezerKind, Reach, Revision
from wakeful.runtime import docker_container as containers
from wakeful.runtime import docker_host, docker_logs
from wakeful.runtime.docker_client import DockerClient
from wakeful.runtime.docker_events import DockerEvents
from wakeful.runtime.docker_forgotten import end_forgotten
from wakeful.runtime.docker_freezer import DockerFreezer
from wakeful.runtime.docker_images import DockerImages
from wakeful.runtime.docker_launch import DockerLaunches
from wakeful.runtime.docker_lives import DockerLives
from wakeful.runtime.docker_places import DockerPlaces
from wakeful.runtime.docker_pull import DockerPulls
from wakeful.runtime.driver import DriverError, EngineUnavailable, Turn
from wakeful.runtime.instance import Exit, Found, InstanceId, Launched, Usage
from wakeful.runtime.output import Asked, Line
from wakeful.runtime.reach import Way, way

log = logging.getLogger(__name__)

_CONNECT_TIMEOUT = 10.0
_EXIT_PATIENCE = 2.0  # for the engine to tell of an exit that it has already carried out


@dataclass(frozen=True, slots=True)
class _Parts:
    """What there is while the driver is open."""

    client: DockerClient
    images: DockerImages
    places: DockerPlaces
    launches: DockerLaunches
    lives: DockerLives
    way: Way


class DockerDriver:
    """Containers labelled with ``owner``, on ``network``.

    Which images revisions run is remembered in ``state``. Without a network:
    the one that this process is in, when it is in a container itself, else the
    engine's default bridge.
    """

    name = "docker"

    def __init__(
        self,
        owner: str,
        state: Path | None = None,
        *,
        network: str | None = None,
        freezer: FreezerKind = FreezerKind.AUTO,
        reach: Reach = Reach.AUTO,
    ) -> None:
        self._owner = owner
        self._state = state
        self._network = network
        self._freezer = DockerFreezer(freezer)
        self._reach = reach
        self._closing = AsyncExitStack()
        self._parts: _Parts | None = None
        self._sweeping: asyncio.Task[None] | None = None

    async def open(
        self,
        exited: Callable[[Exit], None],
        paused: Callable[[InstanceId, bool], None] | None = None,
    ) -> None:
        try:
            dead = await self._open(exited, paused)
        except BaseException as error:
            await self.close()
            if isinstance(error, TimeoutError):
                raise EngineUnavailable("Docker answers, but not with its events") from None
            raise
        if dead:
            self._sweeping = asyncio.create_task(self._remove_dead(dead))

    async def _open(
        self, exited: Callable[[Exit], None], paused: Callable[[InstanceId, bool], None] | None
    ) -> Sequence[str]:
        """Each part has its end noted as soon as it begins. Returns what has died."""
        ending = self._closing
        client = DockerClient()
        ending.push_async_callback(client.close)
        pulls = DockerPulls(client.new)
        ending.callback(pulls.close)
        images = DockerImages(client, pulls, self._state)
        await client.connect()
        ending.push_async_callback(self._freezer.close)
        await self._freezer.open()
        ours = await client.call(docker_host.own_network)
        found = await self._find_way(client, beside=ours is not None)
        places = DockerPlaces(
            client,
            self._owner,
            self._network or ours,
            found,
            lambda instance, detail: lives.lost_network(instance, detail),
        )
        ending.push_async_callback(places.sandboxes.close)
        launches = DockerLaunches(client, self._owner, images, places)
        ending.push_async_callback(launches.close)
        lives = DockerLives(
            client,
            self._owner,
            self._freezer,
            exited=exited,
            paused=paused,
            reconciled=places.sandboxes.reconcile,
        )
        ending.callback(lives.close)
        connected = asyncio.Event()
        events = DockerEvents(
            client.new,
            self._owner,
            asyncio.get_running_loop(),
            connected=lambda: self._connected(connected, lives),
            broken=lives.missed,
            started=lambda instance, container: (
                None if instance in launches.discards else lives.heard_start(instance, container)
            ),
            paused=lives.heard_pause,
            died=lives.heard_end,
            sandbox_died=places.sandboxes.died,
        )
        ending.push_async_callback(asyncio.to_thread, events.close)
        events.start()
        async with asyncio.timeout(_CONNECT_TIMEOUT):
            await connected.wait()
        # Listed before the first start: until it runs, one of our own looks the same.
        dead = await client.call(containers.dead, self._owner)
        await asyncio.to_thread(end_forgotten, dead)
        await places.sandboxes.open()
        lives.open()
        self._parts = _Parts(client, images, places, launches, lives, found)
        return dead

    async def start(
        self, revision: Revision, instance: InstanceId, turn: Turn = nullcontext
    ) -> Launched:
        if revision.template.image is None:
            raise DriverError(f"{revision.service} has no image to make a container from")
        it = self._opened()
        it.lives.begins(instance)
        try:
            started = await it.launches.launch(revision, instance, turn)
            if not it.places.sandboxes.holds(instance):
                raise DriverError("its network sandbox ended")
        except DriverError as error:
            it.lives.failed(instance)
            raise type(error)(f"cannot start {revision.service}: {error}") from None
        except BaseException:
            it.lives.failed(instance)
            raise
        it.lives.began(instance, started.container, started.address)
        return Launched(started.address, started.phases)

    async def stop(self, instance: InstanceId, grace: float) -> None:
        it = self._opened()
        self._freezer.thaw(instance)  # what is frozen sees no signal
        await it.launches.discarded(instance)
        await self._freezer.settled(instance)
        with it.lives.stopping(instance) as life:
            container = await self._id(instance)
            if container:
                # A second SIGTERM means "at once" to many programs.
                if life.stops > 1 or await it.client.call(containers.terminate, container):
                    # No thread is held meanwhile: many may be stopped at once.
                    with suppress(TimeoutError):
                        async with asyncio.timeout(grace):
                            await life.ended.wait()
                await it.launches.remove(container)
            if life.alive:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_EXIT_PATIENCE):
                        await life.ended.wait()
                it.lives.ended(instance, "killed by signal 9")
            life.ended.set()
            self._freezer.forget(instance)
            await it.places.release(instance)

    @property
    def freezer(self) -> str:
        return self._freezer.name

    @property
    def sandboxes_ready(self) -> int:
        return 0 if self._parts is None else self._parts.places.sandboxes.ready

    def freeze(self, instance: InstanceId, failed: Callable[[InstanceId], None]) -> None:
        self._freezer.freeze(instance, self._opened().lives.container(instance), failed)

    def thaw(self, instance: InstanceId) -> None:
        self._freezer.thaw(instance)

    async def usage(self, instance: InstanceId) -> Usage:
        return await self._opened().client.call(containers.usage, await self._id(instance))

    async def tail(self, instance: InstanceId, lines: int) -> list[str]:
        container = await self._id(instance)
        if not container or lines <= 0:
            return []
        return await self._opened().client.call(containers.tail, container, lines)

    async def output(self, instance: InstanceId, asked: Asked) -> AsyncGenerator[list[Line], None]:
        client, container = self._opened().client, await self._id(instance)
        async with aclosing(docker_logs.output(client, container, asked)) as pieces:
            async for lines in pieces:
                yield lines

    async def instances(self) -> list[Found]:
        it = self._opened()
        listed = await it.client.call(containers.running, self._owner, it.way)
        known = it.lives.alive | it.launches.discards
        unknown = {c: found for c, found in listed.items() if found.instance not in known}
        if unknown:
            await asyncio.gather(*(it.client.call(containers.thaw, c) for c in unknown))
            for container, found in unknown.items():
                it.lives.found(found.instance, container, found.address)
            it.places.hold({found.instance: found.address for found in unknown.values()})
            await it.lives.reconcile()  # one may have ended before it was known
        it.lives.complete = True
        alive = it.lives.alive
        return [found for found in listed.values() if found.instance in alive]

    def expect(self, revisions: Sequence[Revision]) -> None:
        self._opened().places.expect(revisions)

    async def moved(self, revisions: Sequence[Revision]) -> list[Revision]:
        return await self._opened().images.moved(revisions)

    async def close(self) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
        await self._closing.aclose()
        self._parts = None

    async def _find_way(self, client: DockerClient, *, beside: bool) -> Way:
        found = way(self._reach, await client.call(docker_host.facts, beside))
        if found.host is not None:
            try:  # the engine binds to an address, not to a name
                loop = asyncio.get_running_loop()
                known = await loop.getaddrinfo(found.host, None, type=socket.SOCK_STREAM)
                found = replace(found, host=str(known[0][4][0]))
            except OSError as error:
                raise EngineUnavailable(f"{found.host}: {error.strerror}") from None
        log.info("reach: %s", found)
        return found

    def _connected(self, connected: asyncio.Event, lives: DockerLives) -> None:
        if connected.is_set():
            log.info("the stream of Docker events stands again")
            lives.missed()
        connected.set()

    async def _remove_dead(self, dead: Sequence[str]) -> None:
        log.info("removing %d containers that an earlier run left behind", len(dead))
        for container in dead:
            try:
                await self._opened().client.call(containers.remove_dead, container)
            except DriverError as error:
                log.warning("cannot remove container %.12s: %s", container, error)

    async def _id(self, instance: InstanceId) -> str:
        """Of its container; empty when there is none. Raises DriverError."""
        it = self._opened()
        known = it.lives.container(instance)
        return known or await it.client.call(containers.find, self._owner, instance)

    def _opened(self) -> _Parts:
        if self._parts is None:
            raise EngineUnavailable("the Docker driver is not open")
        return self._parts
