"""Traces in CSV as traffic: single requests, or counts per minute.

Three kinds, told apart by their header:

- ``time[,service][,duration]``: one request a line, seconds (and units).
- ``minute,count[,service]``: so many in this minute.
- ``HashOwner,HashApp,HashFunction,Trigger,1,2,...``: the Azure Functions traces
  of 2019 (github.com/Azure/AzurePublicDataset), a function a line and a column
  a minute. Any columns may stand before those that are named by numbers.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from wakeful.config.quantity import duration, whole
from wakeful.simulate.sources import Owners, Remarks, SourceError, opened, shown
from wakeful.simulate.traffic import Recording

_MINUTE = 60
_NO_TIME = 1e11
_MOST_OF_A_MINUTE = 10_000_000
_HELP = (
    "expected time[,service][,duration], or minute,count[,service], or columns named 1, 2, 3, ..."
)


Row = Sequence[str]


@dataclass(slots=True)
class Trace:
    requests: Recording = field(default_factory=Recording)
    remarks: Remarks = field(default_factory=Remarks)


def read_trace(path: Path, owners: Owners, seed: int) -> Trace:
    """Raises SourceError. Within a minute, moments are at random, as of a Poisson process."""
    trace = Trace()
    with opened(path) as text:
        rows = csv.reader(text)
        try:
            header = [name.strip().removeprefix("\ufeff") for name in next(rows, [])]
            take = _Rows(header, owners, trace, Random(seed)).reader()
            if take is None:
                raise SourceError(
                    f"{shown(path)}: the first line names no columns that are known; {_HELP}"
                )
            for row in filter(None, rows):
                trace.remarks.lines += 1
                try:
                    if len(row) != len(header):
                        raise ValueError(f"{len(row)} columns, not {len(header)}")
                    take(row)
                except ValueError as bad:
                    trace.remarks.is_bad(path, rows.line_num, str(bad), ",".join(row))
        except csv.Error as error:
            raise SourceError(f"{shown(path)}:{rows.line_num}: not CSV: {error}") from None
    return trace


class _Rows:
    """Takes in the rows under one header. What takes one raises ValueError."""

    def __init__(self, header: Row, owners: Owners, trace: Trace, random: Random) -> None:
        self._columns = {name.lower(): index for index, name in enumerate(header)}
        self._minutes = [(i, int(name)) for i, name in enumerate(header) if name.isdecimal()]
        self._words = [i for i, name in enumerate(header) if not name.isdecimal()]
        self._owners = owners
        self._trace = trace
        self._random = random

    def reader(self) -> Callable[[Row], None] | None:
        if "time" in self._columns:
            return self._request
        if {"minute", "count"} <= self._columns.keys():
            return self._minute
        return self._function if self._minutes else None

    def _request(self, row: Row) -> None:
        at, took = _seconds(self._cell(row, "time")), self._cell(row, "duration")
        seconds = _seconds(took) if took else None
        if owner := self._owner(self._cell(row, "service")):
            self._trace.requests.add(at, owner, seconds)

    def _minute(self, row: Row) -> None:
        minute, count = whole(self._cell(row, "minute")), _count(self._cell(row, "count"))
        if owner := self._owner(self._cell(row, "service")):
            self._add(minute, count, owner)

    def _function(self, row: Row) -> None:
        counts = [_count(row[i].strip()) for i, _ in self._minutes]
        words = [row[i].strip() for i in self._words]
        named = next((word for word in words if word in self._owners.services), None)
        owner = self._owners.of(named, None)
        if owner is None:
            self._trace.remarks.is_nobodys(self._cell(row, "hashfunction") or None, None)
            return
        for (_, minute), count in zip(self._minutes, counts, strict=True):
            self._add(minute, count, owner)

    def _owner(self, service: str) -> str | None:
        owner = self._owners.of(service or None, None)
        if owner is None:
            self._trace.remarks.is_nobodys(service or None, None)
        return owner

    def _add(self, minute: int, count: int, service: str) -> None:
        self._trace.requests.unit = _MINUTE
        for moment in sorted(self._random.random() for _ in range(count)):
            self._trace.requests.add((minute + moment) * _MINUTE, service)

    def _cell(self, row: Row, name: str) -> str:
        at = self._columns.get(name)
        return "" if at is None else row[at].strip()


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        return duration(text)
    if not 0 <= number < _NO_TIME:
        raise ValueError(f"{text} is no time in seconds")
    return number


def _count(text: str) -> int:
    count = whole(text) if text else 0
    if count > _MOST_OF_A_MINUTE:
        raise ValueError(f"{count} requests in one minute")
    return count
