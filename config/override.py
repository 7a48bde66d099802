"""A configuration with some values changed by their paths, as ``--set`` asks for."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace

from wakeful.config.nodes import SEGMENT, Entry, Mapping, Node, Scalar, child, compose
from wakeful.config.quantity import shown

_PATH = re.compile(rf"(?:{SEGMENT})(?:\.(?:{SEGMENT}))*")


@dataclass(frozen=True, slots=True)
class Override:
    """One value, and where in the file it is to be taken for what the file says."""

    path: str  # such as services.hello.scale.window
    text: str  # as it would be written in the file

    @classmethod
    def parse(cls, text: str) -> Override:
        """From PATH=VALUE. Raises ValueError."""
        path, equals, value = text.partition("=")
        if not equals or not _PATH.fullmatch(path.strip()):
            raise ValueError(
                f"expected PATH=VALUE such as services.hello.scale.window=30s, not {shown(text)}"
            )
        return cls(path.strip(), value.strip())

    def __str__(self) -> str:
        return f"{self.path}={self.text}"

    def covers(self, path: str) -> bool:
        return path == self.path or path.startswith((f"{self.path}.", f"{self.path}["))

    def over(self, root: Node) -> Node:
        """The tree with this value in its place. Raises ValueError when there is none.

        What is not written yet is added; whether it may be there is for the
        reader of the tree to say. Only a service must exist.
        """
        value, problems = compose(self.text)
        if problems:
            raise ValueError(problems[0].message)
        if value is None:
            value = Scalar(1, 1, "")
        return _put(root, re.findall(SEGMENT, self.path), "", value)


def _put(node: Node, segments: list[str], path: str, value: Node) -> Node:
    if not segments:
        return value
    if isinstance(node, Scalar) and node.empty:
        node = Mapping(node.line, node.column)
    if not isinstance(node, Mapping):
        raise ValueError(f"{path} has no keys of its own")
    key = _unquoted(segments[0])
    here = child(path, key)
    entry = node.entries.get(key)
    if entry is None:
        if path == "services":
            raise ValueError(_no_service(key, list(node.entries)))
        entry = Entry(Scalar(node.line, node.column, key), Mapping(node.line, node.column))
    changed = Entry(entry.key, _put(entry.value, segments[1:], here, value))
    return replace(node, entries={**node.entries, key: changed})


def _unquoted(segment: str) -> str:
    return segment[1:-1] if segment[0] in "'\"" else segment


def _no_service(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name[:40], names, n=1)
    return f"there is no service {shown(name)}" + (f"; did you mean {close[0]!r}?" if close else "")
