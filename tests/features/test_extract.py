from __future__ import annotations

import json
import resource
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

import features.store
from features.base import Encoder, Float32, averaged
from features.errors import FeatureError, MMRecError
from features.extract import extract
from features.items import Items
from features.store import open_stores
from features.tfidf import TfidfText
from tests.cases.encoder_cases import make_tiny_clip


class MeanColour(Encoder):
    """The exact answer is known: the mean of each channel."""

    modality: ClassVar[str] = "image"
    dim = 3

    def __init__(self, scale: float = 1.0, batch_size: int = 2) -> None:
        self.scale = scale
        self.batch_size = batch_size
        self.calls: list[int] = []

    def fingerprint(self) -> dict[str, str]:
        return {"encoder": "MeanColour", "scale": str(self.scale)}

    def encode(self, inputs: Sequence[Image.Image]) -> Float32:
        self.calls.append(len(inputs))
        rows = [np.asarray(image).mean(axis=(0, 1)) * self.scale for image in inputs]
        return np.array(rows, dtype=np.float32)


class Lying(MeanColour):
    """Gives whatever it is told to."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def encode(self, inputs: Sequence[Image.Image]) -> Float32:
        return self.answer  # type: ignore[no-any-return]


@pytest.fixture
def shop(tmp_path: Path) -> Items:
    """Five items: photos of grey 0, 10, none, 30, 40, and texts, the last one missing."""
    folder = tmp_path / "shop"
    folder.mkdir()
    photos: list[Path | None] = []
    for index in range(5):
        photos.append(folder / f"{index}.png")
        Image.new("RGB", (4, 4), (index * 10,) * 3).save(folder / f"{index}.png")
    photos[2] = None
    texts = ["red shirt", "blue shirt", "red mug", "blue mug", None]
    return Items(np.array(["e", "d", "c", "b", "a"]), photos, texts, None, folder / "items.csv")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_each_photo_is_at_its_id(shop: Items, tmp_path: Path) -> None:
    encoder = MeanColour()
    store = extract(shop, [encoder], tmp_path / "out")["image"]
    rows, present = store.join(["a", "b", "c", "d", "e"])
    np.testing.assert_array_equal(rows, np.array([40, 30, 0, 10, 0])[:, None].repeat(3, axis=1))
    assert present.tolist() == [True, True, False, True, True]
    assert encoder.calls == [2, 2], "batches are full although an item in between has no photo"


def test_manifest(shop: Items, tmp_path: Path) -> None:
    extract(shop, [MeanColour(), TfidfText(min_df=1)], tmp_path / "out")
    image, text = (open_stores(tmp_path / "out")[name].manifest for name in ("image", "text"))
    assert image["encoder"] == {"encoder": "MeanColour", "scale": "1.0"}
    counts = ("rows", "dim", "present", "missing", "broken")
    assert [image[name] for name in counts] == [5, 3, 4, 1, []]
    assert [text[name] for name in counts] == [5, 4, 4, 1, []]
    assert text["texts_without_words"] == 0
    assert {"item_order_hash", "input_hash", "key", "versions"} <= image.keys()


def test_second_time_nothing_is_done(shop: Items, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    extract(shop, [MeanColour()], tmp_path / "out")
    before = files(tmp_path / "out")
    again = MeanColour(batch_size=3)
    with caplog.at_level("INFO"):
        store = extract(shop, [again], tmp_path / "out")["image"]
    assert again.calls == []
    assert files(tmp_path / "out") == before
    assert "up to date, nothing to do" in caplog.text
    assert store.dim == 3


def test_second_time_clip_is_not_loaded(shop: Items, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from features import open_clip

    weights = make_tiny_clip(tmp_path / "clip")
    encoders = [open_clip.OpenClipImage(**weights), open_clip.OpenClipText(**weights)]
    extract(shop, encoders, tmp_path / "out")

    def load(*args: object, **kwargs: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(open_clip, "load_open_clip", load)
    encoders = [open_clip.OpenClipImage(**weights), open_clip.OpenClipText(**weights)]
    assert list(extract(shop, encoders, tmp_path / "out")) == ["image", "text"]


def _repaint(shop: Items) -> Items:
    Image.new("RGB", (4, 4), "white").save(shop.path.parent / "0.png")
    return shop


def _without(*names: str) -> Callable[[Items], Items]:
    def remove(shop: Items) -> Items:
        for name in names:
            (shop.path.parents[1] / "out" / "image" / name).unlink()
        return shop

    return remove


STORE = ("inputs.npy", "item_ids.npy", "matrix.npy", "present.npy", "manifest.json")


def _grown(shop: Items) -> Items:
    """Two new items in between, and one gone; the third new one has a photo that is known."""
    folder, photos = shop.path.parent, list(shop.photos or [])
    for index in (5, 6):
        Image.new("RGB", (4, 4), (index * 10,) * 3).save(folder / f"{index}.png")
    new = [folder / "5.png", *photos[1:3], folder / "6.png", *photos[3:], folder / "1.png"]
    return Items(np.array(["f", "d", "c", "g", "b", "a", "h"]), new, None, None, shop.path)


@pytest.mark.parametrize(
    ("change", "encoder", "options", "encoded"),
    [
        (_repaint, MeanColour(), {}, 1),
        (lambda shop: replace(shop, ids=shop.ids[::-1].copy()), MeanColour(), {}, 0),
        (lambda shop: replace(shop, photos=[None, *shop.photos[1:]]), MeanColour(), {}, 0),
        (lambda shop: replace(shop, photos=shop.photos[::-1]), MeanColour(), {}, 0),
        (lambda shop: _grown(shop), MeanColour(), {}, 2),
        (lambda shop: shop, MeanColour(scale=0.5), {}, 4),
        (lambda shop: shop, MeanColour(), {"dtype": "float16"}, 4),
        (
            _without("inputs.npy", "item_ids.npy", "matrix.npy", "present.npy", "manifest.json"),
            MeanColour(),
            {},
            4,
        ),
        (_without("matrix.npy"), MeanColour(), {}, 4),
        (_without("manifest.json"), MeanColour(), {}, 4),
    ],
    ids=["photo", "order", "no photo", "swap", "grown", "option", "dtype", "gone", "damaged", "unfinished"],
)
def test_only_what_is_new_is_encoded(
    shop: Items, tmp_path: Path, change: Any, encoder: MeanColour, options: dict[str, Any], encoded: int
) -> None:
    """And what comes out is what a first extraction of the changed table gives."""
    encoder.calls.clear()
    extract(shop, [MeanColour()], tmp_path / "out")
    changed = change(shop)
    store = extract(changed, [encoder], tmp_path / "out", **options)["image"]
    assert sum(encoder.calls) == encoded
    extract(changed, [encoder], tmp_path / "fresh", **options)
    np.testing.assert_array_equal(store.matrix, open_stores(tmp_path / "fresh")["image"].matrix)


def test_changed_text_makes_it_extract_again(shop: Items, tmp_path: Path) -> None:
    before = extract(shop, [TfidfText(min_df=1)], tmp_path / "out")["text"].matrix.copy()
    changed = replace(shop, texts=["green hat", *(shop.texts or [])[1:]])
    after = extract(changed, [TfidfText(min_df=1)], tmp_path / "out")["text"].matrix
    assert not np.array_equal(after, before)


def test_broken_photos_are_counted_listed_and_missing(
    shop: Items, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (shop.path.parent / "1.png").write_bytes(b"")
    (shop.path.parent / "3.png").unlink()
    for _ in range(2):  # the second time too, although nothing is done
        caplog.clear()
        store = extract(shop, [MeanColour()], tmp_path / "out")["image"]
        assert (
            "photos of 2 of 5 items are broken, for example of item 'd' (1.png: empty file (0 bytes))"
            in caplog.text
        )
    assert store.present.tolist() == [True, False, False, False, True]
    assert store.manifest["missing"] == 1
    assert store.manifest["broken"] == [
        {"item": "d", "input": "1.png", "reason": "empty file (0 bytes)"},
        {"item": "b", "input": "3.png", "reason": "no such file"},
    ]
    with pytest.raises(FeatureError, match="items are broken"):
        extract(shop, [MeanColour()], tmp_path / "out", strict=True)


def test_mended_photo_is_noticed(shop: Items, tmp_path: Path) -> None:
    (shop.path.parent / "1.png").write_bytes(b"")
    extract(shop, [MeanColour()], tmp_path / "out")
    Image.new("RGB", (4, 4), (99, 99, 99)).save(shop.path.parent / "1.png")
    store = extract(shop, [MeanColour()], tmp_path / "out", strict=True)["image"]
    assert (store.manifest["broken"], store.join(["d"])[0].tolist()) == ([], [[99, 99, 99]])


def test_strict_stops_at_the_first_broken_photo(shop: Items, tmp_path: Path) -> None:
    (shop.path.parent / "0.png").write_bytes(b"")
    encoder = MeanColour()
    with pytest.raises(FeatureError, match=r"item 'e' \(0.png: empty file"):
        extract(shop, [encoder], tmp_path / "out", strict=True)
    assert encoder.calls == []
    assert not (tmp_path / "out").exists()


def test_all_photos_broken(shop: Items, tmp_path: Path) -> None:
    for path in shop.path.parent.glob("*.png"):
        path.write_text("not a photo")
    with pytest.raises(FeatureError, match="photos of 4 of 5 items are broken"):
        extract(shop, [MeanColour()], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_text_at_all(shop: Items, tmp_path: Path) -> None:
    said = r"^no item has anything of text to encode: nothing to write to .*/out/text$"
    with pytest.raises(FeatureError, match=said):
        extract(replace(shop, texts=[None] * 5), [TfidfText()], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (np.ones((2, 3)), r"gave float64 \(2, 3\) for 2 inputs: expected float32 \[2, dim\]"),
        (np.ones((3, 3), np.float32), r"gave float32 \(3, 3\) for 2 inputs"),
        (np.ones(2, np.float32), r"gave float32 \(2,\) for 2 inputs"),
        ([[1.0], [2.0]], "gave list for 2 inputs"),
        (np.full((2, 3), np.nan, np.float32), "item 'e': features must be finite"),
    ],
)
def test_encoder_that_breaks_its_contract_keeps_the_old_store(
    shop: Items, tmp_path: Path, answer: Any, message: str
) -> None:
    extract(shop, [MeanColour()], tmp_path / "out")
    before = files(tmp_path / "out")
    with pytest.raises(FeatureError, match=message):
        extract(shop, [Lying(answer)], tmp_path / "out", dtype="float16")
    assert files(tmp_path / "out") == before


def test_several_photos_areaveraged(shop: Items, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = shop.path.parent
    photos = [(folder / "1.png", folder / "3.png"), folder / "4.png", (), (folder / "0.png",), None]
    several = replace(shop, photos=photos)
    store = extract(several, [MeanColour()], tmp_path / "out")["image"]
    assert store.matrix[:, 0].tolist() == [20, 40, 0, 0, 0]
    assert store.present.tolist() == [True, True, False, True, False]
    (folder / "3.png").write_bytes(b"broken")
    store = extract(several, [MeanColour()], tmp_path / "out")["image"]
    assert store.matrix[:, 0].tolist() == [10, 40, 0, 0, 0], "the others stand for the item"
    assert store.manifest["broken"] == [
        {"item": "e", "input": "3.png", "reason": "not an image (it is text)"}
    ]


def test_the_mean_of_unit_rows_has_length_one() -> None:
    rows = np.array([[1, 0], [0, 1], [0.6, 0.8]], dtype=np.float32)
    found = averaged(rows, [2, 1], True)
    np.testing.assert_allclose(found, [[0.5**0.5, 0.5**0.5], [0.6, 0.8]], atol=1e-6)
    np.testing.assert_allclose(averaged(rows, [2, 1], False), [[0.5, 0.5], [0.6, 0.8]], atol=1e-6)


class Tired(MeanColour):
    """Gives up after some batches, as a full disk or a pulled plug would make it."""

    def __init__(self, batches: int) -> None:
        super().__init__()
        self.batches = batches

    def fingerprint(self) -> dict[str, str]:
        return MeanColour().fingerprint()

    def encode(self, inputs: Sequence[Image.Image]) -> Float32:
        if len(self.calls) == self.batches:
            raise FeatureError("tired")
        return super().encode(inputs)


def test_what_was_encoded_before_an_error_is_not_encoded_again(shop: Items, tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match="tired"):
        extract(shop, [Tired(1)], tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".image.journal"]
    encoder = MeanColour()
    extract(shop, [encoder], tmp_path / "out")
    assert encoder.calls == [2], "one of two batches was kept"
    extract(shop, [MeanColour()], tmp_path / "fresh")
    assert files(tmp_path / "out") == files(tmp_path / "fresh"), "and the journal is gone"


def test_a_second_extraction_to_the_same_place_is_refused(shop: Items, tmp_path: Path) -> None:
    class Again(MeanColour):
        def encode(self, inputs: Sequence[Image.Image]) -> Float32:
            extract(shop, [MeanColour()], tmp_path / "out")
            return super().encode(inputs)

    with pytest.raises(MMRecError, match="another extraction is writing to"):
        extract(shop, [Again()], tmp_path / "out")


@pytest.mark.parametrize("half_written", [False, True])
def test_the_refused_one_does_no_harm_to_the_one_at_work(
    shop: Items, tmp_path: Path, half_written: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it encodes, and while its store is written under a temporary name."""
    refused = []

    def second() -> None:
        if not refused:
            refused.append(True)
            with pytest.raises(MMRecError, match="another extraction is writing to"):
                extract(shop, [MeanColour()], tmp_path / "out")

    class Disturbed(MeanColour):
        def encode(self, inputs: Sequence[Image.Image]) -> Float32:
            if not half_written:
                second()
            return super().encode(inputs)

    def write(*args: Any, **options: Any) -> Any:
        second()
        return _write_rows(*args, **options)

    _write_rows = features.store._write_rows
    if half_written:
        monkeypatch.setattr(features.store, "_write_rows", write)
    extract(shop, [Disturbed()], tmp_path / "out")
    assert refused
    extract(shop, [MeanColour()], tmp_path / "fresh")
    assert files(tmp_path / "out") == files(tmp_path / "fresh")


