from __future__ import annotations

from typing import Any

from wakeful.runtime.pull_progress import PullProgress


def line(layer: str, status: str, current: int = 0, total: int = 0) -> dict[str, Any]:
    detail = {"current": current, "total": total} if total else {}
    return {"id": layer, "status": status, "progressDetail": detail}


def test_layers_are_counted_and_bytes_once_they_are_known() -> None:
    progress = PullProgress()
    assert str(progress) == "nothing to load"
    progress.feed({"status": "Pulling from library/x", "id": "latest"})
    progress.feed({"status": "Digest: sha256:1234"})
    for layer in ("a", "b", "c"):
        progress.feed(line(layer, "Pulling fs layer"))
    progress.feed(line("d", "Already exists"))
    assert str(progress) == "1 of 4 layers"
    progress.feed(line("a", "Downloading", 500_000, 2_000_000))
    progress.feed(line("b", "Downloading", 1_000_000, 10_000_000))
    assert str(progress) == "1 of 4 layers, 1.5 of 12.0 MB so far"
    progress.feed(line("a", "Verifying Checksum"))
    progress.feed(line("b", "Downloading", 4_000_000, 10_000_000))
    assert str(progress) == "1 of 4 layers, 6.0 of 12.0 MB so far"


def test_what_is_unpacked_does_not_count_as_loaded_again() -> None:
    progress = PullProgress()
    progress.feed(line("a", "Downloading", 1_000_000, 2_000_000))
    progress.feed(line("a", "Download complete"))
    progress.feed(line("a", "Extracting", 100, 7_000_000))
    assert str(progress) == "0 of 1 layers, 2.0 of 2.0 MB so far"
    progress.feed(line("a", "Pull complete"))
    assert str(progress) == "1 of 1 layers, 2.0 of 2.0 MB so far"


def test_a_download_of_unknown_size_is_a_layer_all_the_same() -> None:
    progress = PullProgress()
    progress.feed({"id": "a", "status": "Downloading", "progressDetail": {"current": 5}})
    assert str(progress) == "0 of 1 layers"
