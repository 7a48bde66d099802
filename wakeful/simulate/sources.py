"""Files of recorded traffic: opened plain or gzipped, and what is wrong in them."""

from __future__ import annotations

import gzip
import io
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from wakeful.config.model import Config
from wakeful.deploy import hosts_of
from wakeful.proxy.router import Route, RouteTable

_GZIP = b"\x1f\x8b"
_SHOWN = 3  # lines that are wrong, and hosts that are nobody's
_LONGEST_SHOWN = 80


class SourceError(Exception):
    """There is nothing to simulate in a file; the message says why and what to do."""


@contextmanager
def opened(path: Path) -> Iterator[IO[str]]:
    """The text of a file, or of standard input for ``-``. Raises SourceError."""
    try:
        with open(0, "rb", closefd=False) if str(path) == "-" else open(path, "rb") as raw:
            packed = raw.peek(2)[:2] == _GZIP
            with gzip.GzipFile(fileobj=raw) if packed else raw as stream:
                yield io.TextIOWrapper(stream, "utf-8", "replace")
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SourceError(f"{shown(path)}: cannot be read: {reason}") from None


def shown(path: Path) -> str:
    return "standard input" if str(path) == "-" else str(path)


class Owners:
    """Which service a request was for: its own word, its host's route, or who takes the rest."""

    def __init__(self, config: Config, rest: str | None = None) -> None:
        self.services: Mapping[str, object] = config.services
        self._rest = rest
        self._only = next(iter(config.services)) if len(config.services) == 1 else None
        self._routes: RouteTable[None] = RouteTable(
            {
                host: Route(service.name, ())
                for service in config.services.values()
                for host in hosts_of(service, config.domain)
            }
        )

    def of(self, service: str | None, host: str | None) -> str | None:
        """None: nobody's. What says nothing at all is for the only service there is."""
        if service in self.services:
            return service
        if host and (route := self._routes.match(host.encode("utf-8", "replace"))) is not None:
            return route.service
        if service or host:
            return self._rest
        return self._rest or self._only


@dataclass(slots=True)
class Remarks:
    """What was not taken from a file, for people: counts, and the first cases."""

    lines: int = 0
    bad: int = 0
    first_bad: list[str] = field(default_factory=list)
    unserved: int = 0  # answered before it was known for whom
    strangers: Counter[str] = field(default_factory=Counter)  # services and hosts of nobody
    anonymous: int = 0  # neither a service nor a host

    def is_bad(self, path: Path, line: int, why: str, text: str) -> None:
        self.bad += 1
        if len(self.first_bad) < _SHOWN:
            text = text.strip()
            text = text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."
            self.first_bad.append(f"{shown(path)}:{line}: {why}: {text!a}")

    def is_nobodys(self, service: str | None, host: str | None) -> None:
        if name := service or host:
            self.strangers[name] += 1
        else:
            self.anonymous += 1

    def texts(self) -> list[str]:
        found = []
        if self.bad:
            found.append(f"could not be read: {self.bad} of {_lines(self.lines)}")
            found += [f"  {line}" for line in self.first_bad]
        if self.unserved:
            found.append(f"requests that no service was asked for: {_lines(self.unserved)}")
        if self.strangers:
            names = ", ".join(f"{n} ({c})" for n, c in self.strangers.most_common(_SHOWN))
            more = len(self.strangers) - _SHOWN
            found.append(
                "for services or hosts that the configuration does not have: "
                f"{_lines(self.strangers.total())}: {names}{f' and {more} more' * (more > 0)}"
            )
        if self.anonymous:
            found.append(
                f"for nobody in particular: {_lines(self.anonymous)}; --service NAME takes them"
            )
        return found


def _lines(count: int) -> str:
    return f"{count:,} line{'' if count == 1 else 's'}"