def test_encoders_that_do_not_fit_the_items(shop: Items, tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match="MeanColour needs photos"):
        extract(replace(shop, photos=None), [MeanColour()], tmp_path / "out")
    with pytest.raises(FeatureError, match="TfidfText needs texts"):
        extract(replace(shop, texts=None), [TfidfText()], tmp_path / "out")
    with pytest.raises(FeatureError, match="two encoders for image"):
        extract(shop, [MeanColour(), MeanColour(2.0)], tmp_path / "out")


def test_disk_that_fills_up_keeps_the_old_store(shop: Items, tmp_path: Path) -> None:
    """The kernel refuses files beyond 8 KiB, in the middle of writing the matrix."""
    many = np.arange(4000).astype(str)
    large = replace(shop, ids=many, photos=[(shop.photos or [])[0]] * 4000)
    extract(shop, [MeanColour()], tmp_path / "out")
    before = files(tmp_path / "out")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
    try:
        with pytest.raises(MMRecError, match=r"disk full .*out/image") as caught:
            extract(large, [MeanColour(batch_size=500)], tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(caught.value)
    assert files(tmp_path / "out") == before


def test_manifest_is_the_same_whenever_it_is_written(shop: Items, tmp_path: Path) -> None:
    for name in ("one", "two"):
        extract(shop, [MeanColour()], tmp_path / name)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    json.loads((tmp_path / "one" / "image" / "manifest.json").read_text())
