"""How the value of one key is read: the shapes that every table of keys is made from.

A reader is given a node, its path and the report; it returns the value, or
reports what is wrong and raises Refused, so that reading goes on with the next
key and every error is found at once.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Collection
from contextlib import suppress
from enum import StrEnum
from typing import Any, TypeAlias

from wakeful.config import quantity
from wakeful.config.nodes import Mapping as MappingNode
from wakeful.config.nodes import Node, Scalar, Sequence, child
from wakeful.config.quantity import shown
from wakeful.config.report import Refused, Report

Reader: TypeAlias = Callable[[Node, str, Report], Any]


def scalar(convert: Callable[[str], Any]) -> Reader:
    def read_scalar(node: Node, path: str, report: Report) -> Any:
        if not isinstance(node, Scalar):
            raise report.refuse(node, path, f"expected a single value, not {kind(node)}")
        if node.empty:
            raise report.refuse(node, path, "the value is missing")
        try:
            return convert(node.text)
        except ValueError as wrong:
            raise report.refuse(node, path, str(wrong)) from None

    return read_scalar


def sequence(item: Reader, what: str) -> Reader:
    """A list; an item that is refused does not hide what is wrong with the next."""

    def read_sequence(node: Node, path: str, report: Report) -> tuple[Any, ...]:
        if not isinstance(node, Sequence):
            raise report.refuse(node, path, f"expected a list of {what}, not {kind(node)}")
        items: list[Any] = []
        for index, value in enumerate(node.items):
            with suppress(Refused):
                items.append(item(value, child(path, index), report))
        if len(items) < len(node.items):
            report.refused.add(path)
            raise Refused
        return tuple(items)

    return read_sequence


def one_or_more(item: Reader, what: str) -> Reader:
    """One value, or a list of them."""
    several = sequence(item, what)

    def read_one_or_more(node: Node, path: str, report: Report) -> tuple[Any, ...]:
        if not isinstance(node, Sequence):
            return (item(node, path, report),)
        items: tuple[Any, ...] = several(node, path, report)
        if not items:
            raise report.refuse(node, path, "at least one is needed")
        return items

    return read_one_or_more


def within(convert: Callable[[str], Any], least: float, most: float, words: str) -> Reader:
    """A number between two bounds, both included."""

    def convert_within(text: str) -> Any:
        value = convert(text)
        if not least <= value <= most:
            raise ValueError(f"must be {words}, not {text}")
        return value

    return scalar(convert_within)


def above(convert: Callable[[str], float], bound: float, words: str) -> Reader:
    return within(convert, math.nextafter(bound, math.inf), math.inf, words)


def whole_seconds(least: float, most: float, words: str) -> Reader:
    def convert(text: str) -> float:
        seconds = quantity.duration(text)
        if not (least <= seconds <= most and seconds.is_integer()):
            raise ValueError(f"must be {words} in whole seconds, not {text}")
        return seconds

    return scalar(convert)


def percentage(least: float, most: float, words: str) -> Reader:
    def convert(text: str) -> float:
        value = quantity.ratio(text)
        if least <= value <= most:
            return value
        hint = ""
        if not text.endswith("%"):
            rule = "a bare number is a fraction up to 1 and a percentage above it"
            hint = f"; {rule}, so {text} means {100 * value:g}%"
            if least <= float(text) <= most:  # `2` for twice as much
                hint += f": write {100 * float(text):g}%"
        raise ValueError(f"must be {words}, not {text}{hint}")

    return scalar(convert)


def choice(options: type[StrEnum]) -> Reader:
    names = [option.value for option in options]

    def convert(text: str) -> StrEnum:
        if text in names:
            return options(text)
        close = closest(text, names)
        hint = f"; did you mean {close!r}?" if close else ""
        raise ValueError(f"expected one of {', '.join(names)}, not {shown(text)}{hint}")

    return scalar(convert)


def switch(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(f"expected true or false, not {shown(text)}")
    return text == "true"


def one_of(names: Collection[str], what: str) -> Callable[[str], str]:
    """A word of a closed vocabulary that is too long to be listed in a message."""

    def convert(text: str) -> str:
        if text in names:
            return text
        close = closest(text, names)
        hint = f"; did you mean {close!r}?" if close else ""
        raise ValueError(f"expected {what}, not {shown(text)}{hint}")

    return convert


def matching(pattern: str, expected: str) -> Callable[[str], str]:
    """A text of this form, which ``expected`` says in words."""

    def convert(text: str) -> str:
        if not re.fullmatch(pattern, text, re.ASCII):
            raise ValueError(f"expected {expected}, not {shown(text)}")
        return text

    return convert


def pairs(value: Reader, words: str, name: Callable[[str], str]) -> Reader:
    """A mapping with names of the operator's own; ``words`` says what a list of them looks like.

    ``name`` returns the name as it is kept, or raises ValueError.
    """

    def read_pairs(node: Node, path: str, report: Report) -> dict[str, Any]:
        if isinstance(node, Sequence):
            expected = f"expected a mapping ({words.replace('=', ': ', 1)})"
            raise report.refuse(node, path, f"{expected}, not a list of {words}")
        found: dict[str, Any] = {}
        for key, entry in mapping(node, path, report).entries.items():
            here = child(path, key)
            try:
                kept = name(key)
            except ValueError as wrong:
                report.refuse(entry.key, here, str(wrong))
                continue
            with suppress(Refused):
                found[kept] = value(entry.value, here, report)
        return found

    return read_pairs


def mapping(node: Node, path: str, report: Report) -> MappingNode:
    if isinstance(node, Scalar) and node.empty:
        return MappingNode(node.line, node.column)  # `env:` with every line commented out
    if not isinstance(node, MappingNode):
        raise report.refuse(node, path, f"expected a mapping (KEY: VALUE), not {kind(node)}")
    return node


def kind(node: Node) -> str:
    match node:
        case Scalar():
            return shown(node.text)
        case Sequence():
            return "a list"
        case MappingNode():
            return "a mapping"


def raw(node: Node, path: str, report: Report) -> str:
    """The text as it was written, also when it is empty."""
    if not isinstance(node, Scalar):
        raise report.refuse(node, path, f"expected a text, not {kind(node)}")
    return node.text


def closest(word: str, known: Collection[str]) -> str | None:
    # difflib takes time with the square of the length
    if len(word) > 40:
        return None
    return next(iter(difflib.get_close_matches(word, list(known), n=1)), None)
