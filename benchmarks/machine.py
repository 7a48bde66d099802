"""What the figures were measured on, and of what: no figure is worth anything without."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Machine:
    cpu: str
    cores: int
    memory_gb: float
    kernel: str
    python: str
    load_average: tuple[float, float, float]  # before anything was started
    wakeful: str
    commit: str | None
    dirty: bool | None
    date: str

    def __str__(self) -> str:
        load = " ".join(f"{average:.2f}" for average in self.load_average)
        busy = ""
        if self.load_average[0] > self.cores / 2:
            busy = "\nOthers were using the machine: believe ratios rather than figures."
        return f"{self.hardware}, load before {load}\n{self.subject}{busy}"

    @property
    def hardware(self) -> str:
        return f"{self.cpu}, {self.cores} cores, {self.memory_gb:.1f} GB, {self.kernel}"

    @property
    def subject(self) -> str:
        """What was measured, and when."""
        commit = "unknown commit" if self.commit is None else f"commit {self.commit[:12]}"
        changes = " + uncommitted changes" if self.dirty else ""
        return f"wakeful {self.wakeful}, {commit}{changes}, Python {self.python}, {self.date}"

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def describe() -> Machine:
    commit = _git("rev-parse", "HEAD")
    return Machine(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)),
        memory_gb=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9,
        kernel=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        load_average=os.getloadavg(),
        wakeful=_wakeful(),
        commit=commit,
        dirty=None if commit is None else bool(_git("status", "--porcelain")),
        date=datetime.now(UTC).date().isoformat(),
    )


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model", "Hardware"):
            return value.strip()
    return platform.machine()


def _wakeful() -> str:
    try:
        return metadata.version("wakeful")
    except metadata.PackageNotFoundError:
        return "not installed"


def _git(*arguments: str) -> str | None:
    try:
        said = subprocess.run(
            ["git", "-C", REPOSITORY, *arguments], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return said.stdout.strip()
