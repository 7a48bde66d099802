"""Which of our containers live, and which somebody else has paused, as far as anybody has heard.

Events tell. Whenever one may have been missed, and now and then, lists are compared
with what should be. An instance is known by the id of its container as soon as that
has one: names can be changed, and labels be copied to a stranger.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from wakeful.runtime import docker_container as containers
from wakeful.runtime.docker_client import DockerClient
from wakeful.runtime.docker_forgotten import runs
from wakeful.runtime.docker_freezer import DockerFreezer
from wakeful.runtime.driver import DriverError
from wakeful.runtime.instance import Address, Exit, InstanceId

log = logging.getLogger(__name__)

_RECONCILE = 30.0


@dataclass(slots=True, eq=False)
class Life:
    """One container, until it has been stopped."""

    container: str = ""  # its id, once it is known
    address: Address | None = None  # the same
    starting: bool = False  # not to be found in lists yet
    alive: bool = True
    paused: bool = False  # by somebody else
    stops: int = 0  # that are under way
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class DockerLives:
    """Tells of each that ends (``exited``), and that is paused or runs again (``paused``)."""

    def __init__(
        self,
        client: DockerClient,
        owner: str,
        freezer: DockerFreezer,
        *,
        exited: Callable[[Exit], None],
        paused: Callable[[InstanceId, bool], None] | None,
        reconciled: Callable[[], Awaitable[None]],
    ) -> None:
        self._client = client
        self._owner = owner
        self._freezer = freezer
        self._exited = exited
        self._paused = paused
        self._reconciled = reconciled  # what else is compared with lists
        self._lives: dict[InstanceId, Life] = {}
        self.complete = False  # what ran before we did has been found
        self._looking = asyncio.Lock()  # the latest look counts, so they are made in order
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        self._spawn(self._reconcile_slowly())

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._lives.clear()

    # Called by the driver

    @property
    def alive(self) -> set[InstanceId]:
        return {instance for instance, life in self._lives.items() if life.alive}

    def container(self, instance: InstanceId) -> str:
        """Its id; empty when it is not known."""
        life = self._lives.get(instance)
        return "" if life is None else life.container

    def begins(self, instance: InstanceId) -> None:
        self._lives[instance] = Life(starting=True)

    def began(self, instance: InstanceId, container: str, address: Address) -> None:
        """Its start is over; it may have ended already."""
        life = self._lives.get(instance)
        if life is None:
            return  # all of it was closed meanwhile
        life.container, life.address, life.starting = container, address, False
        # An engine that ends, or whose events are not heard, does not say who has gone
        # before it gives an address away. What is sent there from now on is another's.
        for other, its in list(self._lives.items()):
            if its is not life and its.alive and its.address == address:
                self._end(other, its, f"{instance} has its address now")

    def failed(self, instance: InstanceId) -> None:
        """Its start did, or was called off."""
        life = self._lives.get(instance)
        if life is None:
            return  # all of it was closed meanwhile
        life.alive = life.starting = False
        if not life.stops:
            del self._lives[instance]

    def found(self, instance: InstanceId, container: str, address: Address) -> None:
        """It ran before we did."""
        self._lives[instance] = Life(container, address)

    @contextmanager
    def stopping(self, instance: InstanceId) -> Iterator[Life]:
        """It is forgotten where this ends without an error."""
        life = self._lives.setdefault(instance, Life(alive=False))
        life.stops += 1
        try:
            yield life
            self._lives.pop(instance, None)
        finally:
            life.stops -= 1

    def ended(self, instance: InstanceId, detail: str) -> None:
        life = self._lives.get(instance)
        if life is not None:
            self._end(instance, life, detail)

    def lost_network(self, instance: InstanceId, detail: str) -> None:
        life = self._lives.get(instance)
        if life is not None and not life.starting:  # else its start sees to it
            self._end(instance, life, detail)

    # Called by the stream of events

    def heard_end(self, instance: InstanceId, container: str, detail: str) -> None:
        life = self._known(instance, container)
        if life is not None:
            self._end(instance, life, detail)

    def heard_pause(self, instance: InstanceId, container: str, paused: bool) -> None:
        """What is heard may be old, and may have been us."""
        life = self._known(instance, container)
        if life is not None and life.alive and paused != life.paused:
            self._spawn(self._look(instance, life, container))

    def heard_start(self, instance: InstanceId, container: str) -> None:
        if not self.complete:
            return
        if instance not in self._lives:
            self._spawn(self._meet(instance, container))
        elif self._known(instance, container) is None:
            self._warn(instance, container)

    def missed(self) -> None:
        """There is, or was, a time in which events are not heard."""
        self._spawn(self.reconcile())

    # Comparing

    async def reconcile(self) -> None:
        expected = [one for one in self._lives.items() if one[1].alive and not one[1].starting]
        try:
            await self._reconciled()
            if not expected:
                return
            seen = await self._client.call(containers.living, self._owner)
            for instance, life in expected:
                paused = seen.get(life.container)
                if paused is None:
                    detail = await self._client.call(containers.ending, life.container)
                    if detail is not None:
                        self._end(instance, life, detail)
                else:
                    self.heard_pause(instance, life.container, paused)
        except DriverError as error:
            log.debug("cannot compare instances with containers: %s", error)

    async def _reconcile_slowly(self) -> None:
        while True:
            await asyncio.sleep(_RECONCILE)
            await self.reconcile()

    async def _look(self, instance: InstanceId, life: Life, container: str) -> None:
        """Whether somebody else has paused it, at a moment when we do not do so ourselves."""
        async with self._looking:
            try:
                while True:
                    await self._freezer.settled(instance)
                    calls, paused = self._freezer.calls(instance), False
                    if self._freezer.pauses(instance):
                        break
                    paused = await self._client.call(containers.paused, container)
                    if calls == self._freezer.calls(instance):
                        break
            except DriverError as error:
                log.debug("cannot see whether %s is paused: %s", instance, error)
                return
        if life.alive and life.paused != paused:
            life.paused = paused
            if self._paused is not None:
                self._paused(instance, paused)

    async def _meet(self, instance: InstanceId, container: str) -> None:
        """One of ours whose start was called off is about to be removed."""
        try:
            if await self._client.call(runs, container):
                self._warn(instance, container)
        except DriverError as error:
            log.debug("cannot see what container %.12s is: %s", container, error)

    def _warn(self, instance: InstanceId, container: str) -> None:
        text = "container %.12s, started by somebody else, has the labels of instance %s: %s"
        log.warning(text, container, instance, "it is left alone until the next start of wakeful")

    # Helpers

    def _known(self, instance: InstanceId, container: str) -> Life | None:
        """None also when it is another container that only has its labels."""
        life = self._lives.get(instance)
        return None if life is None or life.container not in ("", container) else life

    def _end(self, instance: InstanceId, life: Life, detail: str) -> None:
        life.ended.set()
        if life.alive:
            life.alive = False
            self._freezer.forget(instance)
            self._exited(Exit(instance, detail))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
