"""The end of one wakeful and the start of the next: nothing in flight and nothing known is lost."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time

import pytest
from docker.api.client import APIClient

from tests.e2e.conftest import Launch, containers_of
from tests.e2e.harness import Answer, Platform, Wakeful, read_head, read_to_end, until


def test_sigterm_lets_requests_finish_stops_instances_and_exits_with_0(
    platform: Platform, launch: Launch, request: pytest.FixtureRequest
) -> None:
    wakeful = launch({"hello": platform.service()}, runtime=platform.runtime)
    assert wakeful.get("hello").status == 200
    slow: list[Answer] = []
    in_flight = threading.Thread(target=lambda: slow.append(wakeful.get("hello", "/?ms=4000")))
    in_flight.start()
    until(lambda: wakeful.metric("kn_revision_request_active", "hello") == 1, "in flight")

    wakeful.send(signal.SIGTERM)
    until(lambda: wakeful.ask("/readyz")[0] == 503, "not ready any more", 3.0)
    assert wakeful.ask("/healthz")[0] == 200
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", wakeful.port))
    assert in_flight.is_alive()
    assert wakeful.exit_code() == 0
    in_flight.join()
    assert slow[0].status == 200
    assert slow[0].headers["connection"] == "close"
    assert wakeful.processes() == []
    if platform.image:
        engine: APIClient = request.getfixturevalue("engine")
        assert containers_of(engine, wakeful.owner) == []


def test_a_queued_cold_request_is_finished_too(processes: Platform, launch: Launch) -> None:
    wakeful = launch({"hello": processes.service()})
    client = wakeful.connect("hello", "GET /?ms=300")
    until(lambda: wakeful.metric("kn_revision_request_concurrency", "hello") == 1, "it is here")
    wakeful.send(signal.SIGTERM)
    with client:
        head, _ = read_head(client)
    assert head.startswith(b"HTTP/1.1 200 ")
    assert wakeful.exit_code() == 0


def test_a_stream_is_finished_and_its_kept_connection_does_not_hold_up_the_end(
    processes: Platform, launch: Launch
) -> None:
    wakeful = launch({"hello": processes.service()})
    with wakeful.connect("hello", "GET /drip?n=10&ms=100") as client:
        client.settimeout(5)
        read_head(client)
        wakeful.send(signal.SIGTERM)
        data = read_to_end(client)
        assert b" 9\n" in data
        assert data.endswith(b"0\r\n\r\n")
    assert wakeful.exit_code(5) == 0


def test_idle_connections_do_not_hold_up_the_end(processes: Platform, launch: Launch) -> None:
    wakeful = launch({"hello": processes.service()})
    with wakeful.connect("hello", "GET /") as client:
        read_head(client)
        silent = socket.create_connection(("127.0.0.1", wakeful.port))
        wakeful.send(signal.SIGTERM)
        assert wakeful.exit_code(5) == 0
        silent.close()


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once_and_leaves_nothing_either(
    first: signal.Signals, processes: Platform, launch: Launch
) -> None:
    # What runs in the shell does not hear of SIGTERM, so it would take all of its grace.
    command = " ".join(processes.service()["command"])
    deaf = processes.service(stop_grace="60s")
    deaf["command"] = ["/bin/sh", "-c", f"trap '' TERM; {command} & wait; sleep 60"]
    wakeful = launch({"hello": processes.service(), "deaf": deaf})
    assert wakeful.get("deaf").status == 200
    client = wakeful.connect("hello", "GET /?ms=50000")
    until(lambda: wakeful.metric("kn_revision_request_active", "hello") == 1, "in flight")
    wakeful.send(first)
    until(lambda: not wakeful.ready(), "draining")
    wakeful.send(signal.SIGTERM)
    assert wakeful.exit_code(10) == 0
    assert wakeful.processes() == []
    with client, pytest.raises(ConnectionResetError):
        client.recv(1)


def test_sigterm_during_a_cold_start_leaves_nothing(platform: Platform, launch: Launch) -> None:
    wakeful = launch({"hello": platform.service(min_instances=3)}, runtime=platform.runtime)
    assert wakeful.stop() == 0
    assert wakeful.processes() == []


def who_answers(wakeful: Wakeful, *services: str) -> list[str]:
    return [wakeful.get(service).json()["instance"] for service in services]


@pytest.mark.parametrize("how", ["left", "killed"])
def test_instances_outlive_wakeful_and_the_next_one_takes_them_over(
    how: str, platform: Platform, launch: Launch
) -> None:
    services = {
        "hello": platform.service(),
        "minimum": platform.service(min_instances=1),
        "changes": platform.service(),
        "goes": platform.service(),
    }
    wakeful = launch(services, *["--leave-instances"] * (how == "left"), runtime=platform.runtime)
    before = who_answers(wakeful, "hello", "minimum", "changes", "goes")
    if how == "left":
        assert wakeful.stop() == 0
    else:
        wakeful.kill()

    services["changes"] = platform.service(env={"GREETING": "new"})
    del services["goes"]
    wakeful.write(services)
    wakeful.start()
    assert wakeful.instances("hello") == 1
    began = time.monotonic()
    assert who_answers(wakeful, "hello", "minimum") == before[:2]
    assert time.monotonic() - began < 10
    # The old definition of the changed one answers until an instance of the new is ready.
    assert len([m for m in wakeful.messages() if ": adopted instance " in m]) == 3
    until(
        lambda: wakeful.get("changes").json()["revision"] == "changes-00002", "the new definition"
    )
    assert who_answers(wakeful, "changes") != before[2:3]
    # Those of the changed and of the removed service are gone, and nothing was doubled.
    until(lambda: wakeful.instances() == 3, "three instances")
    assert wakeful.metric("wakeful_instance_starts_total", "minimum") == 0
    if not platform.image:
        until(lambda: len(wakeful.processes()) == 3, "three processes")


@pytest.mark.parametrize("how", ["left", "killed"])
def test_the_averages_outlive_wakeful_so_that_nothing_is_frozen_nor_forgotten(
    how: str, processes: Platform, launch: Launch
) -> None:
    service = processes.service(concurrency=1, max_instances=4, scale={"target": 1})
    wakeful = launch({"hello": service}, *["--leave-instances"] * (how == "left"))
    clients = [threading.Thread(target=wakeful.get, args=("hello", "/?ms=7000")) for _ in range(3)]
    for client in clients:
        client.start()
    until(lambda: wakeful.metric("kn_revision_pods_count", "hello") >= 3, "three instances")
    until(lambda: wakeful.metric("kn_revision_concurrency_stable", "hello") > 2, "an average")
    if how == "left":
        assert wakeful.stop() == 0
    else:
        kept, moment = wakeful.state / "scale.json", time.time()
        until(lambda: kept.exists() and kept.stat().st_mtime > moment, "the averages on disk")
        wakeful.kill()
    for client in clients:
        client.join()

    wakeful.start()
    assert any("goes on with the averages of" in line for line in wakeful.messages())
    until(lambda: wakeful.metric("kn_revision_concurrency_stable", "hello") > 1, "the average")
    assert wakeful.metric("kn_revision_panic_mode", "hello") == 0
    assert wakeful.metric("kn_revision_pods_count", "hello") >= 3
    assert wakeful.metric("wakeful_instance_starts_total", "hello") == 0


def test_averages_that_are_damaged_are_said_and_begin_anew(
    processes: Platform, launch: Launch
) -> None:
    wakeful = launch({"hello": processes.service()}, start=False)
    kept = wakeful.state / "scale.json"
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text('{"at": 1')
    wakeful.start()
    assert wakeful.get("hello").status == 200
    said = [line for line in wakeful.messages() if "the averages begin anew" in line]
    assert len(said) == 1
    assert str(kept) in said[0]


def test_adopted_instances_fall_asleep_and_are_watched_like_any_other(
    processes: Platform, launch: Launch
) -> None:
    services = {
        "sleeper": processes.service(scale={"window": "6s"}),
        "busy": processes.service(min_instances=1),
    }
    wakeful = launch(services)
    who_answers(wakeful, "sleeper", "busy")
    pid = wakeful.get("busy").json()["pid"]
    wakeful.kill()
    wakeful.start()
    assert wakeful.get("busy").json()["pid"] == pid
    os.kill(pid, signal.SIGKILL)
    until(lambda: wakeful.metric("wakeful_instance_crashes_total", "busy") == 1, "the crash seen")
    until(lambda: wakeful.get("busy").status == 200, "its replacement")
    assert wakeful.get("busy").json()["pid"] != pid
    until(lambda: wakeful.asleep("sleeper"), "the adopted one asleep", 30)


def test_stopping_right_after_a_takeover_leaves_no_instance_of_an_old_definition(
    processes: Platform, launch: Launch
) -> None:
    slow = {"command": ["/bin/sh", "-c", "trap 'sleep 2; exit' TERM; while :; do sleep 0.1; done"]}
    wakeful = launch({"hello": slow})
    wakeful.connect("hello", "GET /").close()
    until(wakeful.processes, "an instance of the old definition")
    wakeful.kill()
    wakeful.write({"hello": processes.service()})
    wakeful.start()
    assert wakeful.processes()
    assert wakeful.stop() == 0
    assert wakeful.processes() == []
