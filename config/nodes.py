"""A YAML text as a tree in which every value knows its line and column.

Scalars keep their raw text: no implicit typing decides anything, so `NO`,
`1:30`, `0777` and `1.10` mean what they look like. What the tree cannot hold
honestly (duplicate keys, tags, aliases that contain themselves or multiply
without end) is reported here; what the keys mean is not
known here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TypeAlias

import yaml

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

MAX_DEPTH = 64
# What aliases may add to a file, in values. A file of nine short lines of
# aliases can stand for a billion values ("billion laughs").
MAX_ALIASED = 100_000

ROOT = "file"  # the path of a problem of the whole file

# What YAML 1.1 §5.1 does not let into a file; as in PyYAML's reader.
_UNPRINTABLE = re.compile(
    "[^\x09\x0a\x0d\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
)
_NO_VALUE = re.compile("[\x00\ud800-\udfff]")  # neither an argument nor a variable can hold these
LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")

_SIMPLE_KEY = re.compile(r"[A-Za-z0-9_-]+")
SEGMENT = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\[\d+\]|[^.\[\]]+"""  # of a path


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """Something wrong, and where: line and column count from 1."""

    line: int
    column: int
    path: str
    message: str


@dataclass(frozen=True, slots=True, eq=False)
class Scalar:
    line: int
    column: int
    text: str
    plain: bool = True  # written without quotes

    @property
    def empty(self) -> bool:
        """Nothing stands after the colon."""
        return self.plain and not self.text


@dataclass(frozen=True, slots=True, eq=False)
class Sequence:
    line: int
    column: int
    items: tuple[Node, ...] = ()
    size: int = 1  # values in it, aliases counted as often as they are used


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    key: Scalar
    value: Node


@dataclass(frozen=True, slots=True, eq=False)
class Mapping:
    line: int
    column: int
    entries: dict[str, Entry] = field(default_factory=dict)
    size: int = 1


Node: TypeAlias = Scalar | Sequence | Mapping


@dataclass(frozen=True, slots=True)
class Document:
    """One of a file, and where it begins."""

    line: int
    column: int
    root: Node


def compose(text: str) -> tuple[Node | None, list[Problem]]:
    """The tree of the only document in ``text``, and what is wrong with it."""
    documents, problems = compose_all(text)
    if not documents:
        return None, problems
    if len(documents) > 1:
        problems = [*problems, second_document(documents[1])]
    return documents[0].root, problems


def second_document(document: Document) -> Problem:
    message = "a second document; one file holds one configuration"
    return Problem(document.line, document.column, ROOT, message)


def compose_all(text: str) -> tuple[list[Document], list[Problem]]:
    """The trees of all documents in ``text``, and what is wrong with them.

    Built from parser events, not by yaml.compose: that one recurses in C and
    ends the process on a few hundred kilobytes of "[".
    """
    text = text.removeprefix("\ufeff")
    if bad := _UNPRINTABLE.search(text):
        line, column = position(text, bad.start())
        message = f"the character {bad.group()!a} may not stand in a YAML file"
        return [], [Problem(line, column, ROOT, message)]
    composer = _Composer()
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            composer.feed(event)
    except _Stop:
        pass  # reported; a document that was complete before is still of use
    except yaml.MarkedYAMLError as error:
        composer.problems.append(_syntax_problem(error, text))
        return [], composer.problems
    except yaml.YAMLError as error:  # only with positions of its own kind
        message = f"not valid YAML: {' '.join(str(error).split())}"
        return [], [*composer.problems, Problem(1, 1, ROOT, message)]
    return composer.documents, composer.problems


def position(text: str, offset: int) -> tuple[int, int]:
    """The line and column of a character, both counted from 1."""
    line, start = 1, 0
    for end in LINE_BREAK.finditer(text, 0, offset):
        line, start = line + 1, end.end()
    return line, offset - start + 1


