"""From a number of instances to what to do: which to thaw or give up, how many to start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from wakeful.events import Load


@dataclass(frozen=True, slots=True)
class Plan:
    start: int = 0
    thaw: tuple[str, ...] = ()
    drain: tuple[str, ...] = ()  # in the order in which to give them up


NOTHING = Plan()


def plan(
    wanted: int,
    starting: Sequence[str],
    ready: Sequence[str],
    load: Load,
    concurrency: int,
    spares: Sequence[str] = (),
) -> Plan:
    """What brings a revision to ``wanted`` instances, each list given oldest first.

    Except for ``spares``, which come in the order in which to use them: they are
    thawed before anything is started, because that takes no time. Thaws and starts
    are never more than ``wanted`` allows. Giving up is more careful than ``wanted``
    asks for, because load moves while a decision is being made:

    - As many stay as everything in hand needs at the hard limit, and at least
      one stays while anything is in hand.
    - What is still starting goes first, the newest first: it carries nothing,
      and the oldest will be ready soonest.
    - Then ready ones, the emptiest first, so that drains are short; of equals
      the newest, whose caches are coldest.
    - While a request waits, no ready instance goes. It waits because every
      slot is taken, and the next one to come free may be in that instance.

    Instances that drain already are in neither list; the requests inside them
    count as in hand all the same, which errs towards keeping.
    """
    have = len(starting) + len(ready)
    if wanted >= have:
        thaw = tuple(spares[: wanted - have])
        return Plan(start=wanted - have - len(thaw), thaw=thaw)

    surplus = have - max(wanted, _needed(load, concurrency))
    if surplus <= 0:
        return NOTHING
    given_up = [*reversed(starting)][:surplus]
    if not load.waiting:
        busy = dict(load.busy)
        emptiest = sorted(reversed(ready), key=lambda instance: busy.get(instance, 0))
        given_up += emptiest[: surplus - len(given_up)]
    return Plan(drain=tuple(given_up)) if given_up else NOTHING


def _needed(load: Load, concurrency: int) -> int:
    held = load.active + load.waiting
    return ceil(held / concurrency) if concurrency else min(1, held)
