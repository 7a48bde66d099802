"""One instance as one container: the engine calls, for a thread with a client.

Containers are found by their labels, never by name alone: a name may belong
to a stranger's container, and that must not be touched.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import stat
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker.api.client import APIClient
from docker.errors import APIError, NotFound

from wakeful.config.model import Revision
from wakeful.events import StartPhase
from wakeful.runtime.cgroup import Cgroup
from wakeful.runtime.cgroup_usage import usage_of
from wakeful.runtime.docker_client import cause
from wakeful.runtime.docker_endpoint import endpoint
from wakeful.runtime.docker_events import exit_detail
from wakeful.runtime.docker_images import Pin
from wakeful.runtime.docker_sandbox import joined_by
from wakeful.runtime.docker_spec import (
    INSTANCE,
    OWNER,
    PORT,
    REVISION,
    SERVICE,
    asked_for,
    container_spec,
    readable,
)
from wakeful.runtime.driver import DriverError
from wakeful.runtime.freezer import CgroupFreezer, cgroup_of
from wakeful.runtime.instance import Address, Found, InstanceId, Launched, Usage
from wakeful.runtime.place import Place
from wakeful.runtime.reach import LOOPBACK, Facts, Way, address_of

log = logging.getLogger(__name__)

# Nothing can listen on port 0: the address of a container that ended before
# it could be asked for one. Its exit is what its owner will hear of.
_NOWHERE = Address(LOOPBACK, 0)

_DEAD = ("created", "exited", "dead")

_MISSING_SOURCE = re.compile(r"bind source path does not exist: (.+)$")


class Abandoned(DriverError):
    """Nobody waits for this start any more."""


def launch(
    client: APIClient,
    owner: str,
    revision: Revision,
    instance: InstanceId,
    pin: Pin,
    place: Place,
    abandoned: threading.Event,
    asked: float,
) -> Launched:
    """Create and start; when that fails, or is abandoned, nothing is left.

    ``asked``: the moment on the monotonic clock from which on its phases count.
    """
    if abandoned.is_set():
        raise Abandoned
    _warn_of_secrets(revision, pin)
    container = _create(client, owner, revision, instance, pin, place)
    created = time.monotonic()
    try:
        for extra in revision.template.container.networks:
            client.connect_container_to_network(container, extra)
        if abandoned.is_set():
            raise Abandoned
        client.start(container)
        address = place.address or _whereabouts(client, container, place)
    except BaseException:
        with suppress(APIError):
            client.remove_container(container, v=True, force=True)
        raise
    started = time.monotonic()
    phases = ((StartPhase.CREATE, created - asked), (StartPhase.START, started - created))
    return Launched(address, phases)


def _whereabouts(client: APIClient, container: str, place: Place) -> Address:
    state = client.inspect_container(container)
    if not state["State"]["Running"]:
        return _NOWHERE
    address = address_of(state, place.port, place.way)
    if address is None:
        raise DriverError(f"nothing leads to the container; reach: {place.way}")
    return address


def _warn_of_secrets(revision: Revision, pin: Pin) -> None:
    """What cannot be read inside ends a program whose own words may not say why."""
    container = revision.template.container
    user = container.user or pin.user
    for name, file in container.secrets:
        with suppress(OSError):  # not here: it is the engine that knows its host
            seen = os.stat(file)
            if not readable(user, seen.st_mode, seen.st_uid, seen.st_gid):
                log.warning(
                    "%s: secret %s: user %s cannot read %s, which has mode %03o of %d:%d",
                    *(revision.name, name, user, file),
                    *(stat.S_IMODE(seen.st_mode), seen.st_uid, seen.st_gid),
                )


def _create(
    client: APIClient,
    owner: str,
    revision: Revision,
    instance: InstanceId,
    pin: Pin,
    place: Place,
) -> str:
    wanted = revision.template.container
    spec = container_spec(owner, revision, instance, pin.image, place)
    try:
        container: str = client.create_container_from_config(spec, instance)["Id"]  # type: ignore[no-untyped-call]
    except APIError as error:
        missing = _MISSING_SOURCE.search(str(error.explanation))
        if missing is None:
            raise
        what = asked_for(wanted, missing[1])
        raise DriverError(f"{what}: there is no {missing[1]} on the engine's host") from None
    return container


@dataclass(frozen=True, slots=True)
class Whereabouts:
    id: str
    cgroup: Cgroup | None  # None: not to be reached from here


def whereabouts(client: APIClient, owner: str, instance: InstanceId) -> Whereabouts:
    container = _find(client, owner, instance)
    if container is None:
        raise DriverError(f"container {instance} is not there any more")
    id: str = container["Id"]
    return Whereabouts(id, cgroup_of(client.inspect_container(id)["State"]["Pid"], id))


def pause(client: APIClient, container: str) -> None:
    """Freeze it by the engine; one that is paused is not an error."""
    try:
        client.pause(container)
    except APIError:
        if not client.inspect_container(container)["State"]["Paused"]:
            raise


def unpause(client: APIClient, container: str) -> None:
    """One that is not paused, or has ended, is not an error."""
    try:
        client.unpause(container)
    except NotFound:
        return
    except APIError:
        if client.inspect_container(container)["State"]["Paused"]:
            raise


def thaw(client: APIClient, owner: str, instance: InstanceId) -> None:
    """Let it run, whoever has frozen it, and in whichever way."""
    container = _find(client, owner, instance)
    if container is not None:
        with suppress(NotFound):
            _thaw(client, container["Id"], client.inspect_container(container["Id"])["State"])


def _thaw(client: APIClient, container: str, state: Mapping[str, Any]) -> None:
    if state["Paused"]:
        unpause(client, container)
        return
    cgroup = cgroup_of(state["Pid"], container)
    if cgroup is not None:
        with suppress(OSError), closing(CgroupFreezer(cgroup)) as freezer:
            if freezer.asked():
                freezer.thaw()


def usage(client: APIClient, owner: str, instance: InstanceId) -> Usage:
    """From its cgroup where that can be read, else as the engine counts."""
    found = whereabouts(client, owner, instance)
    used = usage_of(found.cgroup) if found.cgroup is not None else Usage(None, None)
    if used.memory is not None and used.cpu is not None:
        return used
    stats = client.stats(found.id, stream=False, one_shot=True)
    memory = stats["memory_stats"]
    inactive = memory.get("stats", {}).get("total_inactive_file", 0)
    nanoseconds = stats["cpu_stats"]["cpu_usage"]["total_usage"]
    return Usage(max(0, int(memory.get("usage", 0)) - int(inactive)), nanoseconds / 1e9)


def terminate(client: APIClient, owner: str, instance: InstanceId) -> bool:
    """Ask it to end, with the signal its image names; False when it does not run."""
    container = _find(client, owner, instance)
    if container is None:
        return False
    try:
        inspected = client.inspect_container(container["Id"])
        # Frozen, it would not see the signal.
        _thaw(client, container["Id"], inspected["State"])
        client.kill(container["Id"], inspected["Config"].get("StopSignal") or "SIGTERM")
    except NotFound:
        return False
    except APIError as error:
        # It is not running: a conflict, or what podman says.
        if error.status_code == 409 or "container state improper" in str(error.explanation):
            return False
        raise
    return True


def remove(client: APIClient, owner: str, instance: InstanceId) -> bool:
    """Kill and remove it with its volumes; False while another call is still doing so."""
    container = _find(client, owner, instance)
    if container is None:
        return True
    try:
        client.remove_container(container["Id"], v=True, force=True)
    except NotFound:
        return True
    except APIError as error:
        if error.status_code == 409:  # "removal ... is already in progress"
            return False
        raise
    return True


def tail(client: APIClient, owner: str, instance: InstanceId, lines: int) -> list[str]:
    container = _find(client, owner, instance)
    if container is None or lines <= 0:
        return []
    try:
        output: bytes = client.logs(container["Id"], tail=lines)
    except NotFound:
        return []
    return output.decode("utf-8", "replace").splitlines()[-lines:]


def running(client: APIClient, owner: str, way: Way) -> list[Found]:
    """The containers that can be adopted, and those that cannot as of no revision."""
    found = []
    listed = _list(client, owner, all=True)  # podman's other list has no paused ones
    networks = {container["Id"]: container for container in listed}
    for container in listed:
        labels = container["Labels"]
        if container["State"] not in ("running", "paused") or not labels.get(PORT, "").isdecimal():
            continue
        # Of one in a sandbox, the address is the sandbox's.
        holder = networks.get(joined_by(container), container)
        address = address_of(holder, int(labels[PORT]), way)
        found.append(
            Found(
                InstanceId(labels.get(INSTANCE, "")),
                labels.get(SERVICE, ""),
                labels.get(REVISION, "") if address else "",
                address or _NOWHERE,
            )
        )
    return found


def alive(client: APIClient, owner: str) -> set[InstanceId]:
    listed = _list(client, owner, all=True)
    return {InstanceId(c["Labels"].get(INSTANCE, "")) for c in listed if c["State"] not in _DEAD}


def ending(client: APIClient, owner: str, instance: InstanceId) -> str | None:
    """How it ended; None when it has not."""
    container = _find(client, owner, instance)
    if container is None:
        return "removed"
    try:
        state = client.inspect_container(container["Id"])["State"]
    except NotFound:
        return "removed"
    return None if state["Running"] else _ending(state)


def dead(client: APIClient, owner: str) -> list[str]:
    """The containers that do not run, by their ids."""
    # Not a filter of the engine's: podman knows no containers that are "dead".
    return [c["Id"] for c in _list(client, owner, all=True) if c["State"] in _DEAD]


def remove_dead(client: APIClient, container: str) -> None:
    """Remove it unless it runs after all, or somebody else removes it."""
    try:
        client.remove_container(container, v=True)
    except APIError as error:
        if error.status_code not in (404, 409):
            raise


def facts(client: APIClient, beside: bool) -> Facts:
    """What says how instances can be reached. Costs the engine a look around: once."""
    info: Mapping[str, Any] = {}
    try:
        info = client.info()
    except APIError as error:
        # A proxy in front of the engine may forbid it.
        log.warning("the engine does not say what it is: %s", cause(error))
    return Facts(
        url=endpoint().url,
        beside=beside,
        rootless=any("name=rootless" in one for one in info.get("SecurityOptions") or ()),
        system=info.get("OperatingSystem", ""),
        name=info.get("Name", ""),
        our_name=socket.gethostname(),
        linux=sys.platform == "linux",
    )


def own_network(client: APIClient) -> str | None:
    """The network to reach instances through, when we are in a container ourselves."""
    for name in _own_names():
        try:
            container = client.inspect_container(name)
        except NotFound:
            continue
        # A container may carry our name by chance: /.dockerenv is also found
        # in machines made from images.
        if container["Config"]["Hostname"] != socket.gethostname():
            continue
        for network, settings in container["NetworkSettings"]["Networks"].items():
            if settings.get("IPAddress") or settings.get("GlobalIPv6Address"):
                return str(network)
    return None


def _own_names() -> list[str]:
    names = []
    with suppress(OSError):
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
        # The engine mounts files of the container's own directory.
        names = re.findall(r"/containers/([0-9a-f]{64})/hostname /etc/hostname ", mounts)
    if not names and not Path("/.dockerenv").exists():
        return []
    return [*names, socket.gethostname()]


def _find(client: APIClient, owner: str, instance: InstanceId) -> Mapping[str, Any] | None:
    return next(iter(_list(client, owner, f"{INSTANCE}={instance}", all=True)), None)


def _list(
    client: APIClient,
    owner: str,
    *labels: str,
    all: bool = False,
) -> list[Mapping[str, Any]]:
    filters = {"label": [f"{OWNER}={owner}", *labels]}
    listed: list[Mapping[str, Any]] = client.containers(all=all, filters=filters)
    return listed


def _ending(state: Mapping[str, Any]) -> str:
    return exit_detail(state["ExitCode"], state["OOMKilled"])
