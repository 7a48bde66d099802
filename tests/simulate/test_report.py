"""What is told of a simulation, as a table, as JSON and as a picture."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree

import pytest

from wakeful.simulate.course import Course, Ledger
from wakeful.simulate.report import Outcome, Report, as_json, span, text
from wakeful.simulate.timeline import draw

SVG = "{http://www.w3.org/2000/svg}"


def course(
    service: str,
    lives: list[tuple[float, float]],
    waits: list[float],
    spares: tuple[tuple[float, float], ...] = (),
) -> Course:
    ledger = Ledger(service)
    for wait in waits:
        ledger.requests += 1
        ledger.answered += 1
        ledger.admit(wait, wait > 0)
    ledger.sample(1.0, 7.5, waiting=3)
    for _ in range(2):
        ledger.requests += 1
        ledger.reject("queue_full")
    ledger.ready.set(10.0, 4)
    ledger.ready.set(50.0, 0)
    ledger.desired.set(9.0, 8)
    ledger.desired.set(50.0, 0)
    return ledger.course(100.0, lives, spares)


def report(*outcomes: Outcome, remarks: tuple[str, ...] = ()) -> Report:
    return Report("made up", (0.4,), "as given", remarks, outcomes)


ONE = Outcome(
    "as configured",
    {},
    [
        course("a", [(0.0, 50.0), (10.0, 30.0)], [0.0, 0.0, 0.4], spares=((40.0, 50.0),)),
        course("b", [(20.0, 1500.0)], [2.0] * 5),
    ],
)
OTHER = Outcome(
    "a.x=1 & <more>",
    {"services.a.x": "1"},
    [course("a", [], [0.0]), course("b", [], [])],
)


def test_the_table_has_a_block_for_each_service_the_busiest_first_and_their_sum() -> None:
    lines = text(report(ONE, OTHER)).splitlines()
    assert lines[:2] == ["traffic: made up", "start times: 400ms (as given)"]
    table = [re.split(r"\s{2,}", line.strip()) for line in lines if line and line[-1].isdigit()]
    as_configured = [row[1:] for row in table if row[0] == "as configured"]
    # requests, rejected, cold starts, p50, p95, p99, max, starts, thaws, instance-seconds,
    # spare-seconds, peak
    assert as_configured == [
        ["7", "2", "0", "2.0s", "2.0s", "2.0s", "2.0s", "0", "0", "1,480", "0", "1"],  # b
        ["5", "2", "0", "0", "400ms", "400ms", "400ms", "0", "0", "60", "10", "2"],  # a
        ["12", "4", "0", "2.0s", "2.0s", "2.0s", "2.0s", "0", "0", "1,540", "10", "3"],
    ]
    titles = [line.split()[0] for line in lines if line.endswith("peak")]
    assert titles == ["b", "a", "all"]
    assert lines.count("  rejected, as configured: queue_full 2") == 2
    assert "  rejected, as configured: queue_full 4" in lines


def test_remarks_stand_above_the_table() -> None:
    lines = text(report(ONE, remarks=("3 lines could not be read:", "  x:1: no"))).splitlines()
    assert lines[2:4] == ["note: 3 lines could not be read:", "  x:1: no"]


def test_of_many_services_the_busiest_are_shown() -> None:
    courses = [course(f"s{n:02d}", [], [0.0] * n) for n in range(25)]
    lines = text(report(Outcome("x", {}, courses))).splitlines()
    blocks = [line.split()[0] for line in lines if line.endswith("peak")]
    assert blocks == [*(f"s{n:02d}" for n in range(24, 4, -1)), "all"]
    assert lines[-1] == "(5 more services are in the JSON)"


def test_several_start_times_are_summed_up() -> None:
    made = Report("x", (0.5, 0.25, 2.0), "of 3 cold starts in the log", (), [ONE])
    assert "start times: 250ms to 2.0s, median 500ms (of 3 cold starts in the log)" in text(made)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0"), (0.0004, "0ms"), (0.3904, "390ms"), (5.25, "5.2s"), (300, "300s")],
)
def test_times_are_short(seconds: float, shown: str) -> None:
    assert span(seconds) == shown


def test_the_json_has_every_figure_and_the_curves() -> None:
    made = json.loads(json.dumps(as_json(report(ONE, OTHER, remarks=("x",)))))
    assert made["start_times"] == {"seconds": [0.4], "source": "as given"}
    assert made["remarks"] == ["x"]
    one, other = made["settings"]
    assert (other["name"], other["set"]) == ("a.x=1 & <more>", {"services.a.x": "1"})
    a = one["services"]["a"]
    curves = a.pop("timeline")
    assert a == {
        "requests": 5,
        "answered": 3,
        "rejected": {"queue_full": 2},
        "wait_seconds": {"p50": 0.0, "p95": 0.4, "p99": 0.4, "max": 0.4},
        "cold_starts": 0,
        "cold_requests": 1,
        "starts": 0,
        "starts_failed": 0,
        "thaws": 0,
        "instance_seconds": 60.0,
        "spare_seconds": 10.0,
        "peak_instances": 2,
    }
    assert curves["step_seconds"] == pytest.approx(100 / 600)
    names = ("demand", "queue", "desired", "ready", "instances", "spares")
    assert [max(curves[name]) for name in names] == [7.5, 3, 8, 4, 2, 1]
    assert one["total"]["requests"] == 12
    assert one["total"]["peak_instances"] == 3


# The picture


def panels(svg: str) -> list[ElementTree.Element]:
    return ElementTree.fromstring(svg).findall(f"{SVG}g[@class='panel']")


def path(panel: ElementTree.Element, name: str) -> str:
    (found,) = panel.findall(f"{SVG}path[@class='{name}']")
    return found.attrib["d"]


def heights(drawn: str) -> set[float]:
    """Every height that a path made of H and V goes along."""
    return {float(y) for y in re.findall(r"(?:V|M[\d.]+ )([\d.]+)", drawn)}


def test_the_picture_has_a_panel_for_each_service_and_setting() -> None:
    found = panels(draw(report(ONE, OTHER)))
    titles = ["".join(next(iter(panel)).itertext()) for panel in found]
    assert titles == [
        "b: as configured",
        "b: a.x=1 & <more>",
        "a: as configured",
        "a: a.x=1 & <more>",
    ]
    for panel in found:
        assert {p.attrib["class"] for p in panel.iter(f"{SVG}path")} == {
            "demand", "queue", "ready", "spares", "desired",
        }  # fmt: skip


def test_curves_are_as_high_as_what_they_show_is_large() -> None:
    panel = panels(draw(report(ONE)))[1]
    lines = sorted({float(one.attrib["y1"]) for one in panel.iter(f"{SVG}line")})
    top, base = lines[0], lines[1]  # of the requests
    demand = heights(path(panel, "demand"))
    assert (min(demand), max(demand)) == (top, base)  # 7.5 is the most, and nothing
    queue = sorted(heights(path(panel, "queue")))
    assert queue == pytest.approx([base - (base - top) * 3 / 7.5, base], abs=0.06)
    top, base = lines[2], lines[3]  # of the instances
    assert heights(path(panel, "desired")) == {top, base}
    assert heights(path(panel, "ready")) == {base, (top + base) / 2}  # 4 of 8
    one = (base - top) / 8
    assert sorted(heights(path(panel, "spares"))) == pytest.approx(
        [base - 5 * one, base - 4 * one, base]
    )


def test_curves_change_when_what_they_show_does() -> None:
    panel = panels(draw(report(ONE)))[1]
    left, right = (float(next(panel.iter(f"{SVG}line")).attrib[x]) for x in ("x1", "x2"))
    turns = [float(x) for x in re.findall(r"H([\d.]+)", path(panel, "ready"))]
    at = [(x - left) / (right - left) * 100 for x in turns]
    assert at == pytest.approx([10, 50, 100], abs=0.2)


def test_a_picture_of_nothing_but_rest_can_be_drawn() -> None:
    quiet = Outcome("x", {}, [Ledger("a").course(5.0, [])])
    (panel,) = panels(draw(report(quiet)))
    assert len(heights(path(panel, "demand"))) == 1


def test_of_many_services_the_picture_shows_the_busiest_and_says_so() -> None:
    courses = [course(f"s{n}", [], [0.0] * n) for n in range(9)]
    svg = draw(report(Outcome("x", {}, courses)))
    assert len(panels(svg)) == 6
    assert "the 6 busiest of 9 services" in svg
