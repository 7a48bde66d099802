"""The seam to whatever runs instances. Knows nothing of requests."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Protocol, TypeAlias

from wakeful.config.model import Revision
from wakeful.runtime.instance import Exit, Found, InstanceId, Launched, Usage
from wakeful.runtime.output import Asked, Line


class DriverError(Exception):
    """The engine refused or failed; the message is for an operator."""


class ImageNotFound(DriverError):
    """The image is neither here nor to be had from its registry."""


class EngineUnavailable(DriverError):
    """Nothing answers where the engine should be."""


class OutputGone(DriverError):
    """The instance is not there (yet, or any more), and so is nothing that it wrote."""


# Waits until an instance may be started, and lasts until it is; entered more than once by a
# start that has to begin anew.
Turn: TypeAlias = Callable[[], AbstractAsyncContextManager[None]]


class Driver(Protocol):
    """Starts and stops instances somewhere.

    Every method may be called for several instances at once. Foreign
    exceptions never leave a driver: what fails is a DriverError.
    """

    name: str

    @property
    def freezer(self) -> str:
        """What it freezes with, for an operator; known once it is open."""

    @property
    def sandboxes_ready(self) -> int | None:
        """Networks made beforehand that nothing is in yet; None where there are no such."""

    async def open(
        self,
        exited: Callable[[Exit], None],
        paused: Callable[[InstanceId, bool], None] | None = None,
    ) -> None:
        """Connect. ``exited`` is called on the loop, once for each instance that ends.

        It is called also for instances that ``stop`` ended, and may be called
        before ``start`` has returned. ``paused`` is told of an instance that somebody else
        has paused (True), or let run again, where that can be known. Raises EngineUnavailable.
        """

    async def start(
        self, revision: Revision, instance: InstanceId, turn: Turn = nullcontext
    ) -> Launched:
        """Start one instance and say where it will listen (it may not listen yet).

        What takes long and does not load this host, such as a pull, is done without a turn.
        When it raises or is cancelled, nothing is left behind that ``stop``
        would not remove.
        """

    def freeze(self, instance: InstanceId, failed: Callable[[InstanceId], None]) -> None:
        """Let it not run, and keep its memory. Returns at once; the last word counts.

        ``failed`` is called on the loop, later, when it runs on nevertheless.
        """

    def thaw(self, instance: InstanceId) -> None:
        """Let it run again. Returns at once; what is written to it meanwhile waits for it.

        Where that is one system call it has happened; else it is under way,
        and tried until it succeeds. One that is not frozen, or not there, is
        not an error.
        """

    async def usage(self, instance: InstanceId) -> Usage:
        """What it uses now, frozen or not. Raises DriverError."""

    async def stop(self, instance: InstanceId, grace: float) -> None:
        """Thaw it, SIGTERM, SIGKILL after ``grace`` seconds, and remove every trace.

        An instance that is not there (any more) is not an error.
        """

    async def tail(self, instance: InstanceId, lines: int) -> list[str]:
        """The last lines of its output, also after it exited and until it is stopped."""

    def output(self, instance: InstanceId, asked: Asked) -> AsyncGenerator[list[Line], None]:
        """What it wrote, oldest first, a few lines at a time; frozen, ended, or not.

        Nothing is read before it is asked for, so whoever is slow makes nobody
        hold it. Close it (``aclose``) to let go of the engine. Raises DriverError;
        OutputGone when the instance is not there.
        """

    async def instances(self) -> list[Found]:
        """The instances of this installation that run now, whoever started them.

        Those that an earlier run left frozen are thawed.
        """

    def expect(self, revisions: Sequence[Revision]) -> None:
        """These may be started from now on. What makes that faster is prepared in the
        background."""

    async def moved(self, revisions: Sequence[Revision]) -> list[Revision]:
        """Of revisions that all name one image: those whose instances are made from another.

        Where names of images mean nothing, none. Raises DriverError.
        """

    async def close(self) -> None:
        """Let go of the engine; instances stay as they are."""
