"""The simulator's word against real processes: the same load, the same instances."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from math import floor
from pathlib import Path

from tests.e2e.conftest import Launch
from tests.e2e.harness import Platform, Wakeful, until
from wakeful.config.load import load
from wakeful.simulate.course import Course
from wakeful.simulate.engine import simulate
from wakeful.simulate.logs import read_logs
from wakeful.simulate.sources import Owners
from wakeful.simulate.traffic import Arrival, ServiceTime, Traffic

# From zero up, further up, and down again: seconds, and requests per second in them. So few
# and so long that a machine which stands still for a moment makes less than an instance of it.
PHASES = [(5.0, 5.0), (6.0, 16.0), (6.0, 2.8)]
SECONDS = 1.5  # of one request
SAMPLING = 0.2


def test_the_same_load_has_the_same_instances_on_real_processes_and_in_the_simulator(
    processes: Platform, launch: Launch, tmp_path: Path
) -> None:
    log = tmp_path / "access.log"
    service = processes.service(concurrency=4, max_instances=9, scale={"window": "6s"})
    wakeful = launch({"hello": service}, **{"access-log": {"file": str(log)}})
    samples = run_load(wakeful)
    assert max(running for _, running in samples) >= 8

    starts = started_within(wakeful)
    course = simulated(wakeful, log, starts)
    assert course.answered == course.requests > 130
    # One start time, as long as one took; and what lies between two samples, which is
    # more where the machine stood still for a moment.
    gaps = [later - earlier for (earlier, _), (later, _) in pairwise(samples)]
    tolerance = max(starts) + max(gaps)
    apart = []
    for moment, running in samples:
        near = counts(course, moment, tolerance)
        if min(abs(running - one) for one in near) > 1:
            apart.append(f"{running} at {moment:.2f} s, and {near} in the simulation")
    assert not apart, apart


def run_load(wakeful: Wakeful) -> list[tuple[float, int]]:
    """How many instances there were, by the time since the autoscaler's first second began."""
    begin = beginning(wakeful)
    samples: list[tuple[float, int]] = []
    over = threading.Event()

    def sample() -> None:
        while not over.is_set():
            running = instances(wakeful)
            samples.append((time.time() - begin, running))
            over.wait(SAMPLING)

    def send(at: float) -> int:
        time.sleep(max(0.0, at - time.monotonic()))
        return wakeful.get("hello", f"/?ms={SECONDS * 1000:.0f}").status

    observer = threading.Thread(target=sample)
    observer.start()
    try:
        now = time.monotonic() + 0.5
        with ThreadPoolExecutor(48) as clients:
            assert set(clients.map(send, (now + moment for moment in moments()))) == {200}
        until(lambda: instances(wakeful) == 0, "zero instances again", seconds=40)
    finally:
        over.set()
        observer.join()
    return samples


def moments() -> Iterator[float]:
    start = 0.0
    for seconds, rate in PHASES:
        for n in range(round(seconds * rate)):
            yield start + n / rate
        start += seconds


def instances(wakeful: Wakeful) -> int:
    """As harness.instances, without reading all the rest of the page."""
    lines = wakeful.ask("/metrics")[1].splitlines()
    return sum(int(line.split()[-1]) for line in lines if line.startswith("wakeful_instances{"))


def beginning(wakeful: Wakeful) -> float:
    """The wall clock when the autoscaler began to count seconds: it then says where it listens."""

    def said() -> list[float]:
        return [one["ts"] for one in wakeful.logs() if one["msg"].startswith("runtime: ")]

    (began,) = until(said, "what it says when it has started")
    return float(began)


def started_within(wakeful: Wakeful) -> list[float]:
    found = (re.search(r"is ready after ([\d.]+) s", text) for text in wakeful.messages())
    return [float(one[1]) for one in found if one]


def simulated(wakeful: Wakeful, log: Path, starts: Sequence[float]) -> Course:
    config = load(wakeful.file).config
    until(lambda: log.read_text().endswith("\n"), "the end of the access log")
    read = read_logs([log], Owners(config))
    assert read.remarks.texts() == []
    first = min(json.loads(line)["ts"] for line in log.read_text().splitlines())
    ahead = floor(first) - beginning(wakeful)
    traffic = read.requests.traffic("", ServiceTime(SECONDS), seed=1)

    def arrivals() -> Iterator[Arrival]:
        return (one._replace(at=one.at + ahead) for one in traffic.arrivals())

    length = traffic.length + ahead
    same = Traffic(arrivals, length, traffic.services, "")
    (course,) = simulate(config, same, sorted(starts), until=length + 30, seed=1)
    return course


def counts(course: Course, moment: float, tolerance: float) -> set[int]:
    """How many instances there were in the simulation at about this moment."""
    begin, end = moment - tolerance, moment + tolerance
    steps = course.instances
    within = {
        value for at, value in zip(steps.moments, steps.values, strict=True) if begin <= at <= end
    }
    return within | {steps.at(max(0.0, begin))}


def test_from_zero_a_step_of_200_requests_has_all_its_starts_before_the_first_is_over(
    processes: Platform, launch: Launch
) -> None:
    """One start time, not a tick and then a start time: nothing waits for the tick."""
    step = processes.service("listen-late", concurrency=10, max_instances=20)
    wakeful = launch({"step": step})
    answers = wakeful.burst("step", 200, "/?ms=200")
    failed = [(answer.status, answer.body) for answer in answers if answer.status != 200]
    assert not failed, (failed, wakeful.log_text())

    said = wakeful.messages()
    first_ready = next(i for i, text in enumerate(said) if "is ready after" in text)
    grown = [re.search(r" -> (\d+) instances \((.*)\)", text) for text in said[:first_ready]]
    changes = [(int(one[1]), one[2]) for one in grown if one]
    assert changes[-1][0] == 20
    # It is the event rule that speaks of what is active and waiting, and the tick of averages.
    assert all("waiting" in why for _, why in changes), changes
    assert wakeful.metric("wakeful_instance_starts_total", "step") == 20
    assert max(answer.json()["most_at_once"] for answer in answers) == 10
