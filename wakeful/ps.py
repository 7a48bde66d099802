"""`wakeful ps`: the instances of a wakeful that runs, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

_HEADINGS = (
    *("INSTANCE", "STATE", "IN FLIGHT", "CPU", "MEMORY", "START", "AGE"),
    *("RESTARTS", "STATUS"),
)


def table(listing: Mapping[str, Any], now: datetime) -> str:
    """One line for each instance and each revision that fails; without any, a sentence."""
    lines = [_instance(one) for one in listing["instances"]]
    lines += [_failing(one, now) for one in listing["failing"]]
    if not lines:
        return "nothing runs"
    lines.insert(0, _HEADINGS)
    widths = [max(len(line[at]) for line in lines) for at in range(len(_HEADINGS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _instance(one: Mapping[str, Any]) -> tuple[str, ...]:
    limit = f"/{one['concurrency']}" if one["concurrency"] else ""
    return (
        one["instance"],
        one["state"],
        f"{one['in_flight']}{limit}",
        "-" if one["cpu"] is None else f"{one['cpu']:.1f}s",
        "-" if one["memory"] is None else f"{one['memory'] / 2**20:.0f}Mi",
        "-" if one["start"] is None else f"{1000 * one['start']:.0f}ms",
        _age(one["age"]),
        str(one["restarts"]),
        "",
    )


def _failing(one: Mapping[str, Any], now: datetime) -> tuple[str, ...]:
    wait = one["retry_in"]
    state, when = "failing", "until the next request"
    if wait:
        again = now + timedelta(seconds=wait)
        state, when = "backing off", f"until {again:%H:%M:%S} ({wait:.0f}s)"
    status = f"{when}: {' '.join(one['reason'].split())}"
    return (one["revision"], state, *("-",) * 5, str(one["restarts"]), status)


def _age(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"
