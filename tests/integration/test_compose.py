"""demo/compose.yaml: wakeful in a container, which starts and stops its neighbours."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest
from docker.api.client import APIClient

from tests.integration.wakeful_base import PIP_ARGS, python_image
from tests.ports import free_port
from wakeful.runtime.docker_endpoint import endpoint

# Building the images takes its time when the machine has other things to do.
pytestmark = [pytest.mark.docker, pytest.mark.timeout(400)]

ROOT = Path(__file__).parents[2]
T = TypeVar("T")


def until(condition: Callable[[], T], what: str, seconds: float = 60.0) -> T:
    """What the condition is at last; a condition that never comes true fails the test."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.1)
    return value


class Project:
    """A checkout, its compose file, and what that makes on the engine."""

    def __init__(self, engine: APIClient, compose: list[str], checkout: Path, base: str) -> None:
        self.name = f"wakeful-test-{uuid.uuid4().hex[:12]}"
        self.network = f"{self.name}_default"
        self.port, self.admin_port = free_port(), free_port()
        self._ours = {"label": f"com.docker.compose.project={self.name}"}
        self._engine = engine
        self._compose = [*compose, "-p", self.name, "-f", str(checkout / "demo" / "compose.yaml")]
        self._env = os.environ | {
            "WAKEFUL_BASE": base,
            "WAKEFUL_PIP_ARGS": PIP_ARGS,
            "WAKEFUL_PORT": str(self.port),
            "WAKEFUL_ADMIN_PORT": str(self.admin_port),
            "WAKEFUL_DOCKER_SOCKET": endpoint().url.removeprefix("unix://"),
        }

    def compose(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self._compose, *arguments],
            env=self._env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def up(self) -> None:
        self.compose("up", "-d")
        try:
            until(self._ready, "wakeful takes requests")
        except AssertionError:
            print(self.compose("logs"))
            raise

    def get(self, service: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", "/", headers={"Host": f"{service}.localhost"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def instances(self, service: str = "") -> list[dict[str, Any]]:
        """The containers that wakeful has started on the network of the project."""
        wanted = f"wakeful.service={service}" if service else "wakeful.service"
        found: list[dict[str, Any]] = self._engine.containers(
            all=True, filters={"network": self.network, "label": wanted}
        )
        return found

    def health(self) -> str:
        (container,) = self._engine.containers(filters=self._ours)
        state = self._engine.inspect_container(container["Id"])["State"]
        return str(state["Health"]["Status"])

    def clear(self) -> None:
        """Remove what there is of it, after a test that failed too."""
        # wakeful first: it would start others.
        for container in self._engine.containers(all=True, filters=self._ours) + self.instances():
            self._engine.remove_container(container["Id"], v=True, force=True)
        self.compose("down", "-v")

    def remains(self) -> list[str]:
        """What is on the engine that would not be there without this project."""
        engine = self._engine
        containers = engine.containers(all=True, filters=self._ours)
        networks = engine.networks(filters=self._ours)
        volumes = engine.volumes(filters=self._ours)["Volumes"] or []
        return [
            *(container["Names"][0] for container in containers),
            *(network["Name"] for network in networks),
            *(volume["Name"] for volume in volumes),
        ]

    def _ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def compose_command() -> tuple[list[str], str]:
    """How compose is called here; else why it cannot be."""
    if not endpoint().url.startswith("unix://"):
        return [], "the engine is not on a unix socket that a container could be given"
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) is None:
            continue
        asked = subprocess.run([*command, "version"], capture_output=True, check=False)
        if asked.returncode == 0:
            return command, ""
    return [], "neither docker compose nor docker-compose is installed"


@pytest.fixture(scope="module")
def new_project(
    engine: APIClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], Project]]:
    """Makes projects of one checkout, whose image is built once and under a name of its own."""
    command, reason = compose_command()
    if reason and os.environ.get("WAKEFUL_REQUIRE_DOCKER") == "1":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)

    checkout = tmp_path_factory.mktemp("checkout")
    for folder in ("wakeful", "config", "proxy", "runtime", "scaler", "demo"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, checkout / folder, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE", ".dockerignore"):
        shutil.copy(ROOT / name, checkout)
    tag = f"wakeful-test:{uuid.uuid4().hex[:12]}"
    for name in ("compose.yaml", "wakeful.yaml"):
        file = checkout / "demo" / name
        file.write_text(file.read_text().replace("image: wakeful:demo", f"image: {tag}"))

    with python_image(engine) as base:
        projects: list[Project] = []

        def new_project() -> Project:
            projects.append(Project(engine, command, checkout, base))
            return projects[-1]

        try:
            new_project().compose("build")
            yield new_project
        finally:
            for project in projects:
                project.clear()
            if engine.images(name=tag):
                engine.remove_image(tag, force=True)


@pytest.fixture(scope="module")
def project(new_project: Callable[[], Project]) -> Project:
    project = new_project()
    project.up()
    return project


def test_a_request_wakes_a_neighbour_on_the_network_of_wakeful(project: Project) -> None:
    status, body = project.get("hello")
    assert status == 200
    assert body.startswith(b"Hello World!")

    (instance,) = project.instances("hello")
    assert list(instance["NetworkSettings"]["Networks"]) == [project.network]
    labels = instance["Labels"]
    assert labels["wakeful.revision"] == "hello-00001"
    assert labels["wakeful.instance"] == instance["Names"][0].removeprefix("/")
    assert labels["wakeful.owner"]


def test_a_warm_request_is_answered_by_the_same_neighbour(project: Project) -> None:
    project.get("hello")
    before = project.instances("hello")
    status, body = project.get("hello")
    assert status == 200
    assert before[0]["Id"][:12] in body.decode()
    assert [one["Id"] for one in project.instances("hello")] == [one["Id"] for one in before]


def test_a_burst_is_spread_over_neighbours_within_what_the_file_allows(project: Project) -> None:
    with ThreadPoolExecutor(20) as clients:
        answers = list(clients.map(project.get, ["slow"] * 20))
    assert [status for status, _ in answers] == [200] * 20
    reports = [json.loads(body) for _, body in answers]
    # The last of four may be ready when the others have answered everything.
    assert 2 <= len({report["instance"] for report in reports}) <= 4
    assert max(report["most_at_once"] for report in reports) == 2


def test_a_host_that_no_service_has_is_answered_by_wakeful(project: Project) -> None:
    assert project.get("nobody")[0] == 404


def test_the_healthcheck_of_the_file_passes(project: Project) -> None:
    until(lambda: project.health() == "healthy", "the container is healthy")


def test_neighbours_that_nobody_asks_go_away(project: Project) -> None:
    project.get("hello")
    assert project.instances()
    until(lambda: not project.instances(), "no instance runs any more")


def test_down_takes_the_neighbours_along_and_leaves_nothing(
    new_project: Callable[[], Project], engine: APIClient
) -> None:
    project = new_project()
    project.up()
    assert project.get("hello")[0] == 200
    (instance,) = project.instances()
    owned = {"label": f"wakeful.owner={instance['Labels']['wakeful.owner']}"}
    assert len(engine.containers(all=True, filters=owned)) == 1
    assert len(project.remains()) == 3  # a container, a network, a volume

    project.compose("down", "-v")
    assert engine.containers(all=True, filters=owned) == []
    assert project.remains() == []
