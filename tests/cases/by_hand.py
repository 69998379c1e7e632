"""Models in plain numpy, float64, formula by formula: what the torch ones have to agree with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mmrec.graph.view import GraphView
from mmrec.models.base import Batch, Recommender
from tests.cases.planted import dense_adjacency, rng, tiny_view

Array = NDArray[np.float64]

# A batch on `tiny_view`: users, items they clicked, items they did not; a user and an item come twice.
USERS, ITEMS, NEGATIVES = [0, 1, 1, 3, 2], [3, 1, 2, 2, 0], [2, 0, 4, 1, 3]


def batch(seed: int = 5) -> Batch:
    return Batch(torch.tensor(USERS), torch.tensor(ITEMS), torch.tensor(NEGATIVES), rng(seed))


def view64(*, item_graph: bool = True) -> GraphView:
    return tiny_view(dtype=torch.float64, item_graph=item_graph)


def set_by_formula(model: Recommender) -> None:
    """Weights that no random generator has a part in, so that they are the same on every machine: sines."""
    start = 1.0
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            place = torch.arange(parameter.numel(), dtype=torch.float64)
            parameter.copy_((0.5 * torch.sin(start + 1.7 * place)).reshape(parameter.shape))
            start += 0.9


def parameters_of(model: Recommender) -> dict[str, Array]:
    return {name: parameter.detach().double().numpy().copy() for name, parameter in model.named_parameters()}


def mean_of_layers(view: GraphView, table: Array, n_layers: int) -> tuple[Array, Array]:
    adjacency = dense_adjacency(view)
    layers = [table]
    for _ in range(n_layers):
        layers.append(adjacency @ layers[-1])
    out = sum(layers) / len(layers)
    return out[: view.num_users], out[view.num_users :]


def bpr(users: Array, positives: Array, negatives: Array) -> float:
    """-mean log sigmoid(u.i - u.j)."""
    values = [u @ p - u @ n for u, p, n in zip(users, positives, negatives, strict=True)]
    return float(np.mean([-np.log(1 / (1 + np.exp(-value))) for value in values]))


def distance(online: Array, target: Array) -> float:
    """1 - mean cosine."""
    cosines = [a @ b / (np.linalg.norm(a) * np.linalg.norm(b)) for a, b in zip(online, target, strict=True)]
    return float(1 - np.mean(cosines))


def numerical_gradient(loss: Callable[[dict[str, Array]], float], at: dict[str, Array]) -> dict[str, Array]:
    """Central differences, number by number."""
    step, gradients = 1e-6, {}
    for name, value in at.items():
        gradient = np.zeros_like(value)
        for place in np.ndindex(value.shape):
            sides = []
            for sign in (1, -1):
                moved = value.copy()
                moved[place] += sign * step
                sides.append(loss({**at, name: moved}))
            gradient[place] = (sides[0] - sides[1]) / (2 * step)
        gradients[name] = gradient
    return gradients


@dataclass(frozen=True)
class Result:
    """Losses and gradients of a model on `view` and `batch()`."""

    losses: dict[str, float]
    gradients: dict[str, Array]


def result_of(model: Recommender, view: GraphView, seed: int = 5) -> Result:
    model.zero_grad()
    losses = model.losses(model.embed(view), batch(seed), view)
    torch.stack(list(losses.values())).sum().backward()
    gradients = {
        name: np.zeros(parameter.shape) if parameter.grad is None else parameter.grad.double().numpy()
        for name, parameter in model.named_parameters()
    }
    return Result({name: float(value.detach()) for name, value in losses.items()}, gradients)


def assert_gradients(found: dict[str, Array], expected: dict[str, Array]) -> None:
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert np.allclose(found[name], gradient, atol=1e-7), name


def assert_by_hand(
    model: Recommender, losses: Callable[[dict[str, Array]], dict[str, float]], view: GraphView | None = None
) -> None:
    """The model's losses are those of a formula in numpy, and its gradients the formula's differences."""
    view = view or view64()
    set_by_formula(model)
    found, at = result_of(model, view), parameters_of(model)
    expected = losses(at)
    assert found.losses.keys() == expected.keys()
    for name, value in expected.items():
        assert np.isclose(found.losses[name], value, rtol=1e-7, atol=1e-10), (name, found.losses[name], value)
    assert_gradients(found.gradients, numerical_gradient(lambda values: sum(losses(values).values()), at))


def unit(rows: Array) -> Array:
    return np.stack([row / max(float(np.linalg.norm(row)), 1e-12) for row in np.asarray(rows)])


def leaky(x: Array, slope: float) -> Array:
    return np.where(x > 0, x, slope * x)


def softmax(x: Array, axis: int = -1) -> Array:
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    result: Array = powers / powers.sum(axis=axis, keepdims=True)
    return result


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def linear(values: dict[str, Array], name: str, x: Array) -> Array:
    """Torch's Linear `name` of x; without a bias where there is none."""
    return x @ values[f"{name}.weight"].T + values.get(f"{name}.bias", np.zeros(1))


