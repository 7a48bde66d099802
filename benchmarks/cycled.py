"""What is put to sleep and woken again and again: services of several kinds, in equal shares.

A kind says how a service comes up and how it goes: with containers by the bridge or by
a network sandbox, frozen between its requests, or kept as a frozen spare.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from docker.api.client import APIClient
from docker.errors import APIError

import wakeful.demo
from benchmarks.built_image import built_image

_FOLDER = Path(wakeful.demo.__file__).parent
_FILES = ("serve.py", "hello.py")
COMMAND = ["python3", "-S", "/app/hello.py"]
_STOPPED = {"freeze-after": "never", "stop-after": "0s"}


@dataclass(frozen=True, slots=True)
class Kind:
    name: str
    keys: Mapping[str, object]
    rests_frozen: bool = False  # at zero there is a spare
    network: str | None = None  # of a container


_EVERYWHERE = (
    Kind("frozen between requests", {"idle": {"freeze-after": "0s", "stop-after": "0s"}}),
    Kind("kept as a spare", {"idle": {"freeze-after": "10s", "stop-after": "24h"}}, True),
)
_BRIDGE = Kind("on the bridge", {"idle": _STOPPED, "network": "bridge"})
SANDBOX = Kind("in a network sandbox", {"idle": _STOPPED, "network": "sandbox"})
KINDS = {
    "docker": (_BRIDGE, SANDBOX, *_EVERYWHERE),
    "process": (Kind("stopped", {"idle": _STOPPED}), *_EVERYWHERE),
}


@dataclass(frozen=True, slots=True)
class Cycled:
    """The services by name, and an engine's client where they are containers."""

    services: Mapping[str, Kind]
    command: Mapping[str, object]  # how each is run
    client: APIClient | None = None

    @property
    def definitions(self) -> dict[str, object]:
        # The shortest window there is.
        scale = {"scale": {"window": "6s"}}
        return {
            name: {**self.command, **scale, **kind.keys} for name, kind in self.services.items()
        }

    def number(self, kind: Kind) -> int:
        return sum(one is kind for one in self.services.values())


@contextmanager
def cycled(runtime: str, services: int) -> Iterator[Cycled]:
    kinds = KINDS[runtime]
    named = {f"s{number}": kinds[number % len(kinds)] for number in range(services)}
    if runtime == "process":
        yield Cycled(named, {"command": [sys.executable, "-S", str(_FOLDER / "hello.py")]})
        return
    with hello_image("cycles") as (client, tag):
        yield Cycled(named, {"image": tag, "command": COMMAND}, client)


def hello_image(purpose: str) -> AbstractContextManager[tuple[APIClient, str]]:
    """An image of the demo's hello.py, for as long as this lasts."""
    return built_image(purpose, [_FOLDER / name for name in _FILES], COMMAND)


def remove_all(client: APIClient, owner: str) -> None:
    """What an owner that was killed has left."""
    filters = {"label": f"wakeful.owner={owner}"}
    for container in client.containers(all=True, filters=filters):
        try:
            client.remove_container(container["Id"], force=True, v=True)
        except APIError as error:
            if error.status_code not in (404, 409):  # gone, or on its way
                raise
