from __future__ import annotations

from dataclasses import replace

import pytest

from wakeful.config.fit import misfits
from wakeful.config.model import (
    Config,
    Container,
    FreezerKind,
    HostPort,
    RuntimeKind,
    Service,
    Template,
    Volume,
)

FIXED = Template(upstreams=(HostPort("127.0.0.1", 9001),))


def config(**templates: Template) -> Config:
    return Config(services={name: Service(name, what) for name, what in templates.items()})


def test_docker_runs_images_and_commands_inside_of_them() -> None:
    whole = Template(image="x", command=("y",), cpu=1.0, memory=2**30)
    assert misfits(config(a=whole, b=Template(image="x"), c=FIXED), RuntimeKind.DOCKER) == []


def test_docker_cannot_run_a_command_without_an_image() -> None:
    [(path, message)] = misfits(config(a=Template(command=("y",))), RuntimeKind.DOCKER)
    assert path == "services.a.command"
    assert "needs an 'image'" in message
    assert "'runtime: process'" in message


def test_a_process_is_a_command_without_limits() -> None:
    assert misfits(config(a=Template(command=("y",)), b=FIXED), RuntimeKind.PROCESS) == []


def test_a_process_can_have_no_image_and_no_limits() -> None:
    greedy = Template(image="x", cpu=0.5, memory=2**30)
    found = misfits(config(a=greedy), RuntimeKind.PROCESS)
    assert [path for path, _ in found] == [
        "services.a.image",
        "services.a.cpu",
        "services.a.memory",
    ]


@pytest.mark.parametrize(
    ("key", "container", "message"),
    [
        (
            "read-only",
            Container(read_only=True),
            "runtime process has no read-only, which only containers have; leave it out",
        ),
        (
            "init",
            Container(init=False),
            "runtime process has no init, which only containers have; leave it out",
        ),
        (
            "secrets",
            Container(secrets=(("key", "/key"),)),
            "runtime process has no /run/secrets; name the file in 'env' instead",
        ),
        (
            "volumes",
            Container(volumes=(Volume("v1", "/v"),)),
            "runtime process mounts nothing: its commands see this host's files",
        ),
    ],
)
def test_what_only_containers_have_a_process_cannot(
    key: str, container: Container, message: str
) -> None:
    asked = config(a=Template(command=("y",), container=container))
    assert misfits(asked, RuntimeKind.PROCESS) == [(f"services.a.{key}", message)]
    asked = config(a=Template(image="x", container=container))
    assert misfits(asked, RuntimeKind.DOCKER) == []


def test_processes_have_one_freezer() -> None:
    chosen = replace(config(a=Template(command=("y",))), freezer=FreezerKind.ENGINE)
    [(path, message)] = misfits(chosen, RuntimeKind.PROCESS)
    assert (path, "signals" in message) == ("freezer", True)
    assert misfits(replace(chosen, freezer=FreezerKind.AUTO), RuntimeKind.PROCESS) == []
    images = replace(config(a=Template(image="x")), freezer=FreezerKind.DIRECT)
    assert misfits(images, RuntimeKind.DOCKER) == []


def test_auto_is_not_something_that_runs_anything() -> None:
    with pytest.raises(AssertionError):
        misfits(config(), RuntimeKind.AUTO)
