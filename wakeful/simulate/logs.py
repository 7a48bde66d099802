"""Access logs as traffic: wakeful's own JSON lines, and the common and combined formats."""

from __future__ import annotations

import json
import re
from calendar import timegm
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from wakeful.simulate.sources import Owners, Remarks, opened
from wakeful.simulate.traffic import Asker, Recording

# [host:port ]client ident user [time] "request" status size[ "referer" "agent"][ seconds]
_COMMON = re.compile(
    r"(?:(?P<host>\S+):\d+ )?(?P<address>\S+) \S+ .*?\[(?P<time>[^\]]+)\] "
    r'"(?P<request>(?:[^"\\]|\\.)*)" (?P<status>\d{3}) (?:\d+|-)'
    r'(?: "(?:[^"\\]|\\.)*" "(?P<agent>(?:[^"\\]|\\.)*)")?(?: "?(?P<seconds>\d+\.\d+)"?)?\s*'
)
_TIME = re.compile(
    r"(\d\d)/([A-Z][a-z]{2})/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)", re.ASCII
)
_ASKER_KEYS = ("method", "uri", "user_agent", "client_ip")
_SHORTEST_START = 0.005  # seconds; no process comes up faster
_NO_TIME = 1e11  # is neither a duration nor a moment in seconds
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


@dataclass(slots=True)
class Log:
    """What was read of some access logs. ``filtered``: who asked matters, to some wake filter."""

    filtered: bool = False

    requests: Recording = field(default_factory=Recording)
    remarks: Remarks = field(default_factory=Remarks)
    _askers: dict[tuple[str, str, str, str], Asker] = field(default_factory=dict)
    # instance -> when the first request that waited for its start came, and how long it waited
    _cold: dict[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def start_times(self) -> tuple[float, ...]:
        """Seconds, one for each instance that a request was seen to wait for."""
        return tuple(waited for _, waited in sorted(self._cold.values()))

    def asker(self, method: str, target: str, user_agent: str, address: str) -> Asker:
        """Whoever asks alike is the same one: heads are judged once."""
        key = (method, target, user_agent, address)
        asker = self._askers.get(key)
        if asker is None:
            asker = self._askers[key] = Asker.of(*key)
        return asker

    def started_cold(self, instance: str, at: float, waited: float) -> None:
        if waited < _SHORTEST_START:
            return  # a frozen spare was thawed for it
        # Those that came later found the start under way, or waited for others as well.
        before = self._cold.get(instance)
        if before is None or at < before[0]:
            self._cold[instance] = (at, waited)


def read_logs(paths: Iterable[Path], owners: Owners, *, filtered: bool = False) -> Log:
    """Raises SourceError for a file that cannot be read; bad lines are only counted."""
    log = Log(filtered)
    for path in paths:
        with opened(path) as text:
            for number, line in enumerate(text, 1):
                if not line.strip():
                    continue
                log.remarks.lines += 1
                try:
                    if line.lstrip().startswith("{"):
                        _read_json(line, owners, log)
                    else:
                        _read_common(line, owners, log)
                except ValueError as bad:
                    log.remarks.is_bad(path, number, str(bad), line)
    return log


def _read_json(text: str, owners: Owners, log: Log) -> None:
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None
    service, host = _word(line, "service"), _word(line, "host")
    began = _number(line, "ts")
    if service is None and "reason" in line:
        log.remarks.unserved += 1
        return
    duration = _number(line, "duration")
    owner = owners.of(service, host)
    if owner is None:
        log.remarks.is_nobodys(service, host)
        return
    # Only a request that had a place has a time in the queue. How long one would
    # have taken that was refused, or whose client left before, is not known.
    seconds = None
    if "queue_ms" in line:
        waited = _number(line, "queue_ms") / 1000
        seconds = max(0.0, duration - waited)
        instance = _word(line, "instance")
        if line.get("cold_start") is True and instance is not None:
            log.started_cold(instance, began, waited)
    elif service is None:
        seconds = duration  # of another program, which knows of no queue
    asker = None
    if log.filtered:
        asker = log.asker(*(_word(line, key) or "" for key in _ASKER_KEYS))
    log.requests.add(began, owner, seconds, tunnel=line.get("status") == 101, asker=asker)


def _number(line: dict[str, Any], key: str) -> float:
    value = line.get(key)
    if value is None:
        raise ValueError(f"no {key!r}")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{key!r} is not a number")
    if not 0 <= value < _NO_TIME:
        raise ValueError(f"{key!r} is out of range")
    return float(value)


def _word(line: dict[str, Any], key: str) -> str | None:
    value = line.get(key)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{key!r} is not a text")
    return value or None


def _read_common(text: str, owners: Owners, log: Log) -> None:
    """Such a line is written, and its time taken, when the request is over (as by nginx)."""
    found = _COMMON.fullmatch(text)
    if found is None:
        raise ValueError("neither JSON nor the common or combined format")
    second = _second(found["time"])
    if found["request"] in ("", "-"):
        log.remarks.unserved += 1
        return
    owner = owners.of(None, found["host"])
    if owner is None:
        log.remarks.is_nobodys(None, found["host"])
        return
    seconds = float(found["seconds"]) if found["seconds"] is not None else None
    asker = None
    if log.filtered:
        method, _, rest = found["request"].partition(" ")
        target = rest.rpartition(" ")[0] or rest
        asker = log.asker(method, target, found["agent"] or "", found["address"])
    log.requests.add_ended(second, owner, seconds, asker=asker)


@lru_cache(maxsize=16)
def _second(text: str) -> int:
    found = _TIME.fullmatch(text)
    if found is None or found[2] not in _MONTHS:
        raise ValueError(f"{text!r} is not a time such as 10/Oct/2025:13:55:36 -0700")
    day, month, year, hour, minute, second, sign, hours, minutes = found.groups()
    local = timegm(
        (int(year), _MONTHS.index(month) + 1, int(day), int(hour), int(minute), int(second))
    )
    east = (int(hours) * 60 + int(minutes)) * 60
    return local - east if sign == "+" else local + east
