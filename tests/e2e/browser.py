"""A real browser without a window, as far as its debugging port tells of it."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from tests.e2e.harness import until

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)

_ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",  # root has none
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--remote-debugging-port=0",
    # Nothing but this machine can be reached.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE *.localhost, EXCLUDE 127.0.0.1",
)


class Browser:
    """One window, opened on one address."""

    def __init__(self, directory: Path, url: str) -> None:
        assert PROGRAM is not None
        directory.mkdir()
        self._port_file = directory / "DevToolsActivePort"
        with (directory / "output").open("wb") as output:
            self._process = subprocess.Popen(
                [PROGRAM, *_ARGUMENTS, f"--user-data-dir={directory}", url],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._port = until(self._find_port, "the browser's debugging port", seconds=60)

    def _find_port(self) -> int:
        assert self._process.poll() is None, "the browser ended"
        with suppress(FileNotFoundError):
            first, _, rest = self._port_file.read_text().partition("\n")
            return int(first) if rest else 0
        return 0

    def title(self) -> str:
        """Of the page that is shown now; empty while there is none."""
        client = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            client.request("GET", "/json/list")
            targets = json.loads(client.getresponse().read())
        finally:
            client.close()
        return next((str(one["title"]) for one in targets if one["type"] == "page"), "")

    def close(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)
