"""open_clip through our loader, with tiny random CLIPs; nothing here may ask the network."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from features.errors import FeatureError
from features.open_clip import OpenClipImage, OpenClipText, build_open_clip, load_open_clip, pick_device
from features.open_clip_weights import find_clip, import_open_clip
from tests.cases.encoder_cases import make_tiny_clip, photo

LAION = "models--laion--CLIP-ViT-B-32-laion2B-s34B-b79K"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make_tiny_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hugging Face cache and no network, whatever this machine has."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def put_into_cache(cache: Path, repository: str, name: str) -> Path:
    """The layout of huggingface_hub's cache."""
    snapshot = cache / repository / "snapshots" / "0123abc"
    snapshot.mkdir(parents=True, exist_ok=True)
    (cache / repository / "refs").mkdir(exist_ok=True)
    (cache / repository / "refs" / "main").write_text("0123abc")
    (snapshot / name).write_bytes(b"weights")
    return snapshot / name


def test_same_rows_as_open_clip_used_directly(tiny: dict[str, str], tmp_path: Path) -> None:
    library = import_open_clip()
    shutil.copy(tiny["model"], tmp_path / "direct-tiny.json")
    library.add_model_config(tmp_path / "direct-tiny.json")
    model, _, preprocess = library.create_model_and_transforms("direct-tiny", pretrained=tiny["pretrained"])
    model.eval()
    photos, texts = [photo(index) for index in range(3)], ["a red shirt", "a mug"]
    with torch.inference_mode():
        image_rows = model.encode_image(torch.stack([preprocess(one) for one in photos]), normalize=True)
        text_rows = model.encode_text(library.get_tokenizer("direct-tiny")(texts), normalize=True)
    np.testing.assert_allclose(OpenClipImage(**tiny).encode(photos), image_rows.numpy(), atol=1e-6)
    np.testing.assert_allclose(OpenClipText(**tiny).encode(texts), text_rows.numpy(), atol=1e-6)


def test_rows_have_length_one_whatever_the_batch_size(tiny: dict[str, str]) -> None:
    photos = [photo(index) for index in range(5)]
    rows = OpenClipImage(**tiny).encode(photos)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(OpenClipImage(**tiny, batch_size=2).encode(photos), rows, atol=1e-6)


def test_half_precision_is_for_cuda_only(tiny: dict[str, str]) -> None:
    texts = ["a red shirt"]
    half = OpenClipText(**tiny, precision="bf16", device="cpu").encode(texts)
    np.testing.assert_array_equal(half, OpenClipText(**tiny, device="cpu").encode(texts))


def test_image_and_text_share_the_model(tiny: dict[str, str]) -> None:
    first = load_open_clip(**tiny, device="cpu")
    assert load_open_clip(**tiny, device="cpu") is first
    assert not first.model.training, "dropout would make rows random"
    assert build_open_clip(**tiny, device="cpu").model is not first.model


def test_a_long_text_is_the_mean_of_its_pieces(tiny: dict[str, str]) -> None:
    """One token a word here, so that what fits into a piece is known."""
    encoder = OpenClipText(**tiny)
    room = encoder._clip.context_length - 2
    words = [("a", "of", "is", "at")[row % 4] for row in range(2 * room + 3)]
    parts = [" ".join(words[start : start + room]) for start in range(0, len(words), room)]
    assert [len(part.split()) for part in parts] == [room, room, 3]
    encoder.fit([])
    rows = encoder.encode(["short", " ".join(words), parts[0]])
    mean = encoder.encode(parts).mean(axis=0)
    np.testing.assert_allclose(rows[1], mean / np.linalg.norm(mean), atol=1e-6)
    np.testing.assert_allclose(rows[0], encoder.encode(["short"])[0], atol=1e-6)
    np.testing.assert_allclose(rows[2], encoder.encode([parts[0]])[0], atol=1e-6)
    assert encoder.notes() == {"truncated_texts": 0, "long_texts": 1}
    cut = OpenClipText(**tiny, long_texts="truncate").encode([" ".join(words)])
    np.testing.assert_allclose(cut[0], encoder.encode(parts[:1])[0], atol=1e-6)
    assert OpenClipText(**tiny, long_texts="truncate").fingerprint() != encoder.fingerprint()


