"""Running an App as a process: the loop, the signals, the exit code."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import resource
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from wakeful.app import App, StartError
from wakeful.config.load import Loaded
from wakeful.config.model import HostPort
from wakeful.config.quantity import host_port
from wakeful.precedence import take_precedence

log = logging.getLogger("wakeful")

T = TypeVar("T")

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8

# Seconds until a thread that works gives way to one that waits, which may be the loop's.
# With Python's 5 ms requests waited for the threads that start twenty containers on two
# busy cores up to 25 ms, and in all for 0.1 to 0.6 % of the time; so 0.06 to 0.08 %.
_SWITCH_INTERVAL = 0.0005


@dataclass(frozen=True, slots=True)
class Overrides:
    """What the command line says differently from the file."""

    listen: HostPort | None = None
    admin: HostPort | None = None

    @classmethod
    def parse(cls, listen: str | None, admin: str | None) -> Overrides:
        """Raises ValueError."""
        return cls(
            host_port(listen) if listen else None,
            host_port(admin) if admin else None,
        )

    def apply(self, loaded: Loaded) -> Loaded:
        config = loaded.config
        config = replace(
            config, listen=self.listen or config.listen, admin=self.admin or config.admin
        )
        return replace(loaded, config=config)


def serve(path: Path, loaded: Loaded, overrides: Overrides, *, leave_instances: bool) -> int:
    """Serve until a signal ends it. Raises ConfigError for what does not fit this machine."""
    app = App(overrides.apply(loaded), leave_instances=leave_instances)
    return run_loop(_serve(path, app, overrides))


def run_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run on uvloop, as a server wants it."""
    import uvloop

    _raise_file_limit()
    take_precedence()
    # What start-up made lives to the end: the collector need not look at it
    # again and again, nor stop requests to look at young garbage too often.
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    _keep_heap()
    sys.setswitchinterval(_SWITCH_INTERVAL)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


async def _serve(path: Path, app: App, overrides: Overrides) -> int:
    loop = asyncio.get_running_loop()
    # Until the start is over there is nothing to reload, and it must not end us.
    loop.add_signal_handler(signal.SIGHUP, lambda: None)

    async def accept_reloads() -> None:
        loop.add_signal_handler(signal.SIGHUP, app.reload, path, overrides.apply)

    try:
        return await serve_until_signal(app, after_start=accept_reloads)
    except StartError as error:
        log.error("%s", error)
        return 1


async def serve_until_signal(
    app: App,
    *,
    after_start: Callable[[], Awaitable[None]],
    signals: Sequence[signal.Signals] = (signal.SIGTERM, signal.SIGINT),
) -> int:
    """Until one of the signals, which drains; a second one ends at once. Raises StartError."""
    ending, hurry = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def end() -> None:
        (hurry if ending.is_set() else ending).set()

    # From the first moment on: a signal during the start must not leave instances.
    for signum in signals:
        loop.add_signal_handler(signum, end)
    await app.start()
    # As in run_loop: a full collection over ten thousand services takes 0.1 s.
    gc.freeze()
    introduction = asyncio.ensure_future(after_start())
    await ending.wait()
    introduction.cancel()
    await app.stop(hurry)
    return 0


def _keep_heap() -> None:
    """Every large read is a buffer of its own, freed when it is written.

    glibc would give that memory back to the kernel and take it again, page by
    page, for each: a third of the cost of a large body.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # glibc's malloc.h
        mallopt(_M_MMAP_THRESHOLD, 4 << 20)
        mallopt(_M_TRIM_THRESHOLD, 8 << 20)
        # One heap for all threads: of Python's only one runs at a time, and those that talk to
        # an engine would each keep what the largest of its answers took.
        mallopt(_M_ARENA_MAX, 1)


def _raise_file_limit() -> None:
    """Every request may need two descriptors; the usual soft limit is 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            log.info("at most %d descriptors: %s", soft, "the limit could not be raised")
