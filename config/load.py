"""Finding and reading the configuration file: the only I/O of this layer."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wakeful.config import knative
from wakeful.config.model import Config
from wakeful.config.nodes import (
    LINE_BREAK,
    ROOT,
    Document,
    Node,
    Problem,
    Scalar,
    compose_all,
    position,
    second_document,
)
from wakeful.config.override import Override
from wakeful.config.parse import parse
from wakeful.config.report import problem_at

NAME = "wakeful.yaml"
MAX_BYTES = 16 * 2**20


class ConfigError(Exception):
    """Everything that is wrong with a configuration file, in the order of the file."""

    def __init__(self, file: str, problems: Iterable[Problem], text: str = "") -> None:
        self.file = file
        self.problems = tuple(sorted(set(problems)))
        self._lines = LINE_BREAK.split(text.removeprefix("\ufeff"))
        super().__init__(file, self.problems)

    def __str__(self) -> str:
        return "\n".join(self._line(problem) for problem in self.problems)

    def explain(self) -> str:
        """As str(), with the line of the file and a caret below each problem."""
        parts = []
        for problem in self.problems:
            parts.append(self._line(problem))
            parts += self._excerpt(problem)
        return "\n".join(parts)

    def _line(self, problem: Problem) -> str:
        place = f"{self.file}:{problem.line}:{problem.column}"
        return f"{place}: {problem.path}: {problem.message}"

    def _excerpt(self, problem: Problem) -> list[str]:
        source = self._lines[problem.line - 1] if problem.line <= len(self._lines) else ""
        if not source.strip():
            return []
        # Of a long line the part around the caret; nothing that moves a terminal's cursor.
        start = max(0, problem.column - 61)
        shown = "".join(c if c.isprintable() else " " for c in source[start : start + 100])
        return [f"    {shown}".rstrip(), f"    {' ' * (problem.column - 1 - start)}^"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration, and the file it is from for what is found out later."""

    config: Config
    file: str
    text: str
    root: Node

    def problem(self, path: str, message: str) -> Problem:
        """Where the file says what ``path`` (such as services.hello.cpu) is."""
        return problem_at(self.root, path, message)

    def error(self, found: Iterable[tuple[str, str]]) -> ConfigError:
        """Paths and messages, such as misfits, as an error of this file."""
        problems = [self.problem(path, message) for path, message in found]
        return ConfigError(self.file, problems, self.text)

    def overridden(self, overrides: Sequence[Override]) -> Loaded:
        """What it would be if the file said these things too; the later of two wins.

        Raises OverrideError. The file by itself is sound, so whatever is wrong
        then is because of them.
        """
        root = self.root
        for override in overrides:
            try:
                root = override.over(root)
            except ValueError as wrong:
                raise OverrideError([f"--set {override}: {wrong}"]) from None
        parsed = parse(root, self.config.directory)
        if parsed.problems:
            raise OverrideError(_blamed(problem, overrides) for problem in parsed.problems)
        return replace(self, config=parsed.config, root=root)


class OverrideError(Exception):
    """Everything that is wrong with a configuration because of what was set over it."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(lines)
        super().__init__(*self.lines)

    def __str__(self) -> str:
        return "\n".join(self.lines)


def _blamed(problem: Problem, overrides: Sequence[Override]) -> str:
    """A problem, with what was set there, or else all that was set, as its place."""
    at_fault = [one for one in overrides if one.covers(problem.path)] or overrides
    return f"--set {', '.join(map(str, at_fault))}: {problem.path}: {problem.message}"


def find(explicit: Path | None = None) -> Path:
    """The file that -c names, or the first of the usual ones that exists."""
    if explicit is not None:
        return explicit
    places = [Path(NAME), *_usual_places()]
    for place in places:
        if os.path.lexists(place):
            return place
    looked = ", ".join(str(place) for place in places)
    message = f"no configuration file; looked for {looked}; name one with -c FILE"
    raise ConfigError(NAME, [Problem(1, 1, ROOT, message)])


def _usual_places() -> list[Path]:
    # XDG Base Directory Specification: a relative path is invalid and is ignored
    home = os.environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(home):
        home = os.path.expanduser("~/.config")
    places = [Path(home, "wakeful", NAME)] if os.path.isabs(home) else []
    return [*places, Path("/etc/wakeful", NAME)]


def load(path: Path) -> Loaded:
    """Raises ConfigError with all that is wrong."""
    file = str(path)
    try:
        with open(path, "rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        message = f"cannot be read: {reason}"
        raise ConfigError(file, [Problem(1, 1, ROOT, message)]) from None
    if len(data) > MAX_BYTES:
        message = f"larger than {MAX_BYTES >> 20} MiB"
        raise ConfigError(file, [Problem(1, 1, ROOT, message)])
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        line, column = position(before, len(before))
        message = f"not UTF-8: the byte 0x{data[error.start]:02x}"
        raise ConfigError(file, [Problem(line, column, ROOT, message)]) from None
    # Not resolved: a symlinked file belongs to the directory that was named.
    return loads(text, Path(os.path.abspath(path)).parent, file)


def loads(text: str, directory: Path, file: str = NAME) -> Loaded:
    """A configuration from text, without I/O; ``directory`` is where it is said to lie."""
    documents, problems = compose_all(text)
    if not documents:
        if problems:
            raise ConfigError(file, problems, text)
        documents = [Document(1, 1, Scalar(1, 1, ""))]  # nothing but comments, if that
    if knative.present(documents):
        manifests = knative.translate(documents)
        if manifests.problems and not manifests.services:
            raise ConfigError(file, [*problems, *manifests.problems], text)
        parsed = parse(manifests.root, directory)
        problems += [*manifests.problems, *map(manifests.named, parsed.problems)]
        root: Node = manifests.root
    else:
        root = documents[0].root
        parsed = parse(root, directory)
        problems += [*parsed.problems, *map(second_document, documents[1:2])]
    if problems:
        raise ConfigError(file, problems, text)
    return Loaded(parsed.config, file, text, root)
