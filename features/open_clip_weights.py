"""Where a CLIP's configuration and checkpoint are: open_clip names, local files, or the demo's own."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from features.errors import FeatureError, MMRecError, nearest
from features.files import content_hash, file_hash

DEMO_CONFIG = Path(__file__).parent / "demo_clip" / "mmrec-demo.json"
DEMO_CHECKPOINT = DEMO_CONFIG.with_suffix(".safetensors")
_PREPROCESS = {  # what open_clip itself assumes: OpenAI's CLIP; written out so that the manifest says it
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}
_CHECKPOINT_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".npz")
_HUB_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_HUB_CONFIG = "open_clip_config.json"
_declared: list[Any] = []  # operator declarations, which end with the object that made them
_HUB_SECONDS = (
    10  # a closed network is to be noticed soon; a slow one still has this long for its first answer
)


@dataclass(frozen=True)
class ClipSource:
    """One CLIP, found but not loaded.

    Attributes:
        name: the name asked for, with "demo" replaced by its file.
        config: open_clip's model configuration (`embed_dim`, `vision_cfg`, `text_cfg`, …).
        preprocess: what the checkpoint wants done to photos: mean, std, interpolation, resize_mode.
        checkpoint: the weights' file, None for random weights.
    """

    name: str
    config: dict[str, Any]
    preprocess: dict[str, Any]
    checkpoint: Path | None

    def fingerprint(self) -> dict[str, str]:
        """Identity of the weights, the architecture and the preprocessing, by content and not by path."""
        from importlib.metadata import version

        return {
            "model": Path(self.name).name,
            "config": content_hash(self.config),
            "preprocess": json.dumps(self.preprocess, sort_keys=True),
            "image_size": json.dumps(self.config["vision_cfg"].get("image_size", 224)),
            "checkpoint_sha256": _hash_once(self.checkpoint) if self.checkpoint else "random",
            "open_clip": version("open_clip_torch"),
        }


def find_clip(model: str, pretrained: str | None) -> ClipSource:
    """Find configuration and checkpoint, downloading the checkpoint of a tag only if no cache has it.

    Args:
        model: an open_clip name (`ViT-B-32`), `hf-hub:owner/name`, the path of a model configuration (.json),
            or `demo`.
        pretrained: an open_clip tag (`laion2b_s34b_b79k`), the path of a checkpoint, `demo`, or None: random
            weights. `hf-hub:` models bring their own and ignore it.

    Returns:
        What `features.open_clip.build_open_clip` builds.

    Raises:
        FeatureError: unknown name or tag (with the nearest known), unreadable configuration, weights not to
            be had.
    """
    if model == "demo":
        model = str(DEMO_CONFIG)
        pretrained = "demo" if pretrained is not None else None
    if model.startswith("hf-hub:"):
        return _from_hub(model)
    if model.endswith(".json"):
        config, preprocess = _read_config(Path(model))
        return ClipSource(model, config, preprocess, _local_checkpoint(model, pretrained))
    library = import_open_clip()
    name = model.replace("/", "-")
    config = library.get_model_config(name)
    if config is None:
        known = [*library.list_models(), "demo"]
        raise FeatureError(
            f"unknown model '{model}'{_short(nearest(model, known))}; a path of a .json works too"
        )
    if pretrained is None or _is_path(pretrained):
        return ClipSource(
            model, config, _usual_preprocess(library, name), _local_checkpoint(model, pretrained)
        )
    tag = library.pretrained.get_pretrained_cfg(name, pretrained)
    if not tag:
        tags = library.list_pretrained_tags_by_model(name)
        raise FeatureError(
            f"model '{model}' has no pretrained '{pretrained}', and no such file exists"
            f"{nearest(pretrained, tags)}"
        )
    if tag.get("quick_gelu"):  # the tag was trained with it; open_clip itself would only warn
        config["quick_gelu"] = True
    return ClipSource(model, config, _preprocess(tag), _tag_checkpoint(library, model, pretrained, tag))


def import_open_clip() -> ModuleType:
    """The open_clip library, also where torchvision was built for another torch.

    torchvision's wheel is built against a CUDA torch; beside a CPU-only torch its compiled operators do not
    load and importing it fails on the missing operator `torchvision::nms`. open_clip needs none of them:
    declaring the operators is enough.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        import torch

        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        operators: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call, unused-ignore]
        for name in ("nms", "qnms"):
            operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _declared.append(operators)
    import open_clip

    module: ModuleType = open_clip
    return module


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep open_clip from logging to the root logger (and from installing a handler there)."""
    root = logging.getLogger()
    handlers, disabled = list(root.handlers), root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(disabled)
        root.handlers[:] = handlers


def _is_path(pretrained: str) -> bool:
    if pretrained == "demo" or pretrained.endswith(_CHECKPOINT_SUFFIXES) or os.sep in pretrained:
        return True
    return Path(pretrained).is_file()


def _preprocess(given: dict[str, Any]) -> dict[str, Any]:
    return _PREPROCESS | {
        key: given[key] for key in (*_PREPROCESS, "fill_color") if given.get(key) is not None
    }


def _usual_preprocess(library: ModuleType, name: str) -> dict[str, Any]:
    """For a local checkpoint: what all published weights of that model want (SigLIP's is not CLIP's)."""
    tags = library.list_pretrained_tags_by_model(name)
    found = [_preprocess(library.pretrained.get_pretrained_cfg(name, tag)) for tag in tags]
    return found[0] if found and all(one == found[0] for one in found) else _PREPROCESS


def _short(text: str, limit: int = 300) -> str:
    return text if len(text) <= limit else text[:limit].rpartition(",")[0] + ", …"


def _read_config(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A bare model configuration, or one with `model_cfg` and `preprocess_cfg` as on the Hugging Face hub."""
    try:
        with open(path, encoding="utf-8") as stream:
            content = json.load(stream)
    except FileNotFoundError as error:
        raise FeatureError(f"no model configuration at {path}") from error
    except (OSError, ValueError) as error:
        raise FeatureError(f"{path} cannot be read as a model configuration in JSON ({error})") from error
    config = content.get("model_cfg", content) if isinstance(content, dict) else {}
    missing = [key for key in ("embed_dim", "vision_cfg", "text_cfg") if key not in config]
    if missing:
        raise FeatureError(f"{path} is not an open_clip model configuration: it has no '{missing[0]}'")
    return config, _preprocess(content.get("preprocess_cfg", {}))


