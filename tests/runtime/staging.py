"""A fleet on a driver that follows a script, in simulated time.

Unless a test says otherwise an instance is started after 0.25 s and listens
0.1 s later, so it is ready 0.35 s after it was asked for.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

from wakeful.clock import run_simulated
from wakeful.config.model import Revision, Template
from wakeful.events import Backends, Outage
from wakeful.runtime.fleet import Fleet
from wakeful.runtime.instance import InstanceId
from wakeful.runtime.memory import MemoryDriver, Script
from wakeful.runtime.probe import Prober
from wakeful.runtime.turns import Turns

Publication = tuple[float, tuple[str, ...], Outage | None]


class Stage:
    """A fleet on a scripted driver, and what it published when."""

    def __init__(
        self,
        default: Script,
        template: Template = Template(image="hello:1"),  # noqa: B008 (frozen)
        turns: Turns | None = None,
        prober: Prober | None = None,
    ) -> None:
        self.driver = MemoryDriver(default)
        self.published: list[Publication] = []
        self.on_publish: Callable[[Backends], None] = lambda backends: None
        numbers = count(1)
        self.fleet = Fleet(
            Revision("hello", 1, template),
            self.driver,
            prober or self.driver.probe,
            self._publish,
            now=asyncio.get_running_loop().time,
            new_id=lambda: InstanceId(f"i{next(numbers)}"),
            turns=turns,
        )

    def _publish(self, backends: Backends) -> None:
        names = tuple(e.instance for e in backends.endpoints)
        self.published.append((now(), names, backends.outage))
        self.on_publish(backends)

    @property
    def stops(self) -> list[tuple[float, str]]:
        return [(round(s.at, 6), s.instance) for s in self.driver.stops]


@asynccontextmanager
async def stage(
    default: Script = Script(),  # noqa: B008 (frozen)
    template: Template = Template(image="hello:1"),  # noqa: B008 (frozen)
    turns: Turns | None = None,
    prober: Prober | None = None,
) -> AsyncIterator[Stage]:
    it = Stage(default, template, turns, prober)
    await it.driver.open(it.fleet.exited, it.fleet.paused)
    yield it
    await it.fleet.close(leave=False)


def now() -> float:
    return round(asyncio.get_running_loop().time(), 6)


async def until(moment: float) -> None:
    await asyncio.sleep(moment - asyncio.get_running_loop().time())


def simulated(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    def run(*args: Any, **kwargs: Any) -> None:
        run_simulated(test(*args, **kwargs))

    # Not functools.wraps: pytest must not take it for a coroutine function,
    # but has to see the fixtures that it asks for.
    run.__name__, run.__doc__ = test.__name__, test.__doc__
    run.__signature__ = inspect.signature(test)  # type: ignore[attr-defined]
    return run
