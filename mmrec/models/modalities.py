"""How models take in item features: frozen or trainable tables and a linear map of each modality."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmrec.graph.ops import row_differences
from mmrec.graph.view import GraphView


class ModalityProjection(nn.Module):
    """A linear map of each modality into the embedding space; only the rows asked for are projected.

    Rows of items that lack a modality are zero in a view, so that their projection is the map's bias, or
    zero.
    """

    def __init__(
        self,
        view: GraphView,
        dim: int,
        *,
        trainable_features: bool,
        xavier_normal: bool = False,
        bias: bool = True,
    ) -> None:
        """Make the maps.

        Args:
            view: gives the modalities and their widths.
            dim: width D to project to.
            trainable_features: copy the features into parameters and tune them, as the released MMRec models
                do (their gradients are dense: memory for I x F weights and two moments). False reads the
                view's.
            xavier_normal: xavier-normal weights instead of torch's default (BM3's code).
            bias: add a trained vector; without use where only differences of two rows count.
        """
        super().__init__()
        self.maps = nn.ModuleDict(
            {name: nn.Linear(matrix.shape[1], dim, bias=bias) for name, matrix in view.features.items()}
        )
        if xavier_normal:
            for linear in self.maps.values():
                nn.init.xavier_normal_(linear.get_parameter("weight"))
        tuned = view.features if trainable_features else {}
        self.tables = nn.ParameterDict({name: nn.Parameter(matrix.clone()) for name, matrix in tuned.items()})

    def rows(self, view: GraphView, name: str, items: Tensor) -> Tensor:
        """Projected features [B, D] of modality `name` for items [B]."""
        distinct, places = torch.unique(items, return_inverse=True)
        projected: Tensor = self.maps[name](self._table(view, name).index_select(0, distinct))
        return projected.index_select(0, places)

    def differences(self, view: GraphView, name: str, items: Tensor, others: Tensor) -> Tensor:
        """Projected features of `items` [B] minus those of `others` [B]: [B, D], for the price of one."""
        difference = row_differences(self._table(view, name), items, others)
        return torch.nn.functional.linear(difference, self.maps[name].get_parameter("weight"))

    def _table(self, view: GraphView, name: str) -> Tensor:
        return self.tables[name] if name in self.tables else view.features[name]
