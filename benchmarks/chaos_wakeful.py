"""wakeful under chaos: started, killed, told to reload, with services that change."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.chaos_engine import SOCKET
from benchmarks.chaos_load import KINDS
from benchmarks.children import CannotMeasure, last_words

PORT, ADMIN = 8080, 9900  # in a network of its own nobody else has them
# To end it may have to wait for requests (30 s) and for an engine in trouble with each container.
_PATIENCE = 120.0


class Wakeful:
    """One with a state directory, which outlives its process."""

    def __init__(self, folder: Path, notes: Path, image: str) -> None:
        self.log = folder / "wakeful.log"
        self._file = folder / "wakeful.yaml"
        self._state = folder / "state"
        self._notes = notes
        self._image = image
        self._generations = dict.fromkeys((kind.service for kind in KINDS), 1)
        self._process: subprocess.Popen[bytes] | None = None
        self.leaves = False  # its instances, when it is told to end
        self._write()

    @property
    def owner(self) -> str:
        """What its containers are labelled with."""
        return str(json.loads((self._state / "state.json").read_text())["owner"])

    async def start(self, *, leave: bool = False) -> None:
        """Start it and wait until it takes requests. Raises CannotMeasure."""
        self.leaves = leave
        command = [sys.executable, "-m", "wakeful", "run", "-c", str(self._file)]
        command += ["--log-format", "text", *(["--leave-instances"] if leave else [])]
        self._process = self._launch(command)
        deadline = time.monotonic() + _PATIENCE
        while not await asyncio.to_thread(_ready):
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise CannotMeasure(f"wakeful does not start\n{last_words(self.log)}")
            await asyncio.sleep(0.02)

    async def kill(self) -> None:
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        return await self._end(signal.SIGTERM)

    def deploy(self, service: str) -> None:
        """Another revision of one service."""
        self._generations[service] += 1
        self._write()
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    async def _end(self, number: signal.Signals) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        try:
            return await asyncio.to_thread(self._process.wait, _PATIENCE)
        except subprocess.TimeoutExpired:
            raise CannotMeasure(f"wakeful does not end\n{last_words(self.log)}") from None

    def _launch(self, command: list[str]) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command,
                env={**os.environ, "DOCKER_HOST": SOCKET},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _write(self) -> None:
        services = {
            kind.service: {
                "image": self._image,
                "command": ["python3", "-S", "/app/chaos_app.py", "/notes"],
                "volumes": [f"{self._notes}:/notes"],
                "env": {"GENERATION": str(self._generations[kind.service])},
                "concurrency": kind.concurrency,
                **kind.settings,
            }
            for kind in KINDS
        }
        config = {
            "listen": f"127.0.0.1:{PORT}",
            "admin": f"127.0.0.1:{ADMIN}",
            "runtime": "docker",
            "state-dir": str(self._state),
            "access-log": "off",
            "defaults": {
                "scale": {"window": "6s"},
                "idle": {"freeze-after": "1s", "stop-after": "10s"},
                # For what is in one that is paused for good.
                "timeout": "30s",
                "response-start-timeout": "10s",
                "tunnel-idle-timeout": "10s",
                "stop-grace": "2s",
            },
            "services": services,
        }
        # Whole or not at all: it may be read at any moment.
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps(config, indent=1))  # JSON is YAML
        new.replace(self._file)


def _ready() -> bool:
    client = http.client.HTTPConnection("127.0.0.1", ADMIN, timeout=5)
    try:
        client.request("GET", "/readyz")
        return client.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        client.close()
