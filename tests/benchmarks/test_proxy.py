"""The proxy benchmark run for real, with whatever proxies this machine has."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from benchmarks.machine import Machine
from benchmarks.proxy_report import Figures, Report, Round, Settings
from tests.benchmarks.program import processes_of, run, start

nginx_needed = pytest.mark.skipif(
    shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin") is None,
    reason="nginx is not installed",
)


def figures_of(folder: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    file = folder / "figures.json"
    done = run(folder, "proxy", "--quick", "--json", str(file), *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    figures: dict[str, Any] = json.loads(file.read_text())
    return figures, done.stdout


@nginx_needed
def test_a_quick_run_measures_wakeful_and_every_proxy_that_is_found(tmp_path: Path) -> None:
    figures, text = figures_of(tmp_path)

    peers = figures["peers"]
    assert {"(no proxy)", "wakeful", "nginx"} <= peers.keys()
    assert figures["failed"] == {}
    for name, peer in peers.items():
        assert peer["errors"] == 0
        assert len(peer["rounds"]) == 1
        assert peer["rps"] > 0
        assert 0 < peer["p50_ms"] <= peer["p99_ms"]
        assert peer["to_nginx"]["rps"] > 0
        if name != "(no proxy)":
            assert peer["cpu_us"] > 0
            assert peer["rss_mb"] > 1
            assert peer["to_nginx"]["cpu_us"] > 0
        assert name in text
    assert peers["nginx"]["to_nginx"] == dict.fromkeys(peers["nginx"]["to_nginx"], 1.0)
    assert peers["(no proxy)"]["cpu_us"] is None
    assert set(figures["machine"]) >= {"cpu", "cores", "kernel", "load_average", "commit", "dirty"}


def test_large_responses_can_be_measured_and_nothing_is_left_behind(tmp_path: Path) -> None:
    figures, _ = figures_of(tmp_path, "--peers", "wakeful", "--size", "1000000", "--no-pin")

    assert figures["settings"]["size"] == 1_000_000
    assert figures["peers"]["wakeful"]["errors"] == 0
    assert figures["peers"]["wakeful"]["to_nginx"]["rps"] is None
    assert processes_of(tmp_path) == {}
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_everything_that_it_started(
    tmp_path: Path, signum: signal.Signals
) -> None:
    benchmark = start(tmp_path, "proxy", "--peers", "wakeful", "--seconds", "60", "--rounds", "1")
    try:
        while not any("wakeful run" in command for command in processes_of(tmp_path).values()):
            assert benchmark.poll() is None
        benchmark.send_signal(signum)

        assert benchmark.wait(timeout=60) != 0
    finally:
        benchmark.kill()
        benchmark.wait()
    assert processes_of(tmp_path) == {}
    assert list(tmp_path.iterdir()) == []


def test_a_proxy_that_does_not_start_is_reported_and_the_others_are_measured(
    tmp_path: Path,
) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho it is broken\nexit 3\n")
    broken.chmod(0o755)
    done = run(
        tmp_path, "proxy", "--quick", "--peers", "wakeful,envoy", "--binary", f"envoy={broken}"
    )

    assert done.returncode == 1
    assert "envoy was not measured" in done.stdout
    assert "it is broken" in done.stdout
    assert "wakeful: " in done.stdout


def test_a_proxy_that_was_asked_for_and_is_not_there_cannot_be_measured(tmp_path: Path) -> None:
    done = run(tmp_path, "proxy", "--quick", "--peers", "wakeful", "--binary", "wakeful=/no/such")

    assert done.returncode == 1
    assert done.stderr.startswith("Cannot measure: ")
    assert "/no/such" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["proxy", "--peers", "nobody"],
        ["proxy", "--binary", "nginx"],
        ["proxy", "--rounds", "0"],
        ["coldstart", "--runtime", "moon"],
        ["nonsense"],
    ],
)
def test_what_cannot_be_asked_for_is_a_usage_error(tmp_path: Path, arguments: list[str]) -> None:
    done = run(tmp_path, *arguments)

    assert done.returncode == 2
    assert done.stderr.startswith("Usage: ")


def test_without_arguments_it_lists_what_there_is(tmp_path: Path) -> None:
    done = run(tmp_path)

    assert done.returncode == 0
    assert [name for name in ("proxy", "coldstart", "replay") if f"\n  {name} " in done.stdout] == [
        "proxy",
        "coldstart",
        "replay",
    ]


def test_a_ratio_is_the_median_of_the_ratios_of_each_round() -> None:
    # A machine that gets three times slower must not make a peer look slower.
    report = Report(
        Machine("cpu", 2, 1.0, "Linux", "3", (0, 0, 0), "0", None, None),
        Settings(),
        (0, 1),
        load="",
        backend="",
        peers={"wakeful": rounds(20, 60, 60), "nginx": rounds(10, 20, 30)},
    )

    assert report.peers["wakeful"].typical("cpu_us") == 60
    assert report.peers["wakeful"].to(report.peers["nginx"], "cpu_us") == 2.0


def rounds(*cpu_us: float) -> Figures:
    return Figures("1", [Round(1, 1.0, cpu, 1.0, 1.0, 1.0, 0) for cpu in cpu_us])
