"""What came of the simulations, side by side: a table for people, JSON for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from wakeful.simulate.course import Course, Waits, summed
from wakeful.simulate.curves import curves

PERCENTILES = {"p50": 50, "p95": 95, "p99": 99, "max": 100}
TOTAL = "all services"

_SHOWN_SERVICES = 20
_POINTS = 600  # of a curve in JSON


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of one service, or of several together."""

    requests: int
    answered: int
    rejected: Mapping[str, int]
    wait: Mapping[str, float]  # seconds, by the names of PERCENTILES
    cold_starts: int
    cold_requests: int
    starts: int
    starts_failed: int
    thaws: int
    instance_seconds: float
    spare_seconds: float
    peak_instances: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """One setting, and what came of each service under it."""

    name: str
    changes: Mapping[str, str]  # path -> what was set there
    courses: Sequence[Course]


@dataclass(frozen=True, slots=True)
class Report:
    traffic: str
    start_times: Sequence[float]  # seconds
    start_source: str  # where they are from
    remarks: Sequence[str]
    outcomes: Sequence[Outcome]

    @property
    def services(self) -> list[str]:
        """Those with the most requests first."""
        courses = self.outcomes[0].courses
        return [one.service for one in sorted(courses, key=lambda c: -c.requests)]


def summary(courses: Sequence[Course]) -> Summary:
    waits = courses[0].waits
    if len(courses) > 1:
        waits = Waits.of_all(course.waits for course in courses)
    rejected: Counter[str] = Counter()
    for course in courses:
        rejected.update(course.rejected)
    return Summary(
        requests=sum(course.requests for course in courses),
        answered=sum(course.answered for course in courses),
        rejected=dict(sorted(rejected.items())),
        wait={name: round(waits.percentile(p), 6) for name, p in PERCENTILES.items()},
        cold_starts=sum(course.cold_starts for course in courses),
        cold_requests=sum(course.cold_requests for course in courses),
        starts=sum(course.starts for course in courses),
        starts_failed=sum(course.starts_failed for course in courses),
        thaws=sum(course.thaws for course in courses),
        instance_seconds=round(sum(course.instance_seconds for course in courses), 3),
        spare_seconds=round(sum(course.spare_seconds for course in courses), 3),
        peak_instances=summed([course.instances for course in courses]).peak,
    )


# For people

_HEAD = (
    "requests", "rejected", "cold starts", "wait p50", "p95", "p99", "max",
    "starts", "thaws", "instance-seconds", "spare-seconds", "peak",
)  # fmt: skip


def text(report: Report) -> str:
    lines = [f"traffic: {report.traffic}", f"start times: {starts_in_words(report)}"]
    lines += [f"note: {report.remarks[0]}", *report.remarks[1:]] if report.remarks else []
    services = report.services
    groups = [[service] for service in services[:_SHOWN_SERVICES]]
    if len(services) > 1:
        groups.append(services)
    width = max(len(name) for name in [TOTAL, *services, *(o.name for o in report.outcomes)])
    for group in groups:
        rows = [(o.name, summary(_of(o, group))) for o in report.outcomes]
        title = group[0] if len(group) == 1 else TOTAL
        lines += ["", *_table(title, rows, width + 2)]
    if len(services) > _SHOWN_SERVICES:
        lines.append(f"({len(services) - _SHOWN_SERVICES} more services are in the JSON)")
    return "\n".join(lines) + "\n"


def starts_in_words(report: Report) -> str:
    times = sorted(report.start_times)
    spread = span(times[0])
    if times[0] != times[-1]:
        spread += f" to {span(times[-1])}, median {span(times[len(times) // 2])}"
    return f"{spread} ({report.start_source})"


def span(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms" if seconds else "0"
    return f"{seconds:.1f}s" if seconds < 100 else f"{seconds:.0f}s"


def _of(outcome: Outcome, services: Sequence[str]) -> list[Course]:
    return [course for course in outcome.courses if course.service in services]


def _table(title: str, rows: Sequence[tuple[str, Summary]], indent: int) -> Iterator[str]:
    cells = [_HEAD, *(_cells(figures) for _, figures in rows)]
    widths = [max(len(row[i]) for row in cells) + 2 for i in range(len(_HEAD))]
    names = [title, *(f"  {name}" for name, _ in rows)]
    for name, row in zip(names, cells, strict=True):
        columns = "".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        yield f"{name:<{indent}}{columns}"
    for name, figures in rows:
        if figures.rejected:
            reasons = ", ".join(f"{why} {count:,}" for why, count in figures.rejected.items())
            yield f"  rejected, {name}: {reasons}"
        if figures.starts_failed:
            yield f"  failed starts, {name}: {figures.starts_failed:,}"


def _cells(it: Summary) -> tuple[str, ...]:
    return (
        f"{it.requests:,}",
        f"{sum(it.rejected.values()):,}",
        f"{it.cold_starts:,}",
        *(span(it.wait[name]) for name in PERCENTILES),
        f"{it.starts:,}",
        f"{it.thaws:,}",
        f"{it.instance_seconds:,.0f}",
        f"{it.spare_seconds:,.0f}",
        f"{it.peak_instances:,}",
    )


# For programs


def as_json(report: Report) -> dict[str, object]:
    return {
        "traffic": report.traffic,
        "start_times": {"seconds": list(report.start_times), "source": report.start_source},
        "remarks": list(report.remarks),
        "settings": [
            {
                "name": outcome.name,
                "set": dict(outcome.changes),
                "seconds": round(outcome.courses[0].seconds, 6),
                "total": _figures(summary(outcome.courses)),
                "services": {
                    course.service: _figures(summary([course])) | {"timeline": _timeline(course)}
                    for course in outcome.courses
                },
            }
            for outcome in report.outcomes
        ],
    }


def _figures(it: Summary) -> dict[str, object]:
    return {
        "requests": it.requests,
        "answered": it.answered,
        "rejected": dict(it.rejected),
        "wait_seconds": dict(it.wait),
        "cold_starts": it.cold_starts,
        "cold_requests": it.cold_requests,
        "starts": it.starts,
        "starts_failed": it.starts_failed,
        "thaws": it.thaws,
        "instance_seconds": it.instance_seconds,
        "spare_seconds": it.spare_seconds,
        "peak_instances": it.peak_instances,
    }


def _timeline(course: Course) -> dict[str, object]:
    drawn = curves(course, _POINTS)
    return {
        "step_seconds": drawn.step,
        "demand": [round(value, 3) for value in drawn.demand],
        "queue": list(drawn.queue),
        "desired": list(drawn.desired),
        "ready": list(drawn.ready),
        "instances": list(drawn.instances),
        "spares": list(drawn.spares),
    }
