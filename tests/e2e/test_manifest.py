"""A Knative manifest behind a configuration is a service like any other."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from docker.api.client import APIClient

from tests.e2e.conftest import Launch
from tests.e2e.harness import Platform, until


@pytest.mark.docker
def test_a_manifest_is_served_and_a_changed_one_is_a_new_revision(
    containers: Platform, launch: Launch, engine: APIClient
) -> None:
    wakeful = launch({}, runtime="docker", start=False)
    own = wakeful.file.read_text()

    def write(target: str) -> None:
        container: dict[str, Any] = {
            "image": containers.image,
            "command": ["python3"],
            "args": ["-S", "/app/app.py"],
            "ports": [{"containerPort": 9090}],
            "env": [{"name": "TARGET", "value": target}],
            "resources": {"limits": {"cpu": "500m", "memory": "64Mi"}},
        }
        manifest = {
            "apiVersion": "serving.knative.dev/v1",
            "kind": "Service",
            "metadata": {"name": "hello"},
            "spec": {"template": {"spec": {"containers": [container]}}},
        }
        wakeful.file.write_text(f"{own}---\n{yaml.safe_dump(manifest)}")

    def seen() -> tuple[str, str, str]:
        environment = wakeful.get("hello", "/seen").json()["environment"]
        return environment["K_REVISION"], environment["PORT"], environment["TARGET"]

    write("World")
    wakeful.start()
    assert seen() == ("hello-00001", "9090", "World")
    (container,) = engine.containers(filters={"label": f"wakeful.owner={wakeful.owner}"})
    limits = engine.inspect_container(container["Id"])["HostConfig"]
    assert (limits["NanoCpus"], limits["Memory"]) == (500_000_000, 64 * 2**20)

    write("Moon")
    assert wakeful.reload().startswith("reloaded: ")
    until(lambda: seen() == ("hello-00002", "9090", "Moon"), "the new revision answers")
