"""Services that cannot start: a clear answer in time, a word in the log, nobody else disturbed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.conftest import Launch
from tests.e2e.harness import Answer, Platform, Wakeful, concurrently, until


@contextmanager
def asked_all_the_while(wakeful: Wakeful, service: str) -> Iterator[list[Answer]]:
    answers: list[Answer] = []
    over = threading.Event()

    def ask() -> None:
        while not over.wait(0.01):
            answers.append(wakeful.get(service))

    client = threading.Thread(target=ask)
    client.start()
    try:
        yield answers
    finally:
        over.set()
        client.join()


def test_what_cannot_start_is_answered_with_a_reason_and_disturbs_nobody_else(
    platform: Platform, launch: Launch
) -> None:
    patience = {"timeout": "6s"}
    services = {
        "good": platform.service(),
        "exits": platform.service("exit", queue=patience, max_instances=3),
        "silent": platform.service("never-listen", queue=patience, stop_grace="1s"),
        "garbled": platform.service(queue=patience) | {"command": ["/no/such/program"]},
    }
    if platform.image:
        # A registry that refuses the connection: nothing has to be reached for this.
        services["absent"] = {"image": "127.0.0.1:9/no/such:image", "queue": patience}
    wakeful = launch(services, runtime=platform.runtime)
    assert wakeful.get("good").status == 200
    broken = [name for name in services if name != "good"]

    with asked_all_the_while(wakeful, "good") as good:
        answers = dict(
            zip(
                broken,
                concurrently(*(lambda name=name: wakeful.get(name) for name in broken)),
                strict=True,
            )
        )
        crowd = wakeful.burst("exits", 20)

    for name in set(broken) - {"silent"}:
        answer = answers[name]
        assert (answer.status, answer.reason) == (503, "start_failed"), (name, answer)
        assert 1 <= int(answer.headers["retry-after"]) <= 60
    silent = answers["silent"]
    assert (silent.status, silent.reason) == (504, "cold_start_timeout")
    assert 6.0 <= silent.seconds < 15.0
    assert answers["exits"].body == b"instance exited at start: exit code 3\n"
    assert {(a.status, a.reason) for a in crowd} == {(503, "start_failed")}
    assert len(good) > 10
    assert {answer.status for answer in good} == {200}
    # Not a measurement: it would have stood still for seconds with the others.
    assert max(answer.seconds for answer in good) < 4.0

    assert wakeful.alive
    assert wakeful.get("good").status == 200
    warnings = [line["msg"] for line in wakeful.logs() if line["level"] == "warning"]
    (exited, *_) = [text for text in warnings if text.startswith("exits-00001: ")]
    assert "exit code 3" in exited
    # Two streams, which an engine may mix.
    assert {"  | about to exit", "  | cannot find my database"} <= set(exited.splitlines())
    (garbled, *_) = [text for text in warnings if text.startswith("garbled-00001: ")]
    assert "/no/such/program" in garbled
    if platform.image:
        (absent, *_) = [text for text in warnings if text.startswith("absent-00001: ")]
        assert "127.0.0.1:9/no/such:image" in absent
        assert b"not found" in answers["absent"].body
    # One that fails is given time, not started again for each that asks.
    assert wakeful.metric("wakeful_instance_starts_total", "exits") <= 4


def test_a_service_that_failed_answers_as_soon_as_its_definition_is_repaired(
    processes: Platform, launch: Launch
) -> None:
    wakeful = launch({"late": processes.service("exit")})
    assert wakeful.get("late").reason == "start_failed"
    program = processes.service()["command"]
    wakeful.write({"late": processes.service("exit") | {"command": program}})
    wakeful.reload()
    assert wakeful.get("late").json()["revision"] == "late-00002"


def test_after_a_failed_start_the_next_try_comes_with_the_promised_time(
    processes: Platform, launch: Launch, tmp_path: Path
) -> None:
    switch = tmp_path / "switch"
    command = f"test -e {switch} && exec {' '.join(processes.service()['command'])}; exit 1"
    service = processes.service() | {"command": ["/bin/sh", "-c", command]}
    wakeful = launch({"fixed": service})
    refused = wakeful.get("fixed")
    assert refused.reason == "start_failed"
    switch.touch()
    wait = int(refused.headers["retry-after"])
    until(lambda: wakeful.get("fixed").status == 200, "an answer", wait + 5)
