"""What wakeful shows of itself: health, readiness, metrics, and a line for each request."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.conftest import Launch
from tests.e2e.harness import Platform, until

# The names that dashboards and other checks rely on.
CONTRACT = {
    "http_server_request_duration_seconds_bucket",
    "http_server_request_duration_seconds_count",
    "http_server_request_duration_seconds_sum",
    "kn_revision_concurrency_panic",
    "kn_revision_concurrency_stable",
    "kn_revision_concurrency_target",
    "kn_revision_panic_mode",
    "kn_revision_pods_count",
    "kn_revision_pods_desired",
    "kn_revision_request_concurrency",
    "kn_revision_request_queued",
    "wakeful_build_info",
    "wakeful_cold_start_duration_seconds_count",
    "wakeful_cold_starts_total",
    "wakeful_instance_start_phase_seconds_count",
    "wakeful_instance_start_phase_seconds_sum",
    "wakeful_instances",
    "wakeful_requests_rejected_total",
    "process_resident_memory_bytes",
}
OF_A_REVISION = {"kn_service_name": "hello", "kn_revision_name": "hello-00001"}


def test_the_admin_listener_has_the_metrics_that_the_contract_names(
    processes: Platform, launch: Launch
) -> None:
    wakeful = launch({"hello": processes.service(), "other": processes.service()})
    assert wakeful.ask("/healthz") == (200, "ok\n")
    assert wakeful.ask("/readyz") == (200, "ready\n")
    for _ in range(3):
        assert wakeful.get("hello").status == 200
    assert wakeful.get("nobody.example.com").status == 404

    metrics = wakeful.metrics()
    assert set(metrics) >= CONTRACT
    for name in CONTRACT:
        if name.startswith("kn_revision_"):
            assert any(labels == OF_A_REVISION for labels, _ in metrics[name]), name
    (answered,) = metrics["http_server_request_duration_seconds_count"]
    assert answered == (
        OF_A_REVISION | {"http_request_method": "GET", "http_response_status_code": "200"},
        3.0,
    )
    assert wakeful.metric("kn_revision_pods_count", "hello") == 1
    assert wakeful.metric("kn_revision_pods_count", "other") == 0
    assert wakeful.metric("wakeful_cold_starts_total", "hello") == 1
    assert wakeful.metric("wakeful_instances", "hello", state="ready") == 1
    assert wakeful.metric("wakeful_requests_rejected_total", reason="no_route") == 1
    assert wakeful.metric("wakeful_cold_start_duration_seconds_count", "hello") == 1
    assert wakeful.metric("wakeful_instance_starts_waiting") == 0
    phases = metrics["wakeful_instance_start_phase_seconds_count"]
    assert [(labels["phase"], count) for labels, count in phases] == [
        ("queued", 1),
        ("start", 1),
        ("listening", 1),
        ("first_byte", 1),
    ]


def test_each_rejection_is_counted_by_its_reason(processes: Platform, launch: Launch) -> None:
    full = processes.service("never-listen", queue={"limit": 1, "timeout": "5s"}, stop_grace="1s")
    wakeful = launch({"full": full})
    waiting = wakeful.connect("full", "GET /")
    until(lambda: wakeful.metric("kn_revision_request_queued", "full") == 1, "one that waits")
    refused = wakeful.get("full")
    assert (refused.status, refused.reason) == (503, "queue_full")
    assert int(refused.headers["retry-after"]) >= 1
    assert wakeful.metric("wakeful_requests_rejected_total", "full", reason="queue_full") == 1
    late = ("wakeful_requests_rejected_total", "full")
    until(lambda: wakeful.metric(*late, reason="cold_start_timeout") == 1, "the other one late")
    waiting.close()


COMMON = (
    r'127\.0\.0\.1 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d \+0000\] "GET /a\?b=c HTTP/1\.1" 200 \d+'
)


@pytest.mark.parametrize(
    ("form", "pattern"),
    [("common", COMMON), ("combined", COMMON + r' "http://from\.here/" "a \\x22browser\\x22"')],
)
def test_the_access_log_in_the_forms_of_apache(
    form: str, pattern: str, processes: Platform, launch: Launch, tmp_path: Path
) -> None:
    file = tmp_path / "requests.log"
    wakeful = launch(
        {"hello": processes.service()}, **{"access-log": {"format": form, "file": str(file)}}
    )
    fields = {"Referer": "http://from.here/", "User-Agent": 'a "browser"'}
    assert wakeful.get("hello", "/a?b=c", headers=fields).status == 200
    (line,) = until(lambda: file.read_text().splitlines(), "a line")
    assert re.fullmatch(pattern, line), line
    assert wakeful.access_log() == []


def test_the_access_log_is_json_on_standard_output_unless_told_otherwise(
    processes: Platform, launch: Launch
) -> None:
    wakeful = launch({"hello": processes.service()})
    report = wakeful.get("hello", "/", headers={"X-Request-Id": "mine"}).json()
    wakeful.get("hello")
    wakeful.get("nobody.example.com", "/?q=%22")
    until(lambda: len(wakeful.access_log()) == 3, "three lines")
    cold, warm, stray = (json.loads(line) for line in wakeful.access_log())
    assert cold["cold_start"] is True
    assert cold["request_id"] == "mine"
    assert (cold["service"], cold["revision"]) == ("hello", report["revision"])
    assert (cold["status"], cold["method"], cold["uri"]) == (200, "GET", "/")
    assert cold["duration"] * 1000 > cold["queue_ms"] > 0
    assert "cold_start" not in warm
    assert warm["instance"] == cold["instance"]
    assert (stray["status"], stray["reason"]) == (404, "no_route")
    assert (stray["host"], stray["uri"]) == ("nobody.example.com", "/?q=%22")


def in_text(what: str, file: Path) -> bool:
    return what in file.read_text()


def test_the_access_log_can_be_off_and_a_file_follows_its_rotation(
    processes: Platform, launch: Launch, tmp_path: Path
) -> None:
    off = launch({"hello": processes.service()}, **{"access-log": "off"})
    file = tmp_path / "requests.log"
    on = launch({"hello": processes.service()}, **{"access-log": {"file": str(file)}})
    assert on.get("hello").status == off.get("hello").status == 200
    until(lambda: len(file.read_text().splitlines()) == 1, "a line")
    for path in ("/after", "/whatever-the-configuration-says"):
        file.rename(tmp_path / "old.log")
        on.reload()
        assert on.get("hello", path).status == 200
        until(file.exists, "a new file")
        until(partial(in_text, path, file), "a line in it")
        assert path not in (tmp_path / "old.log").read_text()
        on.file.write_text("services: none\n")  # cannot be taken up
    off.stop()
    assert off.access_log() == []
