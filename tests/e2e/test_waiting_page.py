"""A browser that meets a service asleep, and lands on its page by itself."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e import browser
from tests.e2e.browser import Browser
from tests.e2e.conftest import Launch
from tests.e2e.harness import Answer, Definition, Platform, Wakeful, concurrently, until

NAVIGATION = {"Accept": "text/html,*/*;q=0.8", "Sec-Fetch-Mode": "navigate"}

# Starts in its own good time: as soon as the test says so.
GATE = """
import os, pathlib, sys, time
while not pathlib.Path(sys.argv[1]).exists():
    time.sleep(0.02)
os.execv(sys.executable, [sys.executable, "-S", *sys.argv[2:]])
"""


def gated(service: Definition, gate: Path) -> Definition:
    """The same program behind a gate that is opened by making the file."""
    python, dash, *program = service["command"]
    assert (python, dash) == (sys.executable, "-S")
    return service | {"command": [python, "-S", "-c", GATE, str(gate), *program]}


@pytest.fixture
def browse(tmp_path: Path) -> Iterator[Callable[[str], Browser]]:
    if browser.PROGRAM is None:
        pytest.skip("there is no chromium")
    opened: list[Browser] = []

    def browse(url: str) -> Browser:
        opened.append(Browser(tmp_path / f"browser-{len(opened)}", url))
        return opened[-1]

    yield browse
    for one in opened:
        one.close()


def reasons(wakeful: Wakeful) -> list[tuple[int, str]]:
    """Status and reason of the answers for /page, as the access log has them."""
    lines = map(json.loads, wakeful.access_log())
    return [(line["status"], line.get("reason", "")) for line in lines if line["uri"] == "/page"]


@pytest.mark.timeout(180)
def test_a_browser_is_shown_the_page_and_then_what_it_asked_for(
    processes: Platform, launch: Launch, browse: Callable[[str], Browser], tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    service = processes.service(waiting_page={"title": "One moment", "refresh": "1s"})
    wakeful = launch({"s": gated(service, gate)})

    window = browse(f"http://s.localhost:{wakeful.port}/page")
    until(lambda: window.title() == "One moment", "the waiting page", seconds=60)
    assert wakeful.metric("wakeful_instance_starts_total") == 1
    until(lambda: len(reasons(wakeful)) >= 3, "that it asks again", seconds=60)
    gate.touch()
    until(lambda: window.title() == "the page of s-00001", "the page itself", seconds=60)

    assert wakeful.metric("wakeful_instance_starts_total") == 1
    until(lambda: (200, "") in reasons(wakeful), "the answer in the access log")
    *before, last = reasons(wakeful)
    assert set(before) == {(503, "starting")}
    assert last == (200, "")


def test_a_program_is_held_while_a_browser_is_shown_the_page(
    processes: Platform, launch: Launch, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    wakeful = launch({"s": gated(processes.service(waiting_page=True), gate)})

    def ask_as_browser() -> str:
        shown = wakeful.get("s", headers=NAVIGATION)
        gate.touch()
        assert shown.status == 503
        return shown.reason

    def ask() -> str:
        return wakeful.get("s").reason

    assert list(concurrently(ask, ask_as_browser)) == ["", "starting"]
    assert wakeful.get("s", headers=NAVIGATION).status == 200
    assert wakeful.metric("wakeful_instance_starts_total") == 1


def test_a_page_says_why_a_service_cannot_start(processes: Platform, launch: Launch) -> None:
    wakeful = launch({"s": processes.service("exit", waiting_page=True)})
    shown = wakeful.get("s", headers=NAVIGATION)
    assert (shown.status, shown.reason) == (503, "starting")

    def failed() -> list[Answer]:
        answer = wakeful.get("s", headers=NAVIGATION)
        return [answer] if answer.reason == "start_failed" else []

    [shown] = until(failed, "the failure")
    assert b"instance exited at start: exit code 3" in shown.body
    assert b"cannot find my database" not in shown.body  # an instance's output is nobody's business
