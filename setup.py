"""Compiles the path of a request, from the same source, where that can be done.

WAKEFUL_COMPILE=0 leaves the source as it is, and 1 insists. All that a build is otherwise made
of is in pyproject.toml; why, and what it brings, is in docs/decisions/0006-compiled-on-demand.md.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from setuptools import setup

if TYPE_CHECKING:
    from setuptools import Extension

SETTING = "WAKEFUL_COMPILE"

# The modules in which a request spends its time. The others of proxy/ are called too seldom
# to pay for it.
COMPILED = (
    "wakeful/metrics.py",
    "wakeful/proxy/access.py",
    "wakeful/proxy/access_format.py",
    "wakeful/proxy/balancer.py",
    "wakeful/proxy/breaker.py",
    "wakeful/proxy/chunked.py",
    "wakeful/proxy/counters.py",
    "wakeful/proxy/downstream.py",
    "wakeful/proxy/exchange.py",
    "wakeful/proxy/framing.py",
    "wakeful/proxy/grammar.py",
    "wakeful/proxy/headers.py",
    "wakeful/proxy/identities.py",
    "wakeful/proxy/known.py",
    "wakeful/proxy/limits.py",
    "wakeful/proxy/pool.py",
    "wakeful/proxy/request_body.py",
    "wakeful/proxy/request_head.py",
    "wakeful/proxy/response_body.py",
    "wakeful/proxy/retry.py",
    "wakeful/proxy/router.py",
    "wakeful/proxy/server.py",
    "wakeful/proxy/stats.py",
    "wakeful/proxy/throttler.py",
    "wakeful/proxy/unusual.py",
    "wakeful/proxy/upstream.py",
    "wakeful/proxy/wire_form.py",
)


# With the next minor version the same source may be refused.
COMPILER = "mypy==2.4.*"


def main() -> None:
    wanted = is_wanted()
    if wanted and "editable_wheel" in sys.argv:
        sys.exit(f"an editable install runs the source as it is: unset {SETTING}")
    building = "bdist_wheel" in sys.argv
    compiles = can_compile() if wanted is None else wanted
    if building and wanted is None and find_spec("mypyc") is None:
        compiles = False  # a build without isolation has what its environment has
    setup(
        # Asked for before a build, and then had from wherever packages come from.
        setup_requires=[COMPILER] if compiles else [],
        ext_modules=extensions() if compiles and building else [],
    )


def is_wanted() -> bool | None:
    """None: nobody has said."""
    value = os.environ.get(SETTING, "")
    if value not in ("", "0", "1"):
        sys.exit(f"{SETTING} is 1 (compile) or 0 (do not), not {value!r}")
    return None if value == "" else value == "1"


def can_compile() -> bool:
    """Whether there are a C compiler and the headers of this Python."""
    # As setuptools chooses it.
    command = (os.environ.get("CC") or str(sysconfig.get_config_var("CC") or "cc")).split()
    headers = sysconfig.get_path("include")
    try:
        tried = subprocess.run(
            [*command, "-fsyntax-only", "-x", "c", "-", f"-I{headers}"],
            input=b"#include <Python.h>\n",
            capture_output=True,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return tried.returncode == 0


def extensions() -> list[Extension]:
    from mypyc.build import mypycify

    link_layers()
    # The library that they share is a module too: inside the package, like all of them.
    return mypycify(list(COMPILED), group_name="wakeful.proxy")


def link_layers() -> None:
    """A module's name is read off its path; sdists come without links, archives with files."""
    project = tomllib.loads(Path("pyproject.toml").read_text())
    for package, folder in project["tool"]["setuptools"]["package-dir"].items():
        link = Path(*package.split("."))
        if not link.is_dir():
            link.unlink(missing_ok=True)
            link.symlink_to(f"../{folder}")


if __name__ == "__main__":
    main()
