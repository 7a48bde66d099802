"""A registry on loopback with one image in it, as far as pulling asks for it.

OCI Distribution Specification, section "Pull"; the engine trusts 127.0.0.0/8
without TLS.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


class Registry:
    def __init__(self, name: str) -> None:
        self.name = name  # how the engine calls its image
        self.released = threading.Event()  # set: manifests are handed out at once
        self.released.set()
        self.asked = Counter[str]()  # paths


@contextmanager
def registry() -> Iterator[Registry]:
    blobs, manifest = _image()
    repository = f"t-{uuid.uuid4().hex[:8]}"

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            serving.asked[self.path] += 1
            kind, digest = self.path.rpartition("/")[0], self.path.rpartition("/")[2]
            if self.path == "/v2/":
                self._answer(b"{}", "application/json")
            elif kind == f"/v2/{repository}/manifests":
                serving.released.wait(20)
                self._answer(manifest, _MANIFEST)
            elif digest in blobs:
                self._answer(blobs[digest], "application/octet-stream")
            else:
                self.send_error(404)

        do_HEAD = do_GET

        def _answer(self, body: bytes, content_type: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Docker-Content-Digest", _digest(body))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = Registry(f"127.0.0.1:{server.server_port}/{repository}:1")
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield serving
        finally:
            serving.released.set()
            server.shutdown()
            thread.join()


def _image() -> tuple[dict[str, bytes], bytes]:
    """An image of one file that is no program: enough to be pulled and to fail to start."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        entry = tarfile.TarInfo("note")
        entry.size = 32
        tar.addfile(entry, io.BytesIO(uuid.uuid4().hex.encode()))
    packed = gzip.compress(layer.getvalue())
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["/note"]},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer.getvalue())]},
            "history": [],
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": {"mediaType": _CONFIG, "size": len(config), "digest": _digest(config)},
            "layers": [{"mediaType": _LAYER, "size": len(packed), "digest": _digest(packed)}],
        }
    ).encode()
    return {_digest(config): config, _digest(packed): packed}, manifest


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
