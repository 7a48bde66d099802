"""What is remembered between runs: who we are, and which revisions there were.

One small JSON file in the state directory, replaced whole. A lock beside it
keeps a second wakeful from driving the same instances.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from pathlib import Path

from wakeful.config.diff import digest
from wakeful.config.model import Revision, Service


class StateError(Exception):
    """The state directory cannot be used; the message says why and what to do."""


def default_directory() -> Path:
    """/var/lib/wakeful for root, else by the XDG Base Directory Specification."""
    if os.geteuid() == 0:
        return Path("/var/lib/wakeful")
    home = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(home):
        home = os.path.expanduser("~/.local/state")
    return Path(home, "wakeful")


class StateDirectory:
    """Held by one process at a time, from ``open`` to ``close``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.owner = ""
        self._file = path / "state.json"
        self._lock: int | None = None
        self._revisions: dict[str, tuple[int, str]] = {}  # service -> generation, digest

    def open(self) -> None:
        """Lock it and read it. Raises StateError."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise StateError(
                f"{self.path} is in use by another wakeful; give each its own state-dir"
            ) from None
        except OSError as error:
            self.close()
            raise StateError(f"{self.path} cannot be used: {error.strerror}") from None
        try:
            self._read()
        except StateError:
            self.close()
            raise

    def revisions(self, services: list[Service]) -> list[Revision]:
        """The latest revision of each, numbered anew where its template has changed."""
        latest = []
        for service in services:
            generation, known = self._revisions.get(service.name, (0, ""))
            now = digest(service.template)
            if now != known:
                generation += 1
                self._revisions[service.name] = (generation, now)
            latest.append(Revision(service.name, generation, service.template))
        self._write()
        return latest

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _read(self) -> None:
        try:
            text = self._file.read_text()
        except FileNotFoundError:
            self.owner = secrets.token_hex(8)
            return
        except OSError as error:
            raise StateError(f"{self._file} cannot be read: {error.strerror}") from None
        try:
            state = json.loads(text)
            self.owner = str(state["owner"])
            self._revisions = {
                str(name): (int(entry["generation"]), str(entry["digest"]))
                for name, entry in state["services"].items()
            }
        except (ValueError, KeyError, TypeError, AttributeError):
            raise StateError(
                f"{self._file} is damaged; move it away to begin anew "
                "(instances that run now will then have to be removed by hand)"
            ) from None

    def _write(self) -> None:
        services = {
            name: {"generation": generation, "digest": known}
            for name, (generation, known) in sorted(self._revisions.items())
        }
        text = json.dumps({"owner": self.owner, "services": services}, indent=1)
        draft = self._file.with_suffix(".new")
        try:
            with open(draft, "w") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(draft, self._file)
        except OSError as error:
            raise StateError(f"{self._file} cannot be written: {error.strerror}") from None
