"""Contrastive training: it learns, the same seed gives the same weights, bad input is one line."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from features import finetune as module
from features.contrastive import retrieval, train_clip
from features.errors import FeatureError
from features.finetune import Finetuned, finetune, main
from features.items import Items, read_items
from features.open_clip import OpenClipImage, OpenClipText, build_open_clip
from features.photos import load_photo
from mmrec.data.demo import make_demo

CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 4, "head_width": 8},
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
COLUMNS = ["--image_column", "photo", "--text_columns", "title,description"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_demo(tmp_path_factory.mktemp("shop") / "demo", users=5, items=240, seed=5)


@pytest.fixture(scope="module")
def items(shop: Path) -> Items:
    return read_items(shop / "items.csv", image_column="photo", text_columns=["title", "description"])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("model") / "tiny.json"
    path.write_text(json.dumps(CONFIG))
    return str(path)


def train(items: Items, out: Path, model: str, **options: float) -> Finetuned:
    settings = {"epochs": 25, "batch_size": 32, "lr": 5e-3, "holdout": 0.2, "seed": 0} | options
    return finetune(items, out, model=model, pretrained=None, device="cpu", **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def trained(items: Items, model: str, tmp_path_factory: pytest.TempPathFactory) -> Finetuned:
    return train(items, tmp_path_factory.mktemp("trained") / "tiny.safetensors", model)


def test_training_lowers_the_loss_and_photos_find_their_texts(trained: Finetuned) -> None:
    assert trained.trained == 181
    assert trained.left_out == 14  # 7 have no photo and 7 no text
    assert trained.losses[-1] < 0.6 * trained.losses[0]
    assert trained.before.pairs == trained.after.pairs == 45
    assert trained.after.recall_10 > 2 * 10 / 45
    assert trained.after.recall_10 > trained.before.recall_10 + 0.2


def test_the_checkpoint_is_what_was_tested(trained: Finetuned, items: Items, model: str) -> None:
    options = {"model": model, "pretrained": str(trained.path)}
    pairs = [(p, t) for p, t in zip(items.photos or [], items.texts or [], strict=True) if p and t]
    held = np.random.default_rng(0).permutation(len(pairs))[:45]
    photos = OpenClipImage(**options).encode([load_photo(pairs[row][0]) for row in held])
    texts = OpenClipText(**options).encode([pairs[row][1] for row in held])
    assert retrieval(torch.from_numpy(photos), torch.from_numpy(texts)) == trained.after


def test_same_seed_same_weights(items: Items, model: str, tmp_path: Path) -> None:
    short = {"epochs": 1, "holdout": 0.5}
    torch.manual_seed(1)
    first = train(items, tmp_path / "1.safetensors", model, **short).path.read_bytes()
    torch.manual_seed(2)
    expected = torch.rand(1)
    torch.manual_seed(2)
    assert train(items, tmp_path / "2.safetensors", model, **short).path.read_bytes() == first
    assert torch.rand(1) == expected  # nobody else's chance was touched
    assert train(items, tmp_path / "3.safetensors", model, seed=1, **short).path.read_bytes() != first


def test_it_goes_on_from_a_checkpoint(trained: Finetuned, items: Items, model: str, tmp_path: Path) -> None:
    out = tmp_path / "more.safetensors"
    more = finetune(
        items,
        out,
        model=model,
        pretrained=str(trained.path),
        epochs=1,
        batch_size=32,
        holdout=0.2,
        device="cpu",
    )
    assert more.before == trained.after
    assert more.losses[0] < trained.losses[-1] + 0.2


def test_retrieval_against_a_loop() -> None:
    rng = np.random.default_rng(0)
    photos, texts = (rng.standard_normal((40, 3)).astype(np.float32) for _ in range(2))
    ranks = []
    for row in range(40):
        scores = [float(photos[row] @ text) for text in texts]
        ranks.append(sorted(scores, reverse=True).index(scores[row]))
    found = retrieval(torch.from_numpy(photos), torch.from_numpy(texts))
    assert found.recall_1 == pytest.approx(np.mean([rank == 0 for rank in ranks]))
    assert found.recall_10 == pytest.approx(np.mean([rank < 10 for rank in ranks]))
    assert str(found).endswith("(chance 0.250), photo to text, 40 pairs")


def test_first_step_has_the_loss_of_the_formula(items: Items, model: str) -> None:
    """CLIP's loss: the mean of the cross-entropies of photo -> text and text -> photo."""
    torch.manual_seed(0)
    clip = build_open_clip(model, None, device="cpu")
    photos = [p for p, t in zip(items.photos or [], items.texts or [], strict=True) if p and t][:6]
    texts = [t for p, t in zip(items.photos or [], items.texts or [], strict=True) if p and t][:6]
    clip.model.train()  # batch statistics, as in training
    with torch.no_grad():
        images = torch.stack([clip.preprocess(load_photo(photo)) for photo in photos])
        one, two, scale = clip.model(images, clip.tokenize(texts, context_length=32))
    score = (scale * one @ two.T).double().exp()
    by_hand = -sum(
        (score[i, i] / score[i, :].sum()).log() / 12 + (score[i, i] / score[:, i].sum()).log() / 12
        for i in range(6)
    )
    losses = train_clip(clip, photos, texts, np.arange(6), 1, 6, 1e-3, 0.1, 0.0, 0)
    assert losses[0] == pytest.approx(float(by_hand), rel=1e-4)


