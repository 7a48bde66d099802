"""What is remembered between runs: who we are, which revisions there were, and what
they were made from, so that one which served goes on until the next is ready.

One small JSON file in the state directory, replaced whole. A lock beside it
keeps a second wakeful from driving the same instances.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from wakeful.config.diff import digest, tuned
from wakeful.config.essence import essence, restored
from wakeful.config.model import Revision, Service, Template

# So many revisions before the latest are remembered, to be pinned; Knative's garbage
# collection keeps 20 of those that have no route.
KEPT = 20


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


@dataclass(frozen=True, slots=True)
class _Remembered:
    """One service."""

    generation: int  # of its latest revision
    digest: str
    template: Any = None  # the essence of its latest; None where an older wakeful wrote it
    former: Mapping[int, Any] = field(default_factory=dict)  # generation -> essence
    # The one before, while it serves because the latest is not ready, or not for all.
    serving: tuple[int, Any] | None = None  # generation, essence
    whole: Template | None = None  # that of ``template``, if it is known


class StateDirectory:
    """Held by one process at a time, from ``open`` to ``close``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.owner = ""
        self._file = path / "state.json"
        self._lock: int | None = None
        self._services: dict[str, _Remembered] = {}
        self._changed = False
        self._written = ""  # what the file says, as it would be written now

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

    def latest(self, service: str) -> Revision | None:
        """The latest revision there was of it, with its template as it was then."""
        it = self._services.get(service)
        return None if it is None else _revision(service, it.generation, it.template)

    def answered(self, services: Iterable[str], running: Collection[str]) -> dict[str, Revision]:
        """What answered when the last run ended: it goes on until the latest is ready.

        Where no deployment was under way it was the latest of that time, which
        is of use only if it is among the revisions that are ``running``.
        """
        answered = {}
        for name in services:
            it = self._services.get(name)
            if it is not None and it.serving is not None:
                revision = _revision(name, *it.serving)
            else:
                revision = self.latest(name)
                if revision is not None and revision.name not in running:
                    continue
            if revision is not None:
                answered[name] = revision
        return answered

    def pinned(self, service: Service) -> tuple[tuple[int, Revision], ...]:
        """Its revisions that have a percentage of their own, under its settings of now."""
        shares = []
        for target in service.traffic:
            revision = target.revision and self._former(service.name, target.revision)
            if revision:
                template = tuned(revision.template, service.template)
                shares.append((target.percent, replace(revision, template=template)))
        return tuple(shares)

    def unknown(self, service: Service) -> Iterator[tuple[int, str]]:
        """Those of its traffic targets, by their place, whose revision is not remembered."""
        for index, target in enumerate(service.traffic):
            if target.revision and self._former(service.name, target.revision) is None:
                yield index, target.revision

    def revisions(
        self,
        services: Iterable[Service],
        serving: Mapping[str, Revision],
        moved: Collection[str] = (),
    ) -> list[Revision]:
        """The latest revision of each, numbered anew where its template has changed.

        And where that means another image now, in services that have ``moved``.
        ``serving`` are those that answer until a new one is ready. Raises StateError.
        """
        latest = []
        gone = self._services.keys() - {service.name for service in services}
        for name in gone:
            self._services[name] = replace(self._services[name], serving=None)
        for service in services:
            known = self._services.get(service.name) or _Remembered(0, "")
            if service.template != known.whole or service.name in moved:
                now, old = digest(service.template), serving.get(service.name)
                if now != known.digest or service.name in moved:
                    answers = None if old is None else (old.generation, essence(old.template))
                    former = _remembered(known, service)
                    known = _Remembered(known.generation + 1, now, serving=answers, former=former)
                said = essence(service.template)
                known = replace(known, template=said, whole=service.template)
                self._services[service.name] = known
            latest.append(Revision(service.name, known.generation, service.template))
        self._write()
        return latest

    def settle(self, service: str) -> None:
        """Its latest revision has all its requests; ``save`` writes it down."""
        it = self._services.get(service)
        if it is not None and it.serving is not None:
            self._services[service] = replace(it, serving=None)
            self._changed = True

    def save(self) -> None:
        """Write what was settled, if anything. Raises StateError, once for each."""
        if self._changed:
            self._write()

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _former(self, service: str, name: str) -> Revision | None:
        """The revision of this name: the latest, or one of some before it."""
        it, number = self._services.get(service), name.rpartition("-")[2]
        if it is None or not number.isascii() or not number.isdigit():
            return None
        every = {**it.former, it.generation: it.template}
        revision = _revision(service, int(number), every.get(int(number)))
        return revision if revision is not None and revision.name == name else None

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
            self._services = {
                str(name): _read_service(entry) for name, entry in state["services"].items()
            }
            self._written = self._text()
        except (ValueError, KeyError, TypeError, AttributeError):
            raise StateError(
                f"{self._file} is damaged; move it away to begin anew "
                "(instances that run now will then have to be removed by hand)"
            ) from None

    def _write(self) -> None:
        self._changed = False
        text = self._text()
        if text == self._written:
            return  # so that a full disk is no reason not to start again
        draft = self._file.with_suffix(".new")
        try:
            # A template's environment may hold what is nobody else's business.
            with open(draft, "w", opener=_private) as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(draft, self._file)
        except OSError as error:
            raise StateError(f"{self._file} cannot be written: {error.strerror}") from None
        self._written = text

    def _text(self) -> str:
        services = {name: _said(it) for name, it in sorted(self._services.items())}
        return json.dumps({"owner": self.owner, "services": services})


def _remembered(it: _Remembered, service: Service) -> dict[int, Any]:
    """What is kept when the latest is followed by another: the newest, and what has a share."""
    every = {**it.former, it.generation: it.template} if it.generation else {}
    pinned = {target.revision for target in service.traffic}
    return {
        generation: said
        for generation, said in every.items()
        if generation > it.generation - KEPT or _name(service.name, generation) in pinned
    }


def _name(service: str, generation: int) -> str:
    return Revision(service, generation, Template()).name


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _revision(service: str, generation: int, said: Any) -> Revision | None:
    """None where the template is not known, or was written by a version with other keys."""
    try:
        return Revision(service, generation, restored(Template, said))
    except ValueError:
        return None


def _read_service(entry: Any) -> _Remembered:
    serving = entry.get("serving")
    return _Remembered(
        int(entry["generation"]),
        str(entry["digest"]),
        entry.get("template"),
        {int(generation): said for generation, said in entry.get("former", {}).items()},
        None if serving is None else (int(serving["generation"]), serving.get("template")),
    )


def _said(it: _Remembered) -> dict[str, Any]:
    said = {"generation": it.generation, "digest": it.digest, "template": it.template}
    if it.former:
        said["former"] = it.former
    if it.serving is not None:
        generation, template = it.serving
        said["serving"] = {"generation": generation, "template": template}
    return said
