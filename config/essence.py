"""A template as JSON and back: only what differs from a default is said.

So a field that a later version adds changes nothing for templates which do not
use it, and what one version wrote another can read.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from ipaddress import IPv4Network, IPv6Network
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def essence(value: object) -> Any:
    """Of a dataclass of the model, or of what its fields may hold."""
    kind: type = type(value)
    if is_dataclass(kind):
        said = {}
        for name, default in _defaults(kind):
            attribute = getattr(value, name)
            if attribute != default:
                said[name] = essence(attribute)
        return said
    if isinstance(value, tuple):
        return [essence(item) for item in value]
    if isinstance(value, IPv4Network | IPv6Network):
        return str(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)  # 2.0 and 2 are equal, so what is said of them is
    return value


def restored(kind: type[T], said: object) -> T:
    """The value whose essence this is. Raises ValueError for what ``kind`` cannot be."""
    value: T = _restored(kind, said)
    return value


def _restored(kind: Any, said: object) -> Any:
    if is_dataclass(kind):
        return _dataclass(kind, said)
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        return _one_of(get_args(kind), said)
    if origin is tuple:
        return _tuple(get_args(kind), said)
    if kind is float and isinstance(said, int | float) and not isinstance(said, bool):
        return float(said)
    if isinstance(kind, type) and issubclass(kind, Enum | IPv4Network | IPv6Network):
        return kind(said)
    if kind in (str, int, bool) and type(said) is kind:
        return said
    raise ValueError(f"not a value of {kind}: {said!r}")


def _one_of(kinds: tuple[Any, ...], said: object) -> Any:
    for kind in kinds:
        if kind is type(None) and said is None:
            return None
        with suppress(ValueError):
            return _restored(kind, said)
    raise ValueError(f"not a value of {kinds}: {said!r}")


def _dataclass(kind: Any, said: object) -> Any:
    hints = _hints(kind)
    if not isinstance(said, Mapping) or not said.keys() <= hints.keys():
        raise ValueError(f"not a {kind.__name__}: {said!r}")
    try:
        return kind(**{name: _restored(hints[name], value) for name, value in said.items()})
    except TypeError as error:  # a field without a default is missing
        raise ValueError(str(error)) from None


# Of some ten kinds of dataclasses, and asked for with every template:

_hints = cache(get_type_hints)


@cache
def _defaults(kind: type) -> tuple[tuple[str, object], ...]:
    """Its fields and what they hold where nothing is said; MISSING if that is not possible."""
    return tuple(
        (
            field.name,
            field.default if field.default_factory is MISSING else field.default_factory(),
        )
        for field in fields(kind)
    )


def _tuple(kinds: tuple[Any, ...], said: object) -> tuple[Any, ...]:
    if not isinstance(said, list):
        raise ValueError(f"not a list: {said!r}")
    if kinds[1:] == (...,):
        return tuple(_restored(kinds[0], item) for item in said)
    if len(kinds) != len(said):
        raise ValueError(f"not {len(kinds)} values: {said!r}")
    return tuple(_restored(kind, item) for kind, item in zip(kinds, said, strict=True))
