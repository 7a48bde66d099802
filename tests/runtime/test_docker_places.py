"""Which network an instance is put on, before any engine is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from wakeful.config.model import Container, Revision, Template
from wakeful.runtime.docker_client import DockerClient
from wakeful.runtime.docker_places import DockerPlaces
from wakeful.runtime.driver import DriverError
from wakeful.runtime.instance import Address, InstanceId
from wakeful.runtime.place import Place
from wakeful.runtime.reach import Way

A, B = InstanceId("hello-00001-a"), InstanceId("hello-00001-b")
HERE = Way(None, "the engine is on this host")
PUBLISHED = Way("127.0.0.1", "the engine is rootless")


def on(network: str) -> Revision:
    template = Template(image="x", port=9000, container=Container(network=network))
    return Revision("hello", 1, template)


def look(
    check: Callable[[DockerPlaces], None], *, way: Way = HERE, inside: str | None = None
) -> None:
    async def main() -> None:
        client = DockerClient()  # which nobody connects
        check(DockerPlaces(client, "me", inside, way, lambda instance, detail: None))
        await client.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("network", "inside", "mode"),
    [
        ("bridge", None, "default"),
        ("bridge", "front", "front"),  # where wakeful is in a container on that network
        ("sandbox", None, "default"),  # none is ready
        ("sandbox", "front", "front"),
        ("back", None, "back"),
        ("back", "front", "back"),
    ],
)
def test_an_instance_is_on_the_network_that_was_asked_for(
    network: str, inside: str | None, mode: str
) -> None:
    def check(places: DockerPlaces) -> None:
        assert places.give(on(network), A) == Place(mode, 9000, HERE)

    look(check, inside=inside)


def test_on_the_hosts_network_each_has_a_port_that_it_keeps_until_it_is_gone() -> None:
    def check(places: DockerPlaces) -> None:
        one, other = places.give(on("host"), A), places.give(on("host"), B)
        assert (one.mode, one.address) == ("host", Address("127.0.0.1", one.port))
        assert one.port != other.port
        assert places.give(on("host"), A) == one

    look(check)


def test_a_port_of_one_that_was_found_running_is_given_to_nobody() -> None:
    def check(places: DockerPlaces) -> None:
        taken = places.give(on("host"), A).port + 1  # the next in turn
        places.hold({B: Address("127.0.0.1", taken)})
        assert places.give(on("host"), InstanceId("c")).port != taken

    look(check)


@pytest.mark.parametrize(
    ("way", "inside", "why"),
    [
        (PUBLISHED, None, "the engine is rootless"),
        (HERE, "front", "wakeful is in a container itself, on network front"),
    ],
)
def test_a_network_of_the_host_that_is_out_of_reach_is_refused_with_the_reason(
    way: Way, inside: str | None, why: str
) -> None:
    def check(places: DockerPlaces) -> None:
        with pytest.raises(DriverError, match=f"'network: host' is out of reach: .*{why}"):
            places.give(on("host"), A)

    look(check, way=way, inside=inside)


def test_where_ports_are_published_there_is_no_stock_of_sandboxes() -> None:
    def check(places: DockerPlaces) -> None:
        places.expect([on("bridge"), on("sandbox")])
        assert places.sandboxes._used is (places._way is HERE)

    look(check)
    look(check, way=PUBLISHED)
