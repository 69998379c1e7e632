"""The demo's own CLIP: the documented file, and what it has learnt, through the path any CLIP takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from features.files import file_hash
from features.items import read_items
from features.open_clip import OpenClipImage, OpenClipText
from features.open_clip_weights import DEMO_CHECKPOINT, DEMO_CONFIG
from features.photos import load_photo
from mmrec.data.demo import make_demo

SHA256 = "c2f76f5388097d88a02659fa67f51aac2f6f3034e87867477ec6c8489ee454e8"


def test_the_checkpoint_is_the_documented_one() -> None:
    assert file_hash(DEMO_CHECKPOINT, "sha256") == SHA256
    assert SHA256 in (DEMO_CONFIG.parent / "README.md").read_text(encoding="utf-8")
    assert DEMO_CHECKPOINT.stat().st_size <= 6_000_000


def test_photos_find_their_texts_in_a_shop_it_has_never_seen(tmp_path: Path) -> None:
    folder = make_demo(tmp_path / "shop", users=20, items=300, seed=77)
    items = read_items(folder / "items.csv", image_column="photo", text_columns=["title", "description"])
    assert items.photos is not None
    assert items.texts is not None
    pairs = [(photo, text) for photo, text in zip(items.photos, items.texts, strict=True) if photo and text]
    image = OpenClipImage(model="demo", pretrained="demo")
    text = OpenClipText(model="demo", pretrained="demo")
    photos = image.encode([load_photo(photo) for photo, _ in pairs])
    texts = text.encode([words for _, words in pairs])
    assert photos.shape == texts.shape == (len(pairs), image.dim)
    np.testing.assert_allclose(np.linalg.norm(photos, axis=1), 1, atol=1e-4)
    own = photos @ texts.T
    rank = (own > np.diag(own)[:, None]).sum(axis=1)
    # This shop's texts leave out what only photos show, and the other way round: no score is perfect.
    assert np.mean(rank < 10) > 0.6  # chance: 10 / 282 = 0.035
    assert np.mean(rank < 1) > 0.15  # chance: 0.0035


def test_wrong_weights_would_be_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    changed = tmp_path / "mmrec-demo.safetensors"
    content = bytearray(DEMO_CHECKPOINT.read_bytes())
    content[-1] ^= 1
    changed.write_bytes(content)
    prints = [OpenClipImage(model="demo", pretrained=one).fingerprint() for one in ("demo", str(changed))]
    assert prints[0] != prints[1]
