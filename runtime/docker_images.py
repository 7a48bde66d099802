"""Which image each revision runs: settled once, and kept.

A name such as hello:1 may come to mean another image at any moment. What it
means when a revision is first seen, or first started, is what every instance
of that revision is made from, also after a restart.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

from docker.api.client import APIClient
from docker.errors import ImageNotFound as NoSuchImage

from wakeful.config.model import Pull, Revision
from wakeful.runtime.docker_client import DockerClient
from wakeful.runtime.docker_pull import DockerPulls
from wakeful.runtime.driver import ImageNotFound

log = logging.getLogger(__name__)

# So many generations back a revision may still serve, because none since was ready.
_KEPT = 100

_Key: TypeAlias = tuple[str, int]  # service and generation


@dataclass(frozen=True, slots=True)
class Pin:
    """One image, whatever becomes of its names."""

    image: str  # its id, "sha256:..."
    origin: str = ""  # NAME@sha256:..., where it can be had again; empty when no registry has it
    user: str = ""  # whom its programs run as


class DockerImages:
    """Pins, kept in ``state`` when there is one."""

    def __init__(self, client: DockerClient, pulls: DockerPulls, state: Path | None) -> None:
        self._client = client
        self._pulls = pulls
        self._file = state / "images.json" if state else None
        self._pins = _read(self._file) if self._file else {}
        self._saving = asyncio.Lock()

    def pinned(self, revision: Revision) -> Pin | None:
        """The image that this revision is made from, if that is settled."""
        return self._pins.get(_key(revision))

    async def pin(self, revision: Revision) -> Pin:
        """The image that this revision is made from. Raises DriverError."""
        return self.pinned(revision) or await self._settle(revision)

    async def again(self, revision: Revision, gone: Pin) -> Pin:
        """What takes the place of an image that was deleted. Raises DriverError.

        The same one where its registry still has it. Else what the name means
        now: from a deleted image nothing runs, so there are not two of them.
        """
        if self._pins.get(_key(revision)) != gone:
            return await self.pin(revision)  # another instance has seen to it
        if gone.origin and revision.template.container.pull is not Pull.NEVER:
            try:
                await self._pulls.pull(gone.origin)
            except ImageNotFound as error:
                log.warning("%s: its image cannot be had again: %s", revision.name, error)
            else:
                return gone
        if self._pins.get(_key(revision)) == gone:  # nobody has, meanwhile
            del self._pins[_key(revision)]
        new = await self.pin(revision)
        if new != gone:
            names = (revision.name, _short(gone), revision.template.image, _short(new))
            log.warning("%s: its image %s is gone; it runs %s as that is now: %s", *names)
        return new

    async def moved(self, revisions: Sequence[Revision]) -> list[Revision]:
        """Those whose image name has come to mean another image. Raises DriverError.

        All name the same one, in the same way. With ``pull: always`` its
        registry is asked. What has no pin yet gets one, if the image is here.
        """
        now = await self._current(revisions[0])
        if now is None:
            return []
        moved = []
        for revision in revisions:
            if (pin := self._pins.get(_key(revision))) is None:
                await self._keep(revision, now)
            elif pin.image != now.image:
                moved.append(revision)
        return moved

    async def _settle(self, revision: Revision) -> Pin:
        image, pull = _image(revision), revision.template.container.pull
        pin = await self._current(revision)
        if pin is None and pull is Pull.NEVER:
            message = f"image {image} is not on this host, and 'pull: never' keeps it so"
            raise ImageNotFound(message)
        if pin is None:
            await self._pulls.pull(image)
            pin = await self._client.call(_inspect, image)
        if pin is None:
            raise ImageNotFound(f"image {image} was pulled, and is gone already")
        return await self._keep(revision, pin)

    async def _current(self, revision: Revision) -> Pin | None:
        """What the name means now; None when the image is not here."""
        image = _image(revision)
        if revision.template.container.pull is Pull.ALWAYS:
            await self._pulls.pull(image)
        return await self._client.call(_inspect, image)

    async def _keep(self, revision: Revision, pin: Pin) -> Pin:
        # Of two instances that come to this at once, the first decides.
        kept = self._pins.setdefault(_key(revision), pin)
        self._pins.pop((revision.service, revision.generation - _KEPT), None)
        if kept is pin and self._file is not None:
            async with self._saving:
                await asyncio.to_thread(_write, self._file, dict(self._pins))
        return kept


def _key(revision: Revision) -> _Key:
    return revision.service, revision.generation


def _image(revision: Revision) -> str:
    assert revision.template.image is not None
    return revision.template.image


def _short(pin: Pin) -> str:
    return pin.image.removeprefix("sha256:")[:12]


def _inspect(client: APIClient, image: str) -> Pin | None:
    try:
        found = client.inspect_image(image)  # type: ignore[no-untyped-call]
    except NoSuchImage:
        return None
    # An image may have come under several names; any of them leads back to it.
    origins = found.get("RepoDigests") or [""]
    return Pin(found["Id"], origins[0], (found.get("Config") or {}).get("User") or "")


# The file. To lose it is to forget what names meant, which is no reason not to start.


def _read(file: Path) -> dict[_Key, Pin]:
    try:
        kept = json.loads(file.read_bytes())
        return {
            (service, int(generation)): Pin(**pin)
            for service, pins in kept.items()
            for generation, pin in pins.items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s cannot be read, images are looked up anew: %s", file, error)
        return {}


def _write(file: Path, pins: dict[_Key, Pin]) -> None:
    kept: dict[str, dict[int, object]] = {}
    for (service, generation), pin in sorted(pins.items()):
        kept.setdefault(service, {})[generation] = asdict(pin)
    draft = file.with_suffix(".new")
    try:
        draft.write_text(json.dumps(kept, indent=1))
        os.replace(draft, file)
    except OSError as error:
        log.warning("%s cannot be written: %s", file, error.strerror)
