"""What a group of processes uses, from proc(5)."""

from __future__ import annotations

import os
from pathlib import Path

from wakeful.runtime.instance import Usage

# Fields of /proc/PID/stat behind the name in parentheses, which may hold anything.
_GROUP, _USER, _SYSTEM, _RESIDENT = 2, 11, 12, 21


def group_usage(group: int) -> Usage:
    """Of its processes that live: resident memory, which counts for both where two share
    it, and processor time, with that of children that have ended."""
    pages = ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        if int(fields[_GROUP]) == group:
            pages += int(fields[_RESIDENT])
            # User and system time, and the same of children that were waited for.
            ticks += sum(map(int, fields[_USER : _SYSTEM + 3]))
    return Usage(pages * os.sysconf("SC_PAGE_SIZE"), ticks / os.sysconf("SC_CLK_TCK"))
