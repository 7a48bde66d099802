"""`wakeful ps`: the instances of a wakeful that runs, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_HEADINGS = ("INSTANCE", "STATE", "IN FLIGHT", "CPU", "MEMORY", "START", "AGE")


def table(instances: Sequence[Mapping[str, Any]]) -> str:
    """One line each, in the order given; without any, a sentence."""
    if not instances:
        return "nothing runs"
    lines = [_HEADINGS, *(_line(one) for one in instances)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(_HEADINGS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _line(one: Mapping[str, Any]) -> tuple[str, ...]:
    limit = f"/{one['concurrency']}" if one["concurrency"] else ""
    return (
        one["instance"],
        one["state"],
        f"{one['in_flight']}{limit}",
        "-" if one["cpu"] is None else f"{one['cpu']:.1f}s",
        "-" if one["memory"] is None else f"{one['memory'] / 2**20:.0f}Mi",
        "-" if one["start"] is None else f"{1000 * one['start']:.0f}ms",
        _age(one["age"]),
    )


def _age(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"
