"""An authority, the engine's certificate and a client's, made by openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path


def make(folder: Path) -> Path:
    """A folder with ca.pem, cert.pem and key.pem as DOCKER_CERT_PATH has them, and server.pem."""
    folder.mkdir()
    _openssl(
        folder,
        *["req", "-x509", "-subj", "/CN=authority", "-keyout", "ca-key.pem", "-out", "ca.pem"],
    )
    for name, extension in (
        ("server", "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth"),
        ("client", "extendedKeyUsage=clientAuth"),
    ):
        (folder / "extension").write_text(extension)
        request = f"req -subj /CN={name} -keyout {name}-key.pem -out {name}.csr"
        _openssl(folder, *request.split())
        sign = f"-req -in {name}.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2"
        _run(folder, "x509", *sign.split(), "-extfile", "extension", "-out", f"{name}-cert.pem")
    whole = (folder / "server-cert.pem").read_text() + (folder / "server-key.pem").read_text()
    (folder / "server.pem").write_text(whole)
    (folder / "client-cert.pem").rename(folder / "cert.pem")
    (folder / "client-key.pem").rename(folder / "key.pem")
    return folder


def _openssl(folder: Path, command: str, *arguments: str) -> None:
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    _run(folder, command, *kind, *arguments)


def _run(folder: Path, *arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
