"""The comparison as a small SVG: by surface the true gain (dot, 95 %) and the claim (ring)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from benchmarks.comparison.methods import KTUNE
from benchmarks.comparison.table import Summary, by_surface

_ROW, _LEFT, _WIDTH, _GAP = 17, 112, 250, 40
_COLUMNS = 2


def svg(items: Sequence[Summary]) -> str:
    """All panels, two in a row."""
    panels = list(by_surface(items).items())
    heights = [len(own) * _ROW + 52 for _, own in panels]
    parts, y = [], 24
    for start in range(0, len(panels), _COLUMNS):
        for column, ((surface, windows), own) in enumerate(panels[start : start + _COLUMNS]):
            x = column * (_LEFT + _WIDTH + _GAP)
            parts.append(f'<g transform="translate({x},{y})">{_panel(surface, windows, own)}</g>')
        y += max(heights[start : start + _COLUMNS])
    width = _COLUMNS * (_LEFT + _WIDTH + _GAP)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y + 8}" '
        f'font-family="sans-serif" font-size="11">\n'
        f'<rect width="{width}" height="{y + 8}" fill="#fff"/>\n'
        '<text x="6" y="14">dot: true gain of what is deployed, mean and 95 % interval; '
        "ring: gain that is claimed</text>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def _panel(surface: str, windows: int, own: Sequence[Summary]) -> str:
    values = [0.0]
    for item in own:
        values += [item.gain - item.half, item.gain + item.half]
        if item.claimed is not None:
            values.append(item.claimed)
    low, high = min(values), max(*values, min(values) + 0.02)

    def at(value: float) -> float:
        return round(_LEFT + (value - low) / (high - low) * (_WIDTH - 10), 1)

    bottom = 22 + len(own) * _ROW
    parts = [
        f'<text x="6" y="14" font-weight="bold">{escape(surface)}, {windows} windows</text>',
        f'<line x1="{at(0)}" y1="20" x2="{at(0)}" y2="{bottom}" stroke="#999"/>',
    ]
    for value in (low, 0.0, high):
        parts.append(
            f'<text x="{at(value)}" y="{bottom + 13}" text-anchor="middle" fill="#555">'
            f"{math.expm1(value):+.0%}</text>"
        )
    for number, item in enumerate(own):
        y = 30 + number * _ROW
        colour = "#b03a2e" if item.cell.method in KTUNE else "#2e6da4"
        parts.append(f'<text x="6" y="{y + 4}">{escape(item.cell.method)}</text>')
        parts.append(
            f'<line x1="{at(item.gain - item.half)}" y1="{y}" x2="{at(item.gain + item.half)}" '
            f'y2="{y}" stroke="{colour}" stroke-width="2"/>'
            f'<circle cx="{at(item.gain)}" cy="{y}" r="4" fill="{colour}"/>'
        )
        if item.claimed is not None:
            parts.append(
                f'<circle cx="{at(item.claimed)}" cy="{y}" r="4" fill="none" stroke="{colour}"/>'
            )
    return "".join(parts)
