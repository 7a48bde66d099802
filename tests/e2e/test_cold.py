"""Cold requests: each wakes a service that sleeps, or that is just falling asleep."""

from __future__ import annotations

import os
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.conftest import Launch
from tests.e2e.harness import Answer, Platform, until

# In rounds over many services, so that each sleeps again when its turn comes.
ROUNDS = int(os.environ.get("WAKEFUL_E2E_COLD_ROUNDS", "2"))
SERVICES = int(os.environ.get("WAKEFUL_E2E_COLD_SERVICES", "100"))


@pytest.mark.timeout(60 + ROUNDS * SERVICES)
def test_cold_requests_one_after_another_are_all_answered(
    processes: Platform, launch: Launch
) -> None:
    names = [f"s{number}" for number in range(SERVICES)]
    service = processes.service(scale={"window": "6s"})
    wakeful = launch(dict.fromkeys(names, service))

    answered = Counter[int]()
    pids: set[int] = set()
    for _ in range(ROUNDS):
        until(wakeful.asleep, "every service asleep", seconds=30)
        assert wakeful.processes() == []
        for name in names:
            answer = wakeful.get(name)
            answered[answer.status] += 1
            assert answer.status == 200, answer
            report = answer.json()
            assert report["number"] == 1
            pids.add(report["pid"])

    requests = ROUNDS * SERVICES
    assert answered == {200: requests}
    assert len(pids) == requests  # each was answered by a process of its own
    assert wakeful.metric("wakeful_cold_starts_total") == requests
    assert wakeful.metric("wakeful_instance_starts_total") == requests
    assert wakeful.metric("wakeful_cold_start_duration_seconds_count") == requests
    assert wakeful.metric("wakeful_instance_start_failures_total") == 0
    assert wakeful.metric("wakeful_instance_crashes_total") == 0


def test_a_request_that_comes_just_when_its_service_falls_asleep_is_answered(
    processes: Platform, launch: Launch
) -> None:
    # Each service is asked twice. One half of the second requests comes as soon
    # as the log says that the instance goes, and so meets its drain and its
    # stop; the other half comes at all times around the moment.
    names = [f"s{number}" for number in range(60)]
    service = processes.service(scale={"window": "6s"})
    wakeful = launch(dict.fromkeys(names, service))

    def twice(number: int) -> tuple[Answer, Answer]:
        name = names[number]
        first = wakeful.get(name)
        if number % 2:
            goes = f"{name}-00001: 1 -> 0 instances"
            until(lambda: goes in wakeful.log_text(), goes)
        else:
            time.sleep(7 + number * 0.1)
        return first, wakeful.get(name)

    with ThreadPoolExecutor(len(names)) as clients:
        pairs = list(clients.map(twice, range(len(names))))

    assert Counter(answer.status for pair in pairs for answer in pair) == {200: 120}
    woken = [first.json()["pid"] != second.json()["pid"] for first, second in pairs]
    assert all(woken[1::2])
    assert wakeful.metric("wakeful_cold_starts_total") == len(names) + sum(woken)
    assert wakeful.metric("wakeful_instance_crashes_total") == 0