def test_a_long_text_without_blanks_is_read_to_its_end(tiny: dict[str, str]) -> None:
    encoder = OpenClipText(**tiny)
    text = "红色棉质衬衫" * 10
    other = text[:-1] + "帽"
    assert not np.array_equal(encoder.encode([text])[0], encoder.encode([other])[0])
    encoder.fit([])
    encoder.encode([text, "word " * 5000])
    assert encoder.notes() == {"truncated_texts": 1, "long_texts": 2}, "32 pieces are the most"


def test_truncated_texts_are_counted_exactly(tiny: dict[str, str]) -> None:
    """24 places, start and end among them: 22 one-token words fit, 23 do not."""
    encoder = OpenClipText(**tiny, long_texts="truncate")
    encoder.fit([])
    fits, too_long = "red " * 22, "red " * 23
    rows = encoder.encode(["red", fits, too_long, "red " * 10_000])
    assert encoder.notes() == {"truncated_texts": 2, "long_texts": 0}
    np.testing.assert_allclose(rows[1], rows[2], atol=1e-6)
    np.testing.assert_allclose(rows[1], rows[3], atol=1e-6)
    encoder.fit([])
    assert encoder.notes() == {"truncated_texts": 0, "long_texts": 0}


def test_changed_checkpoint_changes_fingerprint_and_rows(tmp_path: Path) -> None:
    options = make_tiny_clip(tmp_path)
    before = OpenClipText(**options)
    old_print, old_rows = before.fingerprint(), before.encode(["a mug"])
    make_tiny_clip(tmp_path, seed=5)
    after = OpenClipText(**options)
    changed = {key for key, value in after.fingerprint().items() if old_print[key] != value}
    assert changed == {"checkpoint_sha256"}
    assert np.abs(after.encode(["a mug"]) - old_rows).max() > 1e-3


def test_the_same_weights_elsewhere_have_the_same_fingerprint(tiny: dict[str, str], tmp_path: Path) -> None:
    moved = {key: str(shutil.copy(path, tmp_path)) for key, path in tiny.items()}
    assert OpenClipImage(**moved).fingerprint() == OpenClipImage(**tiny).fingerprint()


def test_fingerprint_says_how_photos_are_prepared(tiny: dict[str, str], tmp_path: Path) -> None:
    config = json.loads(Path(tiny["model"]).read_text())
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear"}
    grey = {"model_cfg": config, "preprocess_cfg": preprocess}
    (tmp_path / "grey.json").write_text(json.dumps(grey))
    other = OpenClipImage(str(tmp_path / "grey.json"), tiny["pretrained"])
    assert json.loads(OpenClipImage(**tiny).fingerprint()["preprocess"])["mean"][0] == 0.48145466
    assert json.loads(other.fingerprint()["preprocess"])["mean"] == [0.5] * 3
    white = other.prepare(Image.new("RGB", (40, 40), "white"))
    np.testing.assert_allclose(white, torch.ones(3, 32, 32), atol=1e-6)


def test_random_weights_are_for_training_only(tiny: dict[str, str]) -> None:
    first, second = (build_open_clip(tiny["model"], None, device="cpu") for _ in range(2))
    assert first.source.checkpoint is None
    weights = [clip.model.get_parameter("visual.proj") for clip in (first, second)]
    assert not torch.equal(*weights)


def test_weights_neither_cached_nor_downloadable_is_one_line() -> None:
    with pytest.raises(FeatureError, match=r"neither cached.*local checkpoint.*HF_HOME.*demo") as caught:
        OpenClipImage().fingerprint()
    with pytest.raises(FeatureError, match="'hf-hub:owner/name' are neither cached"):
        find_clip("hf-hub:owner/name", None)
    assert "\n" not in str(caught.value)


