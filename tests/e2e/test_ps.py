"""`wakeful ps` and /v1/instances: what runs, what is in it, what it uses."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from tests.e2e.conftest import Launch
from tests.e2e.harness import Platform, until, wakeful_command
from tests.ports import free_port


def test_instances_are_listed_with_what_is_in_them_and_what_they_use(
    platform: Platform, launch: Launch
) -> None:
    services = {
        "hello": platform.service(concurrency=5, idle={"freeze-after": "never"}),
        "other": platform.service(),
    }
    wakeful = launch(services, runtime=platform.runtime)
    listed = wakeful_command("ps", "-c", str(wakeful.file))
    assert (listed.returncode, listed.stdout) == (0, "nothing runs\n")

    assert wakeful.get("hello").status == 200
    held = [wakeful.connect("hello", "GET /?ms=30000") for _ in range(3)]
    until(lambda: wakeful.metric("kn_revision_request_active", "hello") == 3, "three inside")

    status, text = wakeful.ask("/v1/instances?service=hello")
    assert status == 200
    (one,) = json.loads(text)["instances"]
    assert one["instance"].startswith("hello-00001-")
    assert (one["service"], one["revision"]) == ("hello", "hello-00001")
    assert (one["state"], one["in_flight"], one["concurrency"]) == ("ready", 3, 5)
    assert 0 < one["start"] <= one["age"]
    assert 2**20 < one["memory"] < 2**28
    assert 0 <= one["cpu"] < 60
    assert one["restarts"] == 0

    listed = wakeful_command("ps", "hello", "-c", str(wakeful.file))
    heading, line = listed.stdout.splitlines()
    assert heading.split()[:3] == ["INSTANCE", "STATE", "IN"]
    assert line.split()[:3] == [one["instance"], "ready", "3/5"]
    for client in held:
        client.close()
    assert wakeful.get("other").status == 200
    both = json.loads(wakeful_command("ps", "--json", "-c", str(wakeful.file)).stdout)
    assert [each["service"] for each in both["instances"]] == ["hello", "other"]


def test_a_crash_loop_is_seen_with_its_reason_and_when_it_is_tried_again(
    processes: Platform, launch: Launch
) -> None:
    wakeful = launch({"broken": processes.service("exit"), "hello": processes.service()})
    assert wakeful.get("broken").reason == "start_failed"
    assert wakeful.get("hello").status == 200

    listing = json.loads(wakeful.ask("/v1/instances")[1])
    (one,) = listing["failing"]
    assert (one["service"], one["revision"]) == ("broken", "broken-00001")
    assert one["reason"] == "instance exited at start: exit code 3"
    assert one["restarts"] >= 1
    assert 0 <= one["retry_in"] <= 60
    assert json.loads(wakeful.ask("/v1/instances?service=hello")[1])["failing"] == []

    text = wakeful_command("ps", "broken", "-c", str(wakeful.file)).stdout
    assert "instance exited at start: exit code 3" in text.splitlines()[-1]


def test_an_instance_that_crashed_and_was_replaced_is_counted(
    processes: Platform, launch: Launch
) -> None:
    wakeful = launch({"hello": processes.service(min_instances=1)})
    first = wakeful.get("hello").json()
    os.kill(first["pid"], signal.SIGKILL)
    until(lambda: wakeful.metric("wakeful_instance_crashes_total", "hello") == 1, "its end")
    until(lambda: wakeful.get("hello").status == 200, "another instance")

    listed = json.loads(wakeful.ask("/v1/instances?service=hello")[1])["instances"]
    assert {one["restarts"] for one in listed} == {1}
    heading, *lines = wakeful_command("ps", "-c", str(wakeful.file)).stdout.splitlines()
    assert heading.split()[-2:] == ["RESTARTS", "STATUS"]
    assert [line.split()[-1] for line in lines] == ["1"] * len(lines)
    assert lines


def test_a_service_that_there_is_not_is_an_error(processes: Platform, launch: Launch) -> None:
    wakeful = launch({"hello": processes.service()})
    asked = wakeful_command("ps", "helo", "-c", str(wakeful.file))
    assert (asked.returncode, asked.stdout) == (1, "")
    assert asked.stderr == "wakeful: no service helo; known: hello\n"


def test_without_a_wakeful_there_is_a_sentence_and_an_exit_code(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    asked = wakeful_command("ps", "--admin", address, cwd=tmp_path)
    assert asked.returncode == 1
    assert asked.stderr == (
        f"wakeful: no wakeful answers at {address} (connection refused); "
        "is it running, and is this the file it was started with?\n"
    )
    assert wakeful_command("ps", "--admin", "nonsense", cwd=tmp_path).returncode == 2
