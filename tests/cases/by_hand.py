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
