"""What a request that waited for an instance is told about it, in the head of its answer.

Server-Timing is W3C Server Timing, section 3: a list of names, each with its
duration in milliseconds. An instance's own field stays; ours is one more.
"""

from __future__ import annotations

from wakeful.events import Phases, StartPhase


def fields(phases: Phases, first_byte: float, total: float) -> bytes:
    """Whole field lines. ``total`` is the request's own wait: one that came while its
    instance was being started waited for less than all of it. All in seconds."""
    timed = (*phases, (StartPhase.FIRST_BYTE, first_byte), ("total", total))
    metrics = ", ".join(f"{name};dur={1000 * seconds:.1f}" for name, seconds in timed)
    return f"Server-Timing: {metrics}\r\nX-Wakeful-Cold-Start: 1\r\n".encode("ascii")
