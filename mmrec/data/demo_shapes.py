"""Outlines of the demo shop's items and small signs, as lists of parts on a canvas of 100 x 100."""

from __future__ import annotations

from PIL import ImageDraw

# (shape, coordinates, layer, width): "under" and "over" are painted like the trim, "body" like the item.
Part = tuple[str, tuple[float, ...], str, float]

_HANDLE: Part = ("arc", (62, 36, 90, 68, -90, 90), "under", 7)

SHAPES: dict[tuple[str, str], tuple[Part, ...]] = {
    ("mug", "angular"): (
        _HANDLE,
        ("rect", (24, 24, 72, 82), "body", 0),
        ("rect", (24, 22, 72, 28), "over", 0),
    ),
    ("mug", "rounded"): (
        _HANDLE,
        ("ellipse", (18, 26, 76, 90), "body", 0),
        ("rect", (26, 24, 68, 50), "body", 0),
        ("rect", (26, 22, 68, 28), "over", 0),
    ),
    ("shirt", "angular"): (
        ("poly", (30, 16, 70, 16, 96, 34, 84, 50, 72, 42, 72, 88, 28, 88, 28, 42, 16, 50, 4, 34), "body", 0),
        ("poly", (38, 15, 62, 15, 50, 36), "over", 0),
    ),
    ("shirt", "rounded"): (
        ("ellipse", (4, 20, 34, 48), "body", 0),
        ("ellipse", (66, 20, 96, 48), "body", 0),
        ("round", (24, 16, 76, 90), "body", 16),
        ("pie", (36, 4, 64, 32, 0, 180), "over", 0),
    ),
    ("bag", "angular"): (
        ("line", (34, 40, 34, 14, 66, 14, 66, 40), "under", 5),
        ("rect", (16, 36, 84, 86), "body", 0),
    ),
    ("bag", "rounded"): (
        ("arc", (28, 10, 72, 70, 180, 360), "under", 5),
        ("pie", (10, -10, 90, 88, 0, 180), "body", 0),
        ("ellipse", (46, 42, 54, 50), "over", 0),
    ),
    ("lamp", "angular"): (
        ("rect", (47, 50, 53, 88), "under", 0),
        ("rect", (30, 84, 70, 92), "under", 0),
        ("poly", (36, 10, 64, 10, 86, 56, 14, 56), "body", 0),
    ),
    ("lamp", "rounded"): (
        ("rect", (47, 50, 53, 88), "under", 0),
        ("pie", (28, 78, 72, 104, 180, 360), "under", 0),
        ("pie", (14, 8, 86, 104, 180, 360), "body", 0),
    ),
    ("chair", "angular"): (
        ("line", (26, 58, 22, 94), "under", 5),
        ("line", (74, 58, 78, 94), "under", 5),
        ("rect", (26, 6, 74, 52), "body", 0),
        ("rect", (18, 56, 82, 68), "body", 0),
    ),
    ("chair", "rounded"): (
        ("arc", (14, 50, 86, 110, 180, 250), "under", 5),
        ("arc", (14, 50, 86, 110, 290, 360), "under", 5),
        ("ellipse", (26, 4, 74, 56), "body", 0),
        ("ellipse", (16, 52, 84, 72), "body", 0),
    ),
    ("shoe", "angular"): (
        ("poly", (14, 18, 48, 18, 48, 50, 92, 58, 92, 80, 14, 80), "body", 0),
        ("rect", (12, 78, 94, 86), "over", 0),
    ),
    ("shoe", "rounded"): (
        ("pie", (30, 42, 96, 118, 180, 360), "body", 0),
        ("pie", (6, 32, 66, 128, 180, 360), "body", 0),
        ("round", (6, 76, 98, 86), "over", 5),
    ),
    ("cap", "angular"): (
        ("poly", (22, 64, 28, 26, 68, 26, 74, 64), "body", 0),
        ("rect", (10, 62, 98, 72), "over", 0),
    ),
    ("cap", "rounded"): (
        ("ellipse", (42, 10, 58, 26), "over", 0),
        ("pie", (18, 20, 82, 110, 180, 360), "body", 0),
        ("round", (14, 62, 86, 78), "over", 8),
    ),
    ("clock", "angular"): (
        ("line", (30, 84, 22, 96), "under", 7),
        ("line", (70, 84, 78, 96), "under", 7),
        ("rect", (42, 4, 58, 16), "under", 0),
        ("rect", (12, 14, 88, 88), "under", 0),
        ("rect", (19, 21, 81, 81), "body", 0),
        ("line", (50, 30, 50, 52, 66, 62), "over", 7),
    ),
    ("clock", "rounded"): (
        ("line", (28, 84, 20, 97), "under", 7),
        ("line", (72, 84, 80, 97), "under", 7),
        ("ellipse", (10, 4, 38, 30), "under", 0),
        ("ellipse", (62, 4, 90, 30), "under", 0),
        ("ellipse", (11, 14, 89, 92), "under", 0),
        ("ellipse", (18, 21, 82, 85), "body", 0),
        ("line", (50, 31, 50, 54, 66, 63), "over", 7),
    ),
    ("bottle", "angular"): (
        ("poly", (42, 18, 58, 18, 58, 36, 70, 44, 70, 94, 30, 94, 30, 44, 42, 36), "body", 0),
        ("rect", (40, 4, 60, 20), "over", 0),
    ),
    ("bottle", "rounded"): (
        ("rect", (43, 16, 57, 50), "body", 0),
        ("round", (28, 34, 72, 95), "body", 20),
        ("ellipse", (39, 2, 61, 20), "over", 0),
    ),
    ("umbrella", "angular"): (
        ("line", (50, 20, 50, 92, 62, 92), "under", 5),
        ("poly", (50, 6, 96, 54, 74, 48, 50, 54, 26, 48, 4, 54), "body", 0),
    ),
    ("umbrella", "rounded"): (
        ("line", (50, 20, 50, 84), "under", 5),
        ("arc", (50, 74, 66, 94, 0, 180), "under", 5),
        ("pie", (4, 8, 96, 100, 180, 360), "body", 0),
    ),
}

