"""A Docker engine that belongs to the chaos alone, so that it may be stopped and killed.

To be run in namespaces of one's own (chaos_namespaces).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from docker.api.client import APIClient
from docker.errors import DockerException

from benchmarks.children import CannotMeasure, last_words

SOCKET = "unix:///run/docker.sock"
_NAMESPACES = Path("/run/docker/netns")
_PID_FILE = Path("/run/docker.pid")
_PATIENCE = 30.0


class Engine:
    """A dockerd with its containerd; its containers' cgroups are below the folder's name."""

    def __init__(self, folder: Path) -> None:
        self._settings = folder / "daemon.json"
        self._log = folder / "dockerd.log"
        self._command = [
            "dockerd",
            *("--config-file", str(self._settings)),
            *("--data-root", str(folder / "engine")),
            *("--exec-root", "/run/docker", "--pidfile", str(_PID_FILE), "--host", SOCKET),
            *("--cgroup-parent", folder.name, "--exec-opt", "native.cgroupdriver=cgroupfs"),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, keep: bool = True) -> None:
        """Start it and wait until it answers; ``keep``: containers outlive its ends.

        Raises CannotMeasure.
        """
        _clear_away()
        self._write(keep)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + _PATIENCE
        while (client := _client()) is None:
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise CannotMeasure(
                    f"an engine of its own does not start here:\n{last_words(self._log)}"
                )
            time.sleep(0.05)
        client.close()

    def stop(self) -> None:
        """In good order, as systemd would."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """At once; containerd and the containers live on."""
        self._end(signal.SIGKILL)
        _PID_FILE.unlink(missing_ok=True)

    def keep(self, keep: bool) -> None:
        """From now on containers outlive it, or do not."""
        self._write(keep)
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)
        client, deadline = self.client(), time.monotonic() + _PATIENCE
        try:
            while client.info()["LiveRestoreEnabled"] is not keep:
                if time.monotonic() > deadline:
                    raise CannotMeasure("the engine does not change live-restore")
                time.sleep(0.02)
        finally:
            client.close()

    def client(self) -> APIClient:
        return APIClient(base_url=SOCKET, version="auto")

    def _write(self, keep: bool) -> None:
        self._settings.write_text(json.dumps({"live-restore": keep, "shutdown-timeout": 5}))

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)
        self._process.wait(_PATIENCE)


def _clear_away() -> None:
    """Remove what an engine leaves that was ended while it started a container, as a boot would.

    It forgets that container, but not even its next start removes the network
    namespace, on an address that it gives away again: whoever gets it cannot be reached.
    """
    live: set[int] = set()
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit():
                if (entry / "cmdline").read_bytes().startswith(b"runc\0init"):
                    os.kill(int(entry.name), signal.SIGKILL)
                else:
                    live.add((entry / "ns" / "net").stat().st_ino)
    if not _NAMESPACES.exists():
        return  # no engine was here yet
    for path in _NAMESPACES.iterdir():
        if os.path.ismount(path) and path.stat().st_ino not in live:
            subprocess.run(["umount", "--lazy", path], check=True)
            path.unlink()


def _client() -> APIClient | None:
    try:
        client = APIClient(base_url=SOCKET, version="auto")
        client.ping()
    except DockerException:
        return None
    return client
