"""Photos and texts to vectors with any CLIP of open_clip, or with the small one the demo brings along."""

from __future__ import annotations

import functools
import json
import tempfile
import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from features.base import Encoder, Float32, averaged
from features.errors import FeatureError
from features.open_clip_weights import ClipSource, find_clip, import_open_clip, quiet

_MAX_PIECES = 32  # of a long text


@dataclass(frozen=True)
class LoadedClip:
    """A CLIP in memory.

    Attributes:
        model: the open_clip module, in float32 and evaluation mode, on `device`.
        preprocess: one PIL image to a float tensor `[3, H, W]`.
        tokenize: a list of strings (and optionally a context length) to token ids `[B, context_length]`.
        context_length: longest text in tokens, start and end included.
        dim: length of the joint vectors.
        device: where the model is.
        source: configuration and checkpoint it was made from.
    """

    model: torch.nn.Module
    preprocess: Callable[[Image.Image], Tensor]
    tokenize: Callable[..., Tensor]
    context_length: int
    dim: int
    device: torch.device
    source: ClipSource


def build_open_clip(model: str, pretrained: str | None, *, device: str = "auto") -> LoadedClip:
    """Make a CLIP of one's own, for training; to encode, `load_open_clip` shares one.

    Args:
        model: as in `features.open_clip_weights.find_clip`; `demo` is the demo's small CLIP.
        pretrained: a tag, a checkpoint's path, `demo`, or None for random weights.
        device: `auto` (CUDA where there is one), `cpu`, `cuda`, `cuda:1`, …

    Returns:
        The model with its preprocessing and tokenizer.

    Raises:
        FeatureError: unknown names, weights not to be had, a checkpoint that does not fit, a device that is
            not there.
    """
    return _build(find_clip(model, pretrained), pick_device(device))


def load_open_clip(model: str, pretrained: str, *, device: str = "auto") -> LoadedClip:
    """Like `build_open_clip`, but the same call gives the same model: image and text encoders share it.

    A changed checkpoint file gives a new model. Do not train or move what comes back.
    """
    source = find_clip(model, pretrained)
    key = json.dumps(source.fingerprint(), sort_keys=True)
    with _loading:  # the threads that read photos may be the first to ask
        return _shared(key, _Unhashed(source), pick_device(device))


def pick_device(device: str) -> torch.device:
    """`auto` is CUDA where there is one, else the CPU; other names are torch's.

    Raises:
        FeatureError: not a device, or not on this machine.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise FeatureError(
            f"device '{device}' cannot be used here: expected auto, cpu, cuda or cuda:N"
        ) from error
    return chosen


class _OpenClip(Encoder):
    """What the image and the text encoder have in common."""

    normalised: ClassVar[bool] = True

    def __init__(
        self,
        model: str = "ViT-B-32",
        pretrained: str = "laion2b_s34b_b79k",
        batch_size: int = 64,
        device: str = "auto",
        precision: Literal["fp32", "bf16", "fp16"] = "fp32",
    ) -> None:
        self.model = model
        self.pretrained = pretrained
        self.batch_size = batch_size
        self.device = device
        self.precision = precision

    @functools.cached_property
    def _clip(self) -> LoadedClip:
        return load_open_clip(self.model, self.pretrained, device=self.device)

    @property
    def on_cpu(self) -> bool:
        """Whether the model runs on the processor."""
        return pick_device(self.device).type == "cpu"

    @property
    def dim(self) -> int:
        """Length of the joint vectors, from the model's configuration."""
        return int(find_clip(self.model, self.pretrained).config["embed_dim"])

    def fingerprint(self) -> dict[str, str]:
        """Class, model configuration, checkpoint's SHA-256, preprocessing, open_clip's version, precision."""
        name = f"{type(self).__module__}.{type(self).__qualname__}"
        source = find_clip(self.model, self.pretrained)
        return {
            "encoder": name,
            "pretrained": Path(self.pretrained).name,
            **source.fingerprint(),
            "precision": self.precision,
        }

    def _run(self, tower: Callable[[Tensor], Tensor], inputs: Tensor) -> Float32:
        """One tower over B inputs in steps of `batch_size`; rows of length 1."""
        device = self._clip.device
        half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.precision)
        rows = np.empty((len(inputs), self._clip.dim), dtype=np.float32)
        with (
            torch.inference_mode(),
            torch.autocast(device.type, half, enabled=half is not None and device.type == "cuda"),
        ):
            for start in range(0, len(inputs), self.batch_size):
                out = tower(inputs[start : start + self.batch_size].to(device)).float()
                out = torch.nn.functional.normalize(out, dim=-1)
                rows[start : start + len(out)] = out.cpu().numpy()
        return rows


