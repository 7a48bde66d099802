"""One instance as one container: the engine calls, for a thread with a client.

Containers are found by their labels and then known by their ids, never by name: that
may be changed, or belong to a stranger's container, and that must not be touched.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import threading
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

from docker.api.client import APIClient
from docker.errors import APIError, NotFound

from wakeful.config.model import Revision
from wakeful.events import Phases, StartPhase
from wakeful.runtime.cgroup import Cgroup
from wakeful.runtime.cgroup_usage import usage_of
from wakeful.runtime.docker_client import renamed_errors
from wakeful.runtime.docker_events import exit_detail
from wakeful.runtime.docker_forgotten import end_forgotten, end_if_forgotten, lives
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
from wakeful.runtime.driver import DriverError, EngineUnavailable, OutputGone
from wakeful.runtime.freezer import CgroupFreezer, cgroup_of
from wakeful.runtime.instance import Address, Found, InstanceId, Usage
from wakeful.runtime.place import Place
from wakeful.runtime.reach import LOOPBACK, Way, address_of

log = logging.getLogger(__name__)

# Nothing can listen on port 0: the address of a container that ended before
# it could be asked for one. Its exit is what its owner will hear of.
_NOWHERE = Address(LOOPBACK, 0)

_DEAD = ("created", "exited", "dead")
_LIVING = ("running", "paused")

_MISSING_SOURCE = re.compile(r"bind source path does not exist: (.+)$")


@dataclass(frozen=True, slots=True)
class Started:
    container: str  # its id
    address: Address
    phases: Phases


class Abandoned(DriverError):
    """Nobody waits for this start any more."""


class LeftBehind(EngineUnavailable):
    """The engine went in the middle of a start, before what there was could be removed."""

    def __init__(self, container: str, reason: str) -> None:
        super().__init__(reason)
        self.container = container


def launch(
    client: APIClient,
    owner: str,
    revision: Revision,
    instance: InstanceId,
    pin: Pin,
    place: Place,
    abandoned: threading.Event,
    asked: float,
) -> Started:
    """Create and start; when that fails, or is abandoned, nothing is left.

    ``asked``: the moment on the monotonic clock from which on its phases count.
    Raises LeftBehind when it cannot be said what is.
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
        try:
            with renamed_errors():
                end_if_forgotten(client, container)
                client.remove_container(container, v=True, force=True)
        except EngineUnavailable as gone:
            raise LeftBehind(container, str(gone)) from None
        except DriverError as error:
            log.debug("cannot remove container %.12s yet: %s", container, error)
        raise
    started = time.monotonic()
    phases = ((StartPhase.CREATE, created - asked), (StartPhase.START, started - created))
    return Started(container, address, phases)


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


def cgroup(client: APIClient, container: str) -> Cgroup | None:
    """None when it is not to be reached from here. Raises DriverError when there is none."""
    try:
        if not container:
            raise NotFound("it was never there")
        state = client.inspect_container(container)["State"]
    except NotFound:
        raise DriverError(f"container {container:.12} is not there any more") from None
    return cgroup_of(state["Pid"], container)


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


def thaw(client: APIClient, container: str) -> None:
    """Let it run, whoever has frozen it, and in whichever way."""
    with suppress(NotFound):
        _thaw(client, container, client.inspect_container(container)["State"])


def _thaw(client: APIClient, container: str, state: Mapping[str, Any]) -> None:
    cgroup = cgroup_of(state["Pid"], container)
    if state["Paused"]:
        try:
            unpause(client, container)
        except APIError:
            # By the engine's word it is paused, by the kernel's it runs: it was
            # thawed directly meanwhile. The engine must be right before it can be told.
            if cgroup is None:
                raise
            with closing(CgroupFreezer(cgroup)) as freezer:
                freezer.freeze()
            unpause(client, container)
        return
    if cgroup is not None:
        with suppress(OSError), closing(CgroupFreezer(cgroup)) as freezer:
            if freezer.asked():
                freezer.thaw()


def usage(client: APIClient, container: str) -> Usage:
    """From its cgroup where that can be read, else as the engine counts."""
    found = cgroup(client, container)
    used = usage_of(found) if found is not None else Usage(None, None)
    if used.memory is not None and used.cpu is not None:
        return used
    stats = client.stats(container, stream=False, one_shot=True)
    memory = stats["memory_stats"]
    inactive = memory.get("stats", {}).get("total_inactive_file", 0)
    nanoseconds = stats["cpu_stats"]["cpu_usage"]["total_usage"]
    return Usage(max(0, int(memory.get("usage", 0)) - int(inactive)), nanoseconds / 1e9)


