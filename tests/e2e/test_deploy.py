"""A changed definition reaches the users: ready first, and nothing is lost on the way."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.e2e.conftest import Launch
from tests.e2e.harness import Answer, Platform, Wakeful, until, wakeful_command


class Load:
    """So many clients, each of which asks again as soon as it is answered."""

    def __init__(self, wakeful: Wakeful, clients: int, path: str) -> None:
        self.answers: list[list[Answer]] = [[] for _ in range(clients)]
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(wakeful, path, answers))
            for answers in self.answers
        ]

    def _ask(self, wakeful: Wakeful, path: str, answers: list[Answer]) -> None:
        while not self._over.is_set():
            answers.append(wakeful.get("hello", path))

    def begin(self) -> None:
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def met(self, revision: str) -> bool:
        """Every client was answered by it last."""
        return all(each and each[-1].json()["revision"] == revision for each in self.answers)

    def statuses(self) -> Counter[int]:
        return Counter(answer.status for each in self.answers for answer in each)

    def revisions(self) -> list[list[str]]:
        """What each client met, in order."""
        return [[answer.json()["revision"] for answer in each] for each in self.answers]


@contextmanager
def load(wakeful: Wakeful, clients: int = 8, path: str = "/?ms=20") -> Iterator[Load]:
    it = Load(wakeful, clients, path)
    it.begin()
    try:
        yield it
    finally:
        it.end()


def status(wakeful: Wakeful, service: str = "hello") -> Any:
    code, text = wakeful.ask(f"/v1/services/{service}")
    assert code == 200
    return json.loads(text)


def latest_ready(wakeful: Wakeful) -> str:
    return str(status(wakeful)["latestReadyRevisionName"])


def deploy(wakeful: Wakeful, definition: dict[str, Any], name: str) -> None:
    wakeful.write({"hello": definition})
    assert wakeful.reload() == "reloaded: 1 changed"
    until(lambda: latest_ready(wakeful) == name, name, 40)


def test_deployments_under_load_lose_nothing_and_nobody_meets_the_old_one_again(
    platform: Platform, launch: Launch
) -> None:
    service: dict[str, Any] = {"concurrency": 4, "max_instances": 4}
    wakeful = launch({"hello": platform.service(**service)}, runtime=platform.runtime)
    with load(wakeful) as it:
        until(lambda: it.met("hello-00001"), "answers for everybody", 40)
        for generation in (2, 3, 4):
            name = f"hello-{generation:05d}"
            definition = platform.service(**service, env={"GENERATION": str(generation)})
            deploy(wakeful, definition, name)
            until(lambda name=name: it.met(name), f"{name} for everybody", 40)  # type: ignore[misc]
    assert set(it.statuses()) == {200}
    for met in it.revisions():
        assert met == sorted(met)
        assert set(met) == {f"hello-{generation:05d}" for generation in (1, 2, 3, 4)}
    until(lambda: wakeful.instances("hello") == wakeful.instances("hello", state="ready"),
          "the old ones gone")  # fmt: skip
    assert wakeful.metric("wakeful_revision_traffic_percent", kn_revision_name=name) == 100


def test_a_revision_that_cannot_start_costs_nobody_anything_and_is_said(
    processes: Platform, launch: Launch
) -> None:
    wakeful = launch({"hello": processes.service()})
    with load(wakeful, clients=4) as it:
        until(lambda: it.met("hello-00001"), "answers")
        wakeful.write({"hello": processes.service("exit")})
        assert wakeful.reload() == "reloaded: 1 changed"

        def tries() -> float:
            name = "wakeful_instance_start_failures_total"
            return wakeful.metric(name, kn_revision_name="hello-00002")

        until(lambda: tries() >= 2, "another try")
        assert status(wakeful) == {
            "name": "hello",
            "latestCreatedRevisionName": "hello-00002",
            "latestReadyRevisionName": "hello-00001",
            "traffic": [
                {"revisionName": "hello-00001", "percent": 100, "latestRevision": True},
            ],
            "ready": False,
            "message": "instance exited at start: exit code 3",
        }
        pending = "wakeful_deployment_pending"
        assert wakeful.metric(pending, "hello", kn_revision_name="hello-00002") == 1
        said = [m for m in wakeful.messages() if "hello-00002 cannot take over" in m]
        assert said
        assert "exit code 3; hello-00001 goes on serving, the next try is in" in said[0]

        deploy(wakeful, processes.service(env={"MENDED": "1"}), "hello-00003")
        until(lambda: it.met("hello-00003"), "the mended one")
    assert set(it.statuses()) == {200}
    assert wakeful.metric(pending, "hello") == 0
    everything = json.loads(wakeful.ask("/v1/services")[1])
    assert everything == {"services": [status(wakeful)]}
    assert wakeful.ask("/v1/services/nobody")[0] == 404


def test_requests_move_to_the_new_revision_step_by_step(
    processes: Platform, launch: Launch
) -> None:
    gradual = {"rollout_duration": "6s"}
    wakeful = launch({"hello": processes.service(**gradual)})
    with load(wakeful) as it:
        until(lambda: it.met("hello-00001"), "answers")
        deploy(wakeful, processes.service(**gradual, env={"NEW": "1"}), "hello-00002")
        seen = set()
        while len(traffic := status(wakeful)["traffic"]) > 1:
            seen.add(tuple((share["revisionName"], share["percent"]) for share in traffic))
        until(lambda: it.met("hello-00002"), "the new one for everybody")
    # Five steps of twenty percent, the last of which leaves one revision.
    steps = {(("hello-00001", 100 - n), ("hello-00002", n)) for n in (1, 21, 41, 61, 81)}
    assert seen <= steps
    assert len(seen) > 1
    assert set(it.statuses()) == {200}
    until(lambda: wakeful.instances("hello", kn_revision_name="hello-00001") == 0, "the old gone")


def test_a_restart_in_the_middle_of_a_deployment_goes_on_with_what_served(
    processes: Platform, launch: Launch
) -> None:
    wakeful = launch({"hello": processes.service()})
    before = wakeful.get("hello").json()
    wakeful.write({"hello": processes.service("never-listen", stop_grace="1s")})
    wakeful.reload()
    until(lambda: len(wakeful.processes()) == 2, "both")
    wakeful.kill()
    wakeful.start()
    for _ in range(5):
        assert wakeful.get("hello").json()["pid"] == before["pid"]
    assert status(wakeful)["latestCreatedRevisionName"] == "hello-00002"
    assert latest_ready(wakeful) == "hello-00001"

    # Stopped as it should be, nothing runs; what is known to work is what is started.
    assert wakeful.stop() == 0
    wakeful.start()
    assert wakeful.get("hello").json()["revision"] == "hello-00001"

    deploy(wakeful, processes.service(env={"MENDED": "1"}), "hello-00003")
    assert wakeful.stop() == 0
    wakeful.start()
    assert wakeful.get("hello").json()["revision"] == "hello-00003"
    assert latest_ready(wakeful) == "hello-00003"


def test_a_definition_that_changed_while_wakeful_was_away_is_deployed_as_any_other(
    processes: Platform, launch: Launch
) -> None:
    wakeful = launch({"hello": processes.service()})
    before = wakeful.get("hello").json()
    wakeful.kill()
    wakeful.write({"hello": processes.service("exit")})
    wakeful.start()
    assert wakeful.get("hello").json()["pid"] == before["pid"]
    until(lambda: [m for m in wakeful.messages() if "cannot take over" in m], "a failure")
    deploy(wakeful, processes.service(env={"MENDED": "1"}), "hello-00003")
    until(lambda: len(wakeful.processes()) == 1, "the old one gone")


def test_an_older_revision_may_be_given_a_share_and_be_gone_back_to(
    processes: Platform, launch: Launch
) -> None:
    def definition(*shares: dict[str, Any], **env: str) -> dict[str, Any]:
        keys: dict[str, Any] = {"traffic": list(shares)} if shares else {}
        return processes.service(env=env, **keys)

    wakeful = launch({"hello": definition(V="1")})
    assert wakeful.get("hello").json()["revision"] == "hello-00001"
    old = {"revision": "hello-00001"}
    with load(wakeful) as it:
        until(lambda: it.met("hello-00001"), "answers")
        wakeful.write({"hello": definition(old | {"percent": 50}, {"percent": 50}, V="2")})
        assert wakeful.reload() == "reloaded: 1 changed"
        until(lambda: latest_ready(wakeful) == "hello-00002", "the new one")
        assert [share["percent"] for share in status(wakeful)["traffic"]] == [50, 50]
        until(lambda: all("hello-00002" in met for met in it.revisions()), "the new one, by chance")
        wakeful.write({"hello": definition(old | {"percent": 100}, V="2")})
        assert wakeful.reload() == "reloaded: 1 rerouted"
        until(lambda: it.met("hello-00001"), "the old one for everybody")
    assert set(it.statuses()) == {200}

    wakeful.write({"hello": definition({"revision": "hello-00009", "percent": 100}, V="2")})
    assert wakeful.reload().startswith("reload failed, the old configuration stays:\n")
    where = "services.hello.traffic[0].revision: hello-00009 is not remembered"
    assert where in wakeful.messages()[-1]
    assert wakeful.stop() == 0
    refused = wakeful_command("run", "-c", str(wakeful.file))
    assert refused.returncode == 1
    assert where in refused.stderr
    wakeful.write({"hello": definition(old | {"percent": 100}, V="2")})
    wakeful.start()
    assert wakeful.get("hello").json()["revision"] == "hello-00001"
    wakeful.write({"hello": definition(V="2")})
    wakeful.reload()
    assert wakeful.get("hello").json()["revision"] == "hello-00002"
