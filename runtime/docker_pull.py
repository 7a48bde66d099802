"""Images from their registries: one pull per image at a time, shared by all who wait.

Each pull has a thread, so that long ones never stand in the way of starts. It
goes on when all who waited have left: the next start will want the image too.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from docker.api.client import APIClient
from docker.errors import APIError, DockerException

from wakeful.runtime.docker_client import cause, innermost, renamed_errors
from wakeful.runtime.driver import DriverError, ImageNotFound
from wakeful.runtime.pull_progress import PullProgress

log = logging.getLogger(__name__)

_REPORT = 5.0  # seconds between two lines of progress


class DockerPulls:
    def __init__(self, new_client: Callable[[], APIClient]) -> None:
        self._new_client = new_client
        self._pulls: dict[str, asyncio.Future[None]] = {}
        self._closing = threading.Event()

    async def pull(self, image: str) -> None:
        """Raises ImageNotFound, or EngineUnavailable."""
        pull = self._pulls.get(image)
        if pull is None:
            loop = asyncio.get_running_loop()
            pull = self._pulls[image] = loop.create_future()
            threading.Thread(
                target=self._run, args=(loop, image), name=f"wakeful-pull {image}", daemon=True
            ).start()
        await asyncio.shield(pull)

    def close(self) -> None:
        """Abandon what is under way; its threads end with the next sign of progress."""
        self._closing.set()
        for image in list(self._pulls):
            self._done(image, DriverError(f"the pull of {image} was abandoned: shutting down"))

    def _run(self, loop: asyncio.AbstractEventLoop, image: str) -> None:
        log.info("pulling image %s", image)
        error: DriverError | None = None
        try:
            with renamed_errors():
                self._pull(image)
        except DriverError as raised:
            error = raised
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(self._done, image, error)

    def _pull(self, image: str) -> None:
        # A client of its own also knows who has logged in since the last pull.
        client = self._new_client()
        progress = PullProgress()
        began = reported = time.monotonic()
        try:
            # An error in the middle comes as a line of a stream that began
            # with 200, so the stream is read to its end.
            for line in client.pull(image, stream=True, decode=True):
                if "error" in line:
                    raise ImageNotFound(_message(image, innermost(str(line["error"]))))
                if self._closing.is_set():
                    return
                progress.feed(line)
                if time.monotonic() - reported >= _REPORT:
                    reported = time.monotonic()
                    log.info("pulling image %s: %s", image, str(progress))
            took = time.monotonic() - began
            log.info("pulled image %s in %.1f s: %s", image, took, str(progress))
        except APIError as error:
            raise ImageNotFound(_message(image, cause(error))) from None
        except DockerException as error:  # of a credential helper
            raise ImageNotFound(_message(image, " ".join(str(error).split()))) from None
        finally:
            client.close()

    def _done(self, image: str, error: DriverError | None) -> None:
        pull = self._pulls.pop(image, None)
        if pull is None or pull.done():
            return
        if error is None:
            pull.set_result(None)
        else:
            pull.set_exception(error)
            pull.exception()  # it is no mistake when nobody waits any more


def _message(image: str, reason: str) -> str:
    return f"image {image} cannot be pulled: {reason}"
