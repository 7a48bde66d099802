"""Which keys a configuration file has, and how the value of each is read.

A table per mapping: key to reader. A reader is given a node, its path and the
report; it returns the value, or reports what is wrong and raises Refused, so
that reading goes on with the next key and every error is found at once. Rules
between keys are not known here.
"""

from __future__ import annotations

import difflib
import math
import re
import shlex
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any, TypeAlias

from wakeful.config import quantity
from wakeful.config.model import AccessLogFormat, Aggregation, HostPort, Metric, RuntimeKind
from wakeful.config.nodes import Mapping as MappingNode
from wakeful.config.nodes import Node, Scalar, Sequence, child
from wakeful.config.quantity import shown
from wakeful.config.report import Refused, Report

Reader: TypeAlias = Callable[[Node, str, Report], Any]
Section: TypeAlias = Mapping[str, Reader]


@dataclass(slots=True)
class Given:
    """What one mapping of the file says: sound values by attribute name."""

    values: dict[str, Any] = field(default_factory=dict)
    keys: frozenset[str] = frozenset()  # everything it says, sound or not


def read(node: Node, path: str, report: Report, section: Section) -> Given:
    """Every key of a mapping, with all that is wrong reported."""
    mapping = _mapping(node, path, report)
    given = Given(keys=frozenset(mapping.entries))
    for key, entry in mapping.entries.items():
        here = child(path, key)
        reader = section.get(key)
        if reader is None:
            if path or not key.startswith("x-"):
                report.refuse(entry.key, here, unknown_key(key, _name(section)))
            continue
        with suppress(Refused):
            given.values[key.replace("-", "_")] = reader(entry.value, here, report)
    return given


def _mapping(node: Node, path: str, report: Report) -> MappingNode:
    if isinstance(node, Scalar) and node.empty:
        return MappingNode(node.line, node.column)  # `env:` with every line commented out
    if not isinstance(node, MappingNode):
        raise report.refuse(node, path, f"expected a mapping (KEY: VALUE), not {_kind(node)}")
    return node


def _kind(node: Node) -> str:
    match node:
        case Scalar():
            return shown(node.text)
        case Sequence():
            return "a list"
        case MappingNode():
            return "a mapping"


# Readers


def scalar(convert: Callable[[str], Any]) -> Reader:
    def read_scalar(node: Node, path: str, report: Report) -> Any:
        if not isinstance(node, Scalar):
            raise report.refuse(node, path, f"expected a single value, not {_kind(node)}")
        if node.empty:
            raise report.refuse(node, path, "the value is missing")
        try:
            return convert(node.text)
        except ValueError as wrong:
            raise report.refuse(node, path, str(wrong)) from None

    return read_scalar


def section(keys: Section) -> Reader:
    return lambda node, path, report: read(node, path, report, keys)


def sequence(item: Reader, what: str) -> Reader:
    """A list; an item that is refused does not hide what is wrong with the next."""

    def read_sequence(node: Node, path: str, report: Report) -> tuple[Any, ...]:
        if not isinstance(node, Sequence):
            raise report.refuse(node, path, f"expected a list of {what}, not {_kind(node)}")
        items: list[Any] = []
        for index, value in enumerate(node.items):
            with suppress(Refused):
                items.append(item(value, child(path, index), report))
        if len(items) < len(node.items):
            report.refused.add(path)
            raise Refused
        return tuple(items)

    return read_sequence


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
        close = _closest(text, names)
        hint = f"; did you mean {close!r}?" if close else ""
        raise ValueError(f"expected one of {', '.join(names)}, not {shown(text)}{hint}")

    return scalar(convert)


