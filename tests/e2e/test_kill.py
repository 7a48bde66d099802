"""An instance that is killed takes only the requests inside it along."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter

import pytest
from docker.api.client import APIClient

from tests.e2e.conftest import Launch, containers_of
from tests.e2e.harness import Answer, Platform, Wakeful, until


class Victims:
    """Ends instances as the kernel would, behind wakeful's back."""

    def __init__(self, wakeful: Wakeful, engine: APIClient | None) -> None:
        self._wakeful = wakeful
        self._engine = engine

    def running(self) -> list[str]:
        if self._engine is not None:
            return containers_of(self._engine, self._wakeful.owner, all=False)
        return [str(pid) for pid in self._wakeful.processes()]

    def kill(self, name: str) -> None:
        if self._engine is not None:
            self._engine.kill(name, "SIGKILL")
        else:
            os.kill(int(name), signal.SIGKILL)
        # The signal is sent; the end comes when the kernel gets to it.
        until(lambda: name not in self.running(), "its end")


@pytest.fixture
def engine_of(platform: Platform, request: pytest.FixtureRequest) -> APIClient | None:
    return request.getfixturevalue("engine") if platform.image else None


def test_killing_an_instance_under_load_fails_only_the_requests_inside_it(
    platform: Platform, launch: Launch, engine_of: APIClient | None
) -> None:
    service = platform.service(concurrency=2, min_instances=3, max_instances=3)
    wakeful = launch({"sturdy": service}, runtime=platform.runtime)
    victims = Victims(wakeful, engine_of)
    until(lambda: wakeful.instances("sturdy", state="ready") == 3, "three instances", 40)
    before = set(victims.running())
    answers: list[Answer] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            answers.append(wakeful.get("sturdy", "/?ms=50"))

    clients = [threading.Thread(target=ask) for _ in range(12)]
    for client in clients:
        client.start()
    try:
        until(lambda: len(answers) > 40, "a steady load")
        victims.kill(min(before))
        killed_at = len(answers)
        until(lambda: wakeful.metric("wakeful_instance_crashes_total", "sturdy") == 1, "the crash")
        until(lambda: wakeful.instances("sturdy", state="ready") == 3, "a replacement", 40)
        replaced_at = len(answers)
        until(lambda: len(answers) > replaced_at + 40, "load on the replacement")
    finally:
        over.set()
        for client in clients:
            client.join()

    statuses = Counter(answer.status for answer in answers)
    assert set(statuses) <= {200, 502}, [a for a in answers if a.status not in (200, 502)]
    # It held two at most, and at twelve clients for six places it held two.
    assert statuses[502] <= 2
    assert {a.reason for a in answers if a.status == 502} <= {"upstream_failed"}
    assert all(answer.status == 200 for answer in answers[:40])
    assert any(answer.status == 200 for answer in answers[killed_at:replaced_at])
    after = set(victims.running())
    assert len(after & before) == 2
    assert len(after - before) == 1
    reports = [answer.json() for answer in answers if answer.status == 200]
    assert max(report["most_at_once"] for report in reports) <= 2
    assert len({report["instance"] for report in reports}) == 4
    assert [m for m in wakeful.messages() if "killed by signal 9" in m]


def test_after_its_only_instance_was_killed_a_service_is_back_within_the_promised_time(
    platform: Platform, launch: Launch, engine_of: APIClient | None
) -> None:
    wakeful = launch({"lone": platform.service()}, runtime=platform.runtime)
    first = wakeful.get("lone").json()
    victims = Victims(wakeful, engine_of)
    (only,) = victims.running()
    victims.kill(only)
    second = wakeful.get("lone")
    if second.status != 200:
        # It ended soon after its start, which a crash loop does as well.
        assert (second.status, second.reason) == (503, "start_failed"), second
        time.sleep(int(second.headers["retry-after"]))
        second = wakeful.get("lone")
    assert second.json()["instance"] != first["instance"]


def test_a_stream_whose_instance_is_killed_is_cut_so_that_the_client_sees_it(
    processes: Platform, launch: Launch
) -> None:
    wakeful = launch({"lone": processes.service()})
    pid = wakeful.get("lone").json()["pid"]
    timer = threading.Timer(0.5, os.kill, (pid, signal.SIGKILL))
    timer.start()
    answer = wakeful.get("lone", "/drip?n=100&ms=50")
    timer.join()
    assert answer.status == 0  # its end was never said
    assert b"IncompleteRead" in answer.body
