"""The ladder: running, frozen, stopped; and back up again for the next request."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from docker.api.client import APIClient

from tests.e2e.conftest import Launch
from tests.e2e.harness import Platform, Wakeful, until
from tests.e2e.test_streams import WebSocket

Frozen = Callable[[Wakeful, str], bool]

WINDOW = {"window": "6s"}


def counted(wakeful: Wakeful, service: str, **states: int) -> bool:
    """Exactly so many instances in these states, and none in others."""
    total = wakeful.instances(service)
    return total == sum(states.values()) and all(
        wakeful.instances(service, state=state) == count for state, count in states.items()
    )


def stopped(pid: int) -> bool:
    """By a signal, says the kernel."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def service(platform: Platform, freeze_after: str, stop_after: str = "15m", **keys: Any) -> Any:
    idle = {"freeze-after": freeze_after, "stop-after": stop_after}
    return platform.service(idle=idle, **keys)


def test_an_instance_is_frozen_when_it_is_idle_and_answers_the_next_request(
    platform: Platform, launch: Launch
) -> None:
    wakeful = launch({"hello": service(platform, "3s")}, runtime=platform.runtime)
    first = wakeful.get("hello").json()
    for number in (2, 3):
        until(lambda: counted(wakeful, "hello", frozen=1), "frozen")
        assert wakeful.metric("kn_revision_pods_count", "hello") == 1  # it is still wanted
        again = wakeful.get("hello").json()
        assert (again["instance"], again["number"]) == (first["instance"], number)
        assert counted(wakeful, "hello", ready=1)
    assert wakeful.metric("wakeful_instance_thaws_total", "hello") == 2
    assert wakeful.metric("wakeful_cold_starts_total", "hello") == 1


def test_what_the_scaler_gives_up_is_a_frozen_spare_that_counts_as_zero_and_wakes_first(
    platform: Platform, launch: Launch
) -> None:
    wakeful = launch({"hello": service(platform, "3s", scale=WINDOW)}, runtime=platform.runtime)
    first = wakeful.get("hello").json()
    zero = "kn_revision_pods_count"
    until(lambda: wakeful.metric(zero, "hello") == 0, "zero", 30)
    until(lambda: counted(wakeful, "hello", frozen=1), "a spare", 30)
    assert wakeful.metric("kn_revision_pods_desired", "hello") == 0
    until(lambda: wakeful.metric("wakeful_frozen_memory_bytes") > 1_000_000, "its memory")

    assert wakeful.get("hello").json()["instance"] == first["instance"]
    assert wakeful.metric(zero, "hello") == 1
    assert wakeful.metric("wakeful_frozen_memory_bytes") == 0
    assert wakeful.metric("wakeful_instance_starts_total", "hello") == 1
    assert wakeful.metric("wakeful_cold_starts_total", "hello") == 1


def test_a_spare_is_stopped_after_its_time_and_the_next_request_starts_another(
    platform: Platform, launch: Launch
) -> None:
    quick = service(platform, "1s", "2s", scale=WINDOW)
    wakeful = launch({"hello": quick}, runtime=platform.runtime)
    first = wakeful.get("hello").json()
    until(lambda: wakeful.asleep("hello"), "nothing left", 30)
    assert any("is kept, frozen" in message for message in wakeful.messages())
    assert any("is stopped: " in message for message in wakeful.messages())
    assert wakeful.get("hello").json()["instance"] != first["instance"]


def test_without_a_budget_there_are_no_spares(processes: Platform, launch: Launch) -> None:
    hello = service(processes, "1s", scale=WINDOW)
    wakeful = launch({"hello": hello}, **{"frozen-memory": "0%"})
    assert wakeful.get("hello").status == 200
    until(lambda: wakeful.asleep("hello"), "nothing left", 30)
    assert wakeful.metric("wakeful_frozen_memory_limit_bytes") == 0


def test_beyond_the_budget_the_least_recently_used_spare_is_stopped(
    processes: Platform, launch: Launch
) -> None:
    hello = service(processes, "1s", scale=WINDOW)
    # A Python takes about 10 MB: there is room for one, and not for two.
    wakeful = launch({"old": hello, "new": hello}, **{"frozen-memory": "16Mi"})
    assert wakeful.get("old").status == 200
    time.sleep(0.5)  # in the order in which they are asked, and not in one turn
    assert wakeful.get("new").status == 200
    until(lambda: wakeful.asleep("old"), "the older one stopped", 30)
    until(lambda: counted(wakeful, "new", frozen=1), "the newer one kept")


def test_between_any_two_requests_it_does_not_run(platform: Platform, launch: Launch) -> None:
    wakeful = launch({"hello": service(platform, "0s")}, runtime=platform.runtime)
    for number in range(1, 21):
        assert wakeful.get("hello").json()["number"] == number
        until(lambda: counted(wakeful, "hello", frozen=1), "frozen")
    assert wakeful.metric("wakeful_instance_thaws_total", "hello") >= 19
    burst = wakeful.burst("hello", 20, "/?ms=50")
    assert [answer.status for answer in burst] == [200] * 20


