"""The stream of the engine's events, where the engine does not answer."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import closing
from pathlib import Path

import pytest

from wakeful.runtime.docker_client import new_client
from wakeful.runtime.docker_events import DockerEvents


def nothing(*_: object) -> None:
    pass


def test_an_engine_that_never_answers_keeps_nobody_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    with socket.socket(socket.AF_UNIX) as engine, closing(asyncio.new_event_loop()) as loop:
        engine.bind(str(tmp_path / "docker.sock"))
        engine.listen()
        events = DockerEvents(
            lambda: new_client("1.41"),
            "somebody",
            loop,
            connected=nothing,
            broken=nothing,
            started=nothing,
            paused=nothing,
            died=nothing,
            sandbox_died=nothing,
        )
        events.start()
        asked, _ = engine.accept()
        with asked:
            assert b"/events" in asked.recv(4096)
            end = threading.Thread(target=events.close, daemon=True)
            end.start()
            end.join(30)
            assert not end.is_alive()
        follower = events._thread
        follower.join(30)  # the end of its connection is an answer, too
        assert not follower.is_alive()
