"""The image made of this host's Python."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from docker.api.client import APIClient
from docker.errors import APIError

from wakeful.demo import elf, image

linux = pytest.mark.skipif(sys.platform != "linux", reason="ELF is what Linux runs")


@linux
def test_a_stripped_program_still_runs_and_is_no_larger(tmp_path: Path) -> None:
    original = Path("/bin/true").resolve().read_bytes()
    stripped = tmp_path / "true"
    stripped.write_bytes(elf.stripped(original))
    stripped.chmod(0o755)
    assert stripped.stat().st_size < len(original)
    assert subprocess.run([stripped], check=False).returncode == 0


@linux
def test_a_programs_loader_and_libraries_are_files_of_this_host() -> None:
    program = Path(sys.executable).resolve()
    loader = elf.loader(program.read_bytes())
    assert loader is not None
    libraries = elf.shared_libraries(loader, [program])
    assert any("/libc." in library for library in libraries)
    assert all(Path(library).is_file() for library in [loader, *libraries])


@pytest.mark.parametrize(
    "content", [b"", b"#!/bin/sh\n", b"\x7fELF", b"\x7fELF\x02\x02" + b"\0" * 99]
)
def test_what_is_not_an_elf_program_is_left_alone(content: bytes) -> None:
    assert elf.loader(content) is None
    assert elf.stripped(content) == content


PROGRAM = b"""
import asyncio, bz2, ctypes, hashlib, http.server, json, lzma, os, socket, ssl, sys, zlib
socket.getaddrinfo("localhost", 80)
specs = [getattr(module, "__spec__", None) for module in list(sys.modules.values())]
sources = [spec for spec in specs if spec is not None and spec.cached is not None]
uncached = [spec.name for spec in sources if not os.path.exists(spec.cached)]
assert len(sources) > 50
print(json.dumps([sys.version, os.getuid(), uncached]))
"""


@pytest.fixture
def made(engine: APIClient) -> Iterator[list[str]]:
    """Names of images, to be removed whatever happens."""
    names: list[str] = []
    yield names
    for name in names:
        with suppress(APIError):
            engine.remove_image(name, force=True)


@pytest.mark.docker
def test_the_image_runs_this_python_with_its_library_compiled_and_not_as_root(
    engine: APIClient, made: list[str], owner: str
) -> None:
    reason = image.available(engine)
    if reason is not None:
        pytest.skip(reason)
    name = image.build(
        {"/app/program.py": PROGRAM}, ["python3", "/app/program.py", uuid.uuid4().hex]
    )
    made.append(name)
    container = engine.create_container(name, labels={"wakeful.owner": owner})["Id"]
    engine.start(container)
    code = engine.wait(container)["StatusCode"]
    output = engine.logs(container).decode()
    engine.remove_container(container)
    assert code == 0, output
    assert json.loads(output) == [sys.version, 65534, []]


@pytest.mark.docker
def test_the_same_inputs_are_the_same_image_and_others_are_another(
    engine: APIClient, made: list[str]
) -> None:
    if (reason := image.available(engine)) is not None:
        pytest.skip(reason)
    command = ["python3", uuid.uuid4().hex]  # an image that no other run shares
    first = image.build({"/app/note": b"one"}, command)
    made.append(first)
    made_at = engine.inspect_image(first)["Id"]  # type: ignore[no-untyped-call]
    again = image.build({"/app/note": b"one"}, command)
    other = image.build({"/app/note": b"two"}, command)
    made.append(other)
    assert (again, engine.inspect_image(again)["Id"]) == (first, made_at)  # type: ignore[no-untyped-call]
    assert other != first


@pytest.mark.docker
def test_a_name_of_the_callers_is_made_anew_when_its_inputs_change(
    engine: APIClient, made: list[str]
) -> None:
    if (reason := image.available(engine)) is not None:
        pytest.skip(reason)
    tag = f"wakeful-test:{uuid.uuid4().hex[:12]}"
    made.append(tag)
    for content in (b"one", b"one", b"two"):
        name = image.build({"/app/note": content}, ["python3"], tag=tag)
        made.append(engine.inspect_image(name)["Id"])  # type: ignore[no-untyped-call]
    _, first, again, changed = made
    assert first == again != changed
