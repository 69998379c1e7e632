from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from features.photos import load_photo
from features.sources import PhotoError


def colour(image: Image.Image) -> tuple[int, ...]:
    """The colour of the upper left pixel."""
    return tuple(np.asarray(image)[0, 0].tolist())


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def huge_png(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims to be enormous."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"\0" * 99))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body + chunk(b"IEND", b"")


def jpeg(size: int = 64) -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (size, size, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, "JPEG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("mode", "fill", "expected"),
    [
        ("RGB", (10, 200, 30), (10, 200, 30)),
        ("L", 77, (77, 77, 77)),
        ("1", 1, (255, 255, 255)),
        ("RGBA", (10, 200, 30, 255), (10, 200, 30)),
        ("RGBA", (10, 200, 30, 0), (255, 255, 255)),
        ("RGBA", (0, 0, 0, 51), (204, 204, 204)),
        ("LA", (0, 0), (255, 255, 255)),
        ("P", 0, (0, 0, 0)),
        ("I;16", 0x8000, (127, 127, 127)),
    ],
)
def test_every_kind_of_png_becomes_rgb(
    tmp_path: Path, mode: str, fill: int | tuple[int, ...], expected: tuple[int, ...]
) -> None:
    image = load_photo(save(tmp_path / "a.png", Image.new(mode, (6, 4), fill)))
    assert (image.mode, image.size, colour(image)) == ("RGB", (6, 4), expected)


def test_transparent_palette_is_laid_on_white(tmp_path: Path) -> None:
    image = Image.new("P", (4, 4), 3)
    image.putpalette([9, 9, 9] * 256)
    assert colour(load_photo(save(tmp_path / "a.png", image, transparency=3))) == (255, 255, 255)
    assert colour(load_photo(save(tmp_path / "b.png", image))) == (9, 9, 9)


def test_cmyk_jpeg(tmp_path: Path) -> None:
    white = load_photo(save(tmp_path / "a.jpg", Image.new("CMYK", (16, 16), (0, 0, 0, 0))))
    assert (white.mode, min(colour(white)) > 250) == ("RGB", True)


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert colour(load_photo(tmp_path / "a.gif")) == (255, 0, 0)


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 20), "blue")
    image.paste("red", (0, 0, 20, 20))  # red left, blue right
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees: red on top
    turned = load_photo(save(tmp_path / "a.jpg", image, exif=exif, quality=100))
    assert turned.size == (20, 40)
    assert turned.getpixel((10, 5))[0] > 200
    assert turned.getpixel((10, 35))[2] > 200


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "0 bytes"),
        (b"this is not a photo\n" * 99, "not an image .it is text"),
        (b"\0\1\2\3" * 99, "not an image .unknown format"),
        (jpeg()[:700], "broken image"),
        (jpeg()[:-100], "broken image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        (huge_png(50_000, 50_000), "at most 100,000,000"),
        (huge_png(10_001, 10_000), "at most 100,000,000"),
        (huge_png(90_000, 10), "strip"),
        (huge_png(200, 200), "broken image"),
    ],
    ids=[
        "empty",
        "text",
        "binary",
        "cut",
        "cut at the end",
        "eps",
        "bomb",
        "large",
        "strip",
        "claims too much",
    ],
)
def test_reasons(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(PhotoError, match=reason) as caught:
        load_photo(tmp_path / "a.jpg")
    assert "\n" not in str(caught.value)


def test_absent_folder_and_too_large(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match="no such file"):
        load_photo(tmp_path / "absent.jpg")
    with pytest.raises(PhotoError, match="not a file"):
        load_photo(tmp_path)
    with (tmp_path / "large.jpg").open("wb") as stream:
        stream.write(jpeg())
        stream.truncate(64 * 2**20 + 1)  # sparse: takes no space
    with pytest.raises(PhotoError, match="at most 67,108,864"):
        load_photo(tmp_path / "large.jpg")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"]), data=st.data())
def test_damaged_photos_load_or_say_why(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    stream = io.BytesIO()
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(stream, kind)
    content = bytearray(stream.getvalue())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=6)):
        content[place] = data.draw(st.integers(0, 255))
    (tmp_path / "a").write_bytes(content[: data.draw(st.integers(0, len(content)))])
    message = ""
    try:
        assert load_photo(tmp_path / "a").mode == "RGB"
    except PhotoError as error:
        message = str(error)
    assert "\n" not in message
