"""Instances as containers of a Docker engine.

Who lives is kept on the loop and nowhere else; the calls are made in threads
(docker_client), the exits come from one more (docker_events), and lists are
compared with what should live whenever an exit may have been missed.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Concatenate

from docker.api.client import APIClient

from wakeful.config.model import FreezerKind, Reach, Revision
from wakeful.events import StartPhase
from wakeful.runtime import docker_container as containers
from wakeful.runtime.docker_client import DockerClient, P, T
from wakeful.runtime.docker_events import DockerEvents
from wakeful.runtime.docker_freezer import DockerFreezer
from wakeful.runtime.docker_images import DockerImages, Pin
from wakeful.runtime.docker_places import DockerPlaces
from wakeful.runtime.docker_pull import DockerPulls
from wakeful.runtime.driver import DriverError, EngineUnavailable, ImageNotFound, Turn
from wakeful.runtime.instance import Exit, Found, InstanceId, Launched, Usage
from wakeful.runtime.place import Place
from wakeful.runtime.reach import Way, way

log = logging.getLogger(__name__)

_CONNECT_TIMEOUT = 10.0
_RECONCILE = 30.0
_REMOVE_POLL = 0.05
_REMOVE_PATIENCE = 20.0
_EXIT_PATIENCE = 2.0  # for the engine to tell of an exit that it has already carried out


@dataclass(slots=True, eq=False)
class _Stopping:
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    callers: int = 0


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
        self._freezer = DockerFreezer(owner, freezer)
        self._reach = reach
        self._way = Way(None, "nobody has looked yet")
        self._client: DockerClient | None = None
        self._pulls: DockerPulls | None = None
        self._images: DockerImages | None = None
        self._places: DockerPlaces | None = None
        self._events: DockerEvents | None = None
        self._exited: Callable[[Exit], None] = lambda _: None
        self._alive: set[InstanceId] = set()
        self._starting: set[InstanceId] = set()  # of those, not to be found in lists yet
        self._stopping: dict[InstanceId, _Stopping] = {}
        self._discards: dict[InstanceId, asyncio.Task[None]] = {}  # of cancelled starts
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, exited: Callable[[Exit], None]) -> None:
        self._exited = exited
        self._client = client = DockerClient()
        self._pulls = DockerPulls(client.new)
        self._images = DockerImages(client, self._pulls, self._state)
        connected = asyncio.Event()
        try:
            await client.connect()
            await self._freezer.open()
            ours = await client.call(containers.own_network)
            self._network = self._network or ours
            self._way = await self._find_way(client, beside=ours is not None)
            self._places = places = DockerPlaces(
                client, self._owner, self._network, self._way, self._lost_network
            )
            self._events = DockerEvents(
                client.new,
                self._owner,
                asyncio.get_running_loop(),
                connected=lambda: self._connected(connected),
                died=self._ended,
                sandbox_died=places.sandboxes.died,
            )
            self._events.start()
            async with asyncio.timeout(_CONNECT_TIMEOUT):
                await connected.wait()
            # Listed before the first start: until it runs, one of our own looks the same.
            dead = await client.call(containers.dead, self._owner)
            await places.sandboxes.open()
        except BaseException as error:
            await self.close()
            if isinstance(error, TimeoutError):
                raise EngineUnavailable("Docker answers, but not with its events") from None
            raise
        if dead:
            self._spawn(self._remove_dead(dead))
        self._spawn(self._reconcile_slowly())

    async def start(
        self, revision: Revision, instance: InstanceId, turn: Turn = nullcontext
    ) -> Launched:
        if revision.template.image is None:
            raise DriverError(f"{revision.service} has no image to make a container from")
        self._alive.add(instance)
        self._starting.add(instance)
        try:
            launched = await self._launch(revision, instance, turn)
            if not self._open_places().sandboxes.holds(instance):
                raise DriverError("its network sandbox ended")
            return launched
        except DriverError as error:
            self._alive.discard(instance)
            raise type(error)(f"cannot start {revision.service}: {error}") from None
        except BaseException:
            self._alive.discard(instance)
            raise
        finally:
            self._starting.discard(instance)

    async def stop(self, instance: InstanceId, grace: float) -> None:
        self._freezer.thaw(instance)  # what is frozen sees no signal
        discard = self._discards.get(instance)
        if discard is not None:
            await asyncio.wait([discard])
        await self._freezer.settled(instance)
        stopping = self._stopping.setdefault(instance, _Stopping())
        stopping.callers += 1
        try:
            # A second SIGTERM means "at once" to many programs.
            if stopping.callers > 1 or await self._call(
                containers.terminate, self._owner, instance
            ):
                # No thread is held meanwhile: many may be stopped at once.
                with suppress(TimeoutError):
                    async with asyncio.timeout(grace):
                        await stopping.ended.wait()
            await self._remove(instance)
            if instance in self._alive:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_EXIT_PATIENCE):
                        await stopping.ended.wait()
                self._ended(instance, "killed by signal 9")
            stopping.ended.set()
            self._freezer.forget(instance)
            await self._open_places().release(instance)
        finally:
            stopping.callers -= 1
            if stopping.callers == 0:
                self._stopping.pop(instance, None)

    @property
    def freezer(self) -> str:
        return self._freezer.name

    @property
    def sandboxes_ready(self) -> int:
        return self._places.sandboxes.ready if self._places is not None else 0

    def freeze(self, instance: InstanceId, failed: Callable[[InstanceId], None]) -> None:
        self._freezer.freeze(instance, failed)

    def thaw(self, instance: InstanceId) -> None:
        self._freezer.thaw(instance)

    async def usage(self, instance: InstanceId) -> Usage:
        return await self._call(containers.usage, self._owner, instance)

    async def tail(self, instance: InstanceId, lines: int) -> list[str]:
        return await self._call(containers.tail, self._owner, instance, lines)

    async def instances(self) -> list[Found]:
        found = await self._call(containers.running, self._owner, self._way)
        unknown = {f.instance for f in found} - self._alive - set(self._discards)
        if unknown:
            await asyncio.gather(*(self._call(containers.thaw, self._owner, i) for i in unknown))
            self._alive |= unknown
            self._open_places().hold(
                {f.instance: f.address for f in found if f.instance in unknown}
            )
            await self._reconcile()  # one may have ended before it was known
        return [f for f in found if f.instance in self._alive]

    def expect(self, revisions: Sequence[Revision]) -> None:
        self._open_places().expect(revisions)

    async def moved(self, revisions: Sequence[Revision]) -> list[Revision]:
        if self._images is None:
            raise EngineUnavailable("the Docker driver is not open")
        return await self._images.moved(revisions)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        while self._discards:
            await asyncio.wait(self._discards.values())
        self._alive.clear()
        await self._freezer.close()
        if self._places is not None:
            await self._places.sandboxes.close()
        if self._pulls is not None:
            self._pulls.close()
        if self._events is not None:
            await asyncio.to_thread(self._events.close)
        if self._client is not None:
            await self._client.close()
        self._images = self._pulls = self._places = self._events = self._client = None

    async def _find_way(self, client: DockerClient, *, beside: bool) -> Way:
        found = way(self._reach, await client.call(containers.facts, beside))
        if found.host is not None:
            try:  # the engine binds to an address, not to a name
                loop = asyncio.get_running_loop()
                known = await loop.getaddrinfo(found.host, None, type=socket.SOCK_STREAM)
                found = replace(found, host=str(known[0][4][0]))
            except OSError as error:
                raise EngineUnavailable(f"{found.host}: {error.strerror}") from None
        log.info("reach: %s", found)
        return found

    # Starting

    async def _launch(self, revision: Revision, instance: InstanceId, turn: Turn) -> Launched:
        if self._images is None:
            raise EngineUnavailable("the Docker driver is not open")
        began = time.monotonic()
        pin = self._images.pinned(revision)
        if pin is None:
            pin = await self._images.pin(revision)
        else:
            try:
                async with turn():
                    return await self._launch_from(pin, revision, instance)
            except ImageNotFound:
                pin = await self._images.again(revision, pin)
        pull = (StartPhase.PULL, time.monotonic() - began)
        async with turn():
            launched = await self._launch_from(pin, revision, instance)
        return replace(launched, phases=(pull, *launched.phases))

    async def _launch_from(self, pin: Pin, revision: Revision, instance: InstanceId) -> Launched:
        places, began = self._open_places(), time.monotonic()
        place = places.give(revision, instance)
        given = (StartPhase.SANDBOX, time.monotonic() - began)
        if not places.sandboxes.holder_of(instance):
            return await self._launch_at(place, pin, revision, instance)
        try:
            launched = await self._launch_at(place, pin, revision, instance)
        except DriverError:
            if not await places.sandboxes.gave_way(instance):
                raise
            await places.release(instance)
            return await self._launch_at(places.bridge(revision), pin, revision, instance)
        return replace(launched, phases=(given, *launched.phases))

    async def _launch_at(
        self, place: Place, pin: Pin, revision: Revision, instance: InstanceId
    ) -> Launched:
        abandoned = threading.Event()
        launching = asyncio.ensure_future(
            self._call(
                containers.launch,
                *(self._owner, revision, instance, pin, place),
                *(abandoned, time.monotonic()),
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

    async def _discard(self, launching: asyncio.Future[Launched], instance: InstanceId) -> None:
        try:
            with suppress(DriverError):
                await launching
            await self._remove(instance)
        except DriverError as error:
            log.warning("cannot remove %s, whose start was given up: %s", instance, error)
        finally:
            del self._discards[instance]

    async def _remove(self, instance: InstanceId) -> None:
        try:
            async with asyncio.timeout(_REMOVE_PATIENCE):
                while not await self._call(containers.remove, self._owner, instance):  # noqa: ASYNC110
                    await asyncio.sleep(_REMOVE_POLL)
        except TimeoutError:
            raise DriverError(f"container {instance} is still being removed") from None

    # Exits

    def _ended(self, instance: InstanceId, detail: str) -> None:
        if instance in self._stopping:
            self._stopping[instance].ended.set()
        if instance in self._alive:
            self._alive.discard(instance)
            self._freezer.forget(instance)
            self._exited(Exit(instance, detail))

    def _lost_network(self, instance: InstanceId, detail: str) -> None:
        if instance not in self._starting:  # else its start sees to it
            self._ended(instance, detail)

    def _connected(self, connected: asyncio.Event) -> None:
        if connected.is_set():
            log.info("the stream of Docker events stands again")
            self._spawn(self._reconcile())
        connected.set()

    async def _reconcile_slowly(self) -> None:
        while True:
            await asyncio.sleep(_RECONCILE)
            await self._reconcile()

    async def _reconcile(self) -> None:
        """Find the exits that no event told of."""
        expected = self._alive - self._starting
        try:
            await self._open_places().sandboxes.reconcile()
            if not expected:
                return
            for instance in expected - await self._call(containers.alive, self._owner):
                detail = await self._call(containers.ending, self._owner, instance)
                if detail is not None:
                    self._ended(instance, detail)
        except DriverError as error:
            log.debug("cannot compare instances with containers: %s", error)

    # Housekeeping

    async def _remove_dead(self, dead: Sequence[str]) -> None:
        log.info("removing %d containers that an earlier run left behind", len(dead))
        for container in dead:
            try:
                await self._call(containers.remove_dead, container)
            except DriverError as error:
                log.warning("cannot remove container %.12s: %s", container, error)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _open_places(self) -> DockerPlaces:
        if self._places is None:
            raise EngineUnavailable("the Docker driver is not open")
        return self._places

    async def _call(
        self,
        function: Callable[Concatenate[APIClient, P], T],
        *arguments: P.args,
        **options: P.kwargs,
    ) -> T:
        if self._client is None:
            raise EngineUnavailable("the Docker driver is not open")
        return await self._client.call(function, *arguments, **options)
