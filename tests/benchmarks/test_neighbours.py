"""A warm service beside others that start: the judgement, and the benchmark on a small scale."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from docker.api.client import APIClient

from benchmarks.children import CannotMeasure
from benchmarks.neighbours import Latencies, Pair, Report, Round
from benchmarks.steady import Sample
from tests.benchmarks.program import processes_of, run
from tests.benchmarks.reports import MACHINE
from tests.integration.conftest import engine

__all__ = ["engine"]


def all_in(milliseconds: float, failed: int = 0) -> Latencies:
    return Latencies([milliseconds] * 100, failed)


def a_round(wakeful: tuple[float, float], nginx: tuple[float, float], failed: int = 0) -> Round:
    """What each takes for every request, undisturbed and while others start."""
    ours = Pair(all_in(wakeful[0]), all_in(wakeful[1], failed))
    return Round(ours, Pair(all_in(nginx[0]), all_in(nginx[1])), 3.0, [2.0, 3.0])


def report(*rounds: Round) -> Report:
    return Report(MACHINE, 1000, 20, "bridge", rounds)


def test_allowed_is_half_as_much_again_and_what_nginx_is_slowed_by() -> None:
    assert report(a_round((2, 6), (1, 4))).allowed == 1.5 * 2 + 3
    assert report(a_round((2, 6), (1, 4))).held
    assert not report(a_round((2, 6.1), (1, 4))).held


def test_an_nginx_that_became_faster_takes_nothing_away() -> None:
    assert report(a_round((2, 3), (4, 1))).allowed == 3
    assert report(a_round((2, 3), (4, 1))).held


def test_the_requests_of_all_rounds_are_judged_together() -> None:
    good, bad = a_round((2, 3), (1, 1)), a_round((2, 90), (1, 1))
    late = Pair(all_in(2), Latencies([3.0] * 99 + [90.0], 0))
    assert report(*[good] * 9, Round(late, good.nginx, 3.0, [3.0])).held
    assert not report(*[good] * 9, bad).held


def test_a_request_that_failed_cannot_be_made_up_for() -> None:
    bad = report(a_round((2, 2), (1, 1), failed=1))
    assert not bad.held
    assert "NOT HELD" in str(bad)
    assert bad.as_json()["held"] is False


def test_the_report_says_how_it_was_judged() -> None:
    text = str(report(a_round((2, 5.5), (1, 4))))
    assert text.endswith(
        "wakeful's p99 while they start: 5.50 ms, "
        "allowed are 6.00: 1.5 x 2.00 and the machine's part, 3.00. held"
    )


def test_latencies_are_those_of_one_port_in_one_stretch_of_time() -> None:
    samples = [
        *[Sample(1, at=5.0, seconds=9.0), Sample(1, at=20.0, seconds=9.0)],
        *[Sample(2, at=10.0 + n, seconds=9.0) for n in range(10)],
        *[Sample(1, at=10.0 + n / 100, seconds=n / 1000) for n in range(1, 101)],
        Sample(1, at=12.0, seconds=None),
    ]
    assert Latencies.of(samples, 1, 10, 20).as_json() == pytest.approx(
        {"requests": 101, "failed": 1, "p50": 50.5, "p99": 99.01, "longest": 100}
    )
    with pytest.raises(CannotMeasure, match="0 of 1 requests"):
        Latencies.of(samples, 1, 12, 12.5)


@pytest.mark.docker
def test_a_warm_service_is_measured_beside_containers_that_start(
    tmp_path: Path, engine: APIClient
) -> None:
    file = tmp_path / "figures.json"
    small = ["--rounds", "1", "--services", "2", "--rate", "100", "--seconds", "0.5"]
    done = run(tmp_path, "neighbours", *small, "--json", str(file))
    assert file.exists(), done.stdout + done.stderr
    figures = json.loads(file.read_text())

    # Whether the bound holds at so low a rate says something of the machine alone.
    assert done.returncode == (0 if figures["held"] else 1)
    (one,) = figures["rounds"]
    assert len(one["starts"]) == 2
    assert 0 < max(one["starts"]) <= one["seconds"]
    for proxy in ("wakeful", "nginx"):
        assert one[proxy]["calm"]["requests"] >= 48  # or more, when it was woken late
        assert one[proxy]["busy"]["requests"] == pytest.approx(100 * one["seconds"], abs=2)
        assert one[proxy]["calm"]["failed"] == one[proxy]["busy"]["failed"] == 0
        for stretch in one[proxy].values():
            assert 0 < stretch["p50"] <= stretch["p99"] <= stretch["longest"]
    assert processes_of(tmp_path) == {}
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"]
