"""The figures of the proxy benchmark, as tables and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from benchmarks.figures import Figures
from benchmarks.idle import Idle
from benchmarks.machine import Machine
from benchmarks.peers import BUFFERED, variant_of
from benchmarks.table import number, table
from benchmarks.targets import Cores


@dataclass(frozen=True, slots=True)
class Settings:
    connections: int = 32
    seconds: int = 5
    rounds: int = 5
    size: int = 100  # bytes of a small answer's body
    pin: bool = True
    warm_up: int = 1  # seconds of load before the first round
    large: int = 1_000_000  # bytes of a large body
    idle: int = 2000  # connections


# What the tables show, and what JSON has the ratios of too.
_SMALL = ("rps", "cpu_us", "p50_ms", "p99_ms", "rss_mb")
_LARGE = ("mb_s", "cpu_us_mb", "p50_ms", "p99_ms", "rss_mb")


@dataclass(slots=True)
class Report:
    machine: Machine
    settings: Settings
    cores: Cores
    load: str = ""
    backend: str = ""
    # Rows by name; a part that was not asked for has none.
    small: dict[str, Figures] = field(default_factory=dict)
    varied: dict[str, Figures] = field(default_factory=dict)
    download: dict[str, Figures] = field(default_factory=dict)
    upload: dict[str, Figures] = field(default_factory=dict)
    idle: dict[str, Idle] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        return {
            "benchmark": "proxy",
            "machine": self.machine.as_json(),
            "settings": asdict(self.settings),
            "cores": asdict(self.cores),
            "load": self.load,
            "backend": self.backend,
            "peers": _all_json(self.small, _SMALL),
            "varied": _all_json(self.varied, _SMALL),
            "download": _all_json(self.download, _LARGE),
            "upload": _all_json(self.upload, _LARGE),
            "idle": {
                name: {**asdict(idle), "bytes_each": idle.bytes_each}
                for name, idle in self.idle.items()
            },
            "failed": self.failed,
        }

    def __str__(self) -> str:
        versions = {
            name: row.version
            for rows in (self.small, self.varied, self.download, self.idle)
            for name, row in rows.items()
        }
        return "\n".join(
            [
                str(self.machine),
                self.setup,
                f"load: {self.load}; backend: {self.backend}",
                *self._tables(),
                "",
                *(f"{name}: {version}" for name, version in versions.items()),
                *(f"{name} was not measured: {why}" for name, why in self.failed.items()),
            ]
        )

    @property
    def setup(self) -> str:
        asked = self.settings
        where = "nothing pinned to a core"
        if self.cores.proxy is not None:
            where = (
                f"proxy on core {self.cores.proxy}, load and backend on core {self.cores.others}"
            )
        rounds = "round" if asked.rounds == 1 else "interleaved rounds"
        return (
            f"{asked.connections} keep-alive connections, "
            f"{asked.rounds} {rounds} of {asked.seconds} s, {where}"
        )

    def _tables(self) -> Iterator[str]:
        if self.small:
            yield f"\n{self.settings.size}-byte answers (/plain: to the row that one varies)\n"
            yield _small_table(self.small)
        if self.varied:
            yield f"\n{self.settings.size}-byte answers, no two requests alike\n"
            yield _small_table(self.varied)
        if self.download:
            yield f"\n{self.settings.large:,}-byte answers\n"
            yield _large_table(self.download)
        if self.upload:
            yield (
                f"\n{self.settings.large:,}-byte requests "
                "(load: plain_client.py; backend: plain_server.py)\n"
            )
            yield _large_table(self.upload)
        if self.idle:
            yield f"\n{self.settings.idle:,} idle connections, each after one request\n"
            yield _idle_table(self.idle)


def _small_table(rows: Mapping[str, Figures]) -> str:
    nginx, ours = rows.get("nginx"), rows.get("wakeful")
    header = ["", "req/s", "/nginx", "CPU us/req", "/nginx", "/wakeful", "/plain"]
    header += ["p50 ms", "p99 ms", "/nginx", "RSS MB", ""]
    return table(
        header,
        [
            (
                name,
                number(row.typical("rps"), 0),
                number(row.to(nginx, "rps"), 2),
                number(row.typical("cpu_us")),
                number(row.to(nginx, "cpu_us"), 2),
                number(row.to(ours, "cpu_us"), 2),
                number(row.to(rows.get(variant_of(name)), "cpu_us"), 2),
                number(row.typical("p50_ms"), 2),
                number(row.typical("p99_ms"), 2),
                number(row.to(nginx, "p99_ms"), 2),
                number(row.typical("rss_mb"), 0),
                _errors(row),
            )
            for name, row in rows.items()
        ],
    )


def _large_table(rows: Mapping[str, Figures]) -> str:
    nginx, buffered = rows.get("nginx"), rows.get(BUFFERED.name)
    header = ["", "MB/s", "/nginx", "CPU us/MB", "/nginx", "/64 KB"]
    header += ["p50 ms", "p99 ms", "RSS MB", ""]
    return table(
        header,
        [
            (
                name,
                number(row.typical("mb_s"), 0),
                number(row.to(nginx, "mb_s"), 2),
                number(row.typical("cpu_us_mb"), 0),
                number(row.to(nginx, "cpu_us_mb"), 2),
                number(row.to(buffered, "cpu_us_mb"), 2),
                number(row.typical("p50_ms"), 1),
                number(row.typical("p99_ms"), 1),
                number(row.typical("rss_mb"), 0),
                _errors(row),
            )
            for name, row in rows.items()
        ],
    )


def _idle_table(rows: Mapping[str, Idle]) -> str:
    return table(
        ("", "KB each", "RSS MB before", "RSS MB with them"),
        [
            (
                name,
                number(row.bytes_each / 1e3, 2),
                number(row.rss_before / 1e6),
                number(row.rss_with / 1e6),
            )
            for name, row in rows.items()
        ],
    )


def _errors(row: Figures) -> str:
    return f"{row.errors} errors" if row.errors else ""


def _all_json(rows: Mapping[str, Figures], names: Sequence[str]) -> Mapping[str, object]:
    others = {"to_nginx": "nginx", "to_wakeful": "wakeful", "to_nginx_64k": BUFFERED.name}
    return {
        name: {
            "version": row.version,
            **{each: row.typical(each) for each in names},
            "errors": row.errors,
            **{
                key: {each: row.to(rows[other], each) for each in names}
                for key, other in {**others, "to_plain": variant_of(name)}.items()
                if other in rows
            },
            "rounds": [asdict(each) for each in row.rounds],
        }
        for name, row in rows.items()
    }
