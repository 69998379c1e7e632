"""Values of every model's losses at fixed weights, kept so that a change of a number has to be meant.

    python -m tests.golden.rewrite      writes losses.json anew; say why in the commit

Weights are sines of their place (`by_hand.set_by_formula`), batch and view are fixed, BM3's dropout is 0:
no random generator has a part in the values, so they are the same on every machine.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmrec.models.base import Recommender
from mmrec.plugins import resolve
from tests.cases import by_hand
from tests.cases.by_hand import view64

PATH = Path(__file__).with_name("losses.json")

# name: model, options, formula (C is 1 - mean cosine, P the predictor, t* a target, E0 the table, h = S E0)
CASES: dict[str, tuple[str, dict[str, Any], str]] = {
    "BPRMF": ("BPRMF", {"reg": 0.01}, "bpr: mean softplus(u.j - u.i); l2: reg/2 (|u|^2 + |i|^2 + |j|^2) / B"),
    "LightGCN": (
        "LightGCN",
        {"reg": 0.01},
        "bpr: mean softplus(u.j - u.i) on mean A^l E0; l2: reg/2 |rows of E0|^2 / B",
    ),
    "LightGCN unsquared": (
        "LightGCN",
        {"reg": 0.01, "l2": "unsquared", "n_layers": 2},
        "l2: reg (|u| + |i| + |j|) / B, Frobenius norms of the batch's rows of E0",
    ),
    "FREEDOM": (
        "FREEDOM",
        {"modality_weight": 0.5},
        "bpr: u against x + h; <modality>: weight * BPR(u; f W)",
    ),
    "BM3": (
        "BM3",
        {"dropout": 0.0},
        "users: C(Pu, i*); items: C(Pi, u*); <modality>: 2 (C(Pm, i*) + C(Pm, m*)); l2: reg (|U| + |I|) / #I",
    ),
}


def compute(name: str) -> dict[str, float]:
    """Losses, and the size of each parameter's gradient."""
    model_name, options, _ = CASES[name]
    kind = resolve(Recommender, model_name, name)  # type: ignore[type-abstract]
    model = kind(view64(), dim=4, **options).double()
    by_hand.set_by_formula(model)
    result = by_hand.result_of(model, view64())
    sizes = {
        f"|gradient of {key}|": float((value**2).sum() ** 0.5) for key, value in result.gradients.items()
    }
    return {**result.losses, **sizes}


def main() -> None:
    table = {name: {"formula": CASES[name][2], "values": compute(name)} for name in CASES}
    PATH.write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    main()
