"""Evaluation: one forward pass, full ranking, metrics averaged over users, cold items apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from mmrec.errors import ConfigError, nearest
from mmrec.evaluate.held_out import HeldOut
from mmrec.evaluate.metrics import METRICS, ranking_metrics
from mmrec.evaluate.topk import batch_of, final_embeddings, top_items
from mmrec.graph.view import GraphView
from mmrec.models.base import Embeddings, Recommender
from mmrec.report.progress import track

Mask = Literal["train", "train_and_valid"]
_METRIC_USERS = 8192  # users whose metrics are taken at once


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
        batch_size: int | None = None,
    ) -> None:
        """Bind the options.

        Args:
            topk: list lengths K.
            metrics: which of recall, ndcg, precision, map, mrr, hit.
            mask: items left out of a user's ranking. `train` (default): training clicks only, as MMRec has
                it; `train_and_valid`: valid clicks too when testing, which raises the numbers a little. Do
                not mix.
            monitor: metric on the valid split that stopping and selection look at.
            batch_size: users scored at once; changes memory and time, never a result. Default: what suits
                the device.

        Raises:
            ConfigError: for a monitor that is not among the metrics, or unknown metrics.
        """
        for name in metrics:
            if name not in METRICS:
                raise ConfigError(f"eval.metrics: no metric is called '{name}'{nearest(name, METRICS)}")
        self.names = names = [f"{name}@{k}" for name in metrics for k in topk]
        if monitor not in names:
            raise ConfigError(f"eval.monitor is '{monitor}', which is not computed{nearest(monitor, names)}")
        if min(topk) < 1 or (batch_size is not None and batch_size < 1):
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

    def prepare(self, view: GraphView, held_out: Tensor, *, also_known: Tensor | None = None) -> HeldOut:
        """What an evaluation needs of a split besides the model: made once, used at every epoch.

        Args:
            view: the clean training view; its clicks are left out of the ranking.
            held_out: clicks to find, int64 [2, n].
            also_known: clicks to leave out besides; only looked at with mask `train_and_valid`.

        Raises:
            DataError: if no user can be averaged over.
        """
        also_known = also_known if self.mask == "train_and_valid" else None
        return HeldOut(view, held_out.to(view.edge_index.device), also_known)

    def evaluate(
        self,
        model: Recommender,
        view: GraphView,
        held_out: Tensor | HeldOut,
        *,
        also_known: Tensor | None = None,
        title: str = "",
    ) -> Scores:
        """Scores of one split; arguments as in `prepare`, and `title` as in `evaluate_all`."""
        if isinstance(held_out, Tensor):
            held_out = self.prepare(view, held_out, also_known=also_known)
        return self.evaluate_all(model, view, [held_out], title=title)[0]

    def evaluate_all(
        self, model: Recommender, view: GraphView, splits: Sequence[HeldOut], *, title: str = ""
    ) -> list[Scores]:
        """Scores of several splits from one forward pass and, where they leave out the same, one ranking.

        Args:
            model: the model.
            view: the clean training view.
            splits: from `prepare`.
            title: name of a progress bar; none is shown without.
        """
        out = final_embeddings(model, view)
        if len({id(split.known) for split in splits}) > 1 and not all(split.only_train for split in splits):
            return [self._rank(model, out, [split], title)[0] for split in splits]
        return self._rank(model, out, splits, title)

    def _rank(
        self, model: Recommender, out: Embeddings, splits: Sequence[HeldOut], title: str
    ) -> list[Scores]:
        users = torch.unique(torch.cat([split.users for split in splits]))
        size = batch_of(self.batch_size, users.device)
        lists = top_items(model, out, users, splits[0].known, max(self.topk), batch_size=size)
        if title:
            lists = track(lists, title, -(-len(users) // size))
        # Metrics are taken of many users at once: there is little to do for each.
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        averages = [(_Averages(), _Averages()) for _ in splits]
        for part in lists:
            parts.append(part)
            if sum(len(batch) for batch, _, _ in parts) >= _METRIC_USERS:
                self._add(splits, averages, parts)
                parts = []
        if parts:
            self._add(splits, averages, parts)
        return [
            Scores(mean.mean(), len(split.users), split.cold_users, split.cold_item_clicks, cold.mean())
            for split, (mean, cold) in zip(splits, averages, strict=True)
        ]

    def _add(
        self,
        splits: Sequence[HeldOut],
        averages: list[tuple[_Averages, _Averages]],
        parts: list[tuple[Tensor, Tensor, Tensor]],
    ) -> None:
        users, items, scores = (torch.cat(column) for column in zip(*parts, strict=True))
        # Shorter lists than K (a small catalogue) end in places without an item, which are no hits.
        spare, real = (0, max(self.topk) - items.shape[1]), scores > -torch.inf
        for split, (over_users, over_cold) in zip(splits, averages, strict=True):
            found = split.contains(users, items) & real
            for average, hits, counts in (
                (over_users, found, split.counts[users]),
                (over_cold, found & split.cold_item[items], split.cold_counts[users]),
            ):
                average.count += int((counts > 0).sum())
                some = hits.any(dim=1)  # whoever has none adds nothing
                values = ranking_metrics(pad(hits[some], spare), counts[some], self.topk, self.metrics)
                average.add(values)


class _Averages:
    """Sums of per-user values."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.count = 0

    def add(self, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            self.sums[name] = value.sum() + self.sums.get(name, 0)

    def mean(self) -> dict[str, float]:
        return {name: float(total) / self.count for name, total in self.sums.items()} if self.count else {}
