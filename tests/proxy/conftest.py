from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.proxy.harness import Harness
from wakeful.proxy import server

Launch = Callable[..., Harness]


@pytest.fixture
def launch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Launch]:
    """Starts data planes; each must be empty when the test is over."""
    # Tests move the clock; only how soon that is noticed depends on real time.
    monkeypatch.setattr(server, "_SWEEP_SECONDS", 0.01)
    started: list[Harness] = []

    def launch(**settings: Any) -> Harness:
        started.append(Harness(**settings))
        return started[-1]

    yield launch
    for harness in started:
        harness.close()


@pytest.fixture
def harness(launch: Launch) -> Harness:
    return launch()


@pytest.fixture(autouse=True, scope="package")
def frozen() -> Iterator[None]:
    """Each test ends with a collection, which need not go through all that was imported."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
