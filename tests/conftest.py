"""What every test may rely on."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

# The tests share code (tests.knative_data) and run programs of benchmarks/ as modules.
sys.path.insert(0, str(Path(__file__).parents[1]))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--knative-data",
        type=Path,
        metavar="DIR",
        help="replay the traces and vectors in DIR instead of those in tests/data/knative",
    )


def pytest_report_header() -> str:
    """What is tested: the source, or what was compiled of it."""
    found = find_spec("wakeful.proxy.exchange")
    return f"wakeful: {found.origin if found else 'not found'}"


def pytest_configure(config: pytest.Config) -> None:
    from tests import knative_data

    if directory := config.getoption("--knative-data"):
        knative_data.directory = directory