def info_nce(
    x: Array, y: Array, temperature: float, *, candidates: Array | None = None, among_anchors: bool = False
) -> float:
    """Pair by pair: -log( e^{cos(x, y) / t} / sum of e^{cos / t} over all that compete )."""
    x, y = unit(x), unit(y)
    among = y if candidates is None else unit(candidates)
    total = 0.0
    for number, (anchor, partner) in enumerate(zip(x, y, strict=True)):
        powers = [np.exp(anchor @ one / temperature) for one in among]
        if among_anchors:
            powers += [np.exp(anchor @ one / temperature) for other, one in enumerate(x) if other != number]
        total -= np.log(np.exp(anchor @ partner / temperature) / sum(powers))
    return total / len(x)


def uniformity(rows: Array, similar: Array | None = None) -> float:
    """Log of the mean over pairs of exp(4 (cos - s))."""
    rows = unit(rows)
    pairs = [(a, b) for a in range(len(rows)) for b in range(a)]
    wanted = np.ones((len(rows), len(rows))) if similar is None else similar
    return float(np.log(np.mean([np.exp(4 * (rows[a] @ rows[b] - wanted[a, b])) for a, b in pairs])))


def alignment(x: Array, y: Array) -> float:
    return float(np.mean([((a - b) ** 2).sum() for a, b in zip(unit(x), unit(y), strict=True)]))


def squares(*rows: Array) -> float:
    """Half the sum of squares, per pair of the batch."""
    return float(0.5 * sum((one**2).sum() for one in rows) / len(USERS))


def clicks_by_hand(view: GraphView) -> Array:
    """[U, I] of ones."""
    dense = np.zeros((view.num_users, view.num_items))
    dense[tuple(view.edge_index.numpy())] = 1
    return dense


def features_by_hand(view: GraphView) -> dict[str, Array]:
    return {name: rows.double().numpy() for name, rows in view.features.items()}


def nearest_by_hand(rows: Array, k: int, present: Array) -> list[tuple[int, int, float]]:
    """(item, neighbour, cosine): the k of largest cosine for each present, non-zero row, itself first."""
    known = [i for i in range(len(rows)) if present[i] and rows[i].any()]
    cosine = unit(rows) @ unit(rows).T
    found = []
    for i in known:
        order = sorted(known, key=lambda j: (j != i, -cosine[i, j]))
        found += [(i, j, float(cosine[i, j])) for j in order[:k]]
    return found


def symmetric_by_hand(edges: list[tuple[int, int, float]], size: int) -> Array:
    """D^-1/2 W D^-1/2 with row sums on both sides."""
    dense = np.zeros((size, size))
    for row, col, weight in edges:
        dense[row, col] += weight
    degree = dense.sum(axis=1)
    scale = np.array([one**-0.5 if one > 0 else 0.0 for one in degree])
    result: Array = scale[:, None] * dense * scale
    return result


# What is not changed by any test: the view, its features, and the users and items of `batch()`, each once.
VIEW = view64()
FEATURES = features_by_hand(VIEW)
TOGETHER = np.concatenate([FEATURES["image"], FEATURES["text"]], axis=1)
PRESENT = {name: mask.numpy() for name, mask in VIEW.present.items()}
DISTINCT = sorted(set(USERS)), sorted(set(ITEMS))
