"""Network sandboxes, as an operator of the whole program has them."""

from __future__ import annotations

import pytest
from docker.api.client import APIClient

from tests.e2e.conftest import Launch
from tests.e2e.harness import Platform, Wakeful, until

pytestmark = pytest.mark.docker

DEBUG = ("--log-level", "debug")


def stocked(wakeful: Wakeful, count: int) -> bool:
    """It has heard so often that there is a sandbox for the next start."""
    return wakeful.messages().count("1 network sandboxes are ready") >= count


def sandboxes(engine: APIClient, owner: str) -> set[str]:
    label = [f"wakeful.owner={owner}", "wakeful.role=sandbox"]
    return {one["Id"] for one in engine.containers(filters={"label": label})}


def network_of_the_instance(engine: APIClient, owner: str) -> str:
    label = [f"wakeful.owner={owner}", "wakeful.service=hello"]
    (instance,) = engine.containers(filters={"label": label})
    mode: str = instance["HostConfig"]["NetworkMode"]
    return mode


def test_a_cold_start_in_a_sandbox_says_so_and_the_stock_is_filled_again(
    containers: Platform, launch: Launch, engine: APIClient
) -> None:
    service = containers.service(network="sandbox", min_instances=0)
    wakeful = launch({"hello": service}, *DEBUG, runtime="docker")
    until(lambda: stocked(wakeful, 1), "a sandbox")
    assert wakeful.metric("wakeful_sandboxes_ready") == 1
    (first,) = sandboxes(engine, wakeful.owner)

    answer = wakeful.get("hello")
    assert answer.status == 200
    phases = [one.partition(";")[0] for one in answer.headers["server-timing"].split(", ")]
    assert "sandbox" in phases
    assert network_of_the_instance(engine, wakeful.owner) == f"container:{first}"
    name = "wakeful_instance_start_phase_seconds_count"
    assert wakeful.metric(name, "hello", phase="sandbox") == 1

    until(lambda: stocked(wakeful, 2), "another one")
    engine.kill(first)
    until(lambda: wakeful.metric("wakeful_instance_crashes_total", "hello") == 1, "its end")
    # After the pause that follows what ended soon after its start.
    until(lambda: wakeful.get("hello").status == 200, "another instance")


def test_after_a_kill_an_instance_is_found_in_its_sandbox_and_the_stock_is_made_anew(
    containers: Platform, launch: Launch, engine: APIClient
) -> None:
    service = containers.service(network="sandbox")
    wakeful = launch({"hello": service}, *DEBUG, runtime="docker")
    until(lambda: stocked(wakeful, 1), "a sandbox")
    before = wakeful.get("hello").json()
    until(lambda: stocked(wakeful, 2), "another one")
    owned = sandboxes(engine, wakeful.owner)
    wakeful.kill()

    wakeful.start(*DEBUG)
    until(lambda: stocked(wakeful, 3), "a new one")
    after = wakeful.get("hello").json()
    assert (after["instance"], after["number"]) == (before["instance"], before["number"] + 1)
    held = network_of_the_instance(engine, wakeful.owner).removeprefix("container:")
    until(lambda: sandboxes(engine, wakeful.owner) & owned == {held}, "no orphan")
    # That nothing is left of any of them when it ends is what ``launch`` sees to.
