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
_BINARY = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_CLIENT = Path(__file__).with_name("plain_client.py")
_VARIED = Path(__file__).with_name("varied.lua")


@dataclass(frozen=True, slots=True)
class Requests:
    """What is sent, again and again."""

    varied: bool = False  # no two heads are alike
    upload: int = 0  # bytes of each one's body


SAME = Requests()


@dataclass(frozen=True, slots=True)
class Result:
    requests: int  # completed
    seconds: float
    p50_ms: float
    p99_ms: float
    errors: int  # answers that are not 2xx, and failures of sockets
    bytes: int  # of answers, or of bodies that were uploaded


@dataclass(frozen=True, slots=True)
class Generator:
    wrk: str | None
    core: int | None  # that it is kept on

    @property
    def name(self) -> str:
        return "wrk" if self.wrk else "plain_client.py (wrk not found: install it to compare)"

    def run(
        self, port: int, host: str, connections: int, seconds: int, requests: Requests = SAME
    ) -> Result:
        # wrk uploads nothing, so it is our own client that does.
        wrk = None if requests.upload else self.wrk
        if wrk is None:
            numbers = (port, connections, seconds, requests.upload, int(requests.varied))
            command = [sys.executable, str(_CLIENT), host, *map(str, numbers)]
        else:
            command = [wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
            command += ["-s", str(_VARIED)] if requests.varied else []
            command += ["-H", f"Host: {host}", f"http://127.0.0.1:{port}/"]
        if self.core is not None:
            command = ["taskset", "--cpu-list", str(self.core), *command]
        said = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30)
        if said.returncode != 0:
            raise CannotMeasure(f"{self.name} failed: {said.stdout}{said.stderr}")
        return parse_wrk(said.stdout) if wrk else Result(**json.loads(said.stdout))


def generator(core: int | None) -> Generator:
    return Generator(shutil.which("wrk"), core)


def parse_wrk(text: str) -> Result:
    """Read what ``wrk --latency`` prints."""
    total = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m)\b", text)
    half, most = _percentile(text, 50), _percentile(text, 99)
    read = re.search(r"([\d.]+)([KMGT]?)B read", text)
    if total is None or half is None or most is None or read is None:
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
        bytes=round(float(read[1]) * _BINARY[read[2]]),
    )


def _percentile(text: str, percent: int) -> float | None:
    found = re.search(rf"^\s+{percent}(?:\.0+)?%\s+([\d.]+)(us|ms|s|m)\s*$", text, re.MULTILINE)
    return None if found is None else float(found[1]) * _UNITS[found[2]]
