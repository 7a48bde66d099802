"""What the pictures that are drawn by hand have in common."""

from __future__ import annotations

from xml.sax.saxutils import escape

INK, FAINT, RULE = "#1f2328", "#59636e", "#d0d7de"


def text(
    x: float,
    y: float,
    words: str,
    *,
    size: int,
    color: str = INK,
    weight: int = 400,
    anchor: str = "start",
) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" font-weight="{weight}" fill="{color}" '
        f'text-anchor="{anchor}">{escape(words)}</text>'
    )
