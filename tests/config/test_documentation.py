"""docs/configuration.md has every key that a file may have, and each with its default."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from wakeful.config.load import ConfigError, loads
from wakeful.config.model import Config

ROOT = Path(__file__).parents[2]

_WINDOW = {"start": "0 8 * * *", "end": "0 18 * * *"}
# Where the keys of a table stand, by the heading over it, and what else has to be there.
_PLACES: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "The file": ((), {}),
    "A service": (("services", "a"), {}),
    "Containers": (("services", "a"), {}),
    "Warm at certain times": (("services", "a", "schedule"), _WINDOW),
    "What does not wake a service": (("services", "a", "wake", "ignore"), {"path": "/"}),
    "A page for browsers while it starts": (("services", "a"), {}),
    "Scaling": (("services", "a"), {}),
}
_LISTS = {"schedule", "ignore"}
# Their default is given in words, or is not one value.
_IN_WORDS = {"state-dir", "waiting-page.title"}


@dataclass(frozen=True, slots=True)
class Row:
    place: tuple[str, ...]
    key: tuple[str, ...]
    default: str  # the whole cell


def _rows() -> dict[str, Row]:
    found = {}
    heading = ""
    for line in (ROOT / "docs" / "configuration.md").read_text().splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif line.startswith("| `") and heading in _PLACES:
            place = _PLACES[heading][0]
            _, keys, default, *_ = (cell.strip() for cell in line.split("|"))
            for key in re.findall("`(.+?)`", keys):
                found[".".join((*place, key))] = Row(place, tuple(key.split(".")), default)
    return found


ROWS = _rows()


def _file(path: tuple[str, ...], value: Any) -> str:
    """A file that says little else; JSON is YAML."""
    file: dict[str, Any] = {"services": {"a": {"image": "x:1"}}}
    mapping = file
    for name in path[:-1]:
        inner = mapping.setdefault(name, {})
        if name in _LISTS:
            beside = next(more for place, more in _PLACES.values() if place and place[-1] == name)
            mapping[name] = [inner := dict(beside)]
        mapping = inner
    if path:
        mapping[path[-1]] = value
    return json.dumps(file)


def _config(path: tuple[str, ...], value: Any) -> Config:
    return loads(_file(path, value), Path("/")).config


def _known(section: tuple[str, ...]) -> set[str]:
    """The keys that are known there, as the error for one that is not lists them."""
    with pytest.raises(ConfigError) as refused:
        _config((*section, "zzzzzzzz"), 1)
    match = re.search("unknown key; known here are (.+)", str(refused.value))
    assert match, refused.value
    return set(match[1].split(", "))


def test_every_key_that_is_known_is_documented_and_no_other() -> None:
    documented: dict[tuple[str, ...], set[str]] = {}
    for row in ROWS.values():
        section = (*row.place, *row.key[:-1])
        documented.setdefault(section, set()).add(row.key[-1])
        if row.key[:-1]:
            documented.setdefault(row.place, set()).add(row.key[0])
    assert documented == {section: _known(section) for section in documented}


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, row in ROWS.items()
        if re.fullmatch("`[^`]+`", row.default) and ".".join(row.key) not in _IN_WORDS
    ],
)
def test_a_default_is_what_the_documentation_says(name: str) -> None:
    row = ROWS[name]
    path = (*row.place, *row.key)
    without = _config((), None)
    if "schedule" in path:  # a window or a page is there, and says nothing of this key
        without = _config(path[:-1], [_WINDOW])
    elif path[-2:-1] == ("waiting-page",):
        without = _config(path[:-1], True)
    assert _config(path, row.default.strip("`")) == without
