"""The engine's stream of what happens to containers, followed in a thread.

A stream may break, and what happened meanwhile is not told again. ``broken`` is called
after each try to follow one, and ``connected`` each time it stands, so that its owner
compares lists: an address that an instance had may soon be somebody else's.
"""

from __future__ import annotations

import logging
import threading
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from docker.api.client import APIClient
from docker.errors import APIError
from docker.types.daemon import CancellableStream

from wakeful.runtime.docker_spec import INSTANCE, OWNER, ROLE, SANDBOX
from wakeful.runtime.instance import InstanceId

log = logging.getLogger(__name__)

_RETRY = (0.1, 0.2, 0.5, 1.0, 2.0)  # seconds; the last one again and again
_OVERLAP = 1  # second
_PATIENCE = 3.0  # seconds
_SIGKILLED = 128 + 9


class DockerEvents:
    """Tells the loop of each instance of ``owner`` that is started, paused or unpaused, and
    dies, by anybody; and of each network sandbox that dies."""

    def __init__(
        self,
        new_client: Callable[[], APIClient],
        owner: str,
        loop: AbstractEventLoop,
        *,
        connected: Callable[[], None],
        broken: Callable[[], None],
        started: Callable[[InstanceId, str], None],
        paused: Callable[[InstanceId, str, bool], None],
        died: Callable[[InstanceId, str, str], None],
        sandbox_died: Callable[[str, str], None],
    ) -> None:
        self._new_client = new_client
        self._owner = owner
        self._loop = loop
        self._connected = connected
        self._broken = broken
        # All are told the id of the container, too.
        self._started = started
        self._paused = paused
        self._died = died
        self._sandbox_died = sandbox_died
        self._closing = threading.Event()
        self._lock = threading.Lock()  # held where _stream meets _closing
        self._stream: CancellableStream[dict[str, Any]] | None = None
        self._attempts = 0
        self._out_of_memory: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="wakeful-docker-events", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """End the thread, and wait for it a while: an engine may leave it without an answer."""
        with self._lock:
            self._closing.set()
            if self._stream is not None:
                # Wakes the thread that reads from it. Fails when it broke just now.
                with suppress(OSError, AttributeError):
                    self._stream.close()
        self._thread.join(_PATIENCE)

    # In the thread

    def _run(self) -> None:
        while not self._closing.is_set():
            reason: object = "the engine ended it"
            try:
                self._follow()
            except Exception as error:  # whatever it was, exits must go on being seen
                reason = error
            if not self._closing.is_set():
                level = logging.WARNING if self._attempts == 0 else logging.DEBUG
                log.log(level, "the stream of Docker events broke: %s", reason)
                self._tell(self._broken)
            self._closing.wait(_RETRY[min(self._attempts, len(_RETRY) - 1)])
            self._attempts += 1

    def _follow(self) -> None:
        client = self._new_client()
        try:
            # The engine answers before it listens to itself, so a moment is
            # asked for twice rather than missed; a repeated exit is ignored.
            stream = client.events(
                since=int(time.time()) - _OVERLAP,
                filters={
                    "type": "container",
                    # podman filters by its own word, "died"
                    "event": ["start", "pause", "unpause", "die", "died", "oom"],
                    "label": f"{OWNER}={self._owner}",
                },
                decode=True,
            )
            with self._lock:
                self._stream = stream
                if self._closing.is_set():
                    return
            self._attempts = 0
            self._tell(self._connected)
            for event in stream:
                self._handle(client, event)
        finally:
            with self._lock:
                if self._stream is not None:
                    with suppress(OSError, AttributeError):
                        self._stream.close()
                    self._stream = None
            client.close()

    def _handle(self, client: APIClient, event: Mapping[str, Any]) -> None:
        container = event["Actor"]["ID"]
        attributes = event["Actor"]["Attributes"]
        instance, action = attributes.get(INSTANCE), event["Action"]
        if action == "oom":
            self._out_of_memory.add(container)
            return
        if action in ("start", "pause", "unpause"):
            if not instance:
                pass
            elif action == "start":
                self._tell(self._started, InstanceId(instance), container)
            else:
                self._tell(self._paused, InstanceId(instance), container, action == "pause")
            return
        code = int(attributes.get("exitCode", 0))
        out_of_memory = container in self._out_of_memory
        self._out_of_memory.discard(container)
        if code == _SIGKILLED and not out_of_memory:
            # The two events come by different ways, in either order.
            with suppress(APIError):
                out_of_memory = client.inspect_container(container)["State"]["OOMKilled"]
        detail = exit_detail(code, out_of_memory)
        if instance:
            self._tell(self._died, InstanceId(instance), container, detail)
        elif attributes.get(ROLE) == SANDBOX:
            self._tell(self._sandbox_died, container, detail)

    def _tell(self, callback: Callable[..., None], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody to tell
            self._loop.call_soon_threadsafe(callback, *arguments)


def exit_detail(code: int, out_of_memory: bool) -> str:
    """Why a container ended. Above 128 the engine counts the signal (as shells do)."""
    if out_of_memory and code == _SIGKILLED:
        return "out of memory"
    return f"killed by signal {code - 128}" if 128 < code <= 128 + 64 else f"exit code {code}"
