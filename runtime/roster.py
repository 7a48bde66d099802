"""Which instances a revision has, and the state of each.

The one place where a state changes. What makes it change, and what follows, is the
fleet's business.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from wakeful.events import Start
from wakeful.runtime.instance import Address, Event, InstanceId, State, View, step


@dataclass(slots=True, eq=False)
class Member:
    """One instance, as its fleet knows it."""

    id: InstanceId
    began: float  # when it was asked for
    address: Address | None = None
    found: bool = False  # it ran before we did
    state: State = State.STARTING
    start: Start | None = None  # of one that we started, once it is ready
    proven: bool = False  # was ready for PROVEN_AFTER
    ended: bool = False  # by itself or by others, and is being cleaned up
    frozen: bool = False  # the driver was told so: between two requests, or as a spare
    paused: bool = False  # by somebody else
    vacant: bool = False  # while it is out of balancing: the proxy says that nothing is in it
    used: float = 0.0  # when a request last was in it, or might have been
    # Resolved when it has to go: with what went wrong, for an operator, or
    # with None when it goes because nobody needs it.
    over: asyncio.Future[str | None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Roster:
    """Counted as they change, since most questions are about numbers."""

    def __init__(self) -> None:
        self._members: dict[InstanceId, Member] = {}  # oldest first
        self._counts: Counter[State] = Counter()

    def __contains__(self, instance: object) -> bool:
        return instance in self._members

    @property
    def starting(self) -> tuple[InstanceId, ...]:
        return self._those(State.STARTING)

    @property
    def ready(self) -> tuple[InstanceId, ...]:
        return self._those(State.READY)

    @property
    def draining(self) -> tuple[InstanceId, ...]:
        return self._those(State.DRAINING)

    @property
    def spares(self) -> tuple[InstanceId, ...]:
        """Frozen, and not needed; the latest used first."""
        frozen = [it for it in self._members.values() if it.state is State.FROZEN]
        return tuple(it.id for it in sorted(frozen, key=lambda it: it.used, reverse=True))

    @property
    def resting(self) -> int:
        """Those that are ready, and frozen until the next request."""
        ready = (it for it in self._members.values() if it.state is State.READY)
        return sum(it.frozen for it in ready)

    def views(self) -> list[View]:
        """All of them, oldest first."""
        return [
            View(
                it.id,
                it.state,
                resting=it.frozen and it.state is State.READY,
                since=it.began,
                took=it.start.ready_at - it.began if it.start is not None else None,
            )
            for it in self._members.values()
        ]

    def count(self, state: State) -> int:
        return self._counts[state]

    @property
    def size(self) -> int:
        """Those that serve, or will: neither draining, nor spare, nor stopping."""
        return self._counts[State.STARTING] + self._counts[State.READY]

    @property
    def returning(self) -> int:
        """Those that were found running, and are being probed."""
        starting = (it for it in self._members.values() if it.state is State.STARTING)
        return sum(it.found for it in starting) if self._counts[State.STARTING] else 0

    @property
    def gone(self) -> bool:
        """Nothing is left, not even something that is being stopped."""
        return not self._members

    @property
    def asleep(self) -> bool:
        """Nothing is left but frozen spares."""
        return len(self._members) == self._counts[State.FROZEN]

    # For the fleet

    def _add(self, it: Member) -> None:
        self._members[it.id] = it
        self._counts[it.state] += 1

    def _step(self, it: Member, event: Event) -> None:
        self._counts[it.state] -= 1
        it.state = step(it.state, event)
        self._counts[it.state] += 1

    def _clear(self) -> None:
        self._members.clear()
        self._counts.clear()

    def _those(self, state: State) -> tuple[InstanceId, ...]:
        return tuple(it.id for it in self._members.values() if it.state is state)
