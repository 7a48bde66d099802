"""The course of each service under each setting, drawn over time: an SVG to be shown anywhere.

Every panel has two plots over the same time: requests (in hand, and waiting),
and instances (ready, desired, and frozen spares on top of those that are ready).
Panels of one service have the same scales, so that settings can be compared by eye.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby
from xml.sax.saxutils import quoteattr

from wakeful.simulate.course import Course
from wakeful.simulate.curves import Curves, curves
from wakeful.simulate.report import Report, span, starts_in_words, summary
from wakeful.simulate.svg import FAINT, RULE, text

_WIDTH, _MARGIN = 820, 24
_LEFT, _RIGHT = _MARGIN + 44, _WIDTH - _MARGIN
_HEADER = 104
_TITLE, _REQUESTS, _GAP, _INSTANCES, _AXIS = 40, 84, 10, 64, 34
_PANEL = _TITLE + _REQUESTS + _GAP + _INSTANCES + _AXIS
_LINE, _LETTERS = 16, 118  # of the header's small text
_SHOWN_SERVICES = 6

_DEMAND, _QUEUE, _READY, _DESIRED = "#1f6feb", "#d1242f", "#b6d7a8", "#1a7f37"
_SPARES = "#dfe6ee"
_LEGEND = (
    ("requests in hand", _DEMAND),
    ("waiting", _QUEUE),
    ("instances ready", _READY),
    ("desired", _DESIRED),
    ("frozen spares", _SPARES),
)


def draw(report: Report) -> str:
    services = report.services
    lines = textwrap.wrap(
        f"{report.traffic}; instances start within {starts_in_words(report)}", _LETTERS
    )
    if len(services) > _SHOWN_SERVICES:
        lines.append(f"the {_SHOWN_SERVICES} busiest of {len(services)} services")
        services = services[:_SHOWN_SERVICES]
    top = _HEADER + _LINE * (len(lines) - 1)
    height = top + _PANEL * len(services) * len(report.outcomes) + 8
    title = "Simulated: " + ", ".join(services)
    family = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif"
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
            f'width="{_WIDTH}" height="{height}" role="img" aria-label={quoteattr(title)} '
            f'font-family="{family}">',
            f'<rect x="0.5" y="0.5" width="{_WIDTH - 1}" height="{height - 1}" rx="8" '
            f'fill="#ffffff" stroke="{RULE}"/>',
            text(_MARGIN, 36, title, size=18, weight=600),
            *(
                text(_MARGIN, 58 + _LINE * i, line, size=12, color=FAINT)
                for i, line in enumerate(lines)
            ),
            *_legend(top - 24),
            *_panels(report, services, top),
            "</svg>",
            "",
        )
    )


def _legend(y: int) -> Iterator[str]:
    x = _LEFT
    for label, color in _LEGEND:
        yield f'<rect x="{x}" y="{y - 9}" width="14" height="10" fill="{color}"/>'
        yield text(x + 20, y, label, size=12)
        x += 44 + 7 * len(label)


def _panels(report: Report, services: Sequence[str], top: int) -> Iterator[str]:
    for service in services:
        courses = [
            (outcome.name, course)
            for outcome in report.outcomes
            for course in outcome.courses
            if course.service == service
        ]
        drawn = [curves(course, _RIGHT - _LEFT) for _, course in courses]
        requests = max(1.0, *(max(*one.demand, *one.queue) for one in drawn))
        instances = max(1, *(max(*one.kept, *one.desired) for one in drawn))
        for (name, course), one in zip(courses, drawn, strict=True):
            yield f'<g class="panel" transform="translate(0 {top})">'
            yield from _panel(f"{service}: {name}", course, one, requests, instances)
            yield "</g>"
            top += _PANEL


def _panel(
    title: str, course: Course, drawn: Curves, requests: float, instances: int
) -> Iterator[str]:
    figures = summary([course])
    words = (
        f"{figures.cold_starts:,} cold start{'' if figures.cold_starts == 1 else 's'}, "
        f"waits p99 {span(figures.wait['p99'])} max {span(figures.wait['max'])}, "
        f"{sum(figures.rejected.values()):,} rejected, "
        f"{figures.instance_seconds:,.0f} instance-seconds, peak {figures.peak_instances:,}"
    )
    yield text(_LEFT, 14, title, size=13, weight=600)
    yield text(_LEFT, 30, words, size=12, color=FAINT)
    base = _TITLE + _REQUESTS
    yield from _frame(base, _REQUESTS, requests)
    yield _area("queue", drawn.queue, base, _REQUESTS / requests, _QUEUE)
    yield _line("demand", drawn.demand, base, _REQUESTS / requests, _DEMAND)
    base += _GAP + _INSTANCES
    yield from _frame(base, _INSTANCES, instances)
    yield _area("spares", drawn.kept, base, _INSTANCES / instances, _SPARES)
    yield _area("ready", drawn.ready, base, _INSTANCES / instances, _READY)
    yield _line("desired", drawn.desired, base, _INSTANCES / instances, _DESIRED)
    yield from _time_axis(base, course.seconds)


def _frame(base: int, height: int, most: float) -> Iterator[str]:
    for y in (base, base - height):
        yield f'<line x1="{_LEFT}" x2="{_RIGHT}" y1="{y}" y2="{y}" stroke="{RULE}"/>'
    yield text(_LEFT - 8, base - height + 8, f"{most:,.3g}", size=11, color=FAINT, anchor="end")
    yield text(_LEFT - 8, base, "0", size=11, color=FAINT, anchor="end")


def _time_axis(base: int, seconds: float) -> Iterator[str]:
    step = next(
        (s for s in (1, 5, 10, 30, 60, 300, 600, 1800, 3600, 10800, 43200) if seconds / s <= 10),
        86400,
    )
    for moment in range(0, int(seconds) + 1, step):
        x = _LEFT + moment / seconds * (_RIGHT - _LEFT)
        yield (f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{base}" y2="{base + 4}" stroke="{FAINT}"/>')
        yield text(x, base + 17, _clock(moment, step), size=11, color=FAINT, anchor="middle")


def _clock(moment: int, step: int) -> str:
    if step < 60:
        return f"{moment} s"
    if step < 3600:
        return f"{moment // 60} min"
    return f"{moment // 3600} h"


def _line(name: str, values: Sequence[float], base: int, scale: float, color: str) -> str:
    path = f"M{_LEFT} {_y(values[0], base, scale)}" + _steps(values, base, scale)
    return f'<path class="{name}" d="{path}" fill="none" stroke="{color}" stroke-width="1.5"/>'


def _area(name: str, values: Sequence[float], base: int, scale: float, color: str) -> str:
    path = f"M{_LEFT} {base}V{_y(values[0], base, scale)}" + _steps(values, base, scale)
    return f'<path class="{name}" d="{path}V{base}Z" fill="{color}"/>'


def _steps(values: Sequence[float], base: int, scale: float) -> str:
    """One column each; those that are alike in one stroke."""
    path, x = "", _LEFT
    for i, (y, alike) in enumerate(groupby(_y(value, base, scale) for value in values)):
        x += len(list(alike))
        path += f"H{x}" if not i else f"V{y}H{x}"
    return path


def _y(value: float, base: int, scale: float) -> str:
    return f"{base - value * scale:.1f}".removesuffix(".0")
