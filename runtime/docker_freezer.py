"""Freezing containers: by their cgroups, or through the engine where those cannot be reached.

What is wanted of a container is set at once and never waits. A cgroup follows
in the same call; the engine is brought up to it by one task per container,
which pauses and unpauses in turn, so that the last word counts whatever is
under way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from wakeful.config.model import FreezerKind
from wakeful.runtime import docker_container as containers
from wakeful.runtime.docker_client import DockerClient
from wakeful.runtime.docker_endpoint import endpoint
from wakeful.runtime.driver import DriverError
from wakeful.runtime.freezer import CgroupFreezer, direct_problem
from wakeful.runtime.instance import InstanceId

log = logging.getLogger(__name__)

# Threads of its own: a thaw must not wait behind starts.
_THREADS = 4

# A process in the middle of a fork may miss being frozen by cgroup v1, and is
# frozen once more; runc does the same.
_SETTLE = 0.02
_MOST_SETTLING = 50

# From thawing a container to pausing it again. The engine hears of its own unpausing a moment
# later, and if it has paused it again by then takes it for running: nobody could thaw it any more.
_ENGINE_SETTLES = 0.25

# Between two tries to thaw what the engine does not let us thaw.
_FIRST_RETRY = 0.1
_LONGEST_RETRY = 5.0
_PATIENCE = 5.0


@dataclass(slots=True, eq=False)
class _Container:
    instance: InstanceId
    container: str  # its id
    failed: Callable[[InstanceId], None]
    frozen: bool = False  # is what is wanted
    paused: bool = False  # by the engine, as far as is known
    gone: bool = False
    looked_up: bool = False
    calls: int = 0  # of the engine
    freezer: CgroupFreezer | None = None  # of the cgroup, if it can be written
    following: asyncio.Task[None] | None = None


class DockerFreezer:
    """Freezes and thaws containers."""

    def __init__(self, kind: FreezerKind) -> None:
        self._kind = kind
        self._client = DockerClient(_THREADS)
        self._containers: dict[InstanceId, _Container] = {}  # that were frozen at least once
        self._unsettled: dict[InstanceId, int] = {}  # how often each was looked at
        self._settling: asyncio.TimerHandle | None = None
        self._warned = False
        self.name = ""  # what it uses, for an operator

    async def open(self) -> None:
        """Raises EngineUnavailable; DriverError where it must be direct and cannot."""
        problem = None
        if self._kind is not FreezerKind.ENGINE:
            url = endpoint().url
            remote = not url.startswith("unix:")
            problem = f"{url} may be another machine" if remote else direct_problem()
        if problem is not None and self._kind is FreezerKind.DIRECT:
            raise DriverError(f"freezer direct: {problem}")
        if problem is not None:
            self._kind = FreezerKind.ENGINE
        engine = self._kind is FreezerKind.ENGINE
        self.name = "docker pause" if engine else "cgroups, written directly"
        if problem is not None:
            self.name += f" ({problem})"
        await self._client.connect()

    def freeze(
        self, instance: InstanceId, container: str, failed: Callable[[InstanceId], None]
    ) -> None:
        it = self._containers.get(instance)
        if it is None:
            it = self._containers[instance] = _Container(instance, container, failed)
        it.frozen, it.failed = True, failed
        self._bring(it)

    def thaw(self, instance: InstanceId) -> None:
        it = self._containers.get(instance)
        if it is not None and it.frozen:
            it.frozen = False
            self._bring(it)

    async def settled(self, instance: InstanceId) -> None:
        """Wait a while for the engine to have nothing under way for it."""
        it = self._containers.get(instance)
        if it is not None and it.following is not None:
            await asyncio.wait([it.following], timeout=_PATIENCE)

    def pauses(self, instance: InstanceId) -> bool:
        """Whether it is paused by us, or is about to be, or was a moment ago."""
        it = self._containers.get(instance)
        return it is not None and it.freezer is None and (it.paused or it.following is not None)

    def calls(self, instance: InstanceId) -> int:
        """How often the engine was asked to pause or unpause it."""
        it = self._containers.get(instance)
        return 0 if it is None else it.calls

    def forget(self, instance: InstanceId) -> None:
        """It has ended."""
        it = self._containers.pop(instance, None)
        if it is not None:
            it.gone = True
            if it.freezer is not None:
                it.freezer.close()

    async def close(self) -> None:
        """What was wanted last is still carried out, if the engine lets us."""
        if self._settling is not None:
            self._settling.cancel()
        following = {it.following for it in self._containers.values() if it.following is not None}
        if following:
            _, late = await asyncio.wait(following, timeout=_PATIENCE)
            for task in late:
                task.cancel()
        for instance in list(self._containers):
            self.forget(instance)
        await self._client.close()

    # Private

    def _bring(self, it: _Container) -> None:
        if it.freezer is not None:
            self._write(it, it.freezer)
        elif it.following is None:
            it.following = asyncio.create_task(self._follow(it), name=f"freezer {it.instance}")

    def _write(self, it: _Container, freezer: CgroupFreezer) -> None:
        if not it.frozen:
            freezer.thaw()
            return
        freezer.freeze()
        self._unsettled[it.instance] = 0
        if self._settling is None:
            self._settle_later()

    def _settle_later(self) -> None:
        self._settling = asyncio.get_running_loop().call_later(_SETTLE, self._settle)

    def _settle(self) -> None:
        self._settling = None
        for instance, looks in list(self._unsettled.items()):
            it = self._containers.get(instance)
            if it is None or it.freezer is None or not it.frozen or it.freezer.frozen():
                del self._unsettled[instance]
            elif looks < _MOST_SETTLING:
                self._unsettled[instance] = looks + 1
                it.freezer.again()
            else:
                del self._unsettled[instance]
                log.warning("%s does not freeze as a whole", instance)
        if self._unsettled:
            self._settle_later()

    async def _follow(self, it: _Container) -> None:
        """Bring it from where it is to what is wanted, until they are the same."""
        retry = _FIRST_RETRY
        try:
            if not it.looked_up:
                await self._look_up(it)
            while it.freezer is None and it.paused != it.frozen and not it.gone:
                frozen = it.frozen
                if frozen and it.calls:
                    await asyncio.sleep(_ENGINE_SETTLES)
                    if not it.frozen or it.gone:
                        continue
                it.calls += 1
                try:
                    await self._client.call(
                        containers.pause if frozen else containers.unpause, it.container
                    )
                    it.paused = frozen
                except DriverError as error:
                    if frozen:
                        it.paused = True  # who knows
                        self._give_up(it, error)
                        continue
                    level = logging.WARNING if retry == _FIRST_RETRY else logging.DEBUG
                    log.log(level, "%s cannot be thawed yet: %s", it.instance, str(error))
                    await asyncio.sleep(retry)
                    retry = min(2 * retry, _LONGEST_RETRY)
        except DriverError as error:
            self._give_up(it, error)
        finally:
            it.following = None

    async def _look_up(self, it: _Container) -> None:
        """Find its cgroup. From then on that is written directly, if it can be."""
        cgroup = await self._client.call(containers.cgroup, it.container)
        if self._kind is not FreezerKind.ENGINE:
            freezer, problem = None, "its cgroup cannot be found from here"
            if cgroup is not None:
                try:
                    freezer = CgroupFreezer(cgroup)
                except OSError as error:
                    problem = f"{error.filename}: {(error.strerror or str(error)).lower()}"
            if freezer is None and self._kind is FreezerKind.DIRECT:
                raise DriverError(f"freezer direct: {problem}")
            if freezer is None:
                self._warn("%s is frozen by docker pause: %s", it.instance, problem)
            elif it.gone:
                freezer.close()
            else:
                it.freezer = freezer
                if it.frozen:
                    self._write(it, freezer)
        it.looked_up = True

    def _give_up(self, it: _Container, error: DriverError) -> None:
        if it.frozen and not it.gone:
            it.frozen = False
            self._warn("%s cannot be frozen: %s", it.instance, str(error))
            it.failed(it.instance)

    def _warn(self, message: str, *arguments: object) -> None:
        """The first time aloud: what it says is true of most containers, or of all."""
        log.log(logging.DEBUG if self._warned else logging.WARNING, message, *arguments)
        self._warned = True