class OpenClipImage(_OpenClip):
    """Photos through the image tower of a CLIP (Radford et al. 2021, arXiv:2103.00020) loaded by open_clip.

    Rows are the joint-space vectors, scaled to length 1 as CLIP compares them.

    Args:
        model: an open_clip name such as `ViT-B-32`, `hf-hub:owner/name`, the path of a model configuration
            (.json), or `demo`, the small CLIP of the demo.
        pretrained: an open_clip tag such as `laion2b_s34b_b79k`, the path of a local checkpoint, or `demo`.
        batch_size: photos per step on the device.
        device: `auto` (CUDA where there is one, else CPU), `cpu`, `cuda`, `cuda:1`, …
        precision: `bf16` or `fp16` run the tower in half precision, on CUDA only; the rows are float32 either
            way.
    """

    modality: ClassVar[str] = "image"

    def prepare(self, item: Image.Image | Tensor) -> Tensor:
        """Resize, crop and normalise one photo to `[3, H, W]`."""
        return item if isinstance(item, Tensor) else self._clip.preprocess(item)

    def encode(self, inputs: Sequence[Image.Image | Tensor]) -> Float32:
        """Photos (RGB images, or what `prepare` made of them) to `[B, dim]`."""
        if not inputs:
            return np.empty((0, self.dim), dtype=np.float32)
        model: Any = self._clip.model
        return self._run(model.encode_image, torch.stack([self.prepare(item) for item in inputs]))


