"""An engine that is not simply on the usual socket, and instances not simply at their addresses."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import http.client
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from docker.api.client import APIClient

from tests.exits import Exits
from tests.integration import certificates
from tests.integration.driving import get, new_id, revision
from tests.integration.haproxy import haproxy
from wakeful.config.model import Container, Reach, Readiness, Revision, Template
from wakeful.runtime.docker import DockerDriver
from wakeful.runtime.driver import DriverError, EngineUnavailable
from wakeful.runtime.instance import Address
from wakeful.runtime.output import Asked
from wakeful.runtime.probe import Probe, ready

pytestmark = pytest.mark.docker

ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def reaching(owner: str, reach: Reach = Reach.AUTO) -> AsyncIterator[DockerDriver]:
    driver = DockerDriver(owner, reach=reach)
    await driver.open(Exits())
    try:
        yield driver
    finally:
        await driver.close()


# Published ports


def test_a_published_port_leads_to_the_instance_from_this_host_alone(
    engine: APIClient, app_image: str, owner: str
) -> None:
    async def story() -> None:
        async with reaching(owner, Reach.PUBLISHED) as driver:
            instance = new_id()
            address = (
                await driver.start(revision(app_image, "polite", port=9000), instance)
            ).address
            assert (address.host, address.forwarded) == ("127.0.0.1", True)
            await ready(address, Readiness())
            answer = await asyncio.to_thread(get, address, "/who")
            assert answer["env"]["PORT"] == "9000"
            ports = engine.inspect_container(instance)["NetworkSettings"]["Ports"]
            assert ports == {"9000/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(address.port)}]}
            assert [found.address for found in await driver.instances()] == [address]

    asyncio.run(story())


def test_an_instance_that_does_not_listen_yet_is_not_ready_though_its_port_takes_connections(
    app_image: str, owner: str
) -> None:
    program = (
        "import http.server, os, signal\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])\n"
        "print('waiting', flush=True)\n"
        "signal.sigwait([signal.SIGUSR1])\n"
        "h = http.server.SimpleHTTPRequestHandler\n"
        "http.server.HTTPServer(('', int(os.environ['PORT'])), h).serve_forever()\n"
    )

    async def story() -> None:
        async with reaching(owner, Reach.PUBLISHED) as driver:
            instance = new_id()
            late = Revision("hello", 3, Template(app_image, ("python3", "-c", program)))
            address = (await driver.start(late, instance)).address
            probe = Probe(address, Readiness())
            passed = asyncio.create_task(probe.passed())
            async with asyncio.timeout(20):
                while not await driver.tail(instance, 1):  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
                while "connection" not in probe.last_failure:  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
            assert not passed.done(), "nobody listens, whatever the port says"
            client = APIClient(version="auto")
            await asyncio.to_thread(client.kill, instance, "SIGUSR1")
            client.close()
            async with asyncio.timeout(20):
                await passed
            connection = http.client.HTTPConnection(address.host, address.port, timeout=20)
            await asyncio.to_thread(connection.request, "GET", "/")
            assert connection.getresponse().status == 200
            connection.close()

    asyncio.run(story())


def test_what_cannot_be_reached_in_the_present_way_is_of_no_revision(
    app_image: str, owner: str
) -> None:
    async def story() -> None:
        instance = new_id()
        async with reaching(owner, Reach.ADDRESS) as driver:
            address = (await driver.start(revision(app_image, "polite"), instance)).address
        async with reaching(owner, Reach.PUBLISHED) as driver:
            [found] = await driver.instances()
            assert (found.instance, found.revision) == (instance, "")
            await driver.stop(instance, 0)
            await driver.start(revision(app_image, "polite"), instance)
        async with reaching(owner, Reach.ADDRESS) as driver:
            # The other way round there is an address, whatever is published.
            [found] = await driver.instances()
            assert found.revision == "hello-00003"
            assert found.address == Address(found.address.host, address.port)
            assert found.address.host != "127.0.0.1"

    asyncio.run(story())


# An engine behind TLS

TLS_FRONT = """
defaults
    mode tcp
    timeout connect 5s
    timeout client 1m
    timeout server 1m
listen engine
    bind "${LISTEN}" ssl crt server.pem ca-file ca.pem verify required
    server socket "unix@${DOCKER_SOCKET}"