def test_broken_photos_are_left_out(items: Items, model: str, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    photos = [tmp_path / "broken.jpg" if row < 20 else photo for row, photo in enumerate(items.photos or [])]
    hurt = Items(items.ids, photos, items.texts, None, items.path)
    kept = sum(bool(p and t) for p, t in zip(photos[20:], (items.texts or [])[20:], strict=True))
    result = train(hurt, tmp_path / "out.safetensors", model, epochs=1, holdout=0.5)
    assert result.left_out == 240 - kept


def test_a_loss_that_is_not_finite_is_named(
    items: Items, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import open_clip

    monkeypatch.setattr(open_clip.ClipLoss, "forward", lambda *args, **kwargs: torch.tensor(float("nan")))
    with pytest.raises(FeatureError, match=r"loss is nan in epoch 1: lower lr"):
        train(items, tmp_path / "out.safetensors", model, epochs=1)
    assert not list(tmp_path.iterdir())


def test_command_line(
    shop: Path,
    model: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    out = tmp_path / "mine.safetensors"
    words = ["--items", str(shop / "items.csv"), "--out", str(out), "--model", model, "--pretrained", "none"]
    with caplog.at_level(logging.INFO):
        assert main([*words, *COLUMNS, "--epochs", "1", "--batch_size", "64", "--holdout", "0.5"]) == 0
    assert "trained on 113 pairs, 14 items left out" in capsys.readouterr().out
    assert "epoch 1 of 1: loss" in caplog.text
    assert out.is_file()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--items", "nowhere.csv", *COLUMNS], "no item table at nowhere.csv"),
        (COLUMNS, "--items must be given"),
        (["--items", "{items}", *COLUMNS, "--epoch", "3"], "no option '--epoch'; did you mean '--epochs'"),
        (["--items", "{items}", *COLUMNS, "--lr", "fast"], "option --lr is 'fast', expected a number"),
        (["--items", "{items}", *COLUMNS, "--lr", "-1"], "lr above 0"),
        (["--items", "{items}", *COLUMNS, "--holdout", "1"], "holdout in"),
        (["--items", "{items}", *COLUMNS, "--holdout", "0.001"], "at least 2 are needed"),
        (["--items", "{items}", "--image_column", "photo"], "needs photos and texts"),
        (
            ["--items", "{items}", "--image_column", "picture", "--text_columns", "title"],
            "no column 'picture'",
        ),
        (["--items", "{items}", *COLUMNS, "--pretrained", "gone.safetensors"], "no checkpoint of"),
        (["--items", "{items}", *COLUMNS, "--out", "mine.pt"], "ends in .safetensors"),
    ],
)
def test_bad_input_is_one_line(
    shop: Path,
    model: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    expected: str,
) -> None:
    place = {"{items}": str(shop / "items.csv")}
    start = ["--model", model, "--pretrained", "none", "--out", str(tmp_path / "out.safetensors")]
    assert main([*start, *(place.get(word, word) for word in words)]) == 2
    error = capsys.readouterr().err
    assert re.fullmatch(r"error: [^\n]+\n", error)
    assert expected in error
    assert not list(tmp_path.iterdir())


def test_interrupted_it_leaves_nothing(
    shop: Path,
    model: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "train_clip", stop)
    words = ["--items", str(shop / "items.csv"), *COLUMNS, "--model", model, "--pretrained", "none"]
    assert main([*words, "--out", str(tmp_path / "out.safetensors")]) == 2
    assert capsys.readouterr().err == (
        "error: interrupted; nothing half-written is left, the same command starts again\n"
    )
    assert not list(tmp_path.iterdir())
