"""An uptime checker that neither wakes a service nor keeps it awake."""

from __future__ import annotations

import threading

from tests.e2e.conftest import Launch
from tests.e2e.harness import Platform, until

CHECKER = {"User-Agent": "Mozilla/5.0 (compatible; UptimeRobot/2.0)"}


def test_a_service_that_is_only_polled_goes_to_zero_and_stays_there(
    processes: Platform, launch: Launch
) -> None:
    ignore = [{"path": "/healthz", "answer": 200}, {"user-agent": "*UptimeRobot*"}]
    service = processes.service(scale={"window": "6s"}, wake={"ignore": ignore})
    wakeful = launch({"s": service})

    static = wakeful.get("s", "/healthz")
    assert (static.status, static.reason) == (200, "asleep")
    refused = wakeful.get("s", headers=CHECKER)
    assert (refused.status, refused.reason) == (503, "asleep")
    assert int(refused.headers["retry-after"]) > 0
    assert wakeful.metric("wakeful_instance_starts_total") == 0

    assert wakeful.get("s").status == 200
    polled = wakeful.get("s", headers=CHECKER)
    assert polled.json()["number"] == 2  # the instance itself answered

    over, reasons = threading.Event(), []

    def poll() -> None:
        while not over.wait(0.2):
            reasons.append(wakeful.get("s", headers=CHECKER).reason)

    checker = threading.Thread(target=poll)
    checker.start()
    try:
        until(wakeful.asleep, "asleep although it is polled", seconds=60)
    finally:
        over.set()
        checker.join()
    assert "" in reasons  # some were answered by the instance
    assert wakeful.get("s", "/healthz").reason == "asleep"
    assert wakeful.metric("wakeful_instance_starts_total") == 1
    assert wakeful.metric("wakeful_requests_rejected_total", reason="asleep") >= 3
