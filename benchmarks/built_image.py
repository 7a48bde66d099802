"""An image of a program of ours, for as long as a benchmark needs it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from docker.api.client import APIClient
from docker.errors import DockerException

from benchmarks.children import CannotMeasure
from wakeful.demo import image
from wakeful.runtime.docker_client import new_client


@contextmanager
def built_image(
    purpose: str, files: Sequence[Path], command: list[str]
) -> Iterator[tuple[APIClient, str]]:
    """A client of the engine, and the image's name; the files are in its /app."""
    try:
        client = new_client()
    except DockerException as error:
        raise CannotMeasure(f"Docker does not answer: {error}") from None
    try:
        contents = {f"/app/{file.name}": file.read_bytes() for file in files}
        try:
            tag = image.build(contents, command, tag=f"wakeful-{purpose}:{uuid4().hex[:12]}")
        except image.ImageError as error:
            raise CannotMeasure(str(error)) from None
        try:
            yield client, tag
        finally:
            client.remove_image(tag, force=True)
    finally:
        client.close()
