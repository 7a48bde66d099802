"""What is asked of the logs of a service, and the lines that are the answer.

INSTANCE TIME STREAM TAG TEXT, as the kubelet keeps logs (CRI), with the instance before
it. STREAM is stdout, stderr or - where it is not known; note for what wakeful has to say
and error for what it cannot do. TAG is F where the line ends there, and P where it goes
on in the next one of the same instance and stream.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from math import nan

from wakeful.runtime.instance import InstanceId
from wakeful.runtime.output import MIXED, NO_TIME, NOTE, Asked, Line

ERROR = b"error"
NOBODY = InstanceId("-")

_SHOWN_SERVICES = 20


@dataclass(frozen=True, slots=True)
class LogQuery:
    service: str
    asked: Asked
    instance: str | None  # its id, or how that ends; None: all of them


@dataclass(frozen=True, slots=True)
class LastWords:
    """What is left of an instance that failed."""

    instance: InstanceId
    wrong: str
    at: float  # seconds since 1970
    lines: tuple[str, ...]


def query_of(service: str, parameters: Mapping[str, str]) -> LogQuery:
    """Of the parameters of a request for it. Raises ValueError."""
    asked, instance = Asked(), None
    for name, value in parameters.items():
        if name == "follow":
            asked = replace(asked, follow=_switch(value))
        elif name == "tail":
            asked = replace(asked, tail=_tail(value))
        elif name == "since":
            asked = replace(asked, since=_since(value))
        elif name == "instance":
            instance = value or None
        else:
            raise ValueError(f"{name[:40]}: unknown; there are follow, tail, since, instance")
    return LogQuery(service, asked, instance)


def _switch(value: str) -> bool:
    if value not in ("0", "1", "false", "true"):
        raise ValueError(f"follow: must be 0 or 1, not {value[:40]!r}")
    return value in ("1", "true")


def _tail(value: str) -> int | None:
    if value == "all":
        return None
    if not (value.isascii() and value.isdecimal() and len(value) < 10):
        raise ValueError(f"tail: must be a number of lines, or all, not {value[:40]!r}")
    return int(value)


def _since(value: str) -> float:
    try:
        moment = float(value)
    except ValueError:
        moment = nan
    if not 0 <= moment < 1e11:
        raise ValueError(f"since: must be in seconds since 1970, not {value[:40]!r}")
    return moment


def encoded(instance: InstanceId, lines: Iterable[Line]) -> bytes:
    prefix = instance.encode()
    return b"".join(
        b"%b %b %b %b %b\n" % (prefix, time, stream, b"F" if whole else b"P", text)
        for text, stream, time, whole in lines
    )


def note(instance: InstanceId, text: str, now: float, stream: bytes = NOTE) -> bytes:
    time = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
    return encoded(instance, [Line(" ".join(text.split()).encode(), stream, time.encode(), True)])


def remembered(words: LastWords, asked: Asked) -> bytes:
    """As far as they are asked for."""
    if asked.tail == 0 or (asked.since is not None and words.at < asked.since):
        return b""
    lines = words.lines if asked.tail is None else words.lines[-asked.tail :]
    said = [Line(line.encode("utf-8", "replace"), MIXED, NO_TIME, True) for line in lines]
    return encoded(words.instance, said) + note(words.instance, words.wrong, words.at)


def matching(service: str, wanted: str, known: Sequence[InstanceId]) -> InstanceId:
    """The instance that is meant. Raises ValueError, for an operator."""
    found = [one for one in known if one == wanted] or [x for x in known if x.endswith(wanted)]
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(f"{wanted} may be any of {', '.join(found)}")
    there = f"there are {', '.join(known)}" if known else "nothing of it runs"
    raise ValueError(f"{service} has no instance {wanted}; {there}")


def unknown_service(name: str, known: Collection[str]) -> str:
    """For an operator who asked for it."""
    if len(known) <= _SHOWN_SERVICES:
        return f"no service {name}; known: {', '.join(known) or 'none'}"
    close = get_close_matches(name, known)
    return f"no service {name} among {len(known)}" + (
        f"; like it: {', '.join(close)}" * bool(close)
    )
