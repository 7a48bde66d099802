"""How instances are reached: at their own addresses, or through ports published by the engine.

Containers have addresses on a network of the engine's host. This process can
use them when it is on that host, outside of any virtual machine the engine may
be in, or in a container of that engine itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from wakeful.config.model import Reach
from wakeful.runtime.instance import Address

LOOPBACK = "127.0.0.1"

# The default one, as Docker and as podman calls it.
_USUAL_NETWORKS = ("bridge", "podman")


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of the engine and of us."""

    url: str  # where it answers
    beside: bool = False  # we are in a container of it
    rootless: bool = False
    system: str = ""  # what it calls its operating system
    name: str = ""  # of its host
    our_name: str = ""  # of ours
    linux: bool = True  # we run on it


@dataclass(frozen=True, slots=True)
class Way:
    """``host`` is where ports are published; None when containers have addresses for us."""

    host: str | None
    why: str

    def __str__(self) -> str:
        at = f"ports published on {self.host}" if self.host else "addresses of containers"
        return f"{at} ({self.why})"


def way(wanted: Reach, facts: Facts) -> Way:
    """Where to publish is for the caller to make an address of, if it is a name."""
    if wanted is Reach.ADDRESS:
        return Way(None, "as configured")
    host = _elsewhere(facts.url) or LOOPBACK
    if wanted is Reach.PUBLISHED:
        return Way(host, "as configured")
    if facts.beside:
        return Way(None, "we are in a container of this engine")
    if facts.rootless:
        return Way(host, "the engine is rootless: its networks are its own")
    if facts.system.startswith("Docker Desktop"):
        return Way(host, "Docker Desktop is a virtual machine")
    if not facts.linux:
        return Way(host, "containers run in a virtual machine here")
    if facts.url.startswith("unix:") or facts.name == facts.our_name:
        return Way(None, "the engine is on this host")
    return Way(host, f"the engine is on another host, {facts.name or 'which has no name'}")


def _elsewhere(url: str) -> str | None:
    """The host that the engine answers on, unless that is here."""
    host = urlsplit(url).hostname if "://" in url and not url.startswith("unix:") else None
    if host is None or host == "localhost":
        return None
    try:
        return None if ip_address(host).is_loopback else host
    except ValueError:
        return host


# What the engine says about a container, and what that makes of it


def address_of(container: Mapping[str, Any], port: int, way: Way) -> Address | None:
    """Of an inspected container, or of one in a list; None when there is none for us."""
    mode = container.get("HostConfig", {}).get("NetworkMode", "default")  # podman lists without it
    if mode == "host":
        return Address(LOOPBACK, port)
    if way.host is not None:
        return _published(container, port, way.host)
    networks = container["NetworkSettings"]["Networks"]
    # Of further networks nobody says that they can be reached.
    names = _USUAL_NETWORKS if mode in ("default", "bridge") else (mode,)
    settings: Mapping[str, Any] = next((networks[name] for name in names if name in networks), {})
    host = settings.get("IPAddress") or settings.get("GlobalIPv6Address")
    return Address(host, port) if host else None


def _published(container: Mapping[str, Any], port: int, host: str) -> Address | None:
    listed = container.get("Ports")
    if listed is not None:
        for one in listed:
            if one["PrivatePort"] == port and one["Type"] == "tcp" and one.get("PublicPort"):
                return Address(host, one["PublicPort"], forwarded=True)
        return None
    bindings = container["NetworkSettings"]["Ports"].get(f"{port}/tcp") or ()
    for binding in bindings:
        return Address(host, int(binding["HostPort"]), forwarded=True)
    return None
