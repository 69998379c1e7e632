"""One photo file to one RGB image, or a reason why not."""

from __future__ import annotations

import functools
import io
import os
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from features.sources import Photo, PhotoError, read_photo

MAX_PIXELS = 100_000_000
MAX_ASPECT = 50  # resizing the short side to 224 would make a 1 x 100,000 picture enormous
# no format whose reader starts another program
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM", "MPO")


def load_photo(photo: Photo | str | os.PathLike[str]) -> Image.Image:
    """Read a photo as an upright RGB image.

    EXIF rotation is applied; transparency is laid on white; palette, grey, 16-bit and CMYK images are
    converted; of an animation the first frame is taken.

    Args:
        photo: an image of at most 64 MiB and 100 million pixels, no strip of more than 50 : 1.

    Returns:
        A PIL image of mode RGB, fully decoded.

    Raises:
        PhotoError: missing, empty, truncated, not an image, or over the limits (decompression bombs).
    """
    data = read_photo(photo)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # our own limits, below, are stricter than what PIL warns about
            with Image.open(io.BytesIO(data), formats=_formats()) as image:
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
        raise PhotoError(f"not an image ({_looks_like(data)})") from error
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


def _looks_like(data: bytes) -> str:
    head = data[:512]
    try:
        head.decode("utf-8")
    except UnicodeDecodeError:
        return "unknown format"
    return "it is text" if b"\0" not in head else "unknown format"
