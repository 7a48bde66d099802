"""What the engine is asked for; whether it then is so is in tests/integration."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from wakeful.config.model import Container, Logging, Revision, Template
from wakeful.runtime.docker_spec import CAPABILITIES, asked_for, capabilities, container_spec
from wakeful.runtime.instance import InstanceId
from wakeful.runtime.place import Place
from wakeful.runtime.reach import Way

DOCS = Path(__file__).parents[2] / "docs" / "containers.md"


ADDRESS = Way(None, "")


def spec(template: Template, way: Way = ADDRESS) -> dict[str, Any]:
    revision = Revision("hello", 1, template)
    place = Place("default", template.port, way)
    return container_spec("me", revision, InstanceId("hello-00001-1"), "sha256:1", place)


USUAL = sorted(CAPABILITIES)


@pytest.mark.parametrize(
    ("added", "dropped", "expected"),
    [
        ((), (), (USUAL, ["ALL"])),
        (("NET_RAW",), (), (sorted([*USUAL, "NET_RAW"]), ["ALL"])),
        ((), ("CHOWN", "KILL"), ([c for c in USUAL if c not in ("CHOWN", "KILL")], ["ALL"])),
        ((), ("ALL",), ([], ["ALL"])),
        (("SETUID",), ("ALL",), (["SETUID"], ["ALL"])),
        (("CHOWN",), ("CHOWN",), (USUAL, ["ALL"])),
        (("ALL",), (), (["ALL"], [])),
        (("ALL",), ("SYS_ADMIN",), (["ALL"], ["SYS_ADMIN"])),
        (("ALL",), ("ALL",), (["ALL"], [])),
    ],
)
def test_what_is_added_wins_over_what_is_dropped_and_both_over_the_usual(
    added: tuple[str, ...], dropped: tuple[str, ...], expected: tuple[list[str], list[str]]
) -> None:
    assert capabilities(Container(cap_add=added, cap_drop=dropped)) == expected


def test_the_documentation_lists_the_capabilities_and_no_others() -> None:
    table = DOCS.read_text().partition("## Capabilities")[2].partition("\n## ")[0]
    assert tuple(re.findall(r"^\| `([A-Z_]+)` \|", table, re.MULTILINE)) == CAPABILITIES


def test_a_service_that_says_nothing_more_gets_the_safe_defaults_and_no_empty_settings() -> None:
    assert spec(Template(image="x"))["HostConfig"] == {
        "NetworkMode": "default",
        "CapAdd": USUAL,
        "CapDrop": ["ALL"],
        "Init": True,
        "ReadonlyRootfs": False,
        "LogConfig": {"Type": "json-file", "Config": {"max-file": "3", "max-size": "10m"}},
        "SecurityOpt": ["no-new-privileges"],
        "PidsLimit": 2048,
    }


def test_every_default_can_be_loosened() -> None:
    loose = Container(
        no_new_privileges=False, pids_limit=0, init=False, logging=Logging("journald", ())
    )
    host = spec(Template(image="x", container=loose))["HostConfig"]
    assert not host.keys() & {"SecurityOpt", "PidsLimit"}
    assert host["Init"] is False
    assert host["LogConfig"] == {"Type": "journald", "Config": {}}


def test_labels_of_ones_own_cannot_take_the_place_of_ours() -> None:
    container = Container(labels=(("tier", "web"), ("wakeful.owner", "another")))
    labels = spec(Template(image="x", container=container))["Labels"]
    assert (labels["tier"], labels["wakeful.owner"]) == ("web", "me")


def test_the_port_is_filled_in_in_the_entrypoint_as_in_the_command() -> None:
    words = ("run", "--port=$PORT")
    whole = Template(image="x", command=words, port=81, container=Container(entrypoint=words))
    assert spec(whole)["Entrypoint"] == spec(whole)["Cmd"] == ["run", "--port=81"]


def test_a_missing_path_is_told_by_the_key_that_names_it() -> None:
    container = Container(secrets=(("key", "/etc/key"),))
    assert asked_for(container, "/etc/key") == "secret key"
    assert asked_for(container, "/etc/other") == "volumes"


def test_a_port_is_published_only_where_the_container_has_no_address_for_us() -> None:
    assert "ExposedPorts" not in spec(Template(image="x", port=81))
    published = spec(Template(image="x", port=81), Way("127.0.0.1", ""))
    assert published["ExposedPorts"] == {"81/tcp": {}}
    assert published["HostConfig"]["PortBindings"] == {
        "81/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]
    }
