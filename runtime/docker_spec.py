"""What the engine is asked for: one container, as the body of its create call.

Engine API, "Create a container". What is not said by the service is said here,
on the safe side: docs/containers.md has the reasons.
"""

from __future__ import annotations

import math
import stat
from typing import Any

from wakeful.config.container import SECRETS
from wakeful.config.model import Container, Revision, Template
from wakeful.runtime.environment import command, entrypoint, environment
from wakeful.runtime.instance import InstanceId
from wakeful.runtime.place import Place

OWNER = "wakeful.owner"
SERVICE = "wakeful.service"
REVISION = "wakeful.revision"
INSTANCE = "wakeful.instance"
ROLE = "wakeful.role"  # of a container that is no instance:
SANDBOX = "sandbox"  # it holds the network of one
PORT = "wakeful.port"  # so that an adopted instance's address needs no second call
IMAGE = "wakeful.image"  # as the service names it; it is made from an id

# What images need that begin as root, prepare their files and step down:
# chown, write and chmod what is not theirs, become another user, signal what
# has become another user, and be given a file capability for a low port.
CAPABILITIES = (
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "KILL",
    "NET_BIND_SERVICE",
    "SETGID",
    "SETUID",
)


def container_spec(
    owner: str, revision: Revision, instance: InstanceId, image: str, place: Place
) -> dict[str, Any]:
    template = revision.template
    container = template.container
    spec: dict[str, Any] = {
        "Image": image,
        "Env": [f"{k}={v}" for k, v in environment(revision, place.port).items()],
        "Labels": {
            **dict(container.labels),
            OWNER: owner,
            SERVICE: revision.service,
            REVISION: revision.name,
            INSTANCE: instance,
            PORT: str(place.port),
            IMAGE: template.image,
        },
        # For whoever else stops it; our own stop counts its own grace.
        "StopTimeout": math.ceil(template.stop_grace),
        "HostConfig": _host_config(template, place.mode),
    }
    if place.way.host is not None:
        port = f"{place.port}/tcp"
        spec["ExposedPorts"] = {port: {}}
        # No number: the engine's host knows best which is free.
        spec["HostConfig"]["PortBindings"] = {port: [{"HostIp": place.way.host, "HostPort": ""}]}
    optional = {
        "Entrypoint": entrypoint(revision, place.port),
        "Cmd": command(revision, place.port),
        "User": container.user,
        "WorkingDir": container.working_dir,
        "Hostname": container.hostname,
        "StopSignal": container.stop_signal,
    }
    return spec | {key: value for key, value in optional.items() if value}


def _host_config(template: Template, mode: str) -> dict[str, Any]:
    container = template.container
    added, dropped = capabilities(container)
    host: dict[str, Any] = {
        "NetworkMode": mode,
        "CapAdd": added,
        "CapDrop": dropped,
        "Init": container.init,
        "ReadonlyRootfs": container.read_only,
        "LogConfig": {
            "Type": container.logging.driver,
            "Config": dict(container.logging.options),
        },
    }
    if container.no_new_privileges:
        host["SecurityOpt"] = ["no-new-privileges"]
    if container.pids_limit:
        host["PidsLimit"] = container.pids_limit
    if template.cpu is not None:
        host["NanoCpus"] = round(template.cpu * 1e9)
    if template.memory is not None:
        # Equal, so that memory is memory: otherwise as much swap comes on top.
        host["Memory"] = host["MemorySwap"] = template.memory
    optional = {
        "Ulimits": [
            {"Name": name, "Soft": limit.soft, "Hard": limit.hard}
            for name, limit in container.ulimits
        ],
        "ShmSize": container.shm_size,
        "Tmpfs": dict(_tmpfs(entry) for entry in container.tmpfs),
        "Mounts": _mounts(container),
        "ExtraHosts": list(container.extra_hosts),
        "Dns": list(container.dns),
        "Runtime": container.container_runtime,
    }
    return host | {key: value for key, value in optional.items() if value}


def capabilities(container: Container) -> tuple[list[str], list[str]]:
    """What to add and what to drop: everything is dropped, and a few are added again."""
    added, dropped = set(container.cap_add), set(container.cap_drop)
    if "ALL" in added:
        # The engine lets an added ALL win over a dropped one, but not over names.
        return ["ALL"], sorted(dropped - {"ALL"})
    usual = set() if "ALL" in dropped else set(CAPABILITIES)
    return sorted((usual - dropped) | added), ["ALL"]


def _tmpfs(entry: str) -> tuple[str, str]:
    path, _, options = entry.partition(":")
    return path, options


def _mounts(container: Container) -> list[dict[str, Any]]:
    # Not as "Binds": those make a folder of root's where a path is missing.
    mounts = [
        {
            "Type": "bind" if volume.source.startswith("/") else "volume",
            "Source": volume.source,
            "Target": volume.target,
            "ReadOnly": volume.read_only,
        }
        for volume in container.volumes
    ]
    for name, file in container.secrets:
        target = f"{SECRETS}/{name}"
        mounts.append({"Type": "bind", "Source": file, "Target": target, "ReadOnly": True})
    return mounts


def readable(user: str, mode: int, owner: int, group: int) -> bool:
    """Whether a file can be read inside; of a user that has no number, that is not known."""
    uid, _, gid = user.partition(":")
    if not uid.isdecimal() or int(uid) == 0:
        return True
    if int(uid) == owner:
        return bool(mode & stat.S_IRUSR)
    if gid.isdecimal() and int(gid) == group:
        return bool(mode & stat.S_IRGRP)
    return bool(mode & stat.S_IROTH)


def asked_for(container: Container, source: str) -> str:
    """Which key of a service wants this path of the host."""
    for name, file in container.secrets:
        if file == source:
            return f"secret {name}"
    return "volumes"
