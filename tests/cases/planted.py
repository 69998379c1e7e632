"""Small views and datasets whose right answers are known, for every test that needs one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from mmrec.data.dataset import RecData, SealedSplit
from mmrec.data.ids import IdMap
from mmrec.graph.item_graph import add_item_graph
from mmrec.graph.view import GraphView
from mmrec.models.base import Embeddings, Recommender


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tiny_view(*, dtype: torch.dtype = torch.float32, item_graph: bool = True) -> GraphView:
    """5 users x 6 items; user 4 and item 5 have no click, item 3 no text; a directed, weighted item graph."""
    clicks = [(0, 0), (0, 1), (0, 3), (1, 1), (1, 2), (2, 0), (2, 4), (3, 2), (3, 3), (3, 4)]
    near = [(0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (2, 0), (3, 3), (3, 4), (4, 4), (4, 3), (5, 5), (5, 0)]
    place = torch.arange(24, dtype=torch.float64)
    text_present = torch.tensor([True, True, True, False, True, True])
    text = torch.sin(1.3 * place + 0.2).reshape(6, 4) * text_present[:, None]
    image = torch.cos(2.1 * place[:18]).reshape(6, 3)
    weight = 0.1 + torch.sin(0.9 * place[: len(near)]).abs()
    return GraphView(
        num_users=5,
        num_items=6,
        edge_index=torch.tensor(clicks).T.contiguous(),
        edge_weight=None if dtype == torch.float32 else torch.ones(len(clicks), dtype=dtype),
        item_edge_index=torch.tensor(near).T.contiguous() if item_graph else None,
        item_edge_weight=weight.to(dtype) if item_graph else None,
        features={"image": image.to(dtype), "text": text.to(dtype)},
        present={"image": torch.ones(6, dtype=torch.bool), "text": text_present},
    )


@dataclass(frozen=True)
class Planted:
    """A dataset with one right answer per user.

    Attributes:
        data: blocks of users who clicked their block's items, all but one each; valid and test hold that one.
        first: [U] the item each user has to be given first: the one of the block that was held back.
        new: [U] the item nobody has clicked whose features are those of the user's block.
    """

    data: RecData
    first: Tensor
    new: Tensor


def planted_blocks(blocks: int = 4, users: int = 12, items: int = 6, *, seed: int = 0) -> Planted:
    """Blocks of users and items; the last item of each block is new, known by its features alone."""
    num_users, num_items = blocks * users, blocks * (items + 1)
    user = np.arange(num_users)
    block = user // users
    first = block * (items + 1) + user % items
    new = block * (items + 1) + items
    grid = np.stack([np.repeat(user, items), (block[:, None] * (items + 1) + np.arange(items)).ravel()])
    train = torch.from_numpy(grid[:, grid[1] != np.repeat(first, items)])
    item_block = torch.arange(num_items) // (items + 1)
    draw = rng(seed)
    features = {
        name: torch.eye(blocks, width)[item_block] + 0.1 * torch.randn(num_items, width, generator=draw)
        for name, width in (("image", 8), ("text", 5))
    }
    view = GraphView(
        num_users=num_users,
        num_items=num_items,
        edge_index=train,
        features=features,
        present={name: torch.ones(num_items, dtype=torch.bool) for name in features},
    )
    held = torch.from_numpy(np.stack([user, first]))
    data = as_data(add_item_graph(view, k=items), valid=held, test=held)
    return Planted(data, torch.from_numpy(first), torch.from_numpy(new))


def as_data(view: GraphView, *, valid: Tensor, test: Tensor, titles: list[str] | None = None) -> RecData:
    """A dataset around a view; ids are `u00`, `u01`, ... and `i00`, `i01`, ..."""
    return RecData(
        users=IdMap.from_values([f"u{number:02}" for number in range(view.num_users)]),
        items=IdMap.from_values([f"i{number:02}" for number in range(view.num_items)]),
        train=view,
        valid=valid,
        test=SealedSplit(test),
        titles=titles,
    )


class Scripted(Recommender):
    """Scores as given, exactly; counts how often it is asked."""

    def __init__(self, view: GraphView, scores: Tensor) -> None:
        super().__init__(view)
        self.scores = scores
        self.embedded: list[GraphView] = []

    def embed(self, view: GraphView) -> Embeddings:
        self.embedded.append(view)
        return Embeddings(self.scores, torch.eye(self.num_items, dtype=self.scores.dtype))


def tensors(view: GraphView) -> dict[str, Tensor]:
    """Every tensor of a view by name."""
    parts = {
        name: getattr(view, name)
        for name in ("edge_index", "edge_weight", "item_edge_index", "item_edge_weight")
    }
    parts |= {f"features.{name}": matrix for name, matrix in view.features.items()}
    parts |= {f"present.{name}": mask for name, mask in view.present.items()}
    for number, layer in enumerate(view.layers):
        parts |= {f"layers.{number}.{name}": tensor for name, tensor in tensors(layer).items()}
    probe = torch.ones(view.num_users + view.num_items, 4, device=view.edge_index.device)
    parts |= {f"inside.{number}": change(probe, 1) for number, change in enumerate(view.inside)}
    if view.hyperedges is not None and view.hyperedges[0] is view.item_edge_index:
        parts["hyperedges"] = view.hyperedges[1]
    parts |= {f"low_rank.{number}": factor for number, factor in enumerate(view.low_rank or ())}
    return {name: tensor for name, tensor in parts.items() if tensor is not None}


def copies(view: GraphView) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in tensors(view).items()}


def assert_same_tensors(view: GraphView, before: dict[str, Tensor]) -> None:
    """Same names and bit for bit the same values."""
    after = tensors(view)
    assert after.keys() == before.keys()
    for name, tensor in after.items():
        assert tensor.dtype == before[name].dtype, name
        assert torch.equal(tensor, before[name]), name


def assert_same_but_rounding(view: GraphView, other: GraphView) -> None:
    """Floats to 1e-5 of their size, as devices sum in other orders, and the rest bit for bit.

    Factors of low rank are compared by their product: where singular values are equal, as those of graphs in
    several parts are, rounding alone turns the vectors.
    """
    found, expected = ({**tensors(one), **_low_rank_product(one)} for one in (view, other))
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        assert (tensor.dtype, tensor.shape) == (expected[name].dtype, expected[name].shape), name
        if tensor.is_floating_point() and not name.startswith("low_rank."):
            assert torch.allclose(tensor, expected[name], rtol=1e-5), name
        elif not tensor.is_floating_point():
            assert torch.equal(tensor, expected[name]), name


def _low_rank_product(view: GraphView) -> dict[str, Tensor]:
    return {} if view.low_rank is None else {"low rank": view.low_rank[0] @ view.low_rank[1].T}


def without_clicks(view: GraphView) -> GraphView:
    return replace(view, edge_index=view.edge_index[:, :0], edge_weight=None)


@st.composite
def views(draw: st.DrawFn, *, weighted: bool | None = None) -> GraphView:
    """Any small graph of clicks: repeats, nodes without any, weights or none; possibly no click at all."""
    users, items = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    pair = st.tuples(st.integers(0, users - 1), st.integers(0, items - 1))
    clicks = draw(st.lists(pair, max_size=15))
    index = torch.tensor(clicks, dtype=torch.int64).reshape(-1, 2).T.contiguous()
    if weighted is None:
        weighted = draw(st.booleans())
    weight = None
    if weighted:
        values = draw(st.lists(st.floats(0.125, 3, width=32), min_size=len(clicks), max_size=len(clicks)))
        weight = torch.tensor(values, dtype=torch.float32)
    return GraphView(users, items, index, weight)


def dense_adjacency(view: GraphView) -> np.ndarray:
    """[U + I, U + I] in float64, click by click: w_ui / sqrt(d_u d_i), repeats added."""
    size = view.num_users + view.num_items
    weights = [1.0] * view.edge_index.shape[1] if view.edge_weight is None else view.edge_weight.tolist()
    clicks = [(user, view.num_users + item) for user, item in view.edge_index.T.tolist()]
    degree = [0.0] * size
    for (user, item), weight in zip(clicks, weights, strict=True):
        degree[user] += weight
        degree[item] += weight
    matrix = np.zeros((size, size))
    for (user, item), weight in zip(clicks, weights, strict=True):
        value = weight / (degree[user] * degree[item]) ** 0.5
        matrix[user, item] += value
        matrix[item, user] += value
    return matrix


def dense_item_graph(view: GraphView) -> np.ndarray:
    """[I, I] in float64, link by link."""
    assert view.item_edge_index is not None
    assert view.item_edge_weight is not None
    matrix = np.zeros((view.num_items, view.num_items))
    for (row, col), weight in zip(
        view.item_edge_index.T.tolist(), view.item_edge_weight.tolist(), strict=True
    ):
        matrix[row, col] += weight
    return matrix
