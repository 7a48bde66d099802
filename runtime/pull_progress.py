"""How far a pull has come, from what the engine says of each layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# What the engine calls a layer that needs nothing more (Engine API, "Create an image").
_DONE = frozenset({"Pull complete", "Already exists"})
_LAYER = _DONE | {
    *("Pulling fs layer", "Waiting", "Downloading", "Verifying Checksum", "Download complete"),
    "Extracting",
}


@dataclass(slots=True)
class PullProgress:
    """Fed with the lines of one pull."""

    _done: dict[str, bool] = field(default_factory=dict)  # by layer
    _loaded: dict[str, int] = field(default_factory=dict)  # bytes of a layer
    _sizes: dict[str, int] = field(default_factory=dict)  # known when its download has begun

    def feed(self, line: Mapping[str, Any]) -> None:
        layer, status = line.get("id"), line.get("status")
        if not layer or status not in _LAYER:
            return
        self._done[layer] = status in _DONE
        detail = line.get("progressDetail") or {}
        if status == "Downloading" and "total" in detail:
            self._sizes[layer] = detail["total"]
            self._loaded[layer] = detail.get("current", 0)
        elif status != "Downloading" and layer in self._sizes:
            self._loaded[layer] = self._sizes[layer]

    def __str__(self) -> str:
        if not self._done:
            return "nothing to load"
        layers = f"{sum(self._done.values())} of {len(self._done)} layers"
        if not self._sizes:
            return layers
        loaded, size = sum(self._loaded.values()) / 1e6, sum(self._sizes.values()) / 1e6
        return f"{layers}, {loaded:.1f} of {size:.1f} MB so far"
