"""What the tests with real processes share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tests.runtime.processes import Here


@pytest.fixture
def here(tmp_path: Path) -> Any:
    here = Here(tmp_path)
    yield here
    here.clear()


@pytest.fixture(params=["asyncio", "uvloop", "without pidfd"])
def run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a story on the loops we support, and where the kernel has no pidfd."""
    if request.param == "without pidfd":
        monkeypatch.setattr("wakeful.runtime.process_exit._pidfd", lambda pid: None)
    factory = uvloop.new_event_loop if request.param == "uvloop" else None

    def run(story: Callable[[], Any]) -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(story())

    return run