def child(path: str, key: str | int) -> str:
    """The path of what stands under ``key``; quoted when it would not be read as one word."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    segment = key if _SIMPLE_KEY.fullmatch(key) else repr(key)
    return f"{path}.{segment}" if path else segment


def locate(root: Node, path: str) -> tuple[Node, bool]:
    """Where ``path`` stands, or else the nearest thing above it; and whether it was found.

    The place of a value is the value itself when it is a scalar, its key when
    it spreads over lines or is missing.
    """
    node: Node = root
    place: Node = root
    for segment in re.findall(SEGMENT, path):
        found = _step(node, segment)
        if found is None:
            return place, False
        key, node = found
        spreads = not isinstance(node, Scalar) or node.empty
        place = key if key is not None and spreads else node
    return place, True


def _step(node: Node, segment: str) -> tuple[Scalar | None, Node] | None:
    if isinstance(node, Sequence) and segment.startswith("["):
        index = int(segment[1:-1])
        return (None, node.items[index]) if index < len(node.items) else None
    if isinstance(node, Mapping):
        if segment[0] in "'\"":
            entry = next((e for k, e in node.entries.items() if child("", k) == segment), None)
        else:
            entry = node.entries.get(segment)
        return (entry.key, entry.value) if entry else None
    return None


def _syntax_problem(error: yaml.MarkedYAMLError, text: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    if "maximum nesting depth" in str(error.problem):  # libyaml reads ahead, and has a limit too
        return Problem(line, column, ROOT, f"nested deeper than {MAX_DEPTH} levels")
    message = f"not valid YAML: {error.problem or error.context or 'unreadable'}"
    if error.context and error.context_mark and error.context_mark.line + 1 != line:
        message += f" ({error.context} that begins on line {error.context_mark.line + 1})"
    if "cannot start any token" in message and _character_at(text, line, column) == "\t":
        message += "; indent with spaces, not with tabs"
    elif "mapping values are not allowed" in message:
        message += "; a text that contains ': ' needs quotes"
    return Problem(line, column, ROOT, " ".join(message.split()))


def _character_at(text: str, line: int, column: int) -> str:
    lines = LINE_BREAK.split(text)
    return lines[line - 1][column - 1 : column] if line <= len(lines) else ""


class _Stop(Exception):
    """The rest of the file cannot be understood; the reason is reported."""


@dataclass(slots=True)
class _OpenSequence:
    line: int
    column: int
    anchor: str | None
    items: list[Node] = field(default_factory=list)

    def inner_path(self, path: str) -> str:
        return child(path, len(self.items))


@dataclass(slots=True)
class _OpenMapping:
    line: int
    column: int
    anchor: str | None
    entries: dict[str, Entry] = field(default_factory=dict)
    merges: list[tuple[Scalar, Node]] = field(default_factory=list)
    awaits_key: bool = True
    key: Scalar | None = None  # None also for a key that cannot be one

    def inner_path(self, path: str) -> str:
        return path if self.key is None else child(path, self.key.text)


class _Composer:
    """Turns parser events into one tree, with a stack of its own instead of recursion."""

    def __init__(self) -> None:
        self.documents: list[Document] = []
        self.problems: list[Problem] = []
        self._begins = (1, 1)  # of the document that is being read
        self._open: list[_OpenSequence | _OpenMapping] = []
        self._anchors: dict[str, Node | None] = {}  # None: begun, not ended
        self._aliased = 0

    def feed(self, event: yaml.Event) -> None:
        match event:
            case yaml.ScalarEvent():
                line, column = self._begin(event)
                # The plain style is "" from libyaml and None from the pure parser.
                scalar = Scalar(line, column, event.value, plain=not event.style)
                if _NO_VALUE.search(scalar.text):
                    self._report(line, column, "a text may not contain NUL or half a character")
                if event.anchor:
                    self._anchors[event.anchor] = scalar
                self._add(scalar)
            case yaml.MappingStartEvent():
                self._push(_OpenMapping(*self._begin(event), event.anchor))
            case yaml.SequenceStartEvent():
                self._push(_OpenSequence(*self._begin(event), event.anchor))
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._close()
            case yaml.AliasEvent():
                self._add(self._resolve(event))
            case yaml.DocumentStartEvent():
                self._begins = _start(event)
                self._anchors.clear()  # YAML 1.1 §3.2.2.2: an alias refers into its own document

    def _begin(
        self, event: yaml.ScalarEvent | yaml.MappingStartEvent | yaml.SequenceStartEvent
    ) -> tuple[int, int]:
        line, column = _start(event)
        # !!str and the non-specific ! only say what is true here anyway.
        if event.tag and event.tag not in ("!", "tag:yaml.org,2002:str"):
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self._report(line, column, f"tags such as {tag!a} have no meaning here")
        return line, column

    def _push(self, frame: _OpenSequence | _OpenMapping) -> None:
        if len(self._open) == MAX_DEPTH:
            raise self._stop(frame.line, frame.column, f"nested deeper than {MAX_DEPTH} levels")
        if frame.anchor:
            self._anchors[frame.anchor] = None
        self._open.append(frame)

    def _close(self) -> None:
        frame = self._open.pop()
        node: Node
        if isinstance(frame, _OpenMapping):
            self._merge(frame)
            size = 1 + sum(1 + _size(entry.value) for entry in frame.entries.values())
            node = Mapping(frame.line, frame.column, frame.entries, size)
        else:
            size = 1 + sum(_size(item) for item in frame.items)
            node = Sequence(frame.line, frame.column, tuple(frame.items), size)
        if frame.anchor:
            self._anchors[frame.anchor] = node
        self._add(node)

    def _resolve(self, event: yaml.AliasEvent) -> Node:
        line, column = _start(event)
        name = event.anchor
        if name not in self._anchors:
            raise self._stop(line, column, f"nothing above is marked &{name}")
        target = self._anchors[name]
        if target is None:
            raise self._stop(line, column, f"*{name} stands inside of what it refers to")
        self._aliased += _size(target)
        if self._aliased > MAX_ALIASED:
            raise self._stop(line, column, f"aliases stand for more than {MAX_ALIASED} values")
        return target

    def _add(self, node: Node) -> None:
        if not self._open:
            self.documents.append(Document(*self._begins, node))
            return
        frame = self._open[-1]
        if isinstance(frame, _OpenSequence):
            frame.items.append(node)
        elif frame.awaits_key:
            frame.awaits_key = False
            frame.key = self._key(frame, node)
        else:
            if frame.key is not None:
                if _merges(frame.key):
                    frame.merges.append((frame.key, node))
                else:
                    frame.entries[frame.key.text] = Entry(frame.key, node)
            frame.awaits_key, frame.key = True, None

    def _key(self, frame: _OpenMapping, node: Node) -> Scalar | None:
        if not isinstance(node, Scalar):
            self._report(node.line, node.column, "a key must be a single word")
            return None
        entry = frame.entries.get(node.text)
        first = entry.key if entry else None
        if _merges(node):
            first = frame.merges[0][0] if frame.merges else None
        if first is not None:
            path = child(self._path(), node.text)
            message = f"duplicate key; it is first given on line {first.line}"
            self.problems.append(Problem(node.line, node.column, path, message))
            return None
        return node

    def _merge(self, frame: _OpenMapping) -> None:
        """``<<`` gives what the mapping does not say itself (yaml.org/type/merge.html).

        Of several sources the earlier wins.
        """
        for _, node in frame.merges:
            for source in node.items if isinstance(node, Sequence) else (node,):
                if not isinstance(source, Mapping):
                    self._report(
                        source.line, source.column, "<< takes a mapping, or a list of them"
                    )
                    continue
                for key, entry in source.entries.items():
                    frame.entries.setdefault(key, entry)

    def _path(self) -> str:
        path = ""
        for frame in self._open:
            path = frame.inner_path(path)
        return path

    def _report(self, line: int, column: int, message: str) -> None:
        self.problems.append(Problem(line, column, self._path() or ROOT, message))

    def _stop(self, line: int, column: int, message: str) -> _Stop:
        self._report(line, column, message)
        return _Stop()


def _start(event: yaml.Event) -> tuple[int, int]:
    mark = event.start_mark
    assert mark is not None  # events that were parsed have one
    return mark.line + 1, mark.column + 1


def _merges(key: Scalar) -> bool:
    return key.plain and key.text == "<<"


def _size(node: Node) -> int:
    return 1 if isinstance(node, Scalar) else node.size
