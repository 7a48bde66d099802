"""How a service's requests move from its older revisions to its newest, step by step.

Knative's gradual rollout (pkg/reconciler/route/traffic/rollout.go): the newest
revision gets 1%, the time until that is in force says how fast the other steps
may follow, and equal steps do the rest. Moments and durations are whole
nanoseconds, as there, so that every answer is the same to the digit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, floor

SECOND = 1_000_000_000  # nanoseconds


@dataclass(frozen=True, slots=True)
class Share:
    """What one revision gets of its service's requests."""

    revision: str
    percent: int


@dataclass(frozen=True, slots=True)
class Pace:
    """Equal steps, and when the next one is due."""

    size: int  # percent
    interval: int  # nanoseconds
    due: int


@dataclass(frozen=True, slots=True)
class Rollout:
    """The revisions that have a share, oldest first; shares sum to ``percent``.

    One share is the steady state. With several, requests move to the last one:
    at its pace, as soon as it has one.
    """

    shares: tuple[Share, ...]
    percent: int = 100
    began: int = 0
    pace: Pace | None = None

    @property
    def newest(self) -> str:
        return self.shares[-1].revision

    @property
    def over(self) -> bool:
        return len(self.shares) == 1


def settled(revision: str, percent: int = 100) -> Rollout:
    """Everything goes to one revision."""
    return Rollout((Share(revision, percent),), percent)


def begin(rollout: Rollout, revision: str, now: int) -> Rollout:
    """The first percent for a new revision, taken from the newest of the others.

    One that begins before the last is over joins it: the list grows, and time
    counts anew. A single percent cannot be shared, so it moves at once.
    """
    if rollout.percent <= 1:
        return settled(revision, rollout.percent)
    *older, newest = rollout.shares
    if newest.percent > 1:
        older.append(replace(newest, percent=newest.percent - 1))
    return Rollout((*older, Share(revision, 1)), rollout.percent, began=now)


def in_force(rollout: Rollout, duration: float, now: int) -> Rollout:
    """The first percent reaches its revision: set the pace for the rest of ``duration`` seconds.

    A step may not be shorter than the first one took, nor than a second, nor
    smaller than one percent. Equal steps are rounded, so the end may come
    before ``duration`` is over, or after it.
    """
    if rollout.over or rollout.pace is not None:
        return rollout
    shortest = max(1, ceil((now - rollout.began) / SECOND))
    left = max(1.0, duration - shortest)
    to_move = rollout.percent - 1
    steps = min(max(1.0, left / shortest), to_move)
    interval = left / steps * SECOND
    pace = Pace(
        size=floor(to_move / steps + 0.5),
        interval=int(interval),
        due=int(float(now) + interval),  # Knative's own rounding: its clock is a float64 here
    )
    return replace(rollout, pace=pace)


def resized(rollout: Rollout, percent: int) -> Rollout:
    """The same revisions with more or less to share: the newest wins, the oldest loses first."""
    change = percent - rollout.percent
    *older, newest = rollout.shares
    if change >= 0:
        newest = replace(newest, percent=newest.percent + change)
    while change < 0 and older:
        oldest = older.pop(0)
        if oldest.percent > -change:
            older.insert(0, replace(oldest, percent=oldest.percent + change))
        change = min(0, change + oldest.percent)
    newest = replace(newest, percent=newest.percent + min(0, change))
    if not older:
        return settled(newest.revision, percent)
    return replace(rollout, shares=(*older, newest), percent=percent)


def step(rollout: Rollout, now: int) -> Rollout:
    """Move one step's percents to the newest revision, if it is time.

    The youngest of the older revisions gives first, and is dropped when it has
    nothing left.
    """
    pace = rollout.pace
    if pace is None or now < pace.due:
        return rollout
    *older, newest = rollout.shares
    wanted = pace.size
    while wanted and older:
        youngest = older.pop()
        if youngest.percent > wanted:
            older.append(replace(youngest, percent=youngest.percent - wanted))
            break
        wanted -= youngest.percent
    if not older:
        return settled(newest.revision, rollout.percent)
    newest = replace(newest, percent=newest.percent + pace.size)
    return replace(rollout, shares=(*older, newest), pace=replace(pace, due=now + pace.interval))
