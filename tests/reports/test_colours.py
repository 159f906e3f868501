"""The colours of owners, seen by eyes that lack one kind of cone. Colour is never the only sign, but it must be one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import resources
from itertools import combinations

import pytest

from lockjaw.reports.swimlane import COLOURS

# Machado, Oliveira and Fernandes (2009), severity 1.0, on linear RGB.
SIGHT: dict[str, Sequence[Sequence[float]]] = {
    "full": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}
APART = 15.0  # CIE76; 2.3 is just noticeable, and these are areas on one page rather than side by side


def listed(name: str) -> list[str]:
    script = (resources.files("lockjaw.reports") / "templates" / "swimlane.js").read_text(encoding="utf-8")
    found = re.search(rf"const {name} = \[([^\]]*)\]", script)
    assert found is not None
    return re.findall(r'"(#[0-9a-f]+)"', found.group(1))


def linear(colour: str) -> list[float]:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * d for d in colour[1:])
    channels = [int(digits[n : n + 2], 16) / 255 for n in (0, 2, 4)]
    return [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]


def lab(rgb: Sequence[float]) -> tuple[float, float, float]:
    r, g, b = rgb
    x, y, z = (
        (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.95047,
        0.2126 * r + 0.7152 * g + 0.0722 * b,
        (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.08883,
    )
    fx, fy, fz = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in (x, y, z))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


def seen(colour: str, sight: str) -> tuple[float, float, float]:
    rgb = linear(colour)
    return lab([min(1.0, max(0.0, sum(a * b for a, b in zip(row, rgb, strict=True)))) for row in SIGHT[sight]])


@pytest.mark.parametrize("sight", list(SIGHT))
def test_owners_can_be_told_apart_by_any_eyes(sight: str) -> None:
    colours = listed("OWNER")
    assert len(colours) == COLOURS
    for one, two in combinations(colours, 2):
        distance = sum((a - b) ** 2 for a, b in zip(seen(one, sight), seen(two, sight), strict=True)) ** 0.5
        assert distance > APART, (one, two)


def test_names_on_the_band_are_readable() -> None:
    for ground, ink in zip(listed("OWNER"), listed("OWNER_INK"), strict=True):
        dark, bright = sorted(0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in (linear(ground), linear(ink)))
        assert (bright + 0.05) / (dark + 0.05) > 4.5, ground  # WCAG AA
