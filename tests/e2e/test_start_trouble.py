"""Containers that the engine cannot start, or that end: what is said, and that it ends well."""

from __future__ import annotations

import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise

import pytest
from docker.api.client import APIClient
from docker.errors import ImageNotFound

from tests.e2e.conftest import Launch, containers_of
from tests.e2e.harness import APP, DEMO, Answer, Platform, Wakeful, until, wakeful_command
from wakeful.demo import image

pytestmark = pytest.mark.docker


def report(wakeful: Wakeful, revision: str) -> str:
    """What the log has of an instance that failed."""
    (said, *_) = until(
        lambda: [
            m
            for m in wakeful.messages()
            if m.startswith(f"{revision}: instance ") and " is ready " not in m
        ],
        "a word on the instance",
    )
    return said


def build(tag: str, note: str) -> None:
    files = {f"/app/{path.name}": path.read_bytes() for path in (APP, DEMO / "serve.py")}
    files["/app/note"] = note.encode()
    image.build(files, ["python3", "-S", "/app/app.py"], tag=tag)


@pytest.fixture
def own_image(engine: APIClient) -> Iterator[str]:
    """One that nobody else needs."""
    tag = f"wakeful-e2e-own:{uuid.uuid4().hex[:12]}"
    build(tag, tag)
    yield tag
    with suppress(ImageNotFound):
        engine.remove_image(tag, force=True)


def test_an_image_that_was_deleted_meanwhile_is_named_and_serves_when_it_is_back(
    engine: APIClient, own_image: str, launch: Launch
) -> None:
    service = {"image": own_image, "scale": {"window": "6s"}}
    wakeful = launch({"sleepy": service}, runtime="docker")
    assert wakeful.get("sleepy").status == 200
    until(lambda: wakeful.asleep("sleepy"), "it sleeps", 40)
    until(lambda: not containers_of(engine, wakeful.owner), "nothing runs from it")
    engine.remove_image(own_image, force=True)

    refused = wakeful.get("sleepy")
    assert (refused.status, refused.reason) == (503, "start_failed")
    assert refused.body == f'image "{own_image}" not found\n'.encode()
    assert own_image in report(wakeful, "sleepy-00001")
    assert 1 <= int(refused.headers["retry-after"]) <= 60

    build(own_image, "another")
    until(lambda: wakeful.get("sleepy").status == 200, "it recovers by itself", 40)


def test_a_port_that_is_taken_is_in_the_log_and_the_next_try_after_it_is_free_serves(
    containers: Platform, launch: Launch
) -> None:
    """With the host's network: of ports that are published the engine picks those that are free."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        program = (
            "import runpy, socket, sys\n"
            "try:\n"
            f"    held = socket.create_server(('127.0.0.1', {port}))\n"
            "except OSError as error:\n"
            "    sys.exit(str(error))\n"
            "runpy.run_path('/app/app.py', run_name='__main__')\n"
        )
        service = containers.service(network="host", env={"PYTHONPATH": "/app"})
        service["command"] = ["python3", "-c", program]
        wakeful = launch({"narrow": service}, runtime="docker")
        refused = wakeful.get("narrow")
        assert (refused.status, refused.reason) == (503, "start_failed")
        assert refused.body == b"instance exited at start: exit code 1\n"
        assert "Address already in use" in report(wakeful, "narrow-00001")
    until(lambda: wakeful.get("narrow").status == 200, "it recovers by itself")


def test_running_out_of_memory_is_called_that_to_clients_and_operators(
    containers: Platform, engine: APIClient, launch: Launch
) -> None:
    if not engine.info()["MemoryLimit"]:
        pytest.skip("this engine cannot limit memory")
    eats = containers.service(memory="32Mi")
    eats["command"] = ["python3", "-c", "hoard = [bytearray(10**6) for _ in range(10**6)]"]
    wakeful = launch({"hungry": eats}, runtime="docker")
    refused = wakeful.get("hungry")
    assert (refused.status, refused.reason) == (503, "start_failed")
    assert refused.body == b"instance exited at start: out of memory\n"
    assert "out of memory" in report(wakeful, "hungry-00001")
    assert "out of memory" in wakeful_command("ps", "-c", str(wakeful.file)).stdout


def test_a_crash_loop_slows_down_and_can_be_seen(containers: Platform, launch: Launch) -> None:
    wakeful = launch({"loop": containers.service("exit", min_instances=1)}, runtime="docker")

    def failures() -> list[float]:
        return [line["ts"] for line in wakeful.logs() if "exited at start" in line["msg"]]

    until(lambda: len(failures()) >= 4, "four tries", 60)
    for number, (earlier, later) in enumerate(pairwise(failures()[:4])):
        # It begins no sooner than 1, 2, 4 s after the one before; there are no fewer.
        assert later - earlier > 2**number * 0.9
    failed = wakeful.metric("wakeful_instance_start_failures_total", "loop")
    assert failed == wakeful.metric("wakeful_instance_starts_total", "loop") >= 4
    listing = wakeful_command("ps", "-c", str(wakeful.file)).stdout
    assert "backing off" in listing
    assert "exited at start: exit code 3" in listing
    refused = wakeful.get("loop")
    assert (refused.status, refused.reason) == (503, "start_failed")


def test_an_instance_that_is_killed_while_it_drains_takes_only_what_is_in_it_along(
    containers: Platform, engine: APIClient, launch: Launch
) -> None:
    two = containers.service(concurrency=0, min_instances=2, max_instances=2)
    wakeful = launch({"hello": two}, runtime="docker")
    until(lambda: wakeful.instances("hello", state="ready") == 2, "two instances", 40)
    inside: list[Answer] = []

    def ask() -> None:
        inside.append(wakeful.get("hello", "/?ms=15000"))

    clients = [threading.Thread(target=ask) for _ in range(2)]
    for client in clients:
        client.start()  # each goes to the emptier of the two
    until(lambda: len(wakeful_ps(wakeful, " 1  ")) == 2, "one inside of each")
    wakeful.write({"hello": two | {"min-instances": 1, "max-instances": 1}})
    assert wakeful.reload() == "reloaded: 1 retuned"
    (draining,) = until(lambda: wakeful_ps(wakeful, " draining "), "one drains")
    engine.kill(draining)
    until(lambda: draining not in containers_of(engine, wakeful.owner), "nothing is left of it")
    for client in clients:
        client.join()

    (cut, whole) = sorted(inside, key=lambda answer: answer.status == 200)
    assert (cut.status, cut.reason, whole.status) == (502, "upstream_failed", 200)
    # None is missing, so none is started.
    assert wakeful.metric("wakeful_instance_starts_total", "hello") == 2
    assert len(wakeful_ps(wakeful, " ready ")) == wakeful.instances("hello") == 1


def wakeful_ps(wakeful: Wakeful, word: str) -> list[str]:
    """The instances in whose lines there is this."""
    lines = wakeful_command("ps", "-c", str(wakeful.file)).stdout.splitlines()
    return [line.split()[0] for line in lines if word in line]
