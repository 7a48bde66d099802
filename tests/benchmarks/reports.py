"""Reports as a run would make them, of figures that are easy to check by eye."""

from __future__ import annotations

from benchmarks.figures import Figures, Round
from benchmarks.load import Result
from benchmarks.machine import Machine
from benchmarks.proxy_report import Report, Settings
from benchmarks.targets import Cores

MACHINE = Machine(
    "a <fast> & cheap CPU",
    2,
    1.0,
    "Linux",
    "3",
    (0, 0, 0),
    "0.1",
    "0123456789abcdef",
    False,
    "today",
)


def report(**small: Figures) -> Report:
    return Report(MACHINE, Settings(rounds=2), Cores(0, 1), "wrk", "nginx, static", small=small)


def row(*cpu_us: float | None, version: str = "1") -> Figures:
    """A thousand requests a round, of a hundred bytes, in a second."""
    return Figures(version, [_round(cpu) for cpu in cpu_us])


def _round(cpu_us: float | None) -> Round:
    seen = Result(1000, 1.0, p50_ms=1.0, p99_ms=2.0, errors=0, bytes=100_000)
    cpu = None if cpu_us is None else cpu_us / 1000
    return Round.of(seen, cpu, None if cpu is None else 13_000_000)
