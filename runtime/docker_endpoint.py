"""Which engine is meant: DOCKER_HOST, the context of docker's command line, or the usual socket.

The same places in the same order as that command line looks. Does without the
docker package, whose import takes longer than everything else at start-up.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEFAULT_URL = "unix:///var/run/docker.sock"


class EndpointError(Exception):
    """What names the engine cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files; those that are None are not used."""

    ca: Path | None
    cert: Path | None
    key: Path | None
    verify: bool = True  # that the engine is who it says


@dataclass(frozen=True, slots=True)
class Endpoint:
    url: str  # unix://PATH or tcp://HOST:PORT
    tls: Tls | None = None
    named_by: str = "DOCKER_HOST"


def endpoint() -> Endpoint:
    """Raises EndpointError."""
    if url := os.environ.get("DOCKER_HOST"):
        return Endpoint(url, None if url.startswith("unix:") else _tls_of_environment())
    config = config_folder()
    context = os.environ.get("DOCKER_CONTEXT") or _current_context(config / "config.json")
    if context in ("", "default"):
        return Endpoint(DEFAULT_URL)
    return _of_context(config / "contexts", context)


def config_folder() -> Path:
    return Path(os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker"))


def _tls_of_environment() -> Tls | None:
    verify = bool(os.environ.get("DOCKER_TLS_VERIFY"))
    folder = os.environ.get("DOCKER_CERT_PATH")
    if not (verify or folder):
        return None
    path = Path(folder) if folder else config_folder()
    return Tls(path / "ca.pem", path / "cert.pem", path / "key.pem", verify)


def _current_context(file: Path) -> str:
    try:
        return str(_read(file).get("currentContext") or "")
    except FileNotFoundError:
        return ""


def _of_context(folder: Path, name: str) -> Endpoint:
    place = hashlib.sha256(name.encode()).hexdigest()
    named_by = f"docker context {name!r}"
    try:
        docker = _read(folder / "meta" / place / "meta.json")["Endpoints"]["docker"]
        url, verify = str(docker["Host"]), not docker.get("SkipTLSVerify", False)
    except FileNotFoundError:
        raise EndpointError(f"there is no {named_by} in {folder}") from None
    except (KeyError, TypeError):
        raise EndpointError(f"{named_by} does not say where its engine is") from None
    files = folder / "tls" / place / "docker"
    ca, cert, key = (
        files / name if (files / name).exists() else None
        for name in ("ca.pem", "cert.pem", "key.pem")
    )
    tls = Tls(ca, cert, key, verify) if ca or cert or url.startswith("https:") else None
    return Endpoint(url or DEFAULT_URL, tls, named_by)


def _read(file: Path) -> dict[str, Any]:
    """Raises FileNotFoundError, EndpointError."""
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise EndpointError(f"{file} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise EndpointError(f"{file} is not what docker writes")
    return content
