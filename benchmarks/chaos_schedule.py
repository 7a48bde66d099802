"""What is done to wakeful, and when: drawn from a seed, each kind at least once."""

from __future__ import annotations

import random
from collections.abc import Sequence
from enum import StrEnum


class Event(StrEnum):
    """Its value is how it reads in the report."""

    KILL = "a busy container is killed"
    REMOVE = "a busy container is removed by force"
    SANDBOX = "a busy network sandbox is killed"
    PAUSE = "a busy container is paused for a while"
    FREEZE = "a busy container is paused for good"
    ENGINE_STOP = "the engine is restarted; containers live on"
    ENGINE_KILL = "the engine is killed and started; containers live on"
    ENGINE_STOP_ALL = "the engine is restarted and ends all containers"
    ENGINE_KILL_ALL = "the engine is killed, and ends all containers at its start"
    WAKEFUL_KILL = "wakeful is killed and started"
    WAKEFUL_STOP = "wakeful is ended and started"
    WAKEFUL_LEAVE = "wakeful is ended, leaves its instances, and is started"
    DEPLOY = "a revision is deployed"
    ROLLOUT = "a revision is rolled out step by step"
    BURST = "a queue is filled beyond its limit"


_FREQUENT = (
    *(Event.KILL, Event.REMOVE, Event.SANDBOX, Event.PAUSE),
    *(Event.WAKEFUL_KILL, Event.DEPLOY, Event.DEPLOY, Event.BURST),
)


def schedule(seed: int, seconds: float, apart: float) -> Sequence[tuple[float, Event]]:
    """Seconds from the start, and what is done then; about ``apart`` from each other.

    Every kind is there once, in an order of chance, if need be closer together;
    the rest of the time has more of them, the light ones more often.
    """
    chance = random.Random(seed)
    kinds = list(Event)
    chance.shuffle(kinds)
    count = max(len(kinds), int(seconds / apart))
    while len(kinds) < count:
        kinds.append(chance.choice(_FREQUENT if chance.random() < 0.7 else tuple(Event)))
    # The first comes when there is something to be disturbed.
    step = seconds / (count + 1)
    return [
        ((number + 1) * step + chance.uniform(-0.3, 0.3) * step, kind)
        for number, kind in enumerate(kinds)
    ]
