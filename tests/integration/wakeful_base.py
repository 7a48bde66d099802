"""A stand-in for python:3.13-slim, since a test cannot fetch one: this host's Python, with pip,
a shell, and what wakeful needs already installed."""

from __future__ import annotations

import importlib.metadata
import io
import re
import sys
import tarfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from docker.api.client import APIClient

from wakeful.demo import elf, image

# For pip inside of it: nothing is fetched, as all is there.
PIP_ARGS = "--no-index --no-build-isolation --break-system-packages"

SHELL = Path("/bin/sh")
_DEPENDENCIES = "/dependencies"


@contextmanager
def python_image(engine: APIClient) -> Iterator[str]:
    dependencies = _dependencies()
    binaries = [SHELL, *(file for file in dependencies.values() if file.suffix == ".so")]
    files = {path: file.read_bytes() for path, file in dependencies.items()}
    bare = image.build(
        files | _libraries(binaries),
        ["python3"],
        tag=f"wakeful-test:{uuid.uuid4().hex[:12]}",
    )
    name = f"wakeful-test:{uuid.uuid4().hex[:12]}"
    dockerfile = (
        f"FROM {bare}\n"
        "USER root\n"
        "COPY sh /bin/sh\n"
        f"ENV PYTHONPATH={_DEPENDENCIES} PATH={sys.base_prefix}/bin:/usr/local/bin:/usr/bin:/bin\n"
    )
    try:
        said = "".join(_build(engine, name, dockerfile))
        assert "Successfully tagged" in said, said
        yield name
    finally:
        for tag in (name, bare):
            if engine.images(name=tag):
                engine.remove_image(tag, force=True)


def _build(engine: APIClient, name: str, dockerfile: str) -> Iterator[str]:
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        for path, content, mode in (
            ("Dockerfile", dockerfile.encode(), 0o644),
            ("sh", SHELL.read_bytes(), 0o755),
        ):
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
    context.seek(0)
    for step in engine.build(fileobj=context, custom_context=True, tag=name, rm=True, decode=True):
        yield step.get("stream", "") + step.get("error", "")


def _dependencies() -> dict[str, Path]:
    """The files of everything that building and running wakeful takes."""
    return {
        f"{_DEPENDENCIES}/{file}": Path(file.locate())
        for name in _closure({"wakeful", "pip", "setuptools"}) - {"wakeful"}
        for file in importlib.metadata.files(name) or ()
        if ".." not in file.parts and "__pycache__" not in file.parts
    }


def _closure(names: set[str]) -> set[str]:
    """These and what they require, and so on; what is not installed is required elsewhere."""
    installed = {_normalized(one.metadata["Name"]) for one in importlib.metadata.distributions()}
    seen: set[str] = set()
    while names:
        seen |= names
        required = {
            _normalized(re.split(r"[^\w.-]", line, maxsplit=1)[0])
            for name in names
            for line in importlib.metadata.requires(name) or ()
            if "extra ==" not in line
        }
        names = (required & installed) - seen
    return seen


def _normalized(name: str) -> str:
    """As PEP 503 compares names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _libraries(binaries: list[Path]) -> dict[str, bytes]:
    """The shared libraries of these, which the interpreter itself need not have."""
    loader = elf.loader(Path(sys.executable).read_bytes())
    assert loader is not None
    return {path: Path(path).read_bytes() for path in elf.shared_libraries(loader, binaries)}
