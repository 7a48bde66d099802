"""python -m benchmarks, as a program of its own, and what it may leave behind: nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAM = [sys.executable, "-m", "benchmarks"]


def run(folder: Path, *arguments: str, timeout: float = 110) -> subprocess.CompletedProcess[str]:
    """Whatever it creates for a while is created in the folder."""
    return subprocess.run(
        [*PROGRAM, *arguments],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def start(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*PROGRAM, *arguments],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def processes_of(folder: Path) -> dict[int, str]:
    """Those that were told of the folder, whoever their parent is by now."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
        except (FileNotFoundError, ProcessLookupError):
            continue
        if os.fsencode(folder) in command:
            found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace")
    return found
