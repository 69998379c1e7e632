"""What every encoder is: something that turns photos or texts into rows of numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]


class Encoder(ABC):
    """Turns PIL images (`modality = "image"`) or strings (`modality = "text"`) into float32 rows.

    A subclass is one class in one file; it is used from the command line by its import path
    (`python -m features.extract --encoder my_package.my_file.MyEncoder`), nothing here has to be edited. Its
    constructor takes flat typed keyword arguments with defaults and does nothing but keep them: what is heavy
    is loaded at the first use. Encoders never open photo files: they get what `features.photos.load_photo`
    returns. The conformance suite in `tests/cases/test_encoders.py` says what else is expected and runs over
    every subclass.
    """

    modality: ClassVar[str]
    """`image` or `text`: what the inputs are, and the name of the folder the rows are stored in."""

    learns: ClassVar[bool] = False
    """Whether `fit` learns from the corpus, so that a new item changes the rows of all others."""

    normalised: ClassVar[bool] = False
    """Whether rows have length 1; the mean over an item's photos is brought to it, too."""

    @property
    def on_cpu(self) -> bool:
        """Whether `encode` keeps the processor busy, so that photos are better read before than meanwhile."""
        return True

    @property
    @abstractmethod
    def dim(self) -> int:
        """Length F of a row. May load the model; encoders that learn from the corpus know it after `fit`."""

    @abstractmethod
    def fingerprint(self) -> dict[str, str]:
        """All that decides the numbers besides the inputs: class, options, checkpoint hash, preprocessing.

        Goes into the store's manifest and into its key. Cheap: no model is loaded, a checkpoint is hashed at
        most. Batch size and device stay out.
        """

    @abstractmethod
    def encode(self, inputs: Sequence[Any]) -> Float32:
        """Encode a batch of any length; the rows do not depend on how a list is cut into batches.

        Args:
            inputs: B images or strings, raw or as `prepare` returned them.

        Returns:
            float32 `[B, dim]`, finite, row b from input b.
        """

    def prepare(self, item: Any) -> Any:
        """Turn one input into what `encode` batches, e.g. resize a photo: called in the loading threads.

        Must be thread-safe and return what it has itself returned before unchanged. Default: nothing to do.
        """
        return item

    def fit(self, inputs: Sequence[Any]) -> None:  # noqa: B027  (a hook, empty on purpose)
        """Called once before encoding, with all texts that are present (photo encoders: an empty list).

        Encoders that learn from the corpus do it here; counters behind `notes` start anew. Default: nothing.
        """

    def notes(self) -> dict[str, int]:
        """Counts worth keeping in the manifest since `fit`, e.g. `{"truncated_texts": 3}`. Default: none."""
        return {}


def averaged(vectors: Float32, counts: Sequence[int], normalised: bool) -> Float32:
    """One row per item: the mean of those of its parts (photos, or pieces of a long text).

    Args:
        vectors: float32 [P, F], the parts of an item in a row.
        counts: how many each of I items has, at least 1.
        normalised: bring the means to length 1.

    Returns:
        float32 [I, F]; an item of one part has its row as it is.
    """
    if max(counts) == 1:
        return vectors
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    mean = np.add.reduceat(vectors, starts, axis=0) / np.array(counts, dtype=np.float32)[:, None]
    if normalised:
        mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
    single = np.array(counts) == 1
    mean[single] = vectors[starts[single]]
    return np.asarray(mean, dtype=np.float32)
