"""A window of its schedule keeps a service warm, over a restart and until a reload."""

from __future__ import annotations

from tests.e2e.conftest import Launch
from tests.e2e.harness import Platform, until

# Begins every minute, and has ended at the last New Year; and the other way round.
OPEN = {"start": "* * * * *", "end": "0 0 1 1 *", "timezone": "Asia/Tokyo", "min-instances": 2}
CLOSED = {"start": "0 0 1 1 *", "end": "* * * * *"}


def test_a_service_is_warm_in_its_window_and_asleep_outside(
    processes: Platform, launch: Launch
) -> None:
    service = processes.service(scale={"window": "6s"})
    services = {
        "warm": service | {"schedule": [CLOSED, OPEN]},
        "cold": service | {"schedule": [CLOSED]},
    }
    wakeful = launch(services)
    until(lambda: wakeful.instances("warm", state="ready") == 2, "two instances by schedule")
    assert wakeful.metric("wakeful_scheduled_min_instances", "warm") == 2
    assert wakeful.instances("cold") == 0
    assert wakeful.get("warm").json()["revision"] == "warm-00001"
    assert wakeful.metric("wakeful_cold_starts_total") == 0

    assert wakeful.stop() == 0
    wakeful.start()
    until(lambda: wakeful.instances("warm", state="ready") == 2, "two instances once more")

    wakeful.write({"warm": service, "cold": service | {"schedule": [OPEN]}})
    assert "reloaded" in wakeful.reload()
    until(lambda: wakeful.instances("cold", state="ready") == 2, "two instances of the other")
    until(lambda: wakeful.asleep("warm"), "asleep without its schedule", seconds=60)
    assert wakeful.get("warm").json()["revision"] == "warm-00001"  # no new one for that
