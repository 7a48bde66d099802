"""Data planes as the tests of the proxy start them."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tests.proxy.conftest import Launch, harness, launch

__all__ = ["Launch", "harness", "launch"]


@pytest.fixture(autouse=True, scope="package")
def frozen() -> Iterator[None]:
    """Each test ends with a collection, which need not go through all that was imported."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
