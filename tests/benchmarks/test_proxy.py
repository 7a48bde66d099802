"""The proxy benchmark run for real, with whatever proxies this machine has."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from benchmarks.children import CannotMeasure
from benchmarks.peers import COMPILED
from benchmarks.proxy import choose, with_compiled
from benchmarks.proxy_bench import _empty
from tests.benchmarks.program import processes_of, run, start
from tests.test_compiled import cannot_compile

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
    svg = tmp_path / "cpu.svg"
    figures, text = figures_of(tmp_path, "--only", "small", "--svg", str(svg))

    peers = figures["peers"]
    assert {"(no proxy)", "wakeful", "nginx"} <= peers.keys()
    assert {"wakeful, access log", "wakeful, 10,000 services"} <= peers.keys()
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
            assert peer["to_wakeful"]["cpu_us"] > 0
        assert name in text
    assert peers["nginx"]["to_nginx"] == dict.fromkeys(peers["nginx"]["to_nginx"], 1.0)
    assert peers["(no proxy)"]["cpu_us"] is None
    assert set(figures["machine"]) >= {"cpu", "cores", "kernel", "load_average", "commit", "dirty"}
    assert svg.read_text().count('class="bar"') == len(peers) - 1
    assert {path.name for path in tmp_path.iterdir()} == {"figures.json", "cpu.svg"}


@nginx_needed
def test_bodies_and_idle_connections_are_measured_and_nothing_is_left_behind(
    tmp_path: Path,
) -> None:
    figures, text = figures_of(
        tmp_path, "--only", "large,idle", "--peers", "wakeful,nginx", "--idle", "50", "--no-pin"
    )

    assert figures["failed"] == {}
    assert figures["peers"] == figures["varied"] == {}
    assert figures["settings"]["large"] == 1_000_000
    for direction in ("download", "upload"):
        rows = figures[direction]
        assert list(rows) == ["(no proxy)", "wakeful", "nginx", "nginx, 64 KB buffers"]
        for row in rows.values():
            assert row["errors"] == 0
            assert row["mb_s"] > 0
        assert rows["wakeful"]["to_nginx"]["cpu_us_mb"] > 0
        assert rows["wakeful"]["to_nginx_64k"]["cpu_us_mb"] > 0
    assert list(figures["idle"]) == ["wakeful", "nginx"]
    for held in figures["idle"].values():
        assert held["connections"] == 50
        assert held["rss_with"] >= held["rss_before"] > 1_000_000
    assert "50 idle connections" in text
    assert processes_of(tmp_path) == {}
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"]


def test_requests_that_all_differ_are_measured_beside_those_that_do_not(tmp_path: Path) -> None:
    figures, text = figures_of(tmp_path, "--only", "varied", "--peers", "wakeful", "--size", "5000")

    assert figures["settings"]["size"] == 5000
    assert figures["varied"]["wakeful"]["errors"] == 0
    assert figures["varied"]["wakeful"]["cpu_us"] > 0
    assert "to_nginx" not in figures["varied"]["wakeful"]
    assert "no two requests alike" in text


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_everything_that_it_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, signum: signal.Signals
) -> None:
    monkeypatch.setenv("WAKEFUL_COMPILE", "0")  # which would take longer than all that is tested
    benchmark = start(tmp_path, "proxy", "--peers", "wakeful", "--seconds", "60", "--rounds", "1")
    try:
        while not any("wakeful run" in command for command in processes_of(tmp_path).values()):
            assert benchmark.poll() is None
            time.sleep(0.05)
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
        tmp_path,
        *("proxy", "--quick", "--only", "small"),
        *("--peers", "wakeful,envoy", "--binary", f"envoy={broken}"),
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
        ["proxy", "--only", "small,sleep"],
        ["proxy", "--only", "idle", "--svg", "x.svg"],
        ["proxy", "--peers", "wakeful", "--svg", "x.svg"],
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


def test_a_program_that_is_a_link_is_not_taken_for_where_it_leads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a virtual environment's Python, which finds its packages by where the link is.
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    monkeypatch.chdir(tmp_path)

    assert choose("wakeful", ["wakeful=bin/python"]) == {"wakeful": str(python)}


def test_a_compiled_wakeful_is_measured_right_behind_the_source() -> None:
    chosen = choose("wakeful", ["wakeful, compiled=/there/bin/python"])

    assert list(chosen.items())[1:] == [("wakeful, compiled", "/there/bin/python")]
    assert list(chosen) == ["wakeful", "wakeful, compiled"]


def test_it_compiles_what_is_in_the_checkout_by_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if reason := cannot_compile():
        pytest.skip(reason)
    with ExitStack() as stack:
        programs = with_compiled({"wakeful": sys.executable, "nginx": "nginx"}, stack)
        assert list(programs) == ["wakeful", "wakeful, compiled", "nginx"]
        python = programs["wakeful, compiled"]
        asked = subprocess.run(
            [python, *COMPILED.ask_version], cwd=tmp_path, capture_output=True, text=True
        )
        assert asked.stdout.endswith("(compiled)\n"), asked.stderr
    assert not Path(python).exists()

    monkeypatch.setenv("CC", str(tmp_path / "no-compiler"))
    with ExitStack() as stack:
        assert list(with_compiled({"wakeful": sys.executable}, stack)) == ["wakeful"]


def test_a_source_is_not_taken_for_what_was_compiled_of_it(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        *("proxy", "--quick", "--only", "small", "--peers", "wakeful"),
        *("--binary", f"wakeful, compiled={sys.executable}"),
    )

    assert done.returncode == 1
    assert "wakeful, compiled was not measured" in done.stdout
    assert f"{sys.executable} does not say (compiled)" in done.stdout


def test_an_access_log_in_which_nothing_is_was_not_on(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_text("a line\n")

    _empty(log)

    assert log.read_text() == ""
    with pytest.raises(CannotMeasure, match="nothing was written"):
        _empty(log)
