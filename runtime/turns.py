"""Turns to start an instance: so many at once on this host, fairly between services.

Owns who has a turn and who waits for one. What is done with a turn is the
fleets' business.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf

_COLD = -1  # before every number of turns that a service may have

# Seconds. A start on a quiet machine is over by then; one that takes longer mostly waits: for a
# volume, a network, an engine that does not answer.
_AT_WORK = 1.0


class _Service:
    """The turns that one service has, and those it waits for."""

    __slots__ = ("cold", "held", "rank", "waiting")

    def __init__(self) -> None:
        self.held = 0
        self.cold = False  # nothing of it is ready, and no turn was given for that yet
        self.rank: int | None = None  # among those that wait; lower comes first
        # In order, and any of them may leave at once.
        self.waiting: OrderedDict[asyncio.Future[None], None] = OrderedDict()


class Turns:
    """``limit`` turns at a time; a service that asks for many does not delay the others.

    A turn that comes free goes to the service that has the fewest, and of
    several to the one that became so first: nobody waits behind all the starts
    of another service, only behind one of each. Cold services come before
    those that merely grow, because nobody answers their requests; but while
    both wait every second turn is not theirs, so that cold starts that come
    without end (and perhaps all fail) let the others grow.

    ``processors``: no more than these have had their turn for less than a
    second. A start keeps a processor busy, so twenty at once are done no sooner
    than two and two, but each of them later, and whatever else runs waits
    behind all of them.
    """

    def __init__(self, limit: float = inf, processors: float = inf) -> None:
        if limit < 1 or processors < 1:
            raise ValueError("without a turn nothing ever starts")
        self._free = limit
        self._processors = processors
        self._at_work: dict[asyncio.Future[None], asyncio.TimerHandle] = {}
        self._services: dict[str, _Service] = {}  # those that have a turn or wait for one
        self._ranks: dict[int, OrderedDict[_Service, None]] = {}  # those that wait; none is empty
        self._cold_was_first = False

        # Read at a scrape
        self.waiting = 0

    @asynccontextmanager
    async def turn(self, service: str, *, cold: bool) -> AsyncIterator[None]:
        """Waits for a turn, which lasts as long as the context does.

        ``cold``: the service has no instance that is ready.
        """
        it = self._services.setdefault(service, _Service())
        turn = asyncio.get_running_loop().create_future()
        self._join(it, turn, cold)
        try:
            await turn
            yield
        finally:
            self._leave(it, turn)
            if not it.held and not it.waiting:
                self._services.pop(service, None)

    def _join(self, it: _Service, turn: asyncio.Future[None], cold: bool) -> None:
        it.waiting[turn] = None
        self.waiting += 1
        if not it.held:
            it.cold = cold
        self._sort(it)
        self._give()

    def _leave(self, it: _Service, turn: asyncio.Future[None]) -> None:
        """The one way out: of a turn, or of waiting for it."""
        if turn in it.waiting:
            del it.waiting[turn]
            self.waiting -= 1
        else:
            it.held -= 1
            self._free += 1
            timer = self._at_work.pop(turn, None)
            if timer is not None:
                timer.cancel()
        self._sort(it)
        self._give()

    def _waits(self, turn: asyncio.Future[None]) -> None:
        """Its start takes so long that it cannot be at work all the time."""
        del self._at_work[turn]
        self._give()

    def _give(self) -> None:
        while self._free and len(self._at_work) < self._processors and self._ranks:
            it = next(iter(self._ranks[self._next_rank()]))
            turn, _ = it.waiting.popitem(last=False)
            self.waiting -= 1
            it.held += 1
            self._free -= 1
            loop = asyncio.get_running_loop()
            self._at_work[turn] = loop.call_later(_AT_WORK, self._waits, turn)
            it.cold = False
            self._sort(it)
            # One that was cancelled just now has its turn all the same, and is
            # about to leave it.
            if not turn.done():
                turn.set_result(None)

    def _next_rank(self) -> int:
        if _COLD in self._ranks and 0 in self._ranks:
            self._cold_was_first = not self._cold_was_first
            return _COLD if self._cold_was_first else 0
        return min(self._ranks)

    def _sort(self, it: _Service) -> None:
        """To the end of its rank, unless that is where it waits already."""
        rank = None
        if it.waiting:
            rank = _COLD if it.cold else it.held
        if rank == it.rank:
            return
        if it.rank is not None:
            line = self._ranks[it.rank]
            del line[it]
            if not line:
                del self._ranks[it.rank]
        if rank is not None:
            self._ranks.setdefault(rank, OrderedDict())[it] = None
        it.rank = rank