def test_what_is_never_frozen_is_stopped_when_it_is_not_wanted(
    processes: Platform, launch: Launch
) -> None:
    hello = service(processes, "never", scale=WINDOW)
    wakeful = launch({"hello": hello})
    pid = wakeful.get("hello").json()["pid"]
    until(lambda: wakeful.asleep("hello"), "nothing left", 30)
    assert wakeful.metric("wakeful_instance_freezes_total", "hello") == 0
    assert not Path(f"/proc/{pid}").exists()


def test_an_open_tunnel_keeps_its_instance_from_being_frozen(
    processes: Platform, launch: Launch
) -> None:
    echo = service(processes, "0.5s", program="echo.py")
    other = service(processes, "0.5s")
    wakeful = launch({"echo": echo, "other": other})
    tunnel = WebSocket(wakeful, "echo")
    assert wakeful.get("other").status == 200
    until(lambda: counted(wakeful, "other", frozen=1), "the other one frozen")
    until(lambda: wakeful.metric("wakeful_instance_freezes_total", "other") == 1, "counted")
    assert counted(wakeful, "echo", ready=1)
    assert tunnel.echo(b"there") == b"there"
    tunnel.close()
    until(lambda: counted(wakeful, "echo", frozen=1), "frozen when it was over")


@pytest.mark.parametrize("spare", [False, True], ids=["wanted", "spare"])
def test_instances_that_a_killed_wakeful_left_frozen_are_taken_over(
    platform: Platform, launch: Launch, spare: bool
) -> None:
    scale = WINDOW if spare else {}
    wakeful = launch({"hello": service(platform, "1s", scale=scale)}, runtime=platform.runtime)
    first = wakeful.get("hello").json()
    until(lambda: counted(wakeful, "hello", frozen=1), "frozen")
    if spare:
        until(lambda: wakeful.metric("kn_revision_pods_count", "hello") == 0, "zero", 30)
    wakeful.kill()
    wakeful.start()
    assert wakeful.get("hello").json()["instance"] == first["instance"]
    until(lambda: counted(wakeful, "hello", frozen=1), "frozen again")


def test_a_spare_of_a_service_that_changed_or_went_is_stopped_at_once(
    platform: Platform, launch: Launch
) -> None:
    hello = service(platform, "1s", scale=WINDOW)
    services = {"stays": hello, "goes": hello, "changes": hello}
    wakeful = launch(services, runtime=platform.runtime)
    for name in services:
        assert wakeful.get(name).status == 200
    for name in services:
        until(lambda name=name: wakeful.metric("kn_revision_pods_count", name) == 0, "zero", 30)  # type: ignore[misc]
    until(lambda: counted(wakeful, "", frozen=3), "three spares", 30)
    wakeful.write(
        {"stays": hello, "changes": {**hello, "env": {"NEW": "1", **hello.get("env", {})}}}
    )
    wakeful.reload()
    until(lambda: counted(wakeful, "", frozen=1), "one spare")
    assert counted(wakeful, "stays", frozen=1)


def test_a_wakeful_that_leaves_its_instances_leaves_them_running(
    processes: Platform, launch: Launch
) -> None:
    wakeful = launch({"hello": service(processes, "0s")}, "--leave-instances")
    pid = wakeful.get("hello").json()["pid"]
    until(lambda: stopped(pid), "frozen")
    assert wakeful.stop() == 0
    assert not stopped(pid)
    wakeful.start()
    assert wakeful.get("hello").json()["pid"] == pid


def test_a_spare_that_died_is_forgotten(processes: Platform, launch: Launch) -> None:
    wakeful = launch({"hello": service(processes, "1s", scale=WINDOW)})
    pid = wakeful.get("hello").json()["pid"]
    until(lambda: wakeful.metric("kn_revision_pods_count", "hello") == 0, "zero", 30)
    until(lambda: counted(wakeful, "hello", frozen=1), "a spare")
    os.kill(pid, signal.SIGKILL)
    until(lambda: wakeful.asleep("hello"), "forgotten")
    assert wakeful.get("hello").json()["pid"] != pid


@pytest.mark.docker
@pytest.mark.parametrize("freezer", ["direct", "engine"])
def test_the_freezer_is_chosen_and_said_at_the_start(
    containers: Platform, launch: Launch, engine: APIClient, freezer: str
) -> None:
    if freezer == "direct" and os.geteuid() != 0:
        pytest.skip("only root can write cgroups")
    wakeful = launch({"hello": service(containers, "1s")}, runtime="docker", freezer=freezer)
    said = {"direct": "cgroups, written directly", "engine": "docker pause"}[freezer]
    until(lambda: f"freezer: {said}" in wakeful.messages(), "what it freezes with")
    instance = wakeful.get("hello").json()["instance"]
    until(lambda: counted(wakeful, "hello", frozen=1), "frozen")
    (found,) = engine.containers(filters={"label": f"wakeful.owner={wakeful.owner}"})
    until(
        lambda: engine.inspect_container(found["Id"])["State"]["Paused"] == (freezer == "engine"),
        "what the engine knows of it",
    )
    assert wakeful.get("hello").json()["instance"] == instance
