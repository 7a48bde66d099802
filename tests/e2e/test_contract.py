"""What an instance is given: its environment, its fields, its labels."""

from __future__ import annotations

import re
import socket

import pytest
from docker.api.client import APIClient

from tests.e2e.conftest import Launch
from tests.e2e.harness import Platform, read_head, read_to_end


def test_an_instance_gets_the_environment_and_the_fields_of_the_contract(
    platform: Platform, launch: Launch
) -> None:
    service = platform.service(env={"TARGET": "World"}, domains=["www.example.com"])
    if platform.image:
        service["port"] = 9090
    wakeful = launch({"hello": service}, runtime=platform.runtime)
    claims = {"X-Forwarded-For": "6.6.6.6", "Forwarded": "for=6.6.6.6", "X-Custom": "kept"}
    seen = wakeful.get("www.example.com", "/seen?a=%20b", headers=claims).json()

    environment = seen["environment"]
    assert environment["K_SERVICE"] == "hello"
    assert environment["K_REVISION"] == "hello-00001"
    assert environment["K_CONFIGURATION"] == "hello"
    assert environment["TARGET"] == "World"
    port = int(environment["PORT"])
    assert port == 9090 if platform.image else 1024 <= port <= 65535

    fields = {name.lower(): value for name, value in seen["fields"]}
    assert len(fields) == len(seen["fields"]), "a field came twice"
    assert fields["host"] == "www.example.com"
    assert fields["x-forwarded-for"] == "127.0.0.1"
    assert fields["x-forwarded-proto"] == "http"
    assert fields["x-forwarded-host"] == "www.example.com"
    assert fields["forwarded"] == 'for=127.0.0.1;host="www.example.com";proto=http'
    assert fields["x-custom"] == "kept"
    assert re.fullmatch(r"[0-9a-f]{32}", fields["x-request-id"])
    # W3C Trace Context §3.2
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", fields["traceparent"])


def test_the_names_that_a_client_gave_its_request_are_kept(
    processes: Platform, launch: Launch
) -> None:
    wakeful = launch({"hello": processes.service()})
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    given = {"X-Request-Id": "mine", "traceparent": parent}
    seen = wakeful.get("hello", "/seen", headers=given).json()
    fields = {name.lower(): value for name, value in seen["fields"]}
    assert fields["x-request-id"] == "mine"
    assert fields["traceparent"] == parent


def test_a_command_finds_its_port_in_its_arguments_too(processes: Platform, launch: Launch) -> None:
    service = processes.service()
    service["command"] = ["/usr/bin/env", "CHOSEN=$PORT", *service["command"]]
    wakeful = launch({"hello": service})
    environment = wakeful.get("hello", "/seen").json()["environment"]
    assert environment["CHOSEN"] == environment["PORT"]


@pytest.mark.docker
def test_a_container_carries_the_labels_of_the_contract(
    containers: Platform, launch: Launch, engine: APIClient
) -> None:
    service = containers.service(memory="64Mi", cpu=0.5)
    wakeful = launch({"hello": service}, runtime="docker")
    assert wakeful.get("hello").status == 200
    (container,) = engine.containers(filters={"label": f"wakeful.owner={wakeful.owner}"})
    labels = container["Labels"]
    assert labels["wakeful.service"] == "hello"
    assert labels["wakeful.revision"] == "hello-00001"
    assert labels["wakeful.instance"] == container["Names"][0].removeprefix("/")
    limits = engine.inspect_container(container["Id"])["HostConfig"]
    assert limits["Memory"] == 64 * 2**20
    assert limits["NanoCpus"] == 500_000_000


def test_an_http_1_0_client_sees_that_its_answer_was_cut(
    processes: Platform, launch: Launch
) -> None:
    # Without a length or chunks the end of the connection is the end of the
    # answer, so only a reset can say that there should have been more.
    wakeful = launch({"hello": processes.service(timeout="1s")})
    with socket.create_connection(("127.0.0.1", wakeful.port), timeout=30) as client:
        client.sendall(b"GET /drip?n=100&ms=100 HTTP/1.0\r\nHost: hello.localhost\r\n\r\n")
        read_head(client)
        with pytest.raises(ConnectionResetError):
            read_to_end(client)