# What only thorough photos show: a swatch of the material and a sign for the occasion, in fixed colours.
SIGNS: dict[str, tuple[Part, ...]] = {
    "cotton": (
        ("rect", (0, 0, 100, 100), "#eef3f8", 0),
        *(("line", (0, y, 100, y), "#b9c9d8", 6) for y in (15, 40, 65, 90)),
    ),
    "wool": (
        ("rect", (0, 0, 100, 100), "#6d6a70", 0),
        *(("line", (0, y, 25, y + 20, 50, y, 75, y + 20, 100, y), "#c9c4cc", 9) for y in (0, 28, 56, 84)),
    ),
    "leather": (
        ("rect", (0, 0, 100, 100), "#6b3a1e", 0),
        *(("line", (x, 12, x + 14, 12), "#e8c48a", 8) for x in (5, 30, 55, 80)),
        *(("line", (x, 88, x + 14, 88), "#e8c48a", 8) for x in (5, 30, 55, 80)),
    ),
    "steel": (
        ("rect", (0, 0, 100, 100), "#8d969e", 0),
        ("poly", (0, 60, 60, 0, 90, 0, 0, 90), "#dfe6ea", 0),
        ("poly", (40, 100, 100, 40, 100, 60, 60, 100), "#4f5960", 0),
    ),
    "glass": (
        ("rect", (0, 0, 100, 100), "#a9e4ef", 0),
        ("poly", (20, 100, 60, 0, 75, 0, 35, 100), "#ffffff", 0),
        ("rect", (0, 0, 100, 10), "#4fb8cc", 0),
    ),
    "oak": (
        ("rect", (0, 0, 100, 100), "#c58f4e", 0),
        *(("arc", (20 - r, 30 - r, 80 + r, 70 + r, 0, 360), "#7d5221", 5) for r in (-14, 4, 22, 40)),
    ),
    "camping": (
        ("rect", (0, 0, 100, 100), "#cfe8c4", 0),
        ("poly", (50, 10, 95, 90, 5, 90), "#2f6b34", 0),
        ("poly", (50, 45, 65, 90, 35, 90), "#172b18", 0),
    ),
    "weddings": (
        ("rect", (0, 0, 100, 100), "#fbeff3", 0),
        ("arc", (8, 25, 60, 77, 0, 360), "#d1a12c", 10),
        ("arc", (40, 25, 92, 77, 0, 360), "#d1a12c", 10),
    ),
    "the office": (
        ("rect", (0, 0, 100, 100), "#d7d9df", 0),
        ("rect", (8, 15, 92, 70), "#20242c", 0),
        ("rect", (16, 23, 84, 62), "#3f7fd1", 0),
        ("rect", (35, 78, 65, 88), "#20242c", 0),
    ),
    "birthdays": (
        ("rect", (0, 0, 100, 100), "#fff4c9", 0),
        ("rect", (12, 50, 88, 92), "#e35d8f", 0),
        ("rect", (46, 22, 54, 50), "#7a4fc4", 0),
        ("ellipse", (43, 5, 57, 23), "#ff9a1f", 0),
    ),
    "the beach": (
        ("rect", (0, 0, 100, 55), "#8fd4f5", 0),
        ("rect", (0, 55, 100, 75), "#2a7fc0", 0),
        ("rect", (0, 75, 100, 100), "#efd79b", 0),
        ("ellipse", (55, 8, 88, 41), "#ffd21f", 0),
    ),
}


def paint(
    draw: ImageDraw.ImageDraw,
    shape: str,
    at: tuple[float, ...],
    colour: str | int,
    width: float,
    box: tuple[float, float, float],
) -> None:
    """Draw one part.

    Args:
        draw: where.
        shape: rect, round, ellipse, poly, pie, arc or line.
        at: coordinates on the 100 x 100 canvas; pie and arc end with two angles in degrees.
        colour: what Pillow takes as a fill.
        width: of lines and arcs, or the corner radius of round, in canvas units.
        box: left, top and size in pixels of the square the canvas is drawn into.
    """
    left, top, size = box
    scale = size / 100
    start, end = 0.0, 0.0
    if shape in {"pie", "arc"}:
        at, (start, end) = at[:4], at[4:]
    points = [(left + x * scale, top + y * scale) for x, y in zip(at[::2], at[1::2], strict=True)]
    thick = max(1, round(width * scale))
    if shape == "rect":
        draw.rectangle(points, fill=colour)
    elif shape == "round":
        draw.rounded_rectangle(points, radius=width * scale, fill=colour)
    elif shape == "ellipse":
        draw.ellipse(points, fill=colour)
    elif shape == "poly":
        draw.polygon(points, fill=colour)
    elif shape == "pie":
        draw.pieslice(points, start, end, fill=colour)
    elif shape == "arc":
        draw.arc(points, start, end, fill=colour, width=thick)
    else:
        draw.line(points, fill=colour, width=thick, joint="curve")
