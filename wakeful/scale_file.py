"""The averages of the scaler on disk, for the wakeful that comes after this one.

Not essential as the rest of the state directory is: a file that is missing,
damaged or old only means that the windows begin empty.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path

from wakeful.scaler.autoscaler import Autoscaler
from wakeful.scaler.remembered import Remembered

log = logging.getLogger("wakeful")

_EVERY = 5.0  # seconds between two writes while anything is awake


class ScaleFile:
    """Written now and then by a thread, read once at a start."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written = 0.0
        self._blank = False  # it says that nothing is awake
        self._failed = False  # the latest time; it is said once
        self._writing: asyncio.Future[None] | None = None

    def recall(self, scaler: Autoscaler, wall: float) -> None:
        """Let the scaler go on from it. ``wall`` is the time in Unix seconds."""
        try:
            remembered, at = _read(self._path)
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            log.warning("%s cannot be used, the averages begin anew: %s", self._path, error)
            return
        scaler.recall(remembered, wall - at)

    def keep(self, scaler: Autoscaler, wall: float) -> None:
        """Write it if that is due; nothing while everything sleeps."""
        if self._writing is not None or 0 <= wall - self._written < _EVERY:
            return
        remembered = scaler.remember()
        if not remembered and self._blank:
            return
        self._written, self._blank = wall, not remembered
        loop = asyncio.get_running_loop()
        self._writing = loop.run_in_executor(None, _write, self._path, remembered, wall)
        self._writing.add_done_callback(self._over)

    async def close(self, scaler: Autoscaler, wall: float) -> None:
        """The last word, before the scaler is closed."""
        if self._writing is not None:
            await asyncio.wait([self._writing])
        self._written = 0.0
        self.keep(scaler, wall)
        if self._writing is not None:
            await asyncio.wait([self._writing])

    def _over(self, written: asyncio.Future[None]) -> None:
        self._writing = None
        error = written.exception()
        if error is not None and not self._failed:
            log.warning("%s cannot be written: %s", self._path, error)
        self._failed = error is not None


def _write(path: Path, remembered: Mapping[str, Remembered], wall: float) -> None:
    revisions = {name: was.as_json() for name, was in remembered.items()}
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps({"at": wall, "revisions": revisions}))
    os.replace(draft, path)


def _read(path: Path) -> tuple[dict[str, Remembered], float]:
    match json.loads(path.read_bytes()):
        case {"at": float() | int() as wall, "revisions": dict(revisions)}:
            return {name: Remembered.from_json(was) for name, was in revisions.items()}, wall
    raise ValueError("not the averages of a scaler")
