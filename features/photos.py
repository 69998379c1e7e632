"""One photo file to one RGB image, or a reason why not."""

from __future__ import annotations

import functools
import os
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from features.errors import FeatureError

MAX_BYTES = 64 * 2**20
MAX_PIXELS = 100_000_000
MAX_ASPECT = 50  # resizing the short side to 224 would make a 1 x 100,000 picture enormous
# no format whose reader starts another program
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM", "MPO")


class PhotoError(FeatureError):
    """A photo that cannot be used; `str(error)` is the reason alone, the caller knows the item."""


def load_photo(path: str | os.PathLike[str]) -> Image.Image:
    """Read a photo as an upright RGB image.

    EXIF rotation is applied; transparency is laid on white; palette, grey, 16-bit and CMYK images are
    converted; of an animation the first frame is taken.

    Args:
        path: an image file of at most 64 MiB and 100 million pixels, no strip of more than 50 : 1.

    Returns:
        A PIL image of mode RGB, fully decoded, with the file closed.

    Raises:
        PhotoError: missing, empty, truncated, not an image, or over the limits (decompression bombs).
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise PhotoError("not a file")
    except FileNotFoundError as error:
        raise PhotoError("no such file") from error
    except OSError as error:
        raise PhotoError(error.strerror or "cannot be read") from error
    if size == 0:
        raise PhotoError("empty file (0 bytes)")
    if size > MAX_BYTES:
        raise PhotoError(f"{size:,} bytes, at most {MAX_BYTES:,} are read")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # our own limits, below, are stricter than what PIL warns about
            with Image.open(path, formats=_formats()) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise PhotoError(f"{width:,} x {height:,} pixels, at most {MAX_PIXELS:,} are decoded")
                if max(width, height) > MAX_ASPECT * min(width, height):
                    raise PhotoError(f"{width:,} x {height:,} pixels, a strip of more than {MAX_ASPECT} : 1")
                image.load()
                return _to_rgb(ImageOps.exif_transpose(image))
    except PhotoError:
        raise
    except Image.DecompressionBombError as error:
        raise PhotoError(f"too many pixels, at most {MAX_PIXELS:,} are decoded") from error
    except UnidentifiedImageError as error:
        raise PhotoError(f"not an image ({_looks_like(path)})") from error
    except Exception as error:  # decoders of broken files raise nearly everything
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PhotoError(f"broken image ({text})") from error


@functools.cache
def _formats() -> tuple[str, ...]:
    """Those of FORMATS that this Pillow was built with."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image.copy()
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):  # convert() would clip it to white
        values = np.asarray(image, dtype=np.float32)
        brightest = max(65535.0 if image.mode.startswith("I") else 1.0, float(np.nan_to_num(values).max()))
        grey = np.clip(np.nan_to_num(values) * (255.0 / brightest), 0, 255).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def _looks_like(path: Path) -> str:
    with open(path, "rb") as stream:
        head = stream.read(512)
    try:
        head.decode("utf-8")
    except UnicodeDecodeError:
        return "unknown format"
    return "it is text" if b"\0" not in head else "unknown format"
