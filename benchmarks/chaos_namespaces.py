"""Namespaces of one's own: network, mounts, processes; so that an engine may be killed in them.

The machine's own engine cannot be restarted under those who use it, and a
second one beside it would take its networks away. In here /run is empty, the
network has a loopback device and nothing else, and whatever is started ends
with the first process: nothing can be left over outside but cgroups, which are
removed here too.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from benchmarks.children import CannotMeasure

_PROGRAMS = ("unshare", "mount", "ip", "dockerd", "containerd", "runc")
_CGROUPS = Path("/sys/fs/cgroup")
_PATIENCE = 10.0


def problem() -> str:
    """Why there can be none here; empty when there can."""
    if os.geteuid() != 0:
        return "it takes root to run an engine in namespaces of its own"
    missing = [name for name in _PROGRAMS if shutil.which(name, path=_path()) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    tried = subprocess.run([*_unshare(), "true"], capture_output=True, text=True)
    return tried.stderr.strip() and f"no namespaces: {tried.stderr.strip()}"


def run_inside(arguments: Sequence[str]) -> int:
    """Run ``python -m benchmarks.chaos_inside FOLDER ...`` there; its exit code.

    Raises CannotMeasure.
    """
    if why := problem():
        raise CannotMeasure(why)
    folder = Path(tempfile.mkdtemp(prefix="wakeful-chaos-"))
    command = [sys.executable, "-m", "benchmarks.chaos_inside", str(folder), *arguments]
    process = subprocess.Popen(
        [*_unshare(), *command],
        env={**os.environ, "PATH": _path()},
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for this process, which ends it in order
    )
    try:
        return process.wait()
    finally:
        process.kill()  # and with it all there is inside
        process.wait()
        _remove_cgroups(folder.name)
        _remove(folder)


def enter() -> None:
    """What is still to be done inside, by the first process. Raises CannotMeasure."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    if os.listdir("/run"):
        raise CannotMeasure("/run is not private")  # the engine of others is behind it
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def supervise() -> int | None:
    """Become two: None in the one that goes on; the first process collects what ends.

    It returns the exit code of the other, and ends everything with itself.
    """
    child = os.fork()
    if child == 0:
        return None
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda number, _: os.kill(child, number))
    while True:
        ended, status = os.wait()
        if ended == child:
            return os.waitstatus_to_exitcode(status)


def _unshare() -> list[str]:
    words = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return [*words, "--propagation", "private"]


def _path() -> str:
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


def _remove_cgroups(name: str) -> None:
    """What killed containers leave in the hierarchies, which are the host's."""
    deadline = time.monotonic() + _PATIENCE
    left = True
    while left and time.monotonic() < deadline:
        left = False
        for top in (*_CGROUPS.glob(f"*/{name}"), *_CGROUPS.glob(name)):
            for folder, _, _ in os.walk(top, topdown=False):
                with suppress(FileNotFoundError):
                    try:
                        os.rmdir(folder)
                    except OSError:
                        left = True  # its last process is on its way out
        if left:
            time.sleep(0.05)


def _remove(folder: Path) -> None:
    """Also what is written there by those who are on their way out."""
    deadline = time.monotonic() + _PATIENCE
    while folder.exists() and time.monotonic() < deadline:
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.01)
