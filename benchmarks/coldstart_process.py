"""Cold starts of local processes: spawned by hand, and as wakeful makes them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import wakeful.demo
from benchmarks.children import CannotMeasure, free_port
from benchmarks.coldstart_sample import Sample, ask

_COMMAND = [sys.executable, "-S", str(Path(wakeful.demo.__file__).with_name("hello.py"))]
_PATIENCE = 60.0


class ProcessStarts:
    """One program, started both ways."""

    name = "process"

    def __init__(self) -> None:
        self.service = f"coldstart-{uuid4().hex[:8]}"
        self.template: Mapping[str, object] = {"command": _COMMAND}
        self._pid: int | None = None  # of wakeful's instance

    def describe(self) -> str:
        return " ".join(_COMMAND)

    def through(self, port: int) -> Sample:
        asked = time.time_ns()
        answered, body = ask(("127.0.0.1", port), f"{self.service}.localhost")
        instance = re.search(rb"instance \S*-(\d+)", body)
        assert instance is not None, body
        self._pid = int(instance[1])
        return Sample(total=(answered - asked) / 1e6)

    def bare(self) -> Sample:
        port = free_port()
        asked = time.time_ns()
        with subprocess.Popen(
            _COMMAND, env={**os.environ, "PORT": str(port)}, stdout=subprocess.PIPE
        ) as process:
            try:
                spawned = time.time_ns()
                assert process.stdout is not None
                if not process.stdout.readline():
                    raise CannotMeasure(f"{' '.join(_COMMAND)} ends at once")
                listening = time.time_ns()
                answered, _ = ask(("127.0.0.1", port), "localhost")
            finally:
                process.kill()
        # There is nothing to create before the start.
        return replace(Sample.between(asked, asked, spawned, listening, answered), create=None)

    def wait_until_asleep(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        while self._pid is not None and Path(f"/proc/{self._pid}").exists():
            if time.monotonic() > deadline:
                raise CannotMeasure(f"wakeful has not stopped its process in {_PATIENCE:.0f} s")
            time.sleep(0.1)


@contextmanager
def process_starts() -> Iterator[list[ProcessStarts]]:
    yield [ProcessStarts()]  # wakeful ends what it started
