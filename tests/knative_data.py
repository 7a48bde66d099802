"""Golden data recorded from Knative's own code, for whichever test replays it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.knative_trace import is_trace, load
from benchmarks.knative_vectors import every, label
from benchmarks.replay_knative import trace_files

OURS = Path(__file__).parent / "data" / "knative"
directory = OURS  # or another of the same shape: --knative-data DIR, set before collection


def every_vector() -> list[dict[str, Any]]:
    """The recorded inputs and outputs of single parts; none if the folder has none."""
    file = directory / "vectors.json"
    return [dict(vector) for vector in every(load(file))] if file.exists() else []


def vectors(component: str) -> list[dict[str, Any]]:
    return [vector for vector in every_vector() if vector["component"] == component]


def vector_params(component: str) -> list[Any]:
    """The same for ``pytest.mark.parametrize``, each named after the test it comes from."""
    return [pytest.param(vector, id=label(vector)) for vector in vectors(component)]


def traces() -> list[Path]:
    return [path for path in trace_files(directory) if is_trace(load(path))]
