"""wakeful as `pip install` makes it where there is a C compiler: in an environment of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.children import CannotMeasure

_CHECKOUT = Path(__file__).parents[1]
_FOLDERS = ("wakeful", "config", "proxy", "runtime", "scaler")
_FILES = ("pyproject.toml", "setup.py", "README.md", "LICENSE")
_ALONE = ("--quiet", "--no-index", "--no-deps")
_COMPILING = 600.0  # seconds at most: half a minute where nothing else runs


@contextmanager
def compiled() -> Iterator[str]:
    """Build what is in the checkout, changes included: the Python that runs it.

    Its dependencies are those of the Python that runs this. Raises CannotMeasure
    where it cannot be compiled.
    """
    with tempfile.TemporaryDirectory(prefix="wakeful-built-") as name:
        folder = Path(name)
        yield _install(_build(_copy(folder / "source"), folder), folder / "environment")


def _copy(source: Path) -> Path:
    for name in _FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(_CHECKOUT / name, source / name, symlinks=True, ignore=ignored)
    for name in _FILES:
        shutil.copy(_CHECKOUT / name, source)
    return source


def _build(source: Path, folder: Path) -> Path:
    _pip("wheel", *_ALONE, "--no-build-isolation", "--wheel-dir", folder, source)
    (wheel,) = folder.glob("*.whl")
    return wheel


def _install(wheel: Path, where: Path) -> str:
    venv.create(where, symlinks=True, with_pip=False)
    python = where / "bin" / "python"
    _pip("--python", python, "install", *_ALONE, wheel)
    # A folder named in a .pth file: the .pth files in it do nothing, so the checkout is not seen.
    packages = sysconfig.get_path("purelib", vars={"base": str(where)})
    Path(packages, "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return str(python)


def _pip(*arguments: str | Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", *arguments],
        env={**os.environ, "WAKEFUL_COMPILE": "1"},
        capture_output=True,
        text=True,
        timeout=_COMPILING,
    )
    if done.returncode:
        raise CannotMeasure(f"wakeful cannot be compiled here: {done.stderr.strip()[-2000:]}")
