"""Counted memory: the largest tensor of training and evaluation, on a graph where a dense one would show."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mmrec.evaluate.evaluator import Evaluator
from mmrec.graph.item_graph import add_item_graph
from mmrec.graph.view import GraphView
from mmrec.models.base import Recommender
from mmrec.models.bm3 import BM3
from mmrec.models.bprmf import BPRMF
from mmrec.models.freedom import FREEDOM
from mmrec.models.lightgcn import LightGCN
from mmrec.plugins import known
from mmrec.train.loop import fit
from tests.cases.planted import rng

USERS, ITEMS, CLICKS, DIM, WIDTH, K, BATCH = 1500, 3000, 1500, 4, 6, 4, 128


class Largest(TorchDispatchMode):
    """Numbers in the largest tensor that any operation gave."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers, self.where = 0, ""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            # Views take no memory, so what is counted is what lies behind them.
            if isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided:
                numbers = tensor.untyped_storage().nbytes() // tensor.element_size()
                if numbers > self.numbers:
                    self.numbers, self.where = numbers, str(func)
        return out


@pytest.fixture(scope="module")
def view() -> GraphView:
    pairs = torch.randint(USERS * ITEMS, (2 * CLICKS,), generator=rng()).unique()[:CLICKS]
    plain = GraphView(USERS, ITEMS, torch.stack([pairs // ITEMS, pairs % ITEMS]))
    features = {"image": torch.randn(ITEMS, WIDTH, generator=rng(1))}
    present = {"image": torch.ones(ITEMS, dtype=torch.bool)}
    return add_item_graph(replace(plain, features=features, present=present), k=K)


# Both directions of the clicks with row and column, the item graph's, the tables of all nodes, and the
# features: all grow with the data, none with its square (users x users: 2,250,000, users x items twice that).
ALLOWED = max(4 * CLICKS, 2 * ITEMS * K, (USERS + ITEMS) * DIM, ITEMS * WIDTH)


@pytest.mark.parametrize("kind", [BPRMF, LightGCN, FREEDOM, BM3])
def test_training_makes_nothing_larger_than_its_tables(kind: type[Recommender], view: GraphView) -> None:
    with Largest() as largest:
        model = kind(view, dim=DIM)  # type: ignore[call-arg]
        fit(model, view, lambda *_: _scores(), epochs=2, batch_size=BATCH, device="cpu")
    assert largest.numbers >= ITEMS * DIM, "the count sees the tables"
    assert largest.numbers <= ALLOWED, largest.where


OTHERS = {
    name: kind
    for name, kind in known(Recommender).items()  # type: ignore[type-abstract]
    if "dim" in inspect.signature(kind).parameters and name not in ("BPRMF", "LightGCN", "FREEDOM", "BM3")
}
# Numbers per node that may lie side by side: layers, modalities, and both ends of links to ten neighbours in
# each of three item graphs. A batch's pairs and negatives, and tiles that neighbours are found in, are less.
PER_NODE = 40
WIDER = {
    "CM3": 256,  # hidden layer of all items, as LIRDRec's
    "DCCF": 128,  # intents
    "DGVAE": BATCH,  # decodes all items for its batch of users
    "LATTICE": 4 * 10 * DIM,  # messages along the links of two frozen and two learned graphs
    "LIRDRec": 256,
}
OPTIONS = {"DGVAE": {"words": 20}}  # for time: k-means of more makes up most of it


@pytest.mark.parametrize("name", OTHERS)
def test_other_models_make_so_many_numbers_per_node(
    name: str, view: GraphView, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in the constructor, where REARM and SIGE freeze graphs: no users x users, no batch x users."""
    monkeypatch.setattr("mmrec.graph.knn._EDGE", (64, 128))  # tiles would hold the whole of so few items
    second = {**view.features, "text": torch.randn(ITEMS, WIDTH, generator=rng(2))}
    both = replace(view, features=second, present={name: view.present["image"] for name in second})
    with Largest() as largest:
        model = OTHERS[name](both, dim=DIM, **OPTIONS.get(name, {}))  # type: ignore[call-arg, arg-type]
        fit(model, both, lambda *_: _scores(), epochs=1, batch_size=BATCH, device="cpu")
    allowed = WIDER.get(name, PER_NODE) * (USERS + ITEMS)
    assert allowed < (USERS**2 if name in WIDER else BATCH * USERS), "a dense one would not show"
    assert largest.numbers <= allowed, largest.where


def test_evaluation_holds_the_scores_of_one_batch(view: GraphView) -> None:
    evaluator = Evaluator(batch_size=16)
    model = LightGCN(view, dim=DIM)
    with Largest() as largest:
        evaluator.evaluate(model, view, view.edge_index[:, ::7])
    assert largest.numbers == 16 * ITEMS, largest.where


def _scores() -> Any:
    from mmrec.evaluate.evaluator import Scores

    return Scores({"recall@20": 0.0}, users=1, cold_users=0, cold_item_clicks=0)