def _image(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*", text):
        raise ValueError(f"expected an image such as hello:1.10, not {shown(text)}")
    return text


def _upstream(text: str) -> HostPort:
    address = quantity.host_port(text)
    if not address.host:
        raise ValueError(
            f"expected an address with a host such as 127.0.0.1:9001, not {shown(text)}"
        )
    return address


def _parent_domain(text: str) -> str:
    name = quantity.domain(text)
    if len(name) > 253 - 58:
        raise ValueError("must be at most 195 characters, so that NAME.domain is a host name")
    return name


def _probe_path(text: str) -> str:
    if not re.fullmatch(r"/[!-~]*", text):
        raise ValueError(f"expected a path that begins with '/', not {shown(text)}")
    return text


def _burst_capacity(text: str) -> float:
    if text == "-1":
        return -1.0
    if text.startswith("-"):
        raise ValueError(f"must be 0 or more, or -1 (as much as there is), not {text}")
    return quantity.number(text)


def _file(text: str) -> str:
    if not text or text.startswith("~"):
        raise ValueError(f"expected a path ('~' is not expanded), not {shown(text)}")
    return text


def _split(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as wrong:
        raise ValueError(f"cannot be split into words: {str(wrong).lower()}") from None


def command(node: Node, path: str, report: Report) -> tuple[str, ...]:
    """A list of words, or one text that is split as a shell would."""
    words: tuple[str, ...]
    if isinstance(node, Scalar):
        words = scalar(_split)(node, path, report)
    else:
        words = sequence(_text, "words")(node, path, report)
    if not words or not words[0]:
        raise report.refuse(node, path, "the command is empty")
    return words


# The container contract gives these their values.
RESERVED_ENV = frozenset({"PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION"})


def env(node: Node, path: str, report: Report) -> dict[str, str]:
    """Names and raw texts: NO is "NO", 1.10 is "1.10", and nothing is the empty text."""
    if isinstance(node, Sequence):
        raise report.refuse(
            node, path, "expected a mapping (NAME: value), not a list of NAME=value"
        )
    variables: dict[str, str] = {}
    for name, entry in _mapping(node, path, report).entries.items():
        here = child(path, name)
        if name in RESERVED_ENV:
            report.refuse(entry.key, here, "wakeful sets this variable itself")
        elif not name or "=" in name:
            report.refuse(entry.key, here, "the name of a variable may not be empty or contain '='")
        elif not isinstance(entry.value, Scalar):
            report.refuse(entry.value, here, f"expected a text, not {_kind(entry.value)}")
        else:
            variables[name] = entry.value.text
    return variables


def _text(node: Node, path: str, report: Report) -> str:
    if not isinstance(node, Scalar):
        raise report.refuse(node, path, f"expected a text, not {_kind(node)}")
    return node.text


def access_log(node: Node, path: str, report: Report) -> Given:
    """The mapping, or its format alone, as in `access-log: off`."""
    if isinstance(node, Scalar) and not node.empty:
        return Given({"format": choice(AccessLogFormat)(node, path, report)})
    return read(node, path, report, ACCESS_LOG)


# Tables. Ranges are those of Knative's autoscaling annotations where it has them.

_seconds = quantity.duration
_whole = quantity.whole
_positive_seconds = above(_seconds, 0, "more than 0s")

QUEUE: Section = {
    "limit": within(_whole, 0, math.inf, "0 or more"),
    "timeout": _positive_seconds,
}
SCALE: Section = {
    "metric": choice(Metric),
    "target": within(quantity.number, 0.01, math.inf, "0.01 or more"),
    "utilization": percentage(0.01, 1, "1% to 100%"),
    "aggregation": choice(Aggregation),
    "window": whole_seconds(6, 3600, "6s to 1h"),
    "panic-window": percentage(0.01, 1, "1% to 100%"),
    "panic-threshold": percentage(1.1, 10, "110% to 1000%"),
    "down-delay": whole_seconds(0, 3600, "0s to 1h"),
    "retention": within(_seconds, 0, 3600, "0s to 1h"),
    "initial": within(_whole, 0, math.inf, "0 or more"),
    "activation": within(_whole, 1, math.inf, "1 or more"),
    "max-up-rate": above(quantity.number, 1, "more than 1"),
    "max-down-rate": above(quantity.number, 1, "more than 1"),
    "target-burst-capacity": scalar(_burst_capacity),
}
READINESS: Section = {
    "path": scalar(_probe_path),
    "timeout": _positive_seconds,
}
ACCESS_LOG: Section = {
    "format": choice(AccessLogFormat),
    "file": scalar(_file),
}
SERVICE: Section = {
    "image": scalar(_image),
    "command": command,
    "upstreams": sequence(scalar(_upstream), "addresses"),
    "port": within(_whole, 1, 65535, "1 to 65535"),
    "env": env,
    "domains": sequence(scalar(quantity.domain), "host names"),
    "concurrency": within(_whole, 0, 1000, "0 to 1000 (0 means no limit)"),
    "min-instances": within(_whole, 0, math.inf, "0 or more"),
    "max-instances": within(_whole, 0, math.inf, "0 or more (0 means no limit)"),
    "timeout": _positive_seconds,
    "response-start-timeout": _positive_seconds,
    "tunnel-idle-timeout": within(_seconds, 0, math.inf, "0s or more (0s means never)"),
    "max-request-body": within(quantity.memory, 0, math.inf, "0 or more"),
    "queue": section(QUEUE),
    "scale": section(SCALE),
    "readiness": section(READINESS),
    "cpu": within(quantity.cpu, 0.01, math.inf, "0.01 (10m) or more"),
    # Docker refuses a container with less.
    "memory": within(quantity.memory, 6 * 2**20, math.inf, "6Mi or more"),
    "stop-grace": within(_seconds, 0, math.inf, "0s or more"),
}


def _belongs_to_one_service(node: Node, path: str, report: Report) -> Any:
    raise report.refuse(node, path, "belongs to one service and cannot be a default")


DEFAULTS: Section = {
    **SERVICE,
    "domains": _belongs_to_one_service,
    "upstreams": _belongs_to_one_service,
}
TOP: Section = {
    "listen": scalar(quantity.host_port),
    "admin": scalar(quantity.host_port),
    "domain": scalar(_parent_domain),
    "runtime": choice(RuntimeKind),
    "state-dir": scalar(_file),
    "access-log": access_log,
    "trusted-proxies": sequence(scalar(quantity.network), "networks"),
    "simultaneous-starts": within(_whole, 1, math.inf, "1 or more"),
    "defaults": section(DEFAULTS),
    "services": _mapping,
}

# Where a key belongs, in words; in the order in which places are searched.
_PLACES: dict[str, tuple[Section, str]] = {
    "service": (SERVICE, "a service"),
    "scale": (SCALE, "'scale'"),
    "queue": (QUEUE, "'queue'"),
    "readiness": (READINESS, "'readiness'"),
    "access-log": (ACCESS_LOG, "'access-log'"),
    "top": (TOP, "the top of the file"),
}
# What the same things are called in Compose files and by Knative.
_FOREIGN = {
    "environment": "env",
    "ports": "port",
    "cpus": "cpu",
    "mem-limit": "memory",
    "stop-grace-period": "stop-grace",
    "min-scale": "min-instances",
    "max-scale": "max-instances",
    "container-concurrency": "concurrency",
    "timeout-seconds": "timeout",
    "stable-window": "window",
    "scale-down-delay": "down-delay",
    "initial-scale": "initial",
    "activation-scale": "activation",
    "metric-aggregation-algorithm": "aggregation",
}


def _name(section: Section) -> str:
    if section is DEFAULTS:
        return "service"
    return next(name for name, (keys, _) in _PLACES.items() if keys is section)


@lru_cache(maxsize=1024)
def unknown_key(key: str, place: str) -> str:
    """What to write instead of a key that does not exist in ``place``."""
    here = _PLACES[place][0]
    kebab = re.sub(r"(?<=[a-z])(?=[A-Z])|_", "-", key).lower()
    kebab = _FOREIGN.get(kebab, kebab)
    if kebab in here:
        return f"unknown key; did you mean {kebab!r}?"
    for keys, words in _PLACES.values():
        if kebab in keys:
            spelt = "it" if kebab == key else repr(kebab)
            return f"unknown key here; {spelt} belongs in {words}"
    if close := _closest(kebab, here):
        return f"unknown key; did you mean {close!r}?"
    for keys, words in _PLACES.values():
        if close := _closest(kebab, keys):
            return f"unknown key; did you mean {close!r}, in {words}?"
    return f"unknown key; known here are {', '.join(here)}"


def _closest(word: str, known: Mapping[str, Any] | list[str]) -> str | None:
    # difflib takes time with the square of the length
    if len(word) > 40:
        return None
    return next(iter(difflib.get_close_matches(word, known, n=1)), None)
