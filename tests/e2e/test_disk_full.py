"""A disk that is full: wakeful's own, and the engine's."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from docker.api.client import APIClient

from tests.e2e.conftest import Launch
from tests.e2e.harness import Platform, until


class SmallDisk:
    """A file system of a megabyte that can be filled."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self) -> None:
        with self._filler.open("ab", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(512))

    def free(self) -> None:
        self._filler.unlink()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    path = tmp_path / "small"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(path)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted: {mounted.stderr.strip()}")
    yield SmallDisk(path)
    # Lazily: it must not stay there, whoever is still in it.
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def test_with_a_full_disk_requests_are_served_and_what_is_not_kept_is_said(
    processes: Platform, small_disk: SmallDisk, launch: Launch
) -> None:
    log = small_disk.path / "access.log"
    services = {"warm": processes.service(), "cold": processes.service()}
    wakeful = launch(
        services,
        start=False,
        **{"state-dir": str(small_disk.path / "state"), "access-log": {"file": str(log)}},
    )
    wakeful.start()
    first = wakeful.get("warm").json()["instance"]

    until(log.read_text, "its line")
    small_disk.fill()
    assert {wakeful.get("warm").json()["instance"] for _ in range(200)} == {first}
    until(lambda: wakeful.metric("wakeful_access_log_dropped_total") > 0, "lines that are lost")
    refused = wakeful.get("cold")
    assert (refused.status, refused.reason) == (503, "start_failed")
    wakeful.write(services | {"warm": processes.service(env={"A": "b"})})
    said = wakeful.reload()
    assert said.startswith("reload failed, the old configuration stays")
    assert "state.json cannot be written: No space left on device" in said
    assert wakeful.get("warm").json()["instance"] == first

    # Nor is it a reason not to start again with what there was.
    wakeful.write(services)
    wakeful.kill()
    wakeful.start()
    assert wakeful.get("warm").json()["instance"] == first

    small_disk.free()
    until(lambda: wakeful.get("cold").status == 200, "it recovers by itself")
    wakeful.write(services | {"warm": processes.service(env={"A": "b"})})
    assert wakeful.reload() == "reloaded: 1 changed"
    until(lambda: wakeful.get("warm").json()["revision"] == "warm-00002", "the new one")
    assert wakeful.stop() == 0
    lines = log.read_text().splitlines()
    assert json.loads(lines[-1])["revision"] == "warm-00002"
    torn = []
    for line in lines:
        try:
            json.loads(line)
        except ValueError:
            torn.append(line)
    assert len(torn) == 1  # where the disk was full; what was left of its page took a part
    assert not [line for line in torn if line.endswith("}")]  # and none that came after it


@pytest.fixture
def tiny_volume(engine: APIClient) -> Iterator[str]:
    """Where the engine puts a copy of what the image has in its place, as far as it goes."""
    name = f"wakeful-test-{uuid.uuid4().hex[:12]}"
    options = {"type": "tmpfs", "device": "tmpfs", "o": "size=16k"}
    engine.create_volume(name, driver="local", driver_opts=options)
    yield name
    engine.remove_volume(name, force=True)


@pytest.mark.docker
def test_an_engine_whose_disk_is_full_is_a_failed_start_with_its_words(
    containers: Platform, launch: Launch, tiny_volume: str
) -> None:
    library = str(Path(os.__file__).parent)
    services = {
        "good": containers.service(),
        "full": containers.service(volumes=[f"{tiny_volume}:{library}"]),
    }
    wakeful = launch(services, runtime="docker")
    refused = wakeful.get("full")
    assert (refused.status, refused.reason) == (503, "start_failed")
    assert refused.body == b"the instance could not be started\n"
    (line, *_) = until(
        lambda: [m for m in wakeful.messages() if m.startswith("full-00001: instance")], "a word"
    )
    assert "cannot start full: " in line
    assert line.endswith("no space left on device")
    assert wakeful.get("good").status == 200