def test_closed_network_is_noticed_before_open_clip_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*args: object, **kwargs: object) -> None:
        raise ConnectionError("closed")

    def never(*args: object, **kwargs: object) -> str:
        raise AssertionError("the download was tried")

    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", closed)
    monkeypatch.setattr(import_open_clip().pretrained, "download_pretrained", never)
    with pytest.raises(FeatureError, match="ConnectionError"):
        find_clip("ViT-B-32", "laion2b_s34b_b79k")


@pytest.mark.parametrize("name", ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"])
def test_cached_weights_need_no_network(empty_cache: Path, name: str) -> None:
    weights = put_into_cache(empty_cache, LAION, name)
    source = find_clip("ViT-B-32", "laion2b_s34b_b79k")
    assert source.checkpoint == weights
    assert "quick_gelu" not in source.config


def test_a_tag_trained_with_quick_gelu_gets_it(empty_cache: Path) -> None:
    put_into_cache(
        empty_cache, "models--timm--vit_base_patch32_clip_224.openai", "open_clip_model.safetensors"
    )
    assert find_clip("ViT-B-32", "openai").config["quick_gelu"] is True


def test_local_checkpoint_of_siglip_is_prepared_as_siglip(tmp_path: Path) -> None:
    (tmp_path / "mine.pt").write_bytes(b"x")
    mine = str(tmp_path / "mine.pt")
    siglip, clip = find_clip("ViT-B-16-SigLIP", mine), find_clip("ViT-B-32", mine)
    assert siglip.preprocess["mean"] == pytest.approx([0.5] * 3)
    assert clip.preprocess["mean"][0] == 0.48145466


@pytest.mark.parametrize(
    ("model", "pretrained", "message"),
    [
        ("ViT-B-33", "openai", "unknown model 'ViT-B-33'; did you mean 'ViT-B-32'"),
        ("ViT-B-32", "laion2b_s34b", "no pretrained 'laion2b_s34b'.*did you mean 'laion2b_s34b_b79k'"),
        ("ViT-B-32", "absent/weights.pt", "no checkpoint of 'ViT-B-32' at absent/weights.pt"),
        ("absent.json", "weights.pt", "no model configuration at absent.json"),
    ],
)
def test_unknown_names(model: str, pretrained: str, message: str) -> None:
    with pytest.raises(FeatureError, match=message) as caught:
        find_clip(model, pretrained)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as a model configuration"),
        ("[1]", "it has no 'embed_dim'"),
        ('{"embed_dim": 4, "vision_cfg": {}}', "it has no 'text_cfg'"),
        ('{"embed_dim": 4, "vision_cfg": {"layers": "many"}, "text_cfg": {}}', "open_clip cannot build"),
    ],
)
def test_unusable_configuration(tiny: dict[str, str], tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(FeatureError, match=message) as caught:
        build_open_clip(str(tmp_path / "bad.json"), tiny["pretrained"], device="cpu")
    assert "\n" not in str(caught.value)


class Trap:
    """Unpickling this would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_unusable_checkpoints(tiny: dict[str, str], tmp_path: Path) -> None:
    torch.save({"weight": Trap(tmp_path / "sprung")}, tmp_path / "pickle.pt")
    (tmp_path / "text.safetensors").write_text("no weights")
    (tmp_path / "cut.safetensors").write_bytes(Path(tiny["pretrained"]).read_bytes()[:5000])
    wider = make_tiny_clip(tmp_path / "wider", embed_dim=20)["pretrained"]
    for path in (tmp_path / "pickle.pt", tmp_path / "text.safetensors", tmp_path / "cut.safetensors", wider):
        with pytest.raises(FeatureError, match="is not a checkpoint of") as caught:
            build_open_clip(tiny["model"], str(path), device="cpu")
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "sprung").exists(), "a pickle was run"


def test_devices() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("gpu", "cuda:99"):
        with pytest.raises(FeatureError, match=f"device '{name}' cannot be used"):
            pick_device(name)
