"""Whole lives through the socket proxy of the documentation, and through published ports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from docker.api.client import APIClient
from docker.errors import NotFound

from tests.e2e.conftest import Launch, containers_of
from tests.e2e.harness import Platform, until, wakeful_command
from tests.integration.haproxy import haproxy

pytestmark = pytest.mark.docker

ROOT = Path(__file__).parents[2]


@pytest.fixture
def socket_proxy(
    engine: APIClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Every engine that is found from now on is behind it; ``engine`` was found before."""
    with haproxy(ROOT / "docs" / "socket-proxy.cfg", tmp_path) as address:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{address}")
        yield


def test_a_whole_life_needs_no_call_that_the_socket_proxy_refuses(
    containers: Platform, engine: APIClient, socket_proxy: None, launch: Launch
) -> None:
    hello: dict[str, Any] = {"concurrency": 1, "scale": {"window": "6s"}, "memory": "64Mi"}
    wakeful = launch({"hello": containers.service(**hello)}, runtime="docker", reach="published")
    assert "reach: ports published on 127.0.0.1 (as configured)" in wakeful.messages()

    answers = wakeful.burst("hello", 3, "/?ms=300")
    assert {answer.json()["revision"] for answer in answers} == {"hello-00001"}
    said = wakeful_command("logs", "hello", "-c", str(wakeful.file), "--no-prefix")
    assert "about to serve" in said.stdout.splitlines()

    wakeful.write({"hello": containers.service(env={"A": "b"}, **hello)})
    assert wakeful.reload() == "reloaded: 1 changed"
    until(lambda: wakeful.get("hello").json()["revision"] == "hello-00002", "the new one")

    def names() -> set[str]:
        return set(containers_of(engine, wakeful.owner))

    until(lambda: all(n.startswith("hello-00002-") for n in names()), "the old ones are gone")

    # Found again after a crash
    wakeful.kill()
    before = names()
    wakeful.start()
    assert wakeful.get("hello").json()["revision"] == "hello-00002"
    adopted = [line for line in wakeful.messages() if "adopted instance" in line]
    assert adopted
    assert {line.rpartition(" ")[2] for line in adopted} <= before

    # Exits that nobody asked for are seen, and there is another one.
    known = names()
    for name in known:
        with suppress(NotFound):  # one that nobody asked for in the last seconds may go by itself
            engine.kill(name)
    until(lambda: wakeful.instances("hello") == 0, "their exits are seen")
    until(lambda: wakeful.get("hello").status == 200, "there are others")
    assert not known & names()

    until(lambda: wakeful.asleep("hello"), "back to nothing")
    until(lambda: not containers_of(engine, wakeful.owner), "nothing is left of it")
    assert wakeful.get("hello").status == 200
    refused = [line for line in wakeful.messages() if "does not allow" in line]
    assert not refused
