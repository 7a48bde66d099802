"""wakeful demo: what it promises, on its own and before somebody's eyes."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.harness import MARK, marked, until, wakeful_command
from tests.ports import free_port


class Check:
    """A demo that checks itself, in the background: its idle window is long."""

    def __init__(self, runtime: str) -> None:
        self._runtime = runtime
        self._mark = uuid.uuid4().hex
        arguments = ["demo", "--once", "--runtime", runtime, "--port", str(free_port())]
        threads = ThreadPoolExecutor(1)
        self._ended = threads.submit(wakeful_command, *arguments, env={MARK: self._mark})
        threads.shutdown(wait=False)

    def wait_until_serving(self) -> None:
        """Its ports are taken then, and the next demo looks for others."""
        until(lambda: len(list(marked(self._mark))) > 1, "its first instance")

    def result(self) -> None:
        ended = self._ended.result()
        assert ended.returncode == 0, ended.stderr
        lines = ended.stdout.splitlines()
        assert any(line.endswith(f"runtime: {self._runtime}") for line in lines)
        burst = next(line for line in lines if line.startswith("  burst"))
        assert re.search(r"20 x 200 in .* never more than 2 requests in one", burst)
        assert lines[-1] == "all as promised"
        assert not list(marked(self._mark))


@pytest.fixture(scope="module", autouse=True)
def check() -> Check:
    """With processes, and beside all the other tests of this file."""
    check = Check("process")
    check.wait_until_serving()
    return check


@pytest.mark.docker
@pytest.mark.usefixtures("engine")
def test_the_demo_checks_itself_with_containers() -> None:
    Check("docker").result()


class Terminal:
    """A demo on a terminal of its own."""

    def __init__(self, *arguments: str) -> None:
        self.mark = uuid.uuid4().hex
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "wakeful", "demo", "--port", str(free_port()), *arguments],
            env={**os.environ, MARK: self.mark},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self.seen = ""

    def read_until(self, text: str, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            assert time.monotonic() < deadline, self.seen
            if select.select([self._master], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self._master, 65536).decode()
                except OSError:  # EIO: the other side is closed
                    raise AssertionError(f"ended before {text!r}:\n{self.seen}") from None

    def hang_up(self) -> None:
        os.close(self._master)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_on_a_terminal_it_shows_a_cold_and_a_warm_request_and_ends_on_a_signal(
    signum: signal.Signals,
) -> None:
    terminal = Terminal("--runtime", "process")
    try:
        terminal.read_until("Ctrl-C stops everything.")
        assert re.search(
            r"GET http://hello\.localhost:\d+/  -> 200 in .* ms  \(cold: ", terminal.seen
        )
        assert re.search(
            r"GET http://hello\.localhost:\d+/  -> 200 in .* ms  \(warm\)", terminal.seen
        )
        assert len(list(marked(terminal.mark))) == 2  # itself and one instance
        terminal.process.send_signal(signum)
        terminal.read_until("stopped")
        assert terminal.process.wait(20) == 0
        assert "Traceback" not in terminal.seen
        assert not list(marked(terminal.mark))
    finally:
        terminal.process.kill()
        terminal.process.wait()


@pytest.mark.parametrize("arguments", [[], ["--once"]], ids=["interactive", "once"])
def test_a_terminal_that_goes_away_leaves_nothing_running(arguments: list[str]) -> None:
    terminal = Terminal("--runtime", "process", *arguments)
    try:
        terminal.read_until("warm")
        assert len(list(marked(terminal.mark))) > 1
        terminal.hang_up()
        # What the kernel sends to whoever the terminal belonged to.
        terminal.process.send_signal(signal.SIGHUP)
        terminal.process.wait(20)
        until(lambda: not list(marked(terminal.mark)), "nothing left")
    finally:
        terminal.process.kill()
        terminal.process.wait()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_check_that_is_interrupted_leaves_nothing_running(signum: signal.Signals) -> None:
    terminal = Terminal("--runtime", "process", "--once")
    try:
        terminal.read_until("warm")
        terminal.process.send_signal(signum)
        assert terminal.process.wait(20) == 1
        assert not list(marked(terminal.mark))
    finally:
        terminal.process.kill()
        terminal.process.wait()
        terminal.hang_up()


def test_the_demo_checks_itself_with_processes(check: Check) -> None:
    check.result()
