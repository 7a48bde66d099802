"""What depends on the host: which runtime there is, how much memory, how many processors."""

from __future__ import annotations

import os

from wakeful.config.fit import misfits
from wakeful.config.load import Loaded
from wakeful.config.model import Config, RuntimeKind
from wakeful.runtime.docker_engine import docker_answers
from wakeful.runtime.driver import Driver
from wakeful.runtime.process import ProcessDriver
from wakeful.state import StateDirectory


def find_runtime(loaded: Loaded) -> tuple[RuntimeKind, str]:
    """What is to run the instances, and why ``auto`` did not take docker ("" if it did).

    Raises ConfigError where that cannot honour what the configuration asks for.
    """
    kind, reason = loaded.config.runtime, ""
    if kind is RuntimeKind.AUTO:
        reason = docker_answers() or ""
        kind = RuntimeKind.PROCESS if reason else RuntimeKind.DOCKER
    found = misfits(loaded.config, kind)
    if found:
        if reason:
            found = [(path, f"{message} (runtime auto: {reason})") for path, message in found]
        raise loaded.error(found)
    return kind, reason


def new_driver(kind: RuntimeKind, config: Config, state: StateDirectory) -> Driver:
    """Of an open state directory. Raises DriverError."""
    if kind is RuntimeKind.DOCKER:
        from wakeful.runtime.docker import DockerDriver  # its import takes 150 ms

        return DockerDriver(state.owner, state.path, freezer=config.freezer, reach=config.reach)
    return ProcessDriver(state.owner, config.directory, state.path)


def frozen_memory(config: Config) -> int:
    """Bytes that the frozen spares of this host may hold together."""
    return config.frozen_memory.of(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def processors() -> int:
    """That starts may keep busy: two at least, because one start also waits."""
    return max(2, os.cpu_count() or 1)
