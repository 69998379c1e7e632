"""What every encoder has to do. `test_encoders.py` runs it over each one in `features/`, found by existing.

An encoder of another package: subclass `EncoderCases` in its tests and give it a fixture `encoder_class`.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import pkgutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image

import features
from features.base import Encoder
from features.extract import extract
from features.items import Items

SPEED_ONLY = {"batch_size", "device", "workers"}  # options that must not change a fingerprint
TEXTS = [
    "a red shirt with stripes",
    "a blue shirt with dots",
    "a red mug with dots",
    "stripes and dots, red and blue",
    "a mug, a shirt " * 40,
]


def all_encoders() -> list[type[Encoder]]:
    """Every encoder defined in `features/`, after importing each of its files."""
    for module in pkgutil.iter_modules(features.__path__, "features."):
        importlib.import_module(module.name)
    found, waiting = [], [Encoder]
    while waiting:
        children = waiting.pop().__subclasses__()
        waiting += children
        ours = [child for child in children if child.__module__.startswith("features.")]
        found += [child for child in ours if not inspect.isabstract(child)]
    return sorted(set(found), key=lambda child: f"{child.__module__}.{child.__qualname__}")


def make_tiny_clip(folder: Path, seed: int = 0, **changes: Any) -> dict[str, str]:
    """A CLIP of 1.6 million random weights; returns the `model` and `pretrained` to load it by."""
    import torch
    from safetensors.torch import save_file

    from features.open_clip import build_open_clip

    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "embed_dim": 12,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    }
    model, weights = folder / "tiny.json", folder / "tiny.safetensors"
    model.write_text(json.dumps({**config, **changes}))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = build_open_clip(str(model), None, device="cpu").model
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, weights)
    return {"model": str(model), "pretrained": str(weights)}


def make_tiny_sentence(folder: Path, seed: int = 0) -> dict[str, str]:
    """A sentence encoder of random weights that knows the words of `TEXTS`; returns the `model` to load."""
    transformers = pytest.importorskip("transformers")
    library = pytest.importorskip("sentence_transformers")
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    words = sorted({word.strip(",") for text in TEXTS for word in text.split()} | {",", "is", "short"})
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        config = transformers.BertConfig(vocab_size=len(words) + 5, max_position_embeddings=32, **sizes)
        network = transformers.BertModel(config)
    network.save_pretrained(folder / "bert")
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder / "bert")
    # A folder that is a plain transformer: the library puts a mean over tokens behind it.
    made = library.SentenceTransformer(str(folder / "bert"), device="cpu")
    made.max_seq_length = 32
    made.save(str(folder / "sentence"))
    return {"model": str(folder / "sentence")}


def photo(index: int) -> Image.Image:
    """A small photo unlike the others: noise with a colour of its own."""
    noise = np.random.default_rng(index).integers(0, 90, (40 + index, 50, 3))
    return Image.fromarray((noise + 50 * (index % 3)).astype(np.uint8))


def inputs_for(modality: str) -> Sequence[Any]:
    """Five inputs, no two alike."""
    return TEXTS if modality == "text" else [photo(index) for index in range(5)]


class EncoderCases:
    """The suite; subclasses provide the fixture `encoder_class`."""

    @pytest.fixture(scope="class")
    @classmethod
    def made_weights(cls, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[dict[str, str]]]:
        """Two tiny models for encoders with the options `model` and `pretrained`, by the class's name."""

        @functools.cache
        def made(name: str) -> list[dict[str, str]]:
            folder = tmp_path_factory.mktemp("weights")
            if name == "SentenceText":
                return [make_tiny_sentence(folder / "one"), make_tiny_sentence(folder / "two", seed=1)]
            return [make_tiny_clip(folder / "one"), make_tiny_clip(folder / "two", seed=1, quick_gelu=True)]

        return made

    @pytest.fixture
    def weights(
        self, encoder_class: type[Encoder], made_weights: Callable[[str], list[dict[str, str]]]
    ) -> list[dict[str, str]]:
        if "model" not in inspect.signature(encoder_class).parameters:
            return [{}, {}]
        return made_weights(encoder_class.__name__)

    @pytest.fixture
    def options(self, encoder_class: type[Encoder], weights: list[dict[str, str]]) -> dict[str, Any]:
        names = inspect.signature(encoder_class).parameters
        return {name: value for name, value in {**weights[0], "device": "cpu"}.items() if name in names}

    @pytest.fixture
    def encoder(self, encoder_class: type[Encoder], options: dict[str, Any]) -> Encoder:
        made = encoder_class(**options)
        made.fit(TEXTS if made.modality == "text" else [])
        return made

    def test_rows_are_finite_float32_of_the_promised_length(self, encoder: Encoder) -> None:
        rows = encoder.encode(inputs_for(encoder.modality))
        assert rows.dtype == np.float32
        assert rows.shape == (5, encoder.dim)
        assert np.isfinite(rows).all()
        assert len(np.unique(rows.round(5), axis=0)) == 5, "different inputs, same rows"

    def test_three_ragged_batches_equal_one(self, encoder: Encoder) -> None:
        inputs = inputs_for(encoder.modality)
        whole = encoder.encode(inputs)
        parts = np.concatenate([encoder.encode(inputs[a:b]) for a, b in ((0, 1), (1, 3), (3, 5))])
        np.testing.assert_allclose(parts, whole, atol=1e-5)

    def test_order_follows_the_inputs(self, encoder: Encoder) -> None:
        inputs, order = inputs_for(encoder.modality), [3, 0, 4, 2, 1]
        shuffled = encoder.encode([inputs[index] for index in order])
        np.testing.assert_allclose(shuffled, encoder.encode(inputs)[order], atol=1e-5)

    def test_empty_batch(self, encoder: Encoder) -> None:
        assert encoder.encode([]).shape == (0, encoder.dim)

    def test_prepared_inputs_give_the_same_rows(self, encoder: Encoder) -> None:
        inputs = inputs_for(encoder.modality)
        prepared = [encoder.prepare(encoder.prepare(item)) for item in inputs]
        np.testing.assert_array_equal(encoder.encode(prepared), encoder.encode(inputs))

    def test_a_second_encoder_gives_the_same_rows(
        self, encoder: Encoder, encoder_class: type[Encoder], options: dict[str, Any]
    ) -> None:
        again = encoder_class(**options)
        again.fit(TEXTS if again.modality == "text" else [])
        inputs = inputs_for(encoder.modality)
        np.testing.assert_array_equal(again.encode(inputs), encoder.encode(inputs))

    def test_fingerprint_is_text_and_stable(
        self, encoder: Encoder, encoder_class: type[Encoder], options: dict[str, Any]
    ) -> None:
        fresh = encoder_class(**options).fingerprint()
        encoder.encode(inputs_for(encoder.modality))
        assert fresh == encoder.fingerprint()
        assert all(isinstance(text, str) for pair in fresh.items() for text in pair)
        assert encoder_class.__qualname__ in "".join(fresh.values())

    def test_fingerprint_changes_with_every_option_that_decides_numbers(
        self, encoder_class: type[Encoder], options: dict[str, Any], weights: list[dict[str, str]]
    ) -> None:
        before = encoder_class(**options).fingerprint()
        for name, parameter in inspect.signature(encoder_class, eval_str=True).parameters.items():
            usual = options.get(name, parameter.default)
            value = weights[1].get(name) or _another(usual, parameter.annotation)
            after = encoder_class(**{**options, name: value}).fingerprint()
            assert (after == before) == (name in SPEED_ONLY), f"{name}: {value}"

    def test_the_constructor_has_defaults_and_reads_nothing(
        self, encoder_class: type[Encoder], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*args: object, **kwargs: object) -> None:
            raise AssertionError("a constructor opened a file")

        with monkeypatch.context() as patch:
            patch.setattr("builtins.open", refuse)
            patch.setattr("io.open", refuse)
            made = encoder_class()
        assert made.modality in ("image", "text")

    def test_a_store_has_each_row_at_its_id(self, encoder: Encoder, tmp_path: Path) -> None:
        inputs = inputs_for(encoder.modality)
        ids = np.array(["e", "b", "none", "d", "a", "c"])
        values: list[Any] = list(inputs)
        if encoder.modality == "image":
            values = [tmp_path / f"{index}.png" for index in range(5)]
            for path, image in zip(values, inputs, strict=True):
                image.save(path)
        values.insert(2, None)
        photos, texts = (values, None) if encoder.modality == "image" else (None, values)
        table = Items(ids=ids, photos=photos, texts=texts, titles=None, path=tmp_path / "items.csv")
        store = extract(table, [encoder], tmp_path / "out")[encoder.modality]
        rows, present = store.join(["d", "none", "e", "stranger"])
        np.testing.assert_allclose(rows[[0, 2]], encoder.encode([inputs[2], inputs[0]]), atol=1e-5)
        assert present.tolist() == [True, False, True, False]
        assert not rows[[1, 3]].any()


def _another(value: Any, annotation: Any) -> Any:
    """A different value of the same kind."""
    if get_args(annotation):
        return next(choice for choice in get_args(annotation) if choice != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value / 2
    return f"{value}:1"
