"""Drives one proxy for some seconds: wrk, or our own generator where there is no wrk."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.children import CannotMeasure

_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 60e3}
_CLIENT = Path(__file__).with_name("plain_client.py")


@dataclass(frozen=True, slots=True)
class Result:
    requests: int  # completed
    seconds: float
    p50_ms: float
    p99_ms: float
    errors: int  # answers that are not 2xx, and failures of sockets


@dataclass(frozen=True, slots=True)
class Generator:
    wrk: str | None
    core: int | None  # that it is kept on

    @property
    def name(self) -> str:
        return "wrk" if self.wrk else "plain_client.py (wrk not found: install it to compare)"

    def run(self, port: int, host: str, connections: int, seconds: int) -> Result:
        said = subprocess.run(
            self._command(port, host, connections, seconds),
            capture_output=True,
            text=True,
            timeout=seconds + 30,
        )
        if said.returncode != 0:
            raise CannotMeasure(f"{self.name} failed: {said.stdout}{said.stderr}")
        return parse_wrk(said.stdout) if self.wrk else Result(**json.loads(said.stdout))

    def _command(self, port: int, host: str, connections: int, seconds: int) -> list[str]:
        pin = [] if self.core is None else ["taskset", "--cpu-list", str(self.core)]
        if self.wrk is None:
            own = [str(_CLIENT), str(port), host, str(connections), str(seconds)]
            return [*pin, sys.executable, *own]
        options = [f"-t1 -c{connections} -d{seconds}s --latency".split(), ["-H", f"Host: {host}"]]
        return [*pin, self.wrk, *options[0], *options[1], f"http://127.0.0.1:{port}/"]


def generator(core: int | None) -> Generator:
    return Generator(shutil.which("wrk"), core)


def parse_wrk(text: str) -> Result:
    """Read what ``wrk --latency`` prints."""
    total = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m)\b", text)
    half, most = _percentile(text, 50), _percentile(text, 99)
    if total is None or half is None or most is None:
        raise CannotMeasure(f"wrk said something unknown:\n{text}")
    errors = [int(n) for n in re.findall(r"Non-2xx or 3xx responses: (\d+)", text)]
    sockets = re.search(r"Socket errors: (.*)", text)
    if sockets is not None:
        errors += [int(n) for n in re.findall(r"\d+", sockets[1])]
    return Result(
        requests=int(total[1]),
        seconds=float(total[2]) * _UNITS[total[3]] / 1e3,
        p50_ms=half,
        p99_ms=most,
        errors=sum(errors),
    )


def _percentile(text: str, percent: int) -> float | None:
    found = re.search(rf"^\s+{percent}(?:\.0+)?%\s+([\d.]+)(us|ms|s|m)\s*$", text, re.MULTILINE)
    return None if found is None else float(found[1]) * _UNITS[found[2]]
