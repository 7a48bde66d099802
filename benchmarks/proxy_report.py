"""The figures of the proxy benchmark, as a table and as JSON.

Figures are medians over the rounds. A ratio to nginx is the median of the
ratios within each round, because the two were measured next to each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median

from benchmarks.machine import Machine
from benchmarks.table import number, table


@dataclass(frozen=True, slots=True)
class Settings:
    connections: int = 32
    seconds: int = 5
    rounds: int = 5
    size: int = 100  # bytes of a response's body
    pin: bool = True
    warm_up: int = 1  # seconds of load before the first round


@dataclass(frozen=True, slots=True)
class Round:
    requests: int
    rps: float
    cpu_us: float | None  # of the proxy, per request; None where there is no proxy
    p50_ms: float
    p99_ms: float
    rss_mb: float | None
    errors: int


@dataclass(slots=True)
class Figures:
    """One row: a proxy, or the backend without one."""

    version: str
    rounds: list[Round] = field(default_factory=list)

    def values(self, name: str) -> list[float | None]:
        return [getattr(each, name) for each in self.rounds]

    def typical(self, name: str) -> float | None:
        return _median(self.values(name))

    def to(self, other: Figures | None, name: str) -> float | None:
        if other is None:
            return None
        pairs = zip(self.values(name), other.values(name), strict=True)
        return _median(ours / theirs for ours, theirs in pairs if ours is not None and theirs)


_MEASURED = ("rps", "cpu_us", "p50_ms", "p99_ms", "rss_mb")


@dataclass(slots=True)
class Report:
    machine: Machine
    settings: Settings
    cores: tuple[int | None, int | None]  # of the proxy, and of all the rest
    load: str
    backend: str
    peers: dict[str, Figures] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        return {
            "benchmark": "proxy",
            "machine": self.machine.as_json(),
            "settings": asdict(self.settings),
            "cores": {"proxy": self.cores[0], "others": self.cores[1]},
            "load": self.load,
            "backend": self.backend,
            "peers": {name: self._figures(figures) for name, figures in self.peers.items()},
            "failed": self.failed,
        }

    def _figures(self, figures: Figures) -> Mapping[str, object]:
        nginx = self.peers.get("nginx")
        return {
            "version": figures.version,
            **{name: figures.typical(name) for name in _MEASURED},
            "errors": sum(each.errors for each in figures.rounds),
            "to_nginx": {name: figures.to(nginx, name) for name in _MEASURED},
            "rounds": [asdict(each) for each in figures.rounds],
        }

    def __str__(self) -> str:
        nginx = self.peers.get("nginx")
        header = ("", "req/s", "/nginx", "CPU us/req", "/nginx", "p50 ms", "p99 ms", "RSS MB", "")
        return "\n".join(
            [
                str(self.machine),
                self._setup(),
                "",
                table(header, [_row(name, row, nginx) for name, row in self.peers.items()]),
                "",
                *(f"{name}: {row.version}" for name, row in self.peers.items()),
                *(f"{name} was not measured: {why}" for name, why in self.failed.items()),
            ]
        )

    def _setup(self) -> str:
        asked, (proxy, others) = self.settings, self.cores
        where = "nothing pinned to a core"
        if proxy is not None:
            where = f"proxy on core {proxy}, load and backend on core {others}"
        return (
            f"{asked.size}-byte responses, {asked.connections} keep-alive connections, "
            f"{asked.rounds} interleaved rounds of {asked.seconds} s, {where}\n"
            f"load: {self.load}; backend: {self.backend}"
        )


def _row(name: str, figures: Figures, nginx: Figures | None) -> Sequence[str]:
    errors = sum(each.errors for each in figures.rounds)
    return (
        name,
        number(figures.typical("rps"), 0),
        number(figures.to(nginx, "rps"), 2),
        number(figures.typical("cpu_us")),
        number(figures.to(nginx, "cpu_us"), 2),
        number(figures.typical("p50_ms"), 2),
        number(figures.typical("p99_ms"), 2),
        number(figures.typical("rss_mb"), 0),
        f"{errors} errors" if errors else "",
    )


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None
