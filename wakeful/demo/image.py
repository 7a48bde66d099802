"""A small Docker image made from the Python that runs this, without any registry.

The interpreter, the shared libraries it and its modules need, and the standard
library keep the paths they have on this host, so that the interpreter finds
them as it does here. Byte code goes along: a container cannot keep what it
compiles, and would compile at every start.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import marshal
import os
import platform
import re
import struct
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from docker.api.client import APIClient
from docker.errors import APIError, DockerException, ImageNotFound
from requests import RequestException

from wakeful.demo.elf import loader, shared_libraries, stripped
from wakeful.runtime.docker_client import cause, new_client
from wakeful.runtime.docker_endpoint import EndpointError

REPOSITORY = "wakeful-demo"
LABEL = "wakeful.demo"

# Part of the tag; to be raised when what is put in changes.
_LAYOUT = 1

_NOBODY = "65534:65534"

_LEFT_OUT_FOLDERS = frozenset(
    {
        "__pycache__",
        "dist-packages",
        "distutils",
        "ensurepip",
        "idlelib",
        "lib2to3",
        "pydoc_data",
        "site-packages",
        "test",
        "tests",
        "tkinter",
        "turtledemo",
    }
)
_LEFT_OUT = re.compile(
    r"config-.*|turtle\.py|(_test|_ctypes_test|_tkinter|_xx|xx).*\.so|.*\.(a|o|exe)"
)

# Python's name of a machine, and the engine's.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}

_SYSTEM_FILES = {
    "/etc/passwd": b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n",
    "/etc/group": b"root:x:0:\nnogroup:x:65534:\n",
    # Without it glibc asks a name server even for localhost.
    "/etc/nsswitch.conf": b"passwd: files\ngroup: files\nhosts: files dns\n",
}


class ImageError(Exception):
    """The image cannot be made; the message says why."""


def available(client: APIClient | None = None) -> str | None:
    """None when ``build`` can work here; else why not."""
    if sys.platform != "linux":
        return f"this is {platform.system()}, and the image is made of Linux binaries"
    if platform.libc_ver()[0] != "glibc":
        return "this Python does not use glibc"
    if loader(_interpreter().read_bytes()) is None:
        return f"{_interpreter()} is not a dynamically linked ELF file"
    try:
        version = client.version() if client is not None else _ask_version()
    except (DockerException, EndpointError, OSError) as error:
        return f"Docker does not answer: {error}"
    here = _ARCHITECTURES.get(platform.machine(), platform.machine())
    if (version["Os"], version["Arch"]) != ("linux", here):
        return f"the engine runs {version['Os']}/{version['Arch']}, this is linux/{here}"
    return None


def build(files: Mapping[str, bytes], command: Sequence[str], *, tag: str | None = None) -> str:
    """Make the image, or find it made before, and return its name. Blocks for seconds.

    ``files`` are added under their absolute paths; ``python3`` in ``command``
    is the interpreter. Raises ImageError.
    """
    tag = tag or f"{REPOSITORY}:{_fingerprint(files, command)}"
    try:
        client = new_client()
        try:
            reason = available(client)
            if reason is not None:
                raise ImageError(reason)
            fingerprint = _fingerprint(files, command)
            if not _exists(client, tag, fingerprint):
                _import(client, tag, files, command, fingerprint)
        finally:
            client.close()
    except APIError as error:
        raise ImageError(f"cannot make the image {tag}: {cause(error)}") from error
    except (DockerException, EndpointError, RequestException, OSError) as error:
        raise ImageError(f"cannot make the image {tag}: {error}") from error
    return tag


def _ask_version() -> Mapping[str, str]:
    client = new_client()
    try:
        version: Mapping[str, str] = client.version()
        return version
    finally:
        client.close()


def _fingerprint(files: Mapping[str, bytes], command: Sequence[str]) -> str:
    """Names everything that goes in; the library by its interpreter, which it came with."""
    interpreter = _interpreter()
    status = interpreter.stat()
    seen = hashlib.sha256()
    for part in (_LAYOUT, sys.version, interpreter, status.st_size, status.st_mtime_ns, *command):
        seen.update(f"{part}\0".encode())
    for path, content in sorted(files.items()):
        seen.update(f"{path}\0{len(content)}\0".encode() + content)
    return seen.hexdigest()[:12]


def _exists(client: APIClient, tag: str, fingerprint: str) -> bool:
    try:
        image = client.inspect_image(tag)  # type: ignore[no-untyped-call]  # types-docker has none
    except ImageNotFound:
        return False
    return (image["Config"].get("Labels") or {}).get(LABEL) == fingerprint


def _import(
    client: APIClient,
    tag: str,
    files: Mapping[str, bytes],
    command: Sequence[str],
    fingerprint: str,
) -> None:
    with tempfile.TemporaryFile() as archive:
        libraries = _write(archive, files)
        archive.seek(0)
        folders = ":".join(sorted({str(Path(library).parent) for library in libraries}))
        repository, _, version = tag.partition(":")
        changes = [
            f"CMD {json.dumps(list(command))}",
            "ENV PATH=/usr/local/bin:/usr/bin:/bin",
            # There is no /etc/ld.so.cache to say where they are.
            f"ENV LD_LIBRARY_PATH={folders}",
            "ENV PYTHONUNBUFFERED=1",
            f"LABEL {LABEL}={fingerprint}",
            f"USER {_NOBODY}",
            "WORKDIR /",
        ]
        # Sent with its length: the call meant for streams sends broken chunks.
        answer: str = client.import_image_from_data(
            archive, repository=repository, tag=version or "latest", changes=changes
        )
    for line in answer.splitlines():
        failure = json.loads(line).get("error")
        if failure:
            raise ImageError(f"cannot make the image {tag}: {failure}")


# The archive


class _Root:
    """A root file system in a tar: each path once, its folders before it."""

    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive
        self._paths: set[str] = set()

    def add(self, path: str, content: bytes, *, mtime: int = 0, mode: int = 0o644) -> None:
        entry = self._entry(path)
        if entry is not None:
            entry.size, entry.mtime, entry.mode = len(content), mtime, mode
            self._archive.addfile(entry, io.BytesIO(content))

    def copy(self, source: Path) -> None:
        status = source.stat()
        mode = 0o755 if status.st_mode & 0o100 else 0o644
        content = stripped(source.read_bytes())
        self.add(str(source), content, mtime=int(status.st_mtime), mode=mode)

    def link(self, path: str, target: str) -> None:
        entry = self._entry(path)
        if entry is not None:
            entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, target, 0o777
            self._archive.addfile(entry)

    def folder(self, path: str, mode: int = 0o755) -> None:
        entry = self._entry(path)
        if entry is not None:
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            self._archive.addfile(entry)

    def _entry(self, path: str) -> tarfile.TarInfo | None:
        path = os.path.normpath(path)
        if path in self._paths:
            return None
        self._paths.add(path)
        parent = os.path.dirname(path)
        if parent != "/":
            self.folder(parent)
        return tarfile.TarInfo(path.lstrip("/"))


def _write(archive: IO[bytes], files: Mapping[str, bytes]) -> list[str]:
    """Fill the archive; returns the shared libraries in it."""
    interpreter = _interpreter()
    loads = loader(interpreter.read_bytes())
    if loads is None:
        raise ImageError(f"{interpreter} is not a dynamically linked ELF file")

    with tarfile.open(fileobj=archive, mode="w", format=tarfile.GNU_FORMAT) as tar:
        root = _Root(tar)
        for path, content in files.items():
            root.add(path, content)
        for path, content in _SYSTEM_FILES.items():
            root.add(path, content)
        root.folder("/tmp", 0o1777)
        root.copy(interpreter)
        for name in ("python", "python3", f"python{sys.version_info[0]}.{sys.version_info[1]}"):
            root.link(f"/usr/local/bin/{name}", str(interpreter))

        binaries = [interpreter]
        for source in _standard_library():
            root.copy(source)
            if source.suffix == ".py":
                cache = importlib.util.cache_from_source(str(source), optimization="")
                status = source.stat()
                root.add(cache, _byte_code(source, cache), mtime=int(status.st_mtime))
            elif source.suffix == ".so":
                binaries.append(source)

        libraries = shared_libraries(loads, binaries)
        for library in libraries:
            root.copy(Path(library))
        root.copy(Path(loads))
    return libraries


def _interpreter() -> Path:
    """The real one, from inside a virtual environment too."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    installed = Path(sys.base_prefix) / "bin" / version
    return (installed if installed.exists() else Path(sys.executable)).resolve()


def _standard_library() -> Iterator[Path]:
    for folder, folders, names in os.walk(sysconfig.get_path("stdlib")):
        folders[:] = sorted(
            f for f in folders if f not in _LEFT_OUT_FOLDERS and not _LEFT_OUT.fullmatch(f)
        )
        for name in sorted(names):
            if not _LEFT_OUT.fullmatch(name):
                yield Path(folder) / name


def _byte_code(source: Path, cache: str) -> bytes:
    """What importing ``source`` leaves in its cache, taken from there when it is fresh."""
    status = source.stat()
    # PEP 552: magic, flags (0: compare with the source), its time and its size.
    header = importlib.util.MAGIC_NUMBER + struct.pack(
        "<III", 0, int(status.st_mtime) & 0xFFFFFFFF, status.st_size & 0xFFFFFFFF
    )
    try:
        cached = Path(cache).read_bytes()
    except OSError:
        cached = b""
    if cached.startswith(header):
        return cached
    try:
        code = compile(source.read_bytes(), str(source), "exec", dont_inherit=True)
    except SyntaxError:  # templates of other languages that end in .py
        return b""
    return header + marshal.dumps(code)
