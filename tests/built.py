"""Distributions made of the checkout, and environments with one of them installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
LAYERS = ("config", "proxy", "runtime", "scaler")

_NOTHING: Mapping[str, str] = {}

# What pip calls with the backend that pyproject.toml names (PEP 517).
_CALL = "import sys; from setuptools import build_meta as b; print(getattr(b, sys.argv[1])({}))"

_COMPILING = 600.0  # seconds: half a minute where nothing else runs


def run(
    *command: str | Path, cwd: Path, timeout: float = 100, env: Mapping[str, str] = _NOTHING
) -> str:
    """What a command prints; what it says when it fails is the test's failure."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def backend(hook: str, source: Path, *arguments: Path, **env: str) -> str:
    """A hook of the build backend, and the last line that it printed: its answer."""
    call = _CALL.format(", ".join(f"sys.argv[{at + 2}]" for at in range(len(arguments))))
    command = (sys.executable, "-P", "-c", call, hook)
    said = run(*command, *arguments, cwd=source, timeout=_COMPILING, env=env)
    return said.splitlines()[-1]


def copy_checkout(checkout: Path) -> Path:
    """What a distribution is made of."""
    for folder in ("wakeful", *LAYERS):
        shutil.copytree(
            ROOT / folder,
            checkout / folder,
            symlinks=True,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, checkout)
    return checkout


def make_sdist(tmp: Path) -> Path:
    """The folder that the sdist of the checkout unpacks to."""
    name = backend("build_sdist", copy_checkout(tmp / "checkout"), tmp)
    run("tar", "-xf", tmp / name, cwd=tmp)  # tarfile wants a filter that 3.11.2 does not know
    return tmp / name.removesuffix(".tar.gz")


def make_wheel(source: Path, tmp: Path, **env: str) -> Path:
    return tmp / backend("build_wheel", source, tmp, **env)


def files_of(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def install(wheel: Path, where: Path) -> Path:
    """An environment with nothing in it but the wheel."""
    venv.create(where, symlinks=True, with_pip=False)
    run(
        *(sys.executable, "-m", "pip", "--python", where / "bin" / "python"),
        *("install", "--quiet", "--no-index", "--no-deps", wheel),
        cwd=where,
    )
    return where


def run_installed(
    where: Path,
    program: str,
    *arguments: str | Path,
    cwd: Path | None = None,
    timeout: float = 100,
    env: Mapping[str, str] = _NOTHING,
) -> str:
    """Its dependencies come from here: nothing is fetched. (A .pth file in PYTHONPATH does
    nothing, so the editable wakeful that is installed here is not seen.)"""
    dependencies = sysconfig.get_path("purelib")
    return run(
        where / "bin" / program,
        *arguments,
        cwd=cwd or where,
        timeout=timeout,
        env={"PYTHONPATH": dependencies, **env},
    )
