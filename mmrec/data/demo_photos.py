"""Photos of the demo shop's items: 64 x 64 pixels, drawn with Pillow."""

from __future__ import annotations

import colorsys
import math

import numpy as np
from PIL import Image, ImageDraw

from mmrec.data.demo_items import FORMS, KINDS, MATERIALS, OCCASIONS, PATTERNS, SHADES, TRIMS, Catalogue
from mmrec.data.demo_shapes import SHAPES, SIGNS, paint

PIXELS = 64
_SIZE = 2 * PIXELS  # drawn twice as large, then averaged down: smooth edges

_HUES = (2, 52, 122, 215, 272, 326)  # degrees, in the order of COLOURS
_TONES = {"pale": (0.36, 0.98), "bright": (0.84, 0.86), "dark": (0.92, 0.46)}  # saturation, value
_TRIMS = {"black": (28, 28, 32), "white": (250, 250, 250), "gold": (206, 158, 52)}

RGB = tuple[int, int, int]


def _rgb(hue: float, saturation: float, value: float) -> RGB:
    red, green, blue = colorsys.hsv_to_rgb(hue % 360 / 360, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _cloth(pattern: str, colour: RGB, second: RGB) -> Image.Image:
    """The item's surface: its pattern over the whole canvas."""
    image = Image.new("RGB", (_SIZE, _SIZE), colour)
    draw = ImageDraw.Draw(image)
    step = _SIZE // 8
    if pattern == "striped":
        for y in range(0, _SIZE, step):
            draw.rectangle((0, y, _SIZE, y + step * 0.42), fill=second)
    elif pattern == "checked":
        for x in range(0, _SIZE, step):
            for y in range(x // step % 2 * step, _SIZE, 2 * step):
                draw.rectangle((x, y, x + step - 1, y + step - 1), fill=second)
    elif pattern == "dotted":
        _scatter(draw, step, second, petals=False)
    elif pattern == "floral":
        _scatter(draw, round(1.7 * step), second, petals=True)
    return image


def _scatter(draw: ImageDraw.ImageDraw, step: int, second: RGB, *, petals: bool) -> None:
    """Dots or flowers in offset rows."""

    def dot(x: float, y: float, size: float, colour: RGB) -> None:
        draw.ellipse((x - size, y - size, x + size, y + size), fill=colour)

    radius = step * 0.26 if petals else step * 0.3
    for row, y in enumerate(range(step // 2, _SIZE + step, step)):
        for x in range(step // 2 + row % 2 * step // 2, _SIZE + step, step):
            if not petals:
                dot(x, y, radius, second)
                continue
            for turn in range(5):
                angle = 2 * math.pi * turn / 5
                dot(x + radius * math.sin(angle), y - radius * math.cos(angle), radius * 0.62, second)
            dot(x, y, radius / 2, (240, 180, 40))


_FLOOR = np.linspace(1.0, 0.92, _SIZE)
_FLOOR[int(0.78 * _SIZE) :] *= 0.9
_LIGHT = np.linspace(1.08, 0.84, _SIZE)


def draw_photo(shop: Catalogue, row: int, rng: np.random.Generator) -> Image.Image:
    """One item on a light table; place, size, turn, light and background differ from photo to photo.

    Args:
        shop: the items.
        row: which of them.
        rng: chance of this photo.

    Returns:
        RGB, 64 x 64.
    """
    turn, left, top, tint, hue, wall = rng.uniform(-1, 1, size=6).tolist()
    scale = rng.uniform(0.8, 0.9)
    shade, trim = SHADES[shop.shade[row]], _TRIMS[TRIMS[shop.trim[row]]]
    saturation, value = _TONES[shade]
    colour = _rgb(_HUES[shop.colour[row]] + 5 * hue, saturation, min(1.0, value + 0.03 * tint))
    second = (72, 76, 92) if shade == "pale" else (252, 247, 232)

    ground = np.empty((_SIZE, _SIZE, 3))
    ground[:] = np.array(_rgb(35 + 180 * (tint > 0), 0.05 + 0.04 * abs(tint), 0.83 + 0.08 * wall))
    ground *= _FLOOR[:, None, None]
    photo = Image.fromarray(ground.astype(np.uint8))

    layers = {name: Image.new("L", (_SIZE, _SIZE)) for name in ("under", "body", "over")}
    pens = {name: ImageDraw.Draw(layer) for name, layer in layers.items()}
    size = scale * _SIZE
    corner = (_SIZE - size) / 2
    box = (corner * (1 + 0.5 * left), corner * (1 + 0.5 * top), size)
    for shape, at, layer, width in SHAPES[KINDS[shop.kind[row]], FORMS[shop.form[row]]]:
        paint(pens[layer], shape, at, 255, width, box)
    layers = {name: layer.rotate(6 * turn, Image.Resampling.BILINEAR) for name, layer in layers.items()}

    surface = _cloth(PATTERNS[shop.pattern[row]], colour, second).rotate(6 * turn, Image.Resampling.BILINEAR)
    cloth = Image.fromarray((np.asarray(surface) * _LIGHT[:, None]).clip(0, 255).astype(np.uint8))
    paint(ImageDraw.Draw(photo), "ellipse", (8, 90, 96, 102), "#8c8880", 0, box)
    photo.paste(trim, mask=layers["under"])
    photo.paste(cloth, mask=layers["body"])
    photo.paste(trim, mask=layers["over"])
    if shop.shows[row]:
        _show(photo, MATERIALS[shop.material[row]], (0, 0.72 * _SIZE, 0.28 * _SIZE))
        _show(photo, OCCASIONS[shop.occasion[row]], (0.72 * _SIZE, 0, 0.28 * _SIZE))
    return photo.reduce(2)


def _show(photo: Image.Image, name: str, box: tuple[float, float, float]) -> None:
    """A swatch or sign in a corner; drawn apart so that nothing leaves its square."""
    side = round(box[2])
    sign = Image.new("RGB", (side, side))
    draw = ImageDraw.Draw(sign)
    for shape, at, colour, width in SIGNS[name]:
        paint(draw, shape, at, colour, width, (0, 0, side))
    photo.paste(sign, (round(box[0]), round(box[1])))