def _local_checkpoint(model: str, pretrained: str | None) -> Path | None:
    if pretrained is None:
        return None
    path = DEMO_CHECKPOINT if pretrained == "demo" else Path(pretrained)
    if not path.is_file():
        raise FeatureError(
            f"no checkpoint of '{model}' at {path}: expected a file of weights "
            f"({', '.join(_CHECKPOINT_SUFFIXES)})"
        )
    return path


def _from_hub(model: str) -> ClipSource:
    hub = model.removeprefix("hf-hub:").strip("/")
    config_path, checkpoint = _cached(hub, _HUB_CONFIG), _first_cached(hub, _HUB_FILES)
    if config_path is None or checkpoint is None:
        library = import_open_clip()
        with _downloading(model, hub):
            config_path = Path(library.pretrained.download_pretrained_from_hf(hub, filename=_HUB_CONFIG))
            checkpoint = Path(library.pretrained.download_pretrained_from_hf(hub))
    config, preprocess = _read_config(config_path)
    return ClipSource(model, config, preprocess, checkpoint)


def _tag_checkpoint(library: ModuleType, model: str, pretrained: str, tag: dict[str, Any]) -> Path:
    hub, _, name = tag.get("hf_hub", "").rpartition("/")
    if hub:  # a cached file needs no network, not even to ask whether there is a newer one
        stem, dot, ending = name.rpartition(".")
        names = (
            (f"{stem}.safetensors", name)
            if dot and ending in ("bin", "pth")
            else (name,)
            if name
            else _HUB_FILES
        )
        cached = _first_cached(hub, names)
        if cached is not None:
            return cached
    with _downloading(f"{model} / {pretrained}", hub):
        return Path(library.pretrained.download_pretrained(tag))


def _cached(hub: str, name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(hub, name)
    return Path(found) if isinstance(found, str) else None


def _first_cached(hub: str, names: Sequence[str]) -> Path | None:
    return next((path for path in (_cached(hub, name) for name in names) if path), None)


@contextlib.contextmanager
def _downloading(what: str, hub: str) -> Iterator[None]:
    try:
        with quiet():
            if hub:
                _check_network(hub)
            yield
    except MMRecError:
        raise
    except Exception as error:  # the hub client, urllib and open_clip each raise types of their own
        raise FeatureError(
            f"the weights of '{what}' are neither cached nor downloadable ({type(error).__name__}): "
            "give the path of a local checkpoint as `pretrained`, set HF_HOME to a cache that has them, "
            "or choose the model 'demo'"
        ) from error


def _check_network(hub: str) -> None:
    """Ask the hub once; its own client asks six times for each file, over 23 s, before it gives up."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError

    with contextlib.suppress(HfHubHTTPError):  # any answer will do here; the download itself judges it
        get_hf_file_metadata(hf_hub_url(hub, _HUB_FILES[0]), timeout=_HUB_SECONDS)


_hashes: dict[tuple[str, int, int], str] = {}


def _hash_once(path: Path) -> str:
    state = path.stat()
    key = (str(path.resolve()), state.st_mtime_ns, state.st_size)
    if key not in _hashes:
        _hashes[key] = file_hash(path, "sha256")
    return _hashes[key]