def terminate(client: APIClient, container: str) -> bool:
    """Ask it to end, with the signal its image names; False when it does not run."""
    try:
        inspected = client.inspect_container(container)
        state = inspected["State"]
        if not lives(state):
            end_forgotten([container])
            return False
        # Frozen, it would not see the signal.
        _thaw(client, container, state)
        client.kill(container, inspected["Config"].get("StopSignal") or "SIGTERM")
    except NotFound:
        end_forgotten([container])
        return False
    except APIError as error:
        # It is not running: a conflict, or what podman says.
        if error.status_code == 409 or "container state improper" in str(error.explanation):
            return False
        raise
    return True


def remove(client: APIClient, container: str) -> bool:
    """Kill and remove it with its volumes; False while another call is still doing so."""
    try:
        client.remove_container(container, v=True, force=True)
    except NotFound:
        return True
    except APIError as error:
        if error.status_code == 409:  # "removal ... is already in progress"
            return False
        raise
    return True


def tail(client: APIClient, container: str, lines: int) -> list[str]:
    try:
        output: bytes = client.logs(container, tail=lines)
    except NotFound:
        return []
    return output.decode("utf-8", "replace").splitlines()[-lines:]


@dataclass(frozen=True, slots=True)
class Writing:
    """How a container writes, and where that goes."""

    terminal: bool  # so that its two streams are one
    logging: str  # the driver that keeps it


def writing(client: APIClient, container: str) -> Writing:
    """Raises OutputGone."""
    try:
        seen = client.inspect_container(container)
    except NotFound:
        raise OutputGone("its container is not there any more") from None
    return Writing(seen["Config"]["Tty"], seen["HostConfig"]["LogConfig"].get("Type", ""))


def find(client: APIClient, owner: str, instance: InstanceId) -> str:
    """The id of its container; empty when there is none."""
    with_label = _list(client, owner, f"{INSTANCE}={instance}", all=True)
    return "" if not with_label else str(_first(with_label)["Id"])


def running(client: APIClient, owner: str, way: Way) -> dict[str, Found]:
    """By their ids, the containers that can be adopted, and those that cannot as of no revision."""
    listed = _list(client, owner, all=True)  # podman's other list has no paused ones
    networks = {container["Id"]: container for container in listed}
    found = {}
    for instance, container in _originals(listed).items():
        labels = container["Labels"]
        if container["State"] not in _LIVING or not labels.get(PORT, "").isdecimal():
            continue
        # Of one in a sandbox, the address is the sandbox's.
        holder = networks.get(joined_by(container), container)
        address = address_of(holder, int(labels[PORT]), way)
        found[container["Id"]] = Found(
            instance,
            labels.get(SERVICE, ""),
            labels.get(REVISION, "") if address else "",
            address or _NOWHERE,
        )
    return found


def _originals(listed: list[Mapping[str, Any]]) -> dict[InstanceId, Mapping[str, Any]]:
    """Of several with the labels of one instance the first that there was."""
    by_instance: dict[InstanceId, list[Mapping[str, Any]]] = {}
    for container in listed:
        if instance := container["Labels"].get(INSTANCE):
            by_instance.setdefault(InstanceId(instance), []).append(container)
    originals = {}
    for instance, containers in by_instance.items():
        original = originals[instance] = _first(containers)
        for copy in containers:
            if copy is not original:
                log.warning(
                    "container %.12s has the labels of instance %s, which is %.12s: left alone",
                    *(copy["Id"], instance, original["Id"]),
                )
    return originals


def _first(containers: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    """An image that is made of a container has its labels, and so has what is made of that."""
    # In seconds; of one second the latest is listed first.
    return min(reversed(containers), key=lambda container: container["Created"])


def living(client: APIClient, owner: str) -> dict[str, bool]:
    """By their ids, whether they are paused."""
    listed = _list(client, owner, all=True)
    return {c["Id"]: c["State"] == "paused" for c in listed if c["State"] not in _DEAD}


def paused(client: APIClient, container: str) -> bool:
    """Of one that is not there: no."""
    try:
        return bool(client.inspect_container(container)["State"]["Paused"])
    except NotFound:
        return False


def ending(client: APIClient, container: str) -> str | None:
    """How it ended; None when it has not."""
    try:
        state = client.inspect_container(container)["State"]
    except NotFound:
        return "removed"
    return None if state["Running"] else exit_detail(state["ExitCode"], state["OOMKilled"])


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


def _list(
    client: APIClient,
    owner: str,
    *labels: str,
    all: bool = False,
) -> list[Mapping[str, Any]]:
    filters = {"label": [f"{OWNER}={owner}", *labels]}
    listed: list[Mapping[str, Any]] = client.containers(all=all, filters=filters)
    return listed
