"""Evaluation: one forward pass, full ranking, metrics averaged over users, cold items apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from mmrec.errors import ConfigError, DataError, nearest
from mmrec.evaluate.metrics import METRICS, ranking_metrics
from mmrec.evaluate.topk import final_embeddings, top_items
from mmrec.graph.view import GraphView
from mmrec.models.base import Recommender
from mmrec.report.progress import track

Mask = Literal["train", "train_and_valid"]


@dataclass(frozen=True)
class Scores:
    """Averages of one split.

    Attributes:
        metrics: such as `recall@20`, averaged over users with a training click and a held-out click.
        cold_items: the same where only items without a training click count as relevant; empty if there are
            none.
        users: number of users that were averaged over.
        cold_users: users with a held-out click but no training click; they are not in the averages.
        cold_item_clicks: these users' held-out clicks on items without a training click; they are in the
            averages.
    """

    metrics: Mapping[str, float]
    users: int
    cold_users: int
    cold_item_clicks: int
    cold_items: Mapping[str, float] = field(default_factory=dict)


class Evaluator:
    """Ranks all items for every user of a split, training clicks left out, and averages metrics."""

    def __init__(
        self,
        *,
        topk: Sequence[int] = (5, 10, 20, 50),
        metrics: Sequence[str] = ("recall", "ndcg", "precision", "map", "mrr", "hit"),
        mask: Mask = "train",
        monitor: str = "recall@20",
        batch_size: int = 2048,
    ) -> None:
        """Bind the options.

        Args:
            topk: list lengths K.
            metrics: which of recall, ndcg, precision, map, mrr, hit.
            mask: items left out of a user's ranking. `train` (default): training clicks only, as MMRec has
                it; `train_and_valid`: valid clicks too when testing, which raises the numbers a little. Do
                not mix.
            monitor: metric on the valid split that stopping and selection look at.
            batch_size: users scored at once; changes memory and time, never a result.

        Raises:
            ConfigError: for a monitor that is not among the metrics, or unknown metrics.
        """
        for name in metrics:
            if name not in METRICS:
                raise ConfigError(f"eval.metrics: no metric is called '{name}'{nearest(name, METRICS)}")
        self.names = names = [f"{name}@{k}" for name in metrics for k in topk]
        if monitor not in names:
            raise ConfigError(f"eval.monitor is '{monitor}', which is not computed{nearest(monitor, names)}")
        if min(topk) < 1 or batch_size < 1:
            found = f"eval.topk is {list(topk)} and eval.batch_size {batch_size}"
            raise ConfigError(f"{found}, expected at least 1")
        self.topk, self.metrics, self.mask = topk, metrics, mask
        self.monitor, self.batch_size = monitor, batch_size

    def of_monitor(self) -> Evaluator:
        """An evaluator of the monitored metric alone, for every epoch: shorter lists are found faster."""
        name, _, k = self.monitor.partition("@")
        return Evaluator(
            topk=(int(k),), metrics=(name,), mask=self.mask, monitor=self.monitor, batch_size=self.batch_size
        )

    def evaluate(
        self,
        model: Recommender,
        view: GraphView,
        held_out: Tensor,
        *,
        also_known: Tensor | None = None,
        title: str = "",
    ) -> Scores:
        """Scores of one split.

        Args:
            model: the model.
            view: the clean training view; its clicks are left out of the ranking.
            held_out: clicks to find, int64 [2, n].
            also_known: clicks to leave out besides; only looked at with mask `train_and_valid`.
            title: name of a progress bar; none is shown without.

        Raises:
            DataError: if no user can be averaged over.
        """
        device = view.edge_index.device
        held_out = held_out.to(device)
        known = view.edge_index
        if self.mask == "train_and_valid" and also_known is not None:
            known = torch.cat([known, also_known.to(device)], dim=1)
        warm_user = torch.bincount(view.edge_index[0], minlength=view.num_users) > 0
        cold_item = torch.bincount(view.edge_index[1], minlength=view.num_items) == 0
        users = torch.unique(held_out[0])
        cold_users = int((~warm_user[users]).sum())
        users = users[warm_user[users]]
        if len(users) == 0:
            raise DataError(
                f"nothing to evaluate: none of the {cold_users} users with a held-out click has a training "
                "click; choose another data.split"
            )
        relevant = torch.sort(held_out[0] * view.num_items + held_out[1]).values
        is_cold = cold_item[held_out[1]] & warm_user[held_out[0]]
        counts = torch.bincount(held_out[0], minlength=view.num_users)
        cold_counts = torch.bincount(held_out[0][is_cold], minlength=view.num_users)
        out = final_embeddings(model, view)
        averages, cold_averages = _Averages(), _Averages()
        lists = top_items(model, out, users, known, max(self.topk), batch_size=self.batch_size)
        if title:
            lists = track(lists, title, -(-len(users) // self.batch_size))
        for batch, items, scores in lists:
            # Shorter lists than K (a small catalogue) end in places without an item, which are no hits.
            hits = _contains(relevant, batch[:, None] * view.num_items + items) & (scores > -torch.inf)
            spare = (0, max(self.topk) - hits.shape[1])
            averages.add(ranking_metrics(pad(hits, spare), counts[batch], self.topk, self.metrics))
            some = cold_counts[batch] > 0
            cold_hits = pad(hits & cold_item[items], spare)[some]
            cold_averages.add(ranking_metrics(cold_hits, cold_counts[batch][some], self.topk, self.metrics))
        return Scores(averages.mean(), len(users), cold_users, int(is_cold.sum()), cold_averages.mean())


class _Averages:
    """Sums of per-user values."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.count = 0

    def add(self, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            self.sums[name] = value.sum() + self.sums.get(name, 0)
        self.count += len(next(iter(values.values())))

    def mean(self) -> dict[str, float]:
        return {name: float(total) / self.count for name, total in self.sums.items()} if self.count else {}


def _contains(sorted_keys: Tensor, keys: Tensor) -> Tensor:
    if len(sorted_keys) == 0:
        return torch.zeros_like(keys, dtype=torch.bool)
    place = torch.searchsorted(sorted_keys, keys).clamp_(max=len(sorted_keys) - 1)
    return sorted_keys[place] == keys
