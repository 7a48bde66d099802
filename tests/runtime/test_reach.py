from __future__ import annotations

from typing import Any

import pytest

from wakeful.config.model import Reach
from wakeful.runtime.instance import Address
from wakeful.runtime.reach import Facts, Way, address_of, way

HERE = "unix:///var/run/docker.sock"
NEAR, FAR = "tcp://127.0.0.1:2375", "tcp://engine.example:2376"


@pytest.mark.parametrize(
    ("facts", "host"),
    [
        (Facts(HERE, name="a", our_name="a"), None),
        (Facts(HERE), None),
        (Facts("unix:///run/user/1000/docker.sock", rootless=True, name="a", our_name="a"), "lo"),
        (Facts(HERE, system="Docker Desktop 4.30 (linux/amd64)"), "lo"),
        (Facts(HERE, name="a", our_name="a", linux=False), "lo"),
        # A proxy in front of the socket, or a tunnel to it.
        (Facts(NEAR, name="a", our_name="a"), None),
        (Facts("tcp://localhost:2375", name="other", our_name="a"), "lo"),
        (Facts("tcp://[::1]:2375", name="other", our_name="a"), "lo"),
        (Facts(NEAR, name="", our_name="a"), "lo"),
        # Elsewhere, and elsewhere only by name.
        (Facts(FAR, name="other", our_name="a"), "engine.example"),
        (Facts("tcp://10.0.0.5:2376", name="other", our_name="a"), "10.0.0.5"),
        (Facts(FAR, name="a", our_name="a"), None),
        # In a container that the engine runs, whatever else is true.
        (Facts("tcp://proxy:2375", beside=True, name="host", our_name="0123456789ab"), None),
        (Facts(HERE, beside=True, rootless=True), None),
        (Facts(HERE, beside=True, system="Docker Desktop"), None),
    ],
)
def test_containers_have_addresses_where_we_share_the_engines_host(
    facts: Facts, host: str | None
) -> None:
    assert way(Reach.AUTO, facts).host == ("127.0.0.1" if host == "lo" else host)


def test_what_is_configured_wins() -> None:
    assert way(Reach.ADDRESS, Facts(FAR, rootless=True)) == Way(None, "as configured")
    assert way(Reach.PUBLISHED, Facts(HERE, beside=True)) == Way("127.0.0.1", "as configured")
    assert way(Reach.PUBLISHED, Facts(FAR)).host == "engine.example"


def test_a_way_says_what_it_is_and_why() -> None:
    assert str(Way(None, "as configured")) == "addresses of containers (as configured)"
    assert str(Way("::1", "rootless")) == "ports published on ::1 (rootless)"


def container(mode: str = "default", **networks: str) -> dict[str, Any]:
    settings = {name: {"IPAddress": host} for name, host in networks.items()}
    return {
        "HostConfig": {"NetworkMode": mode},
        "NetworkSettings": {"Networks": settings, "Ports": {}},
    }


ADDRESS, PUBLISHED = Way(None, ""), Way("127.0.0.1", "")


def test_the_address_is_that_of_the_network_it_was_made_for() -> None:
    joined = container(db="10.9.0.2", bridge="172.17.0.2")
    assert address_of(joined, 80, ADDRESS) == Address("172.17.0.2", 80)
    joined = container("web", db="10.9.0.2", web="10.8.0.2")
    assert address_of(joined, 80, ADDRESS) == Address("10.8.0.2", 80)
    podmans = container("bridge", db="10.9.0.2", podman="10.88.0.2")
    assert address_of(podmans, 80, ADDRESS) == Address("10.88.0.2", 80)
    assert address_of(container("none", none=""), 80, ADDRESS) is None
    assert address_of(container("host", host=""), 80, ADDRESS) == Address("127.0.0.1", 80)
    six = container("web")
    six["NetworkSettings"]["Networks"]["web"] = {"IPAddress": "", "GlobalIPv6Address": "fd00::2"}
    assert address_of(six, 80, ADDRESS) == Address("fd00::2", 80)


def test_a_published_port_is_found_in_what_is_inspected_and_in_what_is_listed() -> None:
    expected = Address("127.0.0.1", 32768, forwarded=True)
    inspected = container(bridge="172.17.0.2")
    assert address_of(inspected, 80, PUBLISHED) is None
    inspected["NetworkSettings"]["Ports"] = {
        "443/tcp": [{"HostIp": "127.0.0.1", "HostPort": "1"}],
        "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "32768"}],
    }
    assert address_of(inspected, 80, PUBLISHED) == expected
    inspected["NetworkSettings"]["Ports"] = {"80/tcp": None}  # exposed by its image
    assert address_of(inspected, 80, PUBLISHED) is None

    listed = container(bridge="172.17.0.2") | {
        "Ports": [
            {"PrivatePort": 80, "Type": "udp", "PublicPort": 1},
            {"PrivatePort": 443, "Type": "tcp", "PublicPort": 2},
            {"PrivatePort": 80, "Type": "tcp", "PublicPort": 32768, "IP": "127.0.0.1"},
        ]
    }
    assert address_of(listed, 80, PUBLISHED) == expected
    listed["Ports"] = [{"PrivatePort": 80, "Type": "tcp"}]
    assert address_of(listed, 80, PUBLISHED) is None
