"""How rounds become figures, and figures ratios."""

from __future__ import annotations

import pytest

from benchmarks.figures import Figures, Round
from benchmarks.load import Result
from tests.benchmarks.reports import report, row


def test_a_ratio_is_the_median_of_the_ratios_of_each_round() -> None:
    # A machine that gets three times slower must not make a peer look slower.
    ours, nginx = row(20, 60, 60), row(10, 20, 30)

    assert ours.typical("cpu_us") == pytest.approx(60)
    assert ours.to(nginx, "cpu_us") == pytest.approx(2)


def test_there_is_no_ratio_to_what_was_not_measured() -> None:
    assert row(20).to(None, "cpu_us") is None
    assert row(None).to(row(20), "cpu_us") is None
    assert Figures("1").typical("cpu_us") is None


def test_processor_time_is_shared_out_among_requests_and_among_megabytes() -> None:
    seen = Result(1000, 2.0, p50_ms=1.0, p99_ms=2.0, errors=3, bytes=1_000_000_000)

    measured = Round.of(seen, cpu=0.5, rss=13_000_000)

    assert measured == Round(
        requests=1000,
        rps=500,
        cpu_us=500,
        p50_ms=1.0,
        p99_ms=2.0,
        rss_mb=13,
        errors=3,
        mb_s=500,
        cpu_us_mb=500,
    )


def test_the_report_has_every_row_with_its_ratios() -> None:
    whole = report(**{"(no proxy)": row(None, None), "wakeful": row(30, 60), "nginx": row(20, 40)})

    lines = {line.split("  ")[0]: line.split() for line in str(whole).splitlines()}
    rps, cpu, latency = ["1,000", "1.00"], ["45.0", "1.50", "1.00", "-"], ["1.00", "2.00", "1.00"]
    assert lines["wakeful"][1:] == [*rps, *cpu, *latency, "13"]
    assert lines["nginx"][3:6] == ["30.0", "1.00", "0.67"]
    assert lines["(no proxy)"][4:8] == ["-", "-", "-", "-"]

    peers = whole.as_json()["peers"]
    assert isinstance(peers, dict)
    assert peers["wakeful"]["to_nginx"]["cpu_us"] == pytest.approx(1.5)
    assert peers["wakeful"]["to_nginx"]["p99_ms"] == 1.0
    assert peers["nginx"]["to_wakeful"]["cpu_us"] == pytest.approx(2 / 3)
    assert len(peers["nginx"]["rounds"]) == 2


def test_a_variant_is_held_against_what_it_is_a_variant_of() -> None:
    compiled, logging = row(30, 60), row(33, 72)
    whole = report(
        **{
            "wakeful": row(40, 80),
            "wakeful, compiled": compiled,
            "wakeful, compiled, access log": logging,
        }
    )

    lines = {line.split("  ")[0]: line.split() for line in str(whole).splitlines()}
    assert lines["wakeful, compiled, access log"][8:10] == ["0.86", "1.15"]
    assert lines["wakeful, compiled"][6:8] == ["0.75", "0.75"]
    peers = whole.as_json()["peers"]
    assert isinstance(peers, dict)
    assert peers["wakeful, compiled, access log"]["to_plain"]["cpu_us"] == pytest.approx(1.15)
    assert "to_plain" not in peers["wakeful"]
