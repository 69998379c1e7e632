"""Texts to vectors with any model of sentence-transformers (`pip install mmrec[sentence]`)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from features.base import Encoder, Float32, averaged
from features.errors import FeatureError
from features.files import content_hash, file_hash

_MAX_PIECES = 32  # of a long text


class SentenceText(Encoder):
    """Sentence embeddings (Reimers and Gurevych 2019, arXiv:1908.10084); rows have length 1.

    A text longer than the model's limit is cut between words into pieces, and its row is their mean. Models
    that bring code of their own are not run.

    Args:
        model: a name on the Hugging Face hub, such as `all-MiniLM-L6-v2`, or a folder made by `save`.
        batch_size: texts per step.
        device: `auto` (CUDA where there is one, else CPU), `cpu`, `cuda`, `cuda:1`, …
        prompt: put before every text, as E5 and others want it, such as `passage: `.
    """

    modality: ClassVar[str] = "text"
    normalised: ClassVar[bool] = True

    def __init__(
        self, model: str = "all-MiniLM-L6-v2", batch_size: int = 64, device: str = "auto", prompt: str = ""
    ) -> None:
        self.model = model
        self.batch_size = batch_size
        self.device = device
        self.prompt = prompt
        self._long = 0

    @functools.cached_property
    def _network(self) -> Any:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise FeatureError(
                "encoder 'SentenceText' needs sentence-transformers: pip install 'mmrec[sentence]'"
            ) from error
        from features.open_clip import pick_device

        device = pick_device(self.device)
        try:
            return SentenceTransformer(self.model, device=str(device), trust_remote_code=False).eval()
        except Exception as error:  # whatever a wrong name, a torn file or no network brings
            reason = " ".join(str(error).split())[:160]
            raise FeatureError(
                f"sentence-transformers cannot load '{self.model}' ({reason}): expected a hub's name and "
                "a connection to it, or a folder"
            ) from error

    @property
    def dim(self) -> int:
        """Length of the model's vectors; loads it."""
        network = self._network
        # renamed in version 5; the older name warns there
        size = getattr(network, "get_embedding_dimension", None) or network.get_sentence_embedding_dimension
        return int(size())

    def fingerprint(self) -> dict[str, str]:
        """Class, model, for a folder the hash of its files, prompt, and the library's version."""
        from importlib.metadata import PackageNotFoundError, version

        folder, name = Path(self.model), self.model
        if folder.is_dir():
            parts = sorted(path for path in folder.rglob("*") if path.is_file())
            name = content_hash([[str(path.relative_to(folder)), file_hash(path)] for path in parts])
        try:
            library = version("sentence-transformers")
        except PackageNotFoundError:
            library = "absent"
        return {
            "encoder": f"{type(self).__module__}.{type(self).__qualname__}",
            "model": name,
            "prompt": self.prompt,
            "sentence-transformers": library,
        }

    def fit(self, inputs: Sequence[str]) -> None:
        """Start counting long texts anew; nothing is learnt."""
        self._long = 0

    def notes(self) -> dict[str, int]:
        """`long_texts`: texts that were cut in pieces since `fit`."""
        return {"long_texts": self._long}

    def encode(self, inputs: Sequence[str]) -> Float32:
        """Texts to `[B, dim]`."""
        if not inputs:
            return np.empty((0, self.dim), dtype=np.float32)
        pieces = [self._pieces(self.prompt + text) for text in inputs]
        self._long += sum(len(parts) > 1 for parts in pieces)
        flat = [piece for parts in pieces for piece in parts]
        rows = self._network.encode(
            flat,
            batch_size=self.batch_size,
            show_progress_bar=False,
            normalize_embeddings=True,
            convert_to_numpy=True,
        )
        return averaged(np.asarray(rows, dtype=np.float32), [len(parts) for parts in pieces], normalised=True)

    def _pieces(self, text: str) -> list[str]:
        """Halves of halves, between words, until each fits; what is no word is cut off by the model."""
        limit = self._network.max_seq_length
        # a token is at least one letter, and three of them stand around the text at most
        if limit is None or len(text) <= limit - 3:
            return [text]
        waiting = [text.split()]
        pieces: list[str] = []
        while waiting and len(pieces) < _MAX_PIECES:
            part = waiting.pop()
            if len(part) > 1 and self._too_long(" ".join(part), limit):
                middle = len(part) // 2
                waiting += [part[middle:], part[:middle]]
            else:
                pieces.append(" ".join(part))
        return pieces or [text]

    def _too_long(self, text: str, limit: int) -> bool:
        tokenizer = self._network.tokenizer
        return len(tokenizer(text, truncation=True, max_length=limit + 1)["input_ids"]) > limit
