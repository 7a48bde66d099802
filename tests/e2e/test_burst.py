"""A burst on a sleeping service: all answered, never too many in one instance, and then zero."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from docker.api.client import APIClient

from tests.e2e.conftest import Launch, containers_of
from tests.e2e.harness import Platform, until


@contextmanager
def most(count: Callable[[], int]) -> Iterator[list[int]]:
    """The most that ``count`` was while the block ran, as a list of one."""
    seen, over = [0], threading.Event()

    def watch() -> None:
        while not over.is_set():
            seen[0] = max(seen[0], count())
            over.wait(0.01)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


def test_sixty_requests_at_once_to_a_sleeping_service_are_all_answered_within_its_limits(
    platform: Platform, launch: Launch, request: pytest.FixtureRequest
) -> None:
    crowd = platform.service(concurrency=2, max_instances=4, scale={"window": "6s"})
    wakeful = launch({"crowd": crowd}, runtime=platform.runtime)

    def running() -> int:
        if platform.image:
            client: APIClient = request.getfixturevalue("engine")
            return len(containers_of(client, wakeful.owner))
        return len(wakeful.processes())

    assert running() == 0
    with most(running) as peak:
        answers = wakeful.burst("crowd", 60, "/?ms=100")
        statuses = Counter(answer.status for answer in answers)
        assert statuses == {200: 60}, [a.body for a in answers if a.status != 200]
        reports = [answer.json() for answer in answers]
        assert max(report["most_at_once"] for report in reports) == 2
        assert 2 <= len({report["instance"] for report in reports}) <= 4
        # The last number of each instance adds up: none was given a request twice.
        last: Counter[str] = Counter()
        for report in reports:
            last[report["instance"]] = max(last[report["instance"]], report["number"])
        assert last.total() == 60
        until(lambda: running() == 0, "zero instances again", seconds=30)
    assert 2 <= peak[0] <= 4
    assert wakeful.metric("wakeful_cold_starts_total", "crowd") == 1
    assert wakeful.metric("wakeful_instance_starts_total", "crowd") <= 4
    assert wakeful.metric("wakeful_requests_rejected_total") == 0
