"""The output of services: who reads it, and is told of instances that come meanwhile."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress

from wakeful.admin.log_lines import LastWords, LogQuery, matching, unknown_service
from wakeful.admin.reader import Reader
from wakeful.config.model import Revision, Service
from wakeful.runtime.driver import Driver
from wakeful.runtime.instance import Exit, InstanceId

# Each holds a connection to the engine, or a file, for every instance that it follows.
MOST_READERS = 16
MOST_STREAMS = 128  # that are followed, by all of them together

_REMEMBERED = 100  # services, of each the end of what failed last
_LONGEST_REMEMBERED = 4096  # characters of one line of that
_CLOSE_PATIENCE = 0.5  # seconds for readers to take the last of it


class Refused(Exception):
    """``status`` is the answer's; the message says what to do."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Outputs:
    """Those of all services, for a bounded number of readers."""

    def __init__(
        self,
        driver: Driver,
        services: Callable[[], Mapping[str, Service]],
        instances: Callable[[str], list[InstanceId]],
        wall: Callable[[], float],
    ) -> None:
        self._driver = driver
        self._services = services
        self._instances = instances
        self._wall = wall
        self._readers: set[Reader] = set()
        self._last: OrderedDict[str, LastWords] = OrderedDict()  # by service, the latest last
        self._closing = False

    # Called by the admin listener

    def open(self, query: LogQuery) -> Reader:
        """It is the caller's to close. Raises Refused."""
        service = self._services().get(query.service)
        if service is None:
            raise Refused(404, unknown_service(query.service, self._services()))
        if service.template.upstreams:
            raise Refused(404, f"{query.service} has fixed upstreams, whose output is not here")
        instances = self._instances(query.service)
        words = self._last.get(query.service)
        if words is not None and words.instance in instances:
            words = None  # what it wrote is still there itself
        if query.instance is not None:
            known = [*instances, words.instance] if words is not None else instances
            try:
                only = matching(query.service, query.instance, known)
            except ValueError as error:
                raise Refused(404, str(error)) from None
            instances = [one for one in instances if one == only]
            words = words if words is not None and words.instance == only else None
        if self._closing or len(self._readers) >= MOST_READERS:
            raise Refused(503, f"{MOST_READERS} readers of logs are the most: end one of them")
        reader = Reader(self, self._driver, query, instances, words)
        self._readers.add(reader)
        return reader

    # Called by fleets, for the driver, and by the application

    def came(self, revision: Revision, instance: InstanceId) -> None:
        for reader in self._readers:
            if reader.query.service == revision.service:
                reader.came(instance)

    def failed(
        self, revision: Revision, instance: InstanceId, wrong: str, last: Sequence[str]
    ) -> None:
        lines = tuple(line[:_LONGEST_REMEMBERED] for line in last)
        self._last[revision.service] = LastWords(instance, wrong, self._wall(), lines)
        self._last.move_to_end(revision.service)
        if len(self._last) > _REMEMBERED:
            self._last.popitem(last=False)

    def exited(self, exit: Exit) -> None:
        for reader in self._readers:
            reader.exited(exit)

    def reloaded(self, services: Collection[str]) -> None:
        """Whoever follows another one has only the end of its instances to wait for."""
        for reader in self._readers:
            if reader.query.service not in services:
                reader.finish("the service was removed")

    async def close(self) -> None:
        """Readers get what is there; those that do not take it are cut off."""
        self._closing = True
        for reader in self._readers:
            reader.finish("wakeful ends", at_once=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_PATIENCE):
                for reader in list(self._readers):
                    await reader.gone.wait()
        for reader in list(self._readers):
            reader.cut()

    # Called by readers

    def now(self) -> float:
        """Seconds since 1970."""
        return self._wall()

    def room(self) -> bool:
        """Whether one more instance may be followed."""
        return sum(reader.streams for reader in self._readers) < MOST_STREAMS

    def last_words(self, service: str, instance: InstanceId) -> LastWords | None:
        """Of an instance that failed, if it was the last one of its service that did."""
        words = self._last.get(service)
        return words if words is not None and words.instance == instance else None

    def forget(self, reader: Reader) -> None:
        self._readers.discard(reader)
