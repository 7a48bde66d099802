"""The import contracts of pyproject.toml catch what they are there to catch."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINTER = Path(sysconfig.get_path("scripts")) / "lint-imports"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of everything that is linted."""
    for folder in ("wakeful", "config", "proxy", "runtime", "scaler"):
        shutil.copytree(
            ROOT / folder,
            tmp_path / folder,
            symlinks=True,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint(checkout: Path) -> tuple[int, str]:
    done = subprocess.run(
        [LINTER, "--no-cache", "--no-logo"], cwd=checkout, capture_output=True, text=True
    )
    return done.returncode, done.stdout + done.stderr


def plant(checkout: Path, file: str, statement: str) -> None:
    path = checkout / file
    path.write_text(path.read_text() + f"\n{statement}\n")


def test_the_checkout_keeps_its_contracts(checkout: Path) -> None:
    assert lint(checkout)[0] == 0


@pytest.mark.parametrize(
    ("file", "statement", "complaint"),
    [
        (
            "proxy/traffic.py",
            "import wakeful.scaler.plan",
            "wakeful.proxy is not allowed to import wakeful.scaler",
        ),
        (
            "scaler/plan.py",
            "import wakeful.proxy.breaker",
            "wakeful.scaler is not allowed to import wakeful.proxy",
        ),
        (
            "runtime/probe.py",
            "from wakeful.scaler import autoscaler",
            "wakeful.runtime is not allowed to import wakeful.scaler",
        ),
        (
            "config/load.py",
            "from wakeful.runtime import instance",
            "wakeful.config is not allowed to import wakeful.runtime",
        ),
        (
            "wakeful/events.py",
            "from wakeful.config import model",
            "wakeful.events is not allowed to import wakeful.config",
        ),
        (
            "proxy/server.py",
            "from wakeful import app",
            "wakeful.proxy is not allowed to import wakeful.app",
        ),
        (
            "wakeful/app.py",
            "from wakeful import serve",
            "wakeful.app is not allowed to import wakeful.serve",
        ),
        (
            "wakeful/serve.py",
            "from wakeful import cli",
            "wakeful.serve is not allowed to import wakeful.cli",
        ),
    ],
)
def test_an_import_against_the_order_of_the_layers_is_caught(
    checkout: Path, file: str, statement: str, complaint: str
) -> None:
    plant(checkout, file, statement)
    status, said = lint(checkout)
    assert status == 1
    assert complaint in said


@pytest.mark.parametrize(
    ("file", "statement", "complaint"),
    [
        (
            "scaler/decider.py",
            "from time import monotonic",
            "wakeful.scaler.decider is not allowed to import time",
        ),
        (
            "proxy/breaker.py",
            "import asyncio",
            "wakeful.proxy.breaker is not allowed to import asyncio",
        ),
        (
            "config/model.py",
            "from random import random",
            "wakeful.config.model is not allowed to import random",
        ),
        (
            "runtime/instance.py",
            "import docker.errors",
            "wakeful.runtime.instance is not allowed to import docker",
        ),
        # through another module of ours
        (
            "runtime/backoff.py",
            "from wakeful.runtime import probe",
            "wakeful.runtime.backoff is not allowed to import socket",
        ),
    ],
)
def test_a_decision_that_reaches_outside_is_caught(
    checkout: Path, file: str, statement: str, complaint: str
) -> None:
    plant(checkout, file, statement)
    status, said = lint(checkout)
    assert status == 1
    assert complaint in said


def test_a_module_that_belongs_to_no_layer_is_caught(checkout: Path) -> None:
    (checkout / "wakeful" / "helpers.py").touch()
    status, said = lint(checkout)
    assert status == 1
    assert "helpers" in said
