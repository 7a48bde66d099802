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


def test_the_answer_that_waited_says_what_it_waited_for_and_no_other_does(
    platform: Platform, launch: Launch
) -> None:
    silent = platform.service(cold_start_headers=False)
    services = {"hello": platform.service(), "silent": silent}
    wakeful = launch(services, runtime=platform.runtime)
    cold, warm, quiet = wakeful.get("hello"), wakeful.get("hello"), wakeful.get("silent")
    assert [answer.status for answer in (cold, warm, quiet)] == [200] * 3
    for answer in (warm, quiet):
        assert "x-wakeful-cold-start" not in answer.headers
        assert "server-timing" not in answer.headers

    assert cold.headers["x-wakeful-cold-start"] == "1"
    # W3C Server Timing §3: a list of names, each with its duration in milliseconds
    timing = dict(one.split(";dur=") for one in cold.headers["server-timing"].split(", "))
    took = {name: float(ms) for name, ms in timing.items()}
    took.pop("pull", None)  # not to be seen where it was settled before which image it is
    create = ["create"] if platform.image else []
    assert list(took) == ["queued", *create, "start", "listening", "first_byte", "total"]
    total = took.pop("total")
    assert took["listening"] > 0  # a Python has to come up for that
    # The request asked for the instance, so all of them lie within its wait.
    assert sum(took.values()) <= total + 0.1 * len(took)
    assert total <= cold.seconds * 1000 + 0.1

    for service in services:
        for phase, ms in took.items():
            name = "wakeful_instance_start_phase_seconds"
            assert wakeful.metric(f"{name}_count", service, phase=phase) == 1
            if service == "hello":
                seconds = wakeful.metric(f"{name}_sum", service, phase=phase)
                assert seconds == pytest.approx(ms / 1000, abs=0.0001)
    line = next(
        line for line in wakeful.log_text().splitlines() if "hello" in line and "is ready" in line
    )
    assert all(f"{phase} " in line for phase in list(took)[:-1])


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
