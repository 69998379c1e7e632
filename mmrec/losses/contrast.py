"""Losses between two views, as plug-ins: `augment.contrast` names one of these."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

from torch import Tensor

from mmrec.errors import ConfigError
from mmrec.losses.contrastive import barlow, check_temperature, cosine_distance, info_nce
from mmrec.losses.uniformity import align_uniform, alignment, uniformity


class Contrast(ABC):
    """A weighted loss between rows [n, D] of two views that belong together."""

    needs_all: bool = False

    @abstractmethod
    def __call__(self, first: Tensor, second: Tensor, everybody: Tensor | None = None) -> Tensor:
        """The loss.

        Args:
            first: rows of one view [n, D].
            second: the same nodes' rows of the other [n, D].
            everybody: all rows of the other view [N, D], for losses with `needs_all`.
        """


class InfoNCE(Contrast):
    """-log of the share of the right partner (van den Oord et al. 2018), see `info_nce`."""

    def __init__(
        self,
        weight: float = 0.1,
        temperature: float = 0.2,
        over: Literal["batch", "all"] = "batch",
        unit: bool = True,
        among_anchors: bool = False,
    ) -> None:
        """Set the strength.

        Args:
            weight: of the loss.
            temperature: of the softmax over cosines.
            over: who competes: the `batch`'s distinct nodes, or `all` users or items.
            unit: compare directions; false takes dot products instead of cosines, as LightGCL's code does.
            among_anchors: the first view's other nodes compete too, as in GRACE and MMHCL.
        """
        self.unit, self.among_anchors = unit, among_anchors
        self.weight = _not_negative("InfoNCE.weight", weight)
        self.temperature = check_temperature("InfoNCE.temperature", temperature)
        self.needs_all = over == "all"

    def __call__(self, first: Tensor, second: Tensor, everybody: Tensor | None = None) -> Tensor:
        """InfoNCE, from the first view to the second."""
        options = {"among_anchors": self.among_anchors, "unit": self.unit}
        return self.weight * info_nce(first, second, self.temperature, candidates=everybody, **options)


class AlignUniform(Contrast):
    """Alignment and uniformity (Wang and Isola 2020): partners close, all spread over the sphere."""

    def __init__(self, weight: float = 0.1, gamma: float = 1.0) -> None:
        """Set the strength.

        Args:
            weight: of the loss.
            gamma: weight of uniformity.
        """
        self.weight = _not_negative("AlignUniform.weight", weight)
        self.gamma = _not_negative("AlignUniform.gamma", gamma)

    def __call__(self, first: Tensor, second: Tensor, everybody: Tensor | None = None) -> Tensor:
        """Alignment of the two, plus the mean of their uniformities."""
        return self.weight * align_uniform(first, second, self.gamma)


class CalibratedUniformity(Contrast):
    """AlignUniform whose uniformity is calibrated (CM3, arXiv:2508.01226): who is alike may stay close.

    Each view says for the other who is alike: with s_ab the cosine of a and b in the other view, cut to [0,
    most_similar] and without a gradient, a pair adds exp(4 (cos(x_a, x_b) - s_ab)) instead of the plain
    exp(4 (cos(x_a, x_b) - 1)). In CM3 the mixed features say it; two views have only each other. So pairs
    that both views find close are pushed apart no more than others, where AlignUniform pushes them most.
    """

    def __init__(self, weight: float = 0.1, gamma: float = 1.0, most_similar: float = 1.0) -> None:
        """Set the strength.

        Args:
            weight: of the loss.
            gamma: weight of uniformity.
            most_similar: cap of s_ab, in [0, 1]; 0 is AlignUniform up to a constant. CM3's grid is 0.8, 1.
        """
        self.weight = _not_negative("CalibratedUniformity.weight", weight)
        self.gamma = _not_negative("CalibratedUniformity.gamma", gamma)
        if not 0 <= most_similar <= 1:
            raise ConfigError(f"CalibratedUniformity.most_similar is {most_similar}, expected 0 to 1")
        self.most_similar = most_similar

    def __call__(self, first: Tensor, second: Tensor, everybody: Tensor | None = None) -> Tensor:
        """Alignment of the two, plus the mean of their calibrated uniformities."""
        apart = [
            uniformity(rows, other.detach(), most_similar=self.most_similar)
            for rows, other in ((first, second), (second, first))
        ]
        return self.weight * (alignment(first, second) + self.gamma * (apart[0] + apart[1]) / 2)


class CosineBootstrap(Contrast):
    """1 - cosine to the other view, which gets no gradient, both ways (BYOL, Grill et al. 2020).

    There is no predictor: without a model's own ranking loss beside it, all rows would become one.
    """

    def __init__(self, weight: float = 0.1) -> None:
        """Set the strength.

        Args:
            weight: of the loss.
        """
        self.weight = _not_negative("CosineBootstrap.weight", weight)

    def __call__(self, first: Tensor, second: Tensor, everybody: Tensor | None = None) -> Tensor:
        """Half of each way."""
        return 0.5 * self.weight * (cosine_distance(first, second) + cosine_distance(second, first))


class BarlowTwins(Contrast):
    """Columns of the two views: the same ones correlated, others not (Zbontar et al. 2021)."""

    def __init__(self, weight: float = 0.01, off_diagonal: float = 0.005) -> None:
        """Set the strength.

        Args:
            weight: of the loss.
            off_diagonal: weight of decorrelation; the paper's lambda.
        """
        self.weight = _not_negative("BarlowTwins.weight", weight)
        self.off_diagonal = _not_negative("BarlowTwins.off_diagonal", off_diagonal)

    def __call__(self, first: Tensor, second: Tensor, everybody: Tensor | None = None) -> Tensor:
        """See `barlow`."""
        return self.weight * barlow(first, second, self.off_diagonal)


def _not_negative(name: str, value: float) -> float:
    if not 0 <= value < float("inf"):
        raise ConfigError(f"{name} is {value}, expected a finite number of at least 0")
    return value
