"""What the engine is, and where we are to it: the engine calls, for a thread with a client."""

from __future__ import annotations

import logging
import re
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from docker.api.client import APIClient
from docker.errors import APIError, NotFound

from wakeful.runtime.docker_client import cause
from wakeful.runtime.docker_endpoint import endpoint
from wakeful.runtime.reach import Facts

log = logging.getLogger(__name__)


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
