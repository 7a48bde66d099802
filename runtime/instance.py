"""An instance and the whole of its life, as a table."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import NewType

from wakeful.config.model import Revision
from wakeful.events import Phases

InstanceId = NewType("InstanceId", str)


def new_instance_id(revision: Revision) -> InstanceId:
    """Says whose it is, and is never used twice: an engine may still hold the last one."""
    return InstanceId(f"{revision.name}-{secrets.token_hex(4)}")


class State(StrEnum):
    STARTING = auto()  # asked for, not yet passing its readiness probe
    READY = auto()  # may be given requests
    PAUSED = auto()  # by somebody else; out of balancing until it runs again
    DRAINING = auto()  # out of balancing; finishes what it has
    FROZEN = auto()  # a spare: nobody needs it, and it waits for being needed again
    STOPPING = auto()  # asked to end, or ended and being cleaned up
    GONE = auto()


class Event(StrEnum):
    PROBE_PASSED = auto()
    PAUSE = auto()
    UNPAUSE = auto()
    DRAIN = auto()
    FREEZE = auto()  # nothing is in it any more, and it is worth keeping
    THAW = auto()
    STOP = auto()  # nothing is in it any more, or its start failed
    EXITED = auto()
    REMOVED = auto()


# The whole life of an instance. A pair that is not here is a bug, not a case
# to handle: a probe answer that arrives after DRAIN must not revive it.
TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.STARTING, Event.PROBE_PASSED): State.READY,
    (State.STARTING, Event.STOP): State.STOPPING,
    (State.STARTING, Event.EXITED): State.STOPPING,
    (State.READY, Event.PAUSE): State.PAUSED,
    (State.READY, Event.DRAIN): State.DRAINING,
    (State.READY, Event.EXITED): State.STOPPING,
    (State.PAUSED, Event.UNPAUSE): State.READY,
    (State.PAUSED, Event.DRAIN): State.DRAINING,
    (State.PAUSED, Event.EXITED): State.STOPPING,
    (State.DRAINING, Event.FREEZE): State.FROZEN,
    (State.DRAINING, Event.STOP): State.STOPPING,
    (State.DRAINING, Event.EXITED): State.STOPPING,
    (State.FROZEN, Event.THAW): State.READY,
    (State.FROZEN, Event.STOP): State.STOPPING,
    (State.FROZEN, Event.EXITED): State.STOPPING,
    (State.STOPPING, Event.EXITED): State.STOPPING,
    (State.STOPPING, Event.REMOVED): State.GONE,
}


def step(state: State, event: Event) -> State:
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise AssertionError(f"{event} cannot happen to an instance that is {state}") from None


@dataclass(frozen=True, slots=True)
class Address:
    """Where an instance listens, as reached from this process."""

    host: str
    port: int
    forwarded: bool = False  # by something that takes connections whether or not it listens


@dataclass(frozen=True, slots=True)
class Launched:
    """An instance that was started, and may not listen yet."""

    address: Address
    phases: Phases  # what that took


@dataclass(frozen=True, slots=True)
class Exit:
    """An instance ended by itself, or was ended by somebody else."""

    instance: InstanceId
    detail: str  # "exit code 3", "killed by signal 9", "out of memory"


@dataclass(frozen=True, slots=True)
class View:
    """One instance, as its fleet sees it now. Moments are on the monotonic clock."""

    instance: InstanceId
    state: State
    resting: bool  # ready, and frozen until its next request
    since: float  # when it was asked for, or found
    took: float | None  # seconds until it was ready; None: not yet, or it was found running


@dataclass(frozen=True, slots=True)
class Usage:
    """What an instance uses; None where it cannot be known."""

    memory: int | None  # bytes that would have to be found elsewhere
    cpu: float | None  # seconds of processor time since it began


@dataclass(frozen=True, slots=True)
class Found:
    """An instance of ours that already runs, to be adopted."""

    instance: InstanceId
    service: str
    revision: str  # empty when it cannot be reached, and so is of no use to any
    address: Address
