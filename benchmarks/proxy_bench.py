"""Measures proxies: all of them run at once and are loaded in turn, round after
round, so that whatever else the machine does meets every one of them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from benchmarks import idle, load, machine
from benchmarks.children import CannotMeasure
from benchmarks.figures import Figures, Round
from benchmarks.load import SAME, Requests
from benchmarks.peers import (
    BUFFERED,
    COMPILED,
    COMPILED_LOGGING,
    CROWDED,
    HOST,
    LOGGING,
    PROGRAMS,
    Peer,
)
from benchmarks.proxy_report import Report, Settings
from benchmarks.targets import Target, lineup, pinned

DIRECT = "(no proxy)"  # the load generator straight to the backend: the ceiling
PARTS = {
    "small": "requests with small answers",
    "varied": "the same, no two requests alike",
    "large": "large downloads and uploads",
    "idle": "memory of idle connections",
}
_HELD_IDLE = (
    "wakeful",
    COMPILED.name,
    "nginx",
)  # the others refuse so many, or want a limit for themselves
_UPLOADED = 100  # bytes of the answer to an upload


def measure(programs: Mapping[str, str], settings: Settings, parts: Collection[str]) -> Report:
    """Start everything, load each in turn, end everything."""
    if not Path("/proc/self/stat").exists():
        raise CannotMeasure("CPU time is read from /proc: this needs Linux")
    host = machine.describe()
    if "idle" in parts:
        idle.allow(settings.idle)
    with tempfile.TemporaryDirectory(prefix="wakeful-bench-") as name:
        bench = _Bench(Path(name), programs, Report(host, settings, pinned(settings.pin)))
        if "small" in parts:
            bench.small()
        if "varied" in parts:
            bench.varied()
        if "large" in parts:
            bench.large()
        if "idle" in parts:
            bench.idle()
    return bench.report


class _Bench:
    """One part after the other, each with programs that were started for it."""

    def __init__(self, folder: Path, programs: Mapping[str, str], report: Report) -> None:
        self.report = report
        self._folder = folder
        self._programs = programs
        self._generator = load.generator(report.cores.others)
        report.load = self._generator.name

    def small(self) -> None:
        peers = self._peers(LOGGING, CROWDED, COMPILED_LOGGING)
        size = self.report.settings.size
        self.report.small = self._loaded("small", peers, size)

    def varied(self) -> None:
        size = self.report.settings.size
        self.report.varied = self._loaded("varied", self._peers(), size, Requests(varied=True))

    def large(self) -> None:
        peers, large = self._peers(BUFFERED), self.report.settings.large
        self.report.download = self._loaded("download", peers, large)
        self.report.upload = self._loaded("upload", peers, _UPLOADED, Requests(upload=large))

    def idle(self) -> None:
        settings = self.report.settings
        with lineup(self._folder / "idle", self.report.cores, settings.size) as line:
            self.report.backend = line.start_backend(uploads=False).version
            for name in _HELD_IDLE:
                if name not in self._programs or name in self.report.failed:
                    continue
                try:
                    target = line.start(PROGRAMS[name], self._programs[name], settings.idle)
                    self.report.idle[name] = idle.measure(target, settings.idle)
                except CannotMeasure as error:
                    self.report.failed[name] = str(error)

    def _peers(self, *variants: Peer) -> list[Peer]:
        """Variants stand, and are loaded, right after what they are variants of."""
        return [
            peer
            for name in self._programs
            for peer in (PROGRAMS[name], *(each for each in variants if each.family == name))
        ]

    def _loaded(
        self, part: str, peers: Sequence[Peer], size: int, requests: Requests = SAME
    ) -> dict[str, Figures]:
        """Rounds over all of them, without those that did not start, now or before."""
        settings, failed = self.report.settings, self.report.failed
        with lineup(self._folder / part, self.report.cores, size) as line:
            server = line.start_backend(uploads=bool(requests.upload))
            if not requests.upload:
                self.report.backend = server.version
            targets = {DIRECT: server}
            for peer in peers:
                if peer.name in failed:
                    continue
                program = self._programs.get(peer.name) or self._programs[peer.family]
                try:
                    targets[peer.name] = line.start(peer, program, settings.connections)
                except CannotMeasure as error:
                    failed[peer.name] = str(error)
            if len(targets) == 1:
                raise CannotMeasure("\n".join(failed.values()) or "there is no proxy to measure")
            figures = {name: Figures(target.version) for name, target in targets.items()}
            if settings.warm_up:
                for target in targets.values():
                    self._round(target, settings.warm_up, requests)
            turns = list(targets.items())
            for _ in range(settings.rounds):
                for name, target in turns:
                    figures[name].rounds.append(self._round(target, settings.seconds, requests))
                turns.reverse()  # nobody is always measured behind the same one
        return figures

    def _round(self, target: Target, seconds: int, requests: Requests) -> Round:
        child, connections = target.child, self.report.settings.connections
        before = 0.0 if child is None else child.cpu()
        seen = self._generator.run(target.port, HOST, connections, seconds, requests)
        if seen.requests == 0:
            raise CannotMeasure("a proxy answered nothing under load")
        if target.access_log is not None:
            _empty(target.access_log)
        if child is None:
            return Round.of(seen, None, None)
        return Round.of(seen, child.cpu() - before, child.rss())


def _empty(access_log: Path) -> None:
    """One that is on; it would grow by a hundred megabytes in some rounds."""
    if not access_log.stat().st_size:
        raise CannotMeasure(f"nothing was written to {access_log}")
    os.truncate(access_log, 0)
