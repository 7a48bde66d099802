"""Debian's docker-registry on loopback, which wants a password, and small images to put into it."""

from __future__ import annotations

import base64
import io
import json
import shutil
import socket
import subprocess
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from docker.api.client import APIClient

from wakeful.demo import elf

PROGRAM = shutil.which("docker-registry")

USER, PASSWORD = "wakeful", "sesame"
_HTPASSWD = "wakeful:$2y$04$ruJG/fnUzkBIiDdOo4DbNOL4ngIciHKg6CMtxYjC5ToT7aK8D4yn.\n"
_SLEEP = Path("/bin/sleep").resolve()


class PrivateRegistry:
    """The engine trusts 127.0.0.0/8 without TLS."""

    def __init__(self, host: str, log: Path) -> None:
        self.host = host  # as in the names of its images
        self._log = log

    @property
    def login(self) -> dict[str, object]:
        """What `docker login` writes into config.json."""
        token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        return {"auths": {self.host: {"auth": token}}}

    def asked_for(self, name: str) -> int:
        """How often somebody with the password wanted to know what this name means.

        By what is written before the answer goes out, so that none is missed.
        """
        repository, _, tag = name.removeprefix(self.host).rpartition(":")
        wanted = (
            'msg="authorized request"',
            "http.request.method=HEAD",
            f"http.request.uri=/v2{repository}/manifests/{tag} ",
        )
        lines = self._log.read_text().splitlines()
        return sum(all(word in line for word in wanted) for line in lines)

    def push(self, engine: APIClient, name: str) -> None:
        credentials = {"username": USER, "password": PASSWORD}
        for line in engine.push(name, stream=True, decode=True, auth_config=credentials):
            assert "error" not in line, line


@contextmanager
def private_registry(folder: Path) -> Iterator[PrivateRegistry]:
    assert PROGRAM is not None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{probe.getsockname()[1]}"
    (folder / "htpasswd").write_text(_HTPASSWD)
    config = {
        "version": 0.1,
        "log": {"level": "info", "formatter": "text"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "storage")}},
        "http": {"addr": host},
        "auth": {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}},
    }
    (folder / "config.json").write_text(json.dumps(config))  # which is YAML too
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [PROGRAM, "serve", str(folder / "config.json")],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_for(f"http://{host}/v2/", log)
        yield PrivateRegistry(host, log)
    finally:
        process.terminate()
        process.wait(20)


def _wait_for(url: str, log: Path) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            urllib.request.urlopen(url)
        except urllib.error.HTTPError as answer:  # it listens, and wants the password
            answer.close()
            return
        except OSError:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)


def small_image(engine: APIClient, name: str, note: str) -> str:
    """An image that sleeps, of two megabytes; its id. Another note makes it another image."""
    interpreter = elf.loader(_SLEEP.read_bytes())
    assert interpreter is not None
    files = {"/bin/sleep": _SLEEP.read_bytes(), "/note": note.encode()}
    for library in (interpreter, *elf.shared_libraries(interpreter, [_SLEEP])):
        files[library] = Path(library).read_bytes()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path, content in files.items():
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
    repository, _, tag = name.rpartition(":")
    engine.import_image_from_data(
        archive.getvalue(), repository, tag, changes=['CMD ["/bin/sleep", "60"]']
    )
    identity: str = engine.inspect_image(name)["Id"]  # type: ignore[no-untyped-call]
    return identity
