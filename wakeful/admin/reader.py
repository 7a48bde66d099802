"""One who reads the output of a service.

Who follows has one task for each instance. All of them wait until what one has brought
was taken: what is not taken is not read, and nothing piles up here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Protocol

from wakeful.admin.log_lines import (
    ERROR,
    NOBODY,
    LastWords,
    LogQuery,
    encoded,
    note,
    remembered,
)
from wakeful.runtime.driver import Driver, DriverError, OutputGone
from wakeful.runtime.instance import Exit, InstanceId
from wakeful.runtime.output import NOTE, Asked

log = logging.getLogger(__name__)

_NEW = Asked(follow=True)  # of an instance that comes, everything
_EXIT_PATIENCE = 1.0  # seconds until an exit is told of, after its output has ended


class Source(Protocol):
    """What a reader asks of those who know about all of them."""

    def now(self) -> float: ...
    def room(self) -> bool: ...
    def last_words(self, service: str, instance: InstanceId) -> LastWords | None: ...
    def forget(self, reader: Reader) -> None: ...


@dataclass(slots=True, eq=False)
class _Followed:
    again: bool = False  # it has come since its output was asked for
    exit: asyncio.Future[str] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Reader:
    """``pieces`` is what it reads; ``close`` lets go of all that this took."""

    def __init__(
        self,
        source: Source,
        driver: Driver,
        query: LogQuery,
        instances: list[InstanceId],
        words: LastWords | None,
    ) -> None:
        self.query = query
        self.gone = asyncio.Event()
        self.cut: Callable[[], object] = lambda: None  # for who does not take what it asked for
        self._source = source
        self._driver = driver
        self._instances = instances  # that there are at the beginning
        self._words = words
        self._following: dict[InstanceId, _Followed] = {}
        self._tasks: set[asyncio.Task[None]] = set()  # one for each that it follows
        self._end: asyncio.Task[None] | None = None  # tells that none of them is left
        self._ready: asyncio.Queue[bytes] = asyncio.Queue(1)  # nothing: it is over
        self._only = query.instance is not None
        self._last = ""  # why it is over, once nothing of it is left
        self._closed = False

    @property
    def streams(self) -> int:
        """Instances that it follows."""
        return len(self._following)

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """A few lines at a time, in the form of log_lines."""
        asked = self.query.asked
        if self._words is not None and (text := remembered(self._words, asked)):
            yield text
        if asked.follow:
            for instance in self._instances:
                if instance not in self._following:  # it has come since
                    self._begin(instance, asked)
            self._end_when_over()
            while piece := await self._ready.get():
                yield piece
            if self._last:
                yield self._note(NOBODY, self._last)
            return
        for instance in self._instances:
            async with aclosing(self._all(instance)) as pieces:
                async for piece in pieces:
                    yield piece
        if not self._instances and self._words is None:
            yield self._note(NOBODY, "nothing runs, and of what ran nothing is kept")

    async def close(self) -> None:
        self._closed = True
        tasks = self._tasks if self._end is None else self._tasks | {self._end}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._source.forget(self)
        self.gone.set()

    # Called by its source

    def came(self, instance: InstanceId) -> None:
        if self.query.asked.follow and not (self._only or self._last or self._closed):
            it = self._following.get(instance)
            if it is None:
                self._begin(instance, _NEW)
            else:
                it.again = True

    def exited(self, exit: Exit) -> None:
        it = self._following.get(exit.instance)
        if it is not None and not it.exit.done():
            it.exit.set_result(exit.detail)

    def finish(self, why: str, *, at_once: bool = False) -> None:
        """Nothing comes any more; what there is may be followed to its end."""
        self._last = why
        if at_once:
            for task in self._tasks:
                task.cancel()
        self._end_when_over()

    # Reading

    async def _all(self, instance: InstanceId) -> AsyncGenerator[bytes, None]:
        try:
            async with aclosing(self._driver.output(instance, self.query.asked)) as pieces:
                async for lines in pieces:
                    yield encoded(instance, lines)
        except OutputGone:
            if text := self._remembered(instance, self.query.asked):
                yield text
        except DriverError as error:
            yield self._note(instance, str(error), ERROR)

    def _begin(self, instance: InstanceId, asked: Asked) -> None:
        it, room = _Followed(), self._source.room()
        self._following[instance] = it
        work = self._follow(instance, it, asked) if room else self._refuse(instance)
        task = asyncio.create_task(work, name=f"output of {instance}")
        self._tasks.add(task)
        task.add_done_callback(self._done)

    async def _refuse(self, instance: InstanceId) -> None:
        try:
            text = "it is not followed, because too many are; ask for one with --instance"
            await self._ready.put(self._note(instance, text, ERROR))
        finally:
            del self._following[instance]

    async def _follow(self, instance: InstanceId, it: _Followed, asked: Asked) -> None:
        try:
            while not await self._followed(instance, it, asked) and it.again:
                asked, it.again = _NEW, False
        finally:
            del self._following[instance]

    async def _followed(self, instance: InstanceId, it: _Followed, asked: Asked) -> bool:
        """To its end; False when it is not there (yet, or any more)."""
        try:
            async with aclosing(self._driver.output(instance, asked)) as pieces:
                async for lines in pieces:
                    await self._ready.put(encoded(instance, lines))
        except OutputGone:
            if not it.again and (text := self._remembered(instance, asked)):
                await self._ready.put(text)
            return False
        except DriverError as error:
            await self._ready.put(self._note(instance, str(error), ERROR))
            return True
        with suppress(TimeoutError):
            async with asyncio.timeout(_EXIT_PATIENCE):
                await asyncio.shield(it.exit)
        how = f"ended: {it.exit.result()}" if it.exit.done() else "ended"
        await self._ready.put(self._note(instance, how))
        return True

    # Ending

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s", task.get_name(), exc_info=error)
        self._end_when_over()

    def _end_when_over(self) -> None:
        over = (self._only or self._last) and not self._tasks and not self._closed
        if over and self._end is None and self.query.asked.follow:
            self._end = asyncio.create_task(self._ready.put(b""))

    # Helpers

    def _remembered(self, instance: InstanceId, asked: Asked) -> bytes:
        words = self._source.last_words(self.query.service, instance)
        return remembered(words, asked) if words is not None else b""

    def _note(self, instance: InstanceId, text: str, stream: bytes = NOTE) -> bytes:
        return note(instance, text, self._source.now(), stream)
