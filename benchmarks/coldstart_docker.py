"""Cold starts of containers: bare, by the engine's API, and as wakeful makes them.

The moments of both are the engine's own: its events, and its time stamp on
the line that the service prints when it listens.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from docker.api.client import APIClient
from docker.errors import APIError, DockerException, NotFound

import wakeful.demo
from benchmarks.children import CannotMeasure
from benchmarks.coldstart_sample import Sample, ask, ask_until_it_listens
from wakeful.demo import image
from wakeful.runtime import docker_sandbox
from wakeful.runtime.docker_client import new_client

_PORT = 8080
_COMMAND = ["python3", "-S", "/app/hello.py"]
_LISTENS = b"listens on port"
_LABEL = "wakeful.benchmark"
_PATIENCE = 60.0
_SETTLED = 0.3  # seconds, for wakeful to hear of what the engine has done


class DockerStarts:
    """One image, started both ways, on one kind of network."""

    def __init__(self, client: APIClient, tag: str, network: str) -> None:
        self.name = network
        self.service = f"coldstart-{uuid4().hex[:8]}"  # so that its containers are ours alone
        self.template: Mapping[str, object] = {
            "image": tag,
            "command": _COMMAND,
            "port": _PORT,
            "network": network,
        }
        self._client = client
        self._tag = tag
        self._network: str | None = None  # as wakeful's containers have it
        self._owner: str | None = None  # of them; known when there was one

    def describe(self) -> str:
        version = self._client.version()["Version"]
        return f"Docker {version}, image {self._tag}, network mode {self._network}"

    def through(self, port: int) -> Sample:
        """A request to the sleeping service."""
        asked = time.time_ns()
        answered, _ = ask(("127.0.0.1", port), f"{self.service}.localhost")
        (container,) = self._instances()
        seen = self._client.inspect_container(container)
        network = seen["HostConfig"]["NetworkMode"]
        # The first sample does not count, and may come before there is a sandbox.
        if self._sandboxed and self._owner and not network.startswith("container:"):
            raise CannotMeasure("wakeful had no network sandbox ready")
        self._network = network.partition(":")[0]
        self._owner = seen["Config"]["Labels"]["wakeful.owner"]
        return self._sample(container, asked, answered)

    @property
    def _sandboxed(self) -> bool:
        return self.name == "sandbox"

    def bare(self) -> Sample:
        """Create, start and ask, with nothing between."""
        if not self._sandboxed:
            return self._bare(self._network, None)
        # Made beforehand, as wakeful's are.
        sandbox = docker_sandbox.make(self._client, self.service, "default")
        try:
            return self._bare(sandbox.mode, sandbox.address)
        finally:
            docker_sandbox.remove(self._client, sandbox.id)

    def _bare(self, network: str | None, address: str | None) -> Sample:
        asked = time.time_ns()
        container: str = self._client.create_container(
            self._tag,
            _COMMAND,
            environment={"PORT": str(_PORT)},
            labels={_LABEL: self.service},
            host_config=self._client.create_host_config(network_mode=network),
        )["Id"]
        try:
            self._client.start(container)
            answered = ask_until_it_listens((address or self._address(container), _PORT))
            return self._sample(container, asked, answered)
        finally:
            self._client.remove_container(container, force=True, v=True)

    def wait_until_asleep(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        while self._instances() or not self._stocked():
            if time.monotonic() > deadline:
                raise CannotMeasure(f"wakeful has not stopped its container in {_PATIENCE:.0f} s")
            time.sleep(0.1)
        time.sleep(_SETTLED)

    def _stocked(self) -> bool:
        """A sandbox is ready, where one is needed."""
        if not self._sandboxed or self._owner is None:
            return True
        labels = [f"wakeful.owner={self._owner}", "wakeful.role=sandbox"]
        return bool(self._client.containers(filters={"label": labels}))

    def remove(self) -> None:
        for label in (
            f"wakeful.service={self.service}",
            f"{_LABEL}={self.service}",
            f"wakeful.owner={self.service}",
        ):
            for container in self._client.containers(all=True, filters={"label": label}):
                try:
                    self._client.remove_container(container["Id"], force=True, v=True)
                except NotFound:
                    pass  # it was on its way out
                except APIError as error:
                    if error.status_code != 409:  # its removal is in progress
                        raise

    def _instances(self) -> list[str]:
        label = f"wakeful.service={self.service}"
        found = self._client.containers(all=True, filters={"label": label})
        return [container["Id"] for container in found]

    def _address(self, container: str) -> str:
        settings = self._client.inspect_container(container)["NetworkSettings"]
        networks: list[dict[str, Any]] = list(settings["Networks"].values())
        # Without an address of its own it is on the host's network.
        return networks[0]["IPAddress"] or "127.0.0.1"

    def _sample(self, container: str, asked: int, answered: int) -> Sample:
        events = self._client.events(
            since=int(asked / 1e9),
            until=f"{time.time():.6f}",  # type: ignore[call-overload]  # whole seconds would wait
            filters={"container": container, "event": ["create", "start"]},
            decode=True,
        )
        moments = {event["Action"]: int(event["timeNano"]) for event in events}
        listening = self._listening(container)
        return Sample.between(asked, moments["create"], moments["start"], listening, answered)

    def _listening(self, container: str) -> int:
        for line in self._client.logs(container, timestamps=True).splitlines():
            if _LISTENS in line:
                return _nanoseconds(line.split()[0].decode())
        raise CannotMeasure("the service has not said that it listens: is its log kept?")


@contextmanager
def docker_starts(networks: Sequence[str]) -> Iterator[list[DockerStarts]]:
    try:
        client = new_client()
    except DockerException as error:
        raise CannotMeasure(
            f"Docker does not answer (install it, or say --runtime process): {error}"
        ) from None
    folder = Path(wakeful.demo.__file__).parent
    files = {f"/app/{name}": (folder / name).read_bytes() for name in ("serve.py", "hello.py")}
    try:
        try:
            tag = image.build(files, _COMMAND, tag=f"wakeful-coldstart:{uuid4().hex[:12]}")
        except image.ImageError as error:
            raise CannotMeasure(str(error)) from None
        starts = [DockerStarts(client, tag, network) for network in networks]
        try:
            yield starts
        finally:
            for one in starts:
                one.remove()
            client.remove_image(tag, force=True)
    finally:
        client.close()


def _nanoseconds(text: str) -> int:
    """Of a time stamp like 2026-01-31T12:00:00.123456789Z, finer than datetime keeps it."""
    seconds, _, fraction = text.removesuffix("Z").partition(".")
    whole = datetime.fromisoformat(f"{seconds}+00:00").timestamp()
    return int(whole) * 1_000_000_000 + int(fraction.ljust(9, "0"))
