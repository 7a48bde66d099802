"""What the command line says, as values. ValueError says which option makes no sense, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from wakeful.config.override import Override
from wakeful.config.quantity import duration
from wakeful.simulate.command import Source
from wakeful.simulate.shapes import Kind
from wakeful.simulate.traffic import ServiceTime, Shape

_RATE, _LENGTH, _SERVICE_TIME = 10.0, "10m", "100ms"
_EXPONENTIAL = "exponential:"

T = TypeVar("T")


def source_of(
    logs: Sequence[Path],
    trace: Path | None,
    shape: str | None,
    service: str | None,
    rate: float | None,
    peak: float | None,
    length: str | None,
    service_time: str | None,
    seed: int,
) -> Source:
    if (bool(logs), trace is not None, shape is not None).count(True) != 1:
        raise ValueError("one of --log, --trace and --shape is needed")
    usual = _named("--service-time", _service_time, service_time or _SERVICE_TIME)
    made_up = None
    if shape is not None:
        seconds = _named("--duration", _positive, length or _LENGTH)
        level = _RATE if rate is None else rate
        made_up = Shape(Kind(shape), level, peak, seconds, usual, seed)
        if not max(made_up.levels):
            raise ValueError("--rate and --peak: there would be no requests")
    else:
        for option, value in (("--rate", rate), ("--peak", peak), ("--duration", length)):
            if value is not None:
                raise ValueError(f"{option} is for a --shape; a recording has its own")
    return Source(tuple(logs), trace, made_up, service, usual)


def start_times_of(text: str | None) -> tuple[float, ...]:
    return _named("--start-time", _positives, text) if text is not None else ()


def overrides_of(texts: Sequence[str]) -> tuple[Override, ...]:
    return tuple(_named("--set", Override.parse, text) for text in texts)


def _named(option: str, read: Callable[[str], T], text: str) -> T:
    try:
        return read(text)
    except ValueError as wrong:
        raise ValueError(f"{option}: {wrong}") from None


def _service_time(text: str) -> ServiceTime:
    mean = _positive(text.removeprefix(_EXPONENTIAL))
    return ServiceTime(mean, exponential=text.startswith(_EXPONENTIAL))


def _positives(text: str) -> tuple[float, ...]:
    return tuple(_positive(one.strip()) for one in text.split(","))


def _positive(text: str) -> float:
    seconds = duration(text)
    if seconds <= 0:
        raise ValueError(f"must be more than 0s, not {text}")
    return seconds
