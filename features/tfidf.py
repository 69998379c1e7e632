"""Texts to vectors without any weights: TF-IDF, compressed by a truncated SVD (latent semantic analysis)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from features.base import Encoder, Float32
from features.errors import FeatureError

log = logging.getLogger(__name__)


class TfidfText(Encoder):
    """TF-IDF weights of words, reduced by a truncated SVD (Deerwester et al. 1990) and scaled to length 1.

    Learns its words from the texts it is to encode, so that adding items changes every row. Needs no weights,
    no GPU and a few seconds; the same texts and options give the same rows. A text without a known word is a
    row of zeros, and counted (`texts_without_words`).

    Args:
        dim: length of a row; fewer where the texts have fewer words or are fewer, which is then logged.
        min_df: leave out words that occur in fewer texts than this.
        max_df: leave out words that occur in more than this share of the texts, 0 to 1.
        ngrams: longest run of words that counts as one term; 1 is single words, 2 adds pairs.
        seed: seed of the randomised SVD.
    """

    modality: ClassVar[str] = "text"
    learns: ClassVar[bool] = True

    def __init__(
        self, dim: int = 256, min_df: int = 2, max_df: float = 1.0, ngrams: int = 1, seed: int = 0
    ) -> None:
        self._asked = dim
        self.min_df = min_df
        self.max_df = max_df
        self.ngrams = ngrams
        self.seed = seed
        self._pipeline: Any = None
        self._without_words = 0

    @property
    def dim(self) -> int:
        """Length of a row: after `fit` the true one, before it the one asked for."""
        return self._asked if self._pipeline is None else int(self._pipeline[-1].components_.shape[0])

    def fingerprint(self) -> dict[str, str]:
        """Class, options and scikit-learn's version; the texts it learns from are in the input hash."""
        from importlib.metadata import version

        options = {
            "dim": self._asked,
            "min_df": self.min_df,
            "max_df": self.max_df,
            "ngrams": self.ngrams,
            "seed": self.seed,
        }
        return {
            "encoder": f"{type(self).__module__}.{type(self).__qualname__}",
            **{key: str(value) for key, value in options.items()},
            "scikit-learn": version("scikit-learn"),
        }

    def fit(self, inputs: Sequence[str]) -> None:
        """Learn the words and the SVD.

        Args:
            inputs: all texts.

        Raises:
            FeatureError: options out of range, or no word is left.
        """
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.pipeline import make_pipeline

        if self._asked < 1 or self.min_df < 1 or self.ngrams < 1 or not 0 < self.max_df <= 1:
            raise FeatureError(
                f"tfidf got dim {self._asked}, min_df {self.min_df}, max_df {self.max_df}, "
                f"ngrams {self.ngrams}: expected whole numbers from 1, and max_df in (0, 1]"
            )
        words = TfidfVectorizer(
            min_df=self.min_df,
            max_df=float(self.max_df),
            ngram_range=(1, self.ngrams),
            sublinear_tf=True,
            strip_accents="unicode",
        )
        try:
            weights = words.fit_transform(inputs)
        except ValueError as error:  # scikit-learn: empty vocabulary, or max_df below min_df
            raise FeatureError(
                f"no word is left of {len(inputs):,} texts with min_df {self.min_df} and "
                f"max_df {self.max_df}: lower min_df"
            ) from error
        dim = min(self._asked, *weights.shape)
        if dim < self._asked:
            log.info(
                "tfidf: %d texts with %d words give %d dimensions, not %d", *weights.shape, dim, self._asked
            )
        svd = TruncatedSVD(n_components=dim, random_state=self.seed)
        # the explained variance of a single text is 0 / 0, and unused
        with np.errstate(invalid="ignore", divide="ignore"):
            svd.fit(weights)
        self._pipeline = make_pipeline(words, svd)
        self._without_words = 0

    def notes(self) -> dict[str, int]:
        """`texts_without_words`: texts of which no word is known, since `fit`."""
        return {"texts_without_words": self._without_words}

    def encode(self, inputs: Sequence[str]) -> Float32:
        """Texts to `[B, dim]`.

        Raises:
            FeatureError: called before `fit`.
        """
        if self._pipeline is None:
            raise FeatureError(
                "TfidfText.encode was called before fit: it learns its words from all texts first"
            )
        if not inputs:
            return np.empty((0, self.dim), dtype=np.float32)
        words, svd = self._pipeline[0], self._pipeline[-1]
        weights = words.transform(inputs)
        rows = weights @ svd.components_.T
        length = np.linalg.norm(rows, axis=1, keepdims=True)
        self._without_words += int((np.diff(weights.indptr) == 0).sum())
        scaled = np.divide(rows, length, out=np.zeros_like(rows), where=length > 1e-12)
        return np.asarray(scaled, dtype=np.float32)
