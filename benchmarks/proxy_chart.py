"""CPU per small request relative to nginx, drawn as bars: an SVG to be shown anywhere.

It brings its own white ground, so that it can be read on a dark page as well.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from benchmarks.proxy_report import Report
from wakeful.simulate.svg import FAINT, INK, RULE, text

_WIDTH, _MARGIN = 760, 24
_LABELS = 190  # the bars begin after them
_VALUES = 118  # and leave so much for theirs, at the right
_ROW, _BAR = 34, 22
_TOP, _LINE = 88, 16
_FOOTER_LETTERS = 118  # in a line

_OURS, _OUR_VARIANT, _NGINX, _OTHER = "#1f6feb", "#85b6f7", "#3d444d", "#a3acb6"


@dataclass(frozen=True, slots=True)
class Bar:
    label: str
    value: float
    detail: str
    color: str = _OTHER


def draw(report: Report) -> str:
    """Only for a report that has nginx among its small requests."""
    asked, rounds = report.settings, report.settings.rounds
    return bar_chart(
        "CPU per proxied request, relative to nginx",
        f"{asked.size}-byte answers, {asked.connections} kept-alive connections, "
        "one worker each; less is better",
        _bars(report),
        (
            report.machine.hardware,
            report.machine.subject,
            report.setup + ("" if rounds == 1 else ", median ratios"),
            f"load: {report.load}; backend: {report.backend}",
        ),
    )


def _bars(report: Report) -> list[Bar]:
    nginx = report.small["nginx"]
    bars = []
    for name, row in report.small.items():
        ratio, cpu = row.to(nginx, "cpu_us"), row.typical("cpu_us")
        if ratio is None or cpu is None:
            continue  # the backend without a proxy
        ours = name.startswith("wakeful")
        colors = {"wakeful": _OURS, "nginx": _NGINX}
        version = "" if ours else " ".join(re.findall(r"^[\d.]+", row.version))
        bars.append(
            Bar(
                f"{name} {version}".rstrip(),
                ratio,
                f"{cpu:.1f} \N{MICRO SIGN}s",
                colors.get(name, _OUR_VARIANT if ours else _OTHER),
            )
        )
    return sorted(bars, key=lambda bar: bar.value)


def bar_chart(title: str, subtitle: str, bars: Sequence[Bar], footer: Sequence[str]) -> str:
    lines = [line for text in footer for line in textwrap.wrap(text, _FOOTER_LETTERS)]
    bottom = _TOP + _ROW * len(bars)
    height = bottom + 26 + _LINE * len(lines) + 12
    family = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif"
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
            f'width="{_WIDTH}" height="{height}" role="img" aria-label={quoteattr(title)} '
            f'font-family="{family}">',
            f'<rect x="0.5" y="0.5" width="{_WIDTH - 1}" height="{height - 1}" rx="8" '
            f'fill="#ffffff" stroke="{RULE}"/>',
            text(_MARGIN, 38, title, size=18, weight=600),
            text(_MARGIN, 60, subtitle, size=13, color=FAINT),
            *_drawn(bars, bottom),
            *(
                text(_MARGIN, bottom + 34 + _LINE * i, line, size=11, color=FAINT)
                for i, line in enumerate(lines)
            ),
            "</svg>",
            "",
        )
    )


def _drawn(bars: Sequence[Bar], bottom: int) -> Iterator[str]:
    left = _MARGIN + _LABELS
    scale = (_WIDTH - _MARGIN - _VALUES - left) / max(1.0, *(bar.value for bar in bars))
    for i, bar in enumerate(bars):
        top, width = _TOP + _ROW * i, bar.value * scale
        baseline = top + _BAR / 2 + 5
        yield text(left - 10, baseline, bar.label, size=13, anchor="end")
        yield (
            f'<rect class="bar" x="{left}" y="{top}" width="{width:.1f}" height="{_BAR}" rx="3" '
            f'fill="{bar.color}"/>'
        )
        yield (
            f'<text x="{left + width + 8:.1f}" y="{baseline:g}" font-size="13" fill="{INK}">'
            f'<tspan class="value" font-weight="600">{bar.value:.2f}</tspan>'
            f'<tspan dx="7" font-size="12" fill="{FAINT}">{escape(bar.detail)}</tspan></text>'
        )
    # Where nginx is, across all of them.
    one = left + scale
    yield (
        f'<line x1="{one:.1f}" x2="{one:.1f}" y1="{_TOP - 8}" y2="{bottom - 4}" '
        f'stroke="{_NGINX}" stroke-dasharray="2 3"/>'
    )