"""


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificates.make(tmp_path_factory.mktemp("tls") / "keys")


@pytest.fixture(scope="module")
def encrypted(keys: Path) -> Iterator[str]:
    front = TLS_FRONT.replace("server.pem", f"{keys}/server.pem")
    (keys / "haproxy.cfg").write_text(front.replace("ca-file ca.pem", f"ca-file {keys}/ca.pem"))
    with haproxy(keys / "haproxy.cfg", keys) as address:
        yield address


async def lives_and_dies(owner: str, image: str) -> None:
    """A whole life, with its end told by the stream of events."""
    exits = Exits()
    driver = DockerDriver(owner)
    await driver.open(exits)
    try:
        instance = new_id()
        await driver.start(revision(image, "exit", "3"), instance)
        assert await exits.of(instance) == "exit code 3"
        lines = [line.text async for some in driver.output(instance, Asked()) for line in some]
        assert sorted(lines) == [b"on standard error", b"on standard output"]
        await driver.stop(instance, 0)
    finally:
        await driver.close()


def test_an_engine_behind_tls_is_used_with_the_files_that_the_variables_name(
    app_image: str,
    owner: str,
    keys: Path,
    encrypted: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"tcp://{encrypted}")
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "of-the-web.pem"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(keys))
    asyncio.run(lives_and_dies(owner, app_image))

    stranger = certificates.make(tmp_path / "stranger")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(stranger))
    with pytest.raises(EngineUnavailable, match="certificate verify failed"):
        asyncio.run(lives_and_dies(owner, app_image))
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    with pytest.raises(EngineUnavailable, match=r"does not answer at tcp://.*certificate"):
        asyncio.run(lives_and_dies(owner, app_image))
    gc.collect()


def test_an_engine_behind_tls_is_used_through_the_context_of_docker(
    app_image: str,
    owner: str,
    keys: Path,
    encrypted: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = hashlib.sha256(b"far").hexdigest()
    meta, tls = (tmp_path / "contexts" / kind / place for kind in ("meta", "tls"))
    meta.mkdir(parents=True)
    host = {"Host": f"tcp://{encrypted}", "SkipTLSVerify": False}
    (meta / "meta.json").write_text(json.dumps({"Name": "far", "Endpoints": {"docker": host}}))
    (tls / "docker").mkdir(parents=True)
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (tls / "docker" / name).write_bytes((keys / name).read_bytes())
    (tmp_path / "config.json").write_text('{"currentContext": "far"}')
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    asyncio.run(lives_and_dies(owner, app_image))


# A proxy that allows a list of calls


def test_the_socket_proxy_of_the_documentation_refuses_all_other_calls(
    engine: APIClient, app_image: str, tmp_path: Path
) -> None:
    with haproxy(ROOT / "docs" / "socket-proxy.cfg", tmp_path) as address:

        def answer(method: str, path: str) -> tuple[int, str]:
            connection = http.client.HTTPConnection(address, timeout=20)
            try:
                connection.request(method, path)
                response = connection.getresponse()
                return response.status, response.read().decode()
            finally:
                connection.close()

        assert answer("GET", "/v1.41/containers/json")[0] == 200
        for method, path in (
            ("POST", "/v1.41/containers/json"),
            ("GET", "/v1.41/containers/x/archive?path=/"),
            ("GET", "/containers/x/../../secrets/json"),
            ("POST", "/v1.41/containers/x/exec"),
            ("POST", "/v1.41/containers/prune"),
            ("DELETE", "/v1.41/images/x"),
            ("DELETE", "/v1.41/volumes/x"),
            ("GET", "/v1.41/volumes"),
            ("POST", "/v1.41/build"),
            ("PUT", "/v1.41/containers/x/archive"),
            ("GET", "/v1.41/system/df"),
        ):
            expected = (403, "the socket proxy does not allow this call")
            assert answer(method, path) == expected, f"{method} {path}"


def test_a_proxy_in_front_of_the_socket_is_no_other_host(
    app_image: str, owner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with reaching(owner) as driver:
            address = (await driver.start(revision(app_image, "polite"), new_id())).address
            assert not address.forwarded
            await ready(address, Readiness())

    with haproxy(ROOT / "docs" / "socket-proxy.cfg", tmp_path) as address:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{address}")
        asyncio.run(story())


def test_what_a_proxy_forbids_is_said_and_to_know_the_engine_is_no_need(
    app_image: str,
    owner: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole = (ROOT / "docs" / "socket-proxy.cfg").read_text().replace("|info|", "|")
    lines = [line for line in whole.splitlines() if "/networks/" not in line]
    (tmp_path / "narrow.cfg").write_text("\n".join(lines) + "\n")
    words = "the socket proxy does not allow this call"

    async def story() -> None:
        async with reaching(owner, Reach.ADDRESS) as driver:
            launched = await driver.start(revision(app_image, "polite"), new_id())
            await ready(launched.address, Readiness())
            asking = revision(app_image, container=Container(networks=("bridge",)))
            with pytest.raises(DriverError) as caught:
                await driver.start(asking, new_id())
            assert str(caught.value) == f"cannot start hello: {words}"
            assert len(await driver.instances()) == 1

    with haproxy(tmp_path / "narrow.cfg", tmp_path) as address:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{address}")
        asyncio.run(story())
    assert f"the engine does not say what it is: {words}" in caplog.text
