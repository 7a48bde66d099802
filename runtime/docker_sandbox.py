"""One network sandbox as one container: the engine calls, for a thread with a client.

A sandbox is a container whose one process waits for ever. What matters is its network:
instances join it (``NetworkMode: container:ID``) instead of getting one of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

from docker.api.client import APIClient
from docker.errors import APIError, ImageNotFound

from wakeful.runtime.docker_forgotten import end_if_forgotten
from wakeful.runtime.docker_spec import INSTANCE, OWNER, ROLE, SANDBOX
from wakeful.runtime.driver import DriverError
from wakeful.runtime.instance import InstanceId
from wakeful.runtime.sandbox_program import PATH, UnknownArchitecture, root

_REPOSITORY: Final = "wakeful/sandbox"
_TAG: Final = "1"  # to be raised when what is in it changes
_JOINED: Final = "container:"


@dataclass(frozen=True, slots=True)
class Sandbox:
    id: str
    address: str  # of its network, and so of the instance in it

    @property
    def mode(self) -> str:
        """The network mode of what joins it."""
        return _JOINED + self.id


@dataclass(frozen=True, slots=True)
class Seen:
    """Every sandbox that there is."""

    running: frozenset[str]
    ended: frozenset[str]
    taken: Mapping[InstanceId, Sandbox]  # by instances that run


def make(client: APIClient, owner: str, network: str) -> Sandbox:
    """Create and start one; when that fails nothing is left."""
    try:
        container = _create(client, owner, network)
    except ImageNotFound:
        _make_image(client)
        container = _create(client, owner, network)
    try:
        client.start(container)
        address = _addresses([client.inspect_container(container)]).get(container)
        if address is None:
            raise DriverError(f"a sandbox has no address on network {network}")
    except BaseException:
        with suppress(APIError):
            sweep(client, container)
        raise
    return Sandbox(container, address)


def remove(client: APIClient, container: str) -> None:
    """Kill and remove it; one that is not there is not an error."""
    try:
        client.remove_container(container, v=True, force=True)
    except APIError as error:
        if error.status_code not in (404, 409):  # 409: somebody else is at it
            raise


def sweep(client: APIClient, container: str) -> None:
    """Remove one that nobody is in, of which it is not known whether it runs."""
    end_if_forgotten(client, container)
    remove(client, container)


def seen(client: APIClient, owner: str) -> Seen:
    listed: list[Mapping[str, Any]] = client.containers(
        all=True, filters={"label": [f"{OWNER}={owner}"]}
    )
    sandboxes = [one for one in listed if one["Labels"].get(ROLE) == SANDBOX]
    running = [one for one in sandboxes if one["State"] == "running"]
    addresses = _addresses(running)
    taken = {}
    for one in listed:
        joined, instance = joined_by(one), one["Labels"].get(INSTANCE)
        if instance and joined in addresses and one["State"] in ("running", "paused"):
            taken[InstanceId(instance)] = Sandbox(joined, addresses[joined])
    ids = frozenset(one["Id"] for one in running)
    return Seen(ids, frozenset(one["Id"] for one in sandboxes) - ids, taken)


def joined_by(container: Mapping[str, Any]) -> str:
    """The container whose network it has joined; empty when it has its own."""
    mode: str = container["HostConfig"]["NetworkMode"]
    return mode.removeprefix(_JOINED) if mode.startswith(_JOINED) else ""


def _addresses(containers: list[Mapping[str, Any]]) -> dict[str, str]:
    found = {}
    for one in containers:
        for settings in one["NetworkSettings"]["Networks"].values():
            host = settings.get("IPAddress") or settings.get("GlobalIPv6Address")
            if host:
                found[one["Id"]] = host
    return found


def _create(client: APIClient, owner: str, network: str) -> str:
    spec = {
        "Image": f"{_REPOSITORY}:{_TAG}",
        "Entrypoint": [PATH],
        "Labels": {OWNER: owner, ROLE: SANDBOX},
        "User": "65534:65534",
        # It waits and hears nothing: whoever else stops it, an engine that ends
        # for instance, need not give it ten seconds.
        "StopSignal": "SIGKILL",
        "HostConfig": {
            "NetworkMode": network,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "ReadonlyRootfs": True,
            "LogConfig": {"Type": "none"},
        },
    }
    name = f"wakeful-sandbox-{uuid4().hex[:12]}"
    container: str = client.create_container_from_config(spec, name)["Id"]  # type: ignore[no-untyped-call]
    return container


def _make_image(client: APIClient) -> None:
    """From nothing but this package: it is not to be had from any registry."""
    try:
        archive = root(client.version()["Arch"])
    except UnknownArchitecture as error:
        raise DriverError(str(error)) from None
    client.import_image_from_data(archive, repository=_REPOSITORY, tag=_TAG)
