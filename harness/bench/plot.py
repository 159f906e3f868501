"""The longest wait of every contender as an SVG: one row a lock, one mark a contender, a logarithmic axis. Pure."""

from __future__ import annotations

import math
from html import escape

from .run import Figures

_ROW, _LEFT, _WIDTH = 26, 210, 640
_KINDS = {"ours": "#0b6e4f", "kernel": "#1f4e79", "polls": "#b3541e"}


def svg(figures: list[Figures], case: str) -> str:
    """A fair lock is a tight cluster; a starving contender stands far to the right, alone."""
    rows = [one for one in figures if case in one.contention]
    waits = [max(wait, 1e-5) for one in rows for wait in one.contention[case].waits_s]
    low, high = math.floor(math.log10(min(waits))), math.ceil(math.log10(max(waits)) + 1e-9)
    high = max(high, low + 1)

    def x(wait_s: float) -> float:
        return _LEFT + (math.log10(max(wait_s, 1e-5)) - low) / (high - low) * _WIDTH

    height = 60 + _ROW * len(rows)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + 40} {height + 24}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="12" y="22" font-size="14">Longest wait of each contender, {escape(case)} hold</text>',
    ]
    for power in range(low, high + 1):
        at = x(10.0**power)
        out.append(f'<line x1="{at:.1f}" y1="36" x2="{at:.1f}" y2="{height}" stroke="#ddd"/>')
        out.append(f'<text x="{at:.1f}" y="{height + 16}" text-anchor="middle">{_duration(10.0**power)}</text>')
    for number, one in enumerate(rows):
        y = 52 + _ROW * number
        out.append(f'<text x="{_LEFT - 10}" y="{y + 4}" text-anchor="end">{escape(one.name)}</text>')
        colour = _KINDS.get(one.kind, "#555")
        for wait in one.contention[case].waits_s:
            out.append(f'<circle cx="{x(wait):.1f}" cy="{y}" r="4" fill="{colour}" fill-opacity="0.45"/>')
    return "\n".join([*out, "</svg>"]) + "\n"


def _duration(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size * 0.999:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"