class OpenClipText(_OpenClip):
    """Texts through the text tower of a CLIP (Radford et al. 2021, arXiv:2103.00020) loaded by open_clip.

    Rows are the joint-space vectors, scaled to length 1. A text longer than the context (77 tokens in most
    CLIPs) is cut between words into as few pieces as fit, and its row is their mean, or only its beginning
    is read; the manifest says how many texts were cut (`long_texts`, `truncated_texts`).

    Args:
        model: an open_clip name such as `ViT-B-32`, `hf-hub:owner/name`, the path of a model configuration
            (.json), or `demo`, the small CLIP of the demo.
        pretrained: an open_clip tag such as `laion2b_s34b_b79k`, the path of a local checkpoint, or `demo`.
        batch_size: texts per step on the device.
        device: `auto` (CUDA where there is one, else CPU), `cpu`, `cuda`, `cuda:1`, …
        precision: `bf16` or `fp16` run the tower in half precision, on CUDA only; the rows are float32 either
            way.
        long_texts: `average` the pieces of a long text (at most 32 of them), or `truncate` it.
    """

    modality: ClassVar[str] = "text"

    def __init__(
        self,
        model: str = "ViT-B-32",
        pretrained: str = "laion2b_s34b_b79k",
        batch_size: int = 64,
        device: str = "auto",
        precision: Literal["fp32", "bf16", "fp16"] = "fp32",
        long_texts: Literal["average", "truncate"] = "average",
    ) -> None:
        super().__init__(model, pretrained, batch_size, device, precision)
        self.long_texts = long_texts
        self._truncated = self._long = 0

    def fingerprint(self) -> dict[str, str]:
        """That of the model, and what is done with long texts."""
        return {**super().fingerprint(), "long_texts": self.long_texts}

    def fit(self, inputs: Sequence[str]) -> None:
        """Start counting long texts anew; nothing is learnt."""
        self._truncated = self._long = 0

    def notes(self) -> dict[str, int]:
        """`truncated_texts`: texts whose end was not read; `long_texts`: texts that were cut in pieces."""
        return {"truncated_texts": self._truncated, "long_texts": self._long}

    def encode(self, inputs: Sequence[str]) -> Float32:
        """Texts to `[B, dim]`."""
        if not inputs:
            return np.empty((0, self.dim), dtype=np.float32)
        clip = self._clip
        model: Any = clip.model
        long = self._too_long(inputs)
        if self.long_texts == "truncate" or not any(long):
            self._truncated += sum(long)
            return self._run(
                model.encode_text, clip.tokenize(list(inputs), context_length=clip.context_length)
            )
        pieces = [self._pieces(text) if cut else [text] for text, cut in zip(inputs, long, strict=True)]
        self._long += sum(long)
        flat = [piece for parts in pieces for piece in parts]
        rows = self._run(model.encode_text, clip.tokenize(flat, context_length=clip.context_length))
        return averaged(rows, [len(parts) for parts in pieces], normalised=True)

    def _too_long(self, texts: Sequence[str]) -> list[bool]:
        """Whether each text, given one more place than the context has, fills that one too."""
        length = self._clip.context_length
        # a token is at least one byte
        suspects = [row for row, text in enumerate(texts) if len(text.encode()) > length - 2]
        found = [False] * len(texts)
        if suspects:
            tokens = self._clip.tokenize([texts[row] for row in suspects], context_length=length + 1)
            for row, last in zip(suspects, tokens[:, length].tolist(), strict=True):
                found[row] = last != self._padding
        return found

    def _pieces(self, text: str) -> list[str]:
        """The text cut between words into as few pieces as fit the context, greedily."""
        (around,) = self._sizes([""])
        room = self._clip.context_length - around
        words = text.split()
        whole = self._sizes(words)
        # What fills the context alone is no word but a writing without blanks: a sign is at most four tokens.
        step = max(1, room // 4)
        words = [
            part
            for word, size in zip(words, whole, strict=True)
            for part in (
                [word[at : at + step] for at in range(0, len(word), step)] if size > room else [word]
            )
        ]
        pieces: list[list[str]] = [[]]
        used = 0
        for word, size in zip(words, self._sizes(words), strict=True):
            used += size - around
            if used > room and pieces[-1]:
                pieces.append([])
                used = size - around
            pieces[-1].append(word)
        self._truncated += len(pieces) > _MAX_PIECES
        return [" ".join(words) for words in pieces[:_MAX_PIECES]]

    def _sizes(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, those around it included, up to the context's length."""
        tokens = self._clip.tokenize(list(texts), context_length=self._clip.context_length)
        return [int(size) for size in (tokens != self._padding).sum(dim=1)]

    @property
    def _padding(self) -> int:
        hugging_face = getattr(self._clip.tokenize, "tokenizer", None)
        return getattr(hugging_face, "pad_token_id", 0) or 0


_loading = threading.Lock()


class _Unhashed:
    """Carries an argument past `lru_cache`: the key beside it says what is in it."""

    def __init__(self, source: ClipSource) -> None:
        self.source = source

    def __hash__(self) -> int:
        return 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Unhashed)


@functools.lru_cache(maxsize=2)
def _shared(key: str, source: _Unhashed, device: torch.device) -> LoadedClip:
    return _build(source.source, device)


def _build(source: ClipSource, device: torch.device) -> LoadedClip:
    library = import_open_clip()
    config = source.config
    try:
        with quiet(), warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
            warnings.simplefilter("ignore")
            # a folder of its own keeps a user's configuration out of open_clip's global list of names
            content = {"model_cfg": config, "preprocess_cfg": source.preprocess}
            (Path(folder) / "open_clip_config.json").write_text(json.dumps(content), encoding="utf-8")
            model = library.create_model(f"local-dir:{folder}", load_weights=False, pretrained_text=False)
            tokenize = _tokenizer(library, source)
    except Exception as error:  # whatever a configuration can break inside open_clip
        raise FeatureError(f"open_clip cannot build '{source.name}': {_one_line(error)}") from error
    if source.checkpoint is not None:
        try:
            with quiet():
                library.load_checkpoint(model, str(source.checkpoint), weights_only=True)
        except Exception as error:  # torn files, other architectures, pickles that are not weights
            raise FeatureError(
                f"{source.checkpoint} is not a checkpoint of '{source.name}' ({_one_line(error)}): "
                "choose the model it belongs to"
            ) from error
    settings = library.transform.PreprocessCfg(**model.visual.preprocess_cfg)
    return LoadedClip(
        model=model.eval().to(device),
        preprocess=library.transform.image_transform_v2(settings, is_train=False),
        tokenize=tokenize,
        context_length=int(getattr(tokenize, "context_length", 77)),
        dim=int(config["embed_dim"]),
        device=device,
        source=source,
    )


def _tokenizer(library: Any, source: ClipSource) -> Callable[..., Tensor]:
    if not source.name.endswith(".json"):
        found: Callable[..., Tensor] = library.get_tokenizer(
            source.name.replace("/", "-") if ":" not in source.name else source.name
        )
        return found
    text = source.config["text_cfg"]
    length, options = text.get("context_length", 77), text.get("tokenizer_kwargs", {})
    kind = library.tokenizer.HFTokenizer if "hf_tokenizer_name" in text else library.SimpleTokenizer
    names = (text["hf_tokenizer_name"],) if "hf_tokenizer_name" in text else ()
    made: Callable[..., Tensor] = kind(*names, context_length=length, **options)
    return made


def _one_line(error: BaseException, limit: int = 200) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else text[:limit] + " …"
