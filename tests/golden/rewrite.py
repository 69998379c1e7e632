"""Values of every model's losses at fixed weights, kept so that a change of a number has to be meant.

    python -m tests.golden.rewrite      writes losses.json anew; say why in the commit

Weights are sines of their place (`by_hand.set_by_formula`), batch and view are fixed, dropout and noise are
0: but for DGVAE's Gumbel draws no random generator has a part in the values.
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
    "NGCF": (
        "NGCF",
        {"n_layers": 2, "reg": 0.01},
        "bpr, l2 on [E0, n(E1), n(E2)], E' = LReLU((A+I) E W1 + (A E * E) W2)",
    ),
    "XSimGCL": (
        "XSimGCL",
        {"n_layers": 2},
        "bpr on mean of E1, E2; contrast: weight (InfoNCE(mean, E1)) of users and items",
    ),
    "DCCF": (
        "DCCF",
        {"n_intents": 3},
        "bpr on the sum of layers; contrast: weight sum InfoNCE(g, t | m_g | m_t); l2: sums",
    ),
    "DirectAU": (
        "DirectAU",
        {},
        "mean |u - i|^2 + gamma/2 sum log mean_(a<b) e^(-2 |a - b|^2), unit vectors",
    ),
    "VBPR": ("VBPR", {}, "bpr: p.[q | W f + b]; l2: reg (|p| + |i| + |j|) / B"),
    "AMR": ("AMR", {}, "bpr: p.(q + F c); adversarial: weight bpr at c + eps n(dL/dc); l2"),
    "LATTICE": ("LATTICE", {"k": 3}, "bpr, l2 on x + n(S E0), S = keep S0 + (1 - keep) Lap(sum a_m S_m)"),
    "LIRDRec": ("LIRDRec", {"hidden": 5}, "bpr on weighed blocks; l2: reg (mean U^2 + mean I^2)"),
    "CM3": (
        "CM3",
        {"hidden": 5},
        "align: mean |u - i|^2; uniform_items: gamma/2 log mean e^(4 (cos - s_ab))",
    ),
    "AlphaRec": ("AlphaRec", {"negatives": 1}, "-log e^(c+/t) / (e^(c+/t) + sum e^(c-/t))"),
    "MMHCL": (
        "MMHCL",
        {},
        "bpr, l2 on u + n(u'); users, items: weight InfoNCE(final, hypergraph) with intra-view terms",
    ),
    "SIGE": (
        "SIGE",
        {"k": 3, "scale": 0.0},
        "bpr on b + s; noise, anchor, align as in tests/models/test_multimodal_models.py",
    ),
    "REARM": (
        "REARM",
        {"user_k": 3, "item_k": 3, "n_layers": 2},
        "bpr; contrast: w InfoNCE(v, t); decorrelation: w mean (X'Y)^2",
    ),
    "DGVAE": (
        "DGVAE",
        {"dropout": 0.0, "noise": 0.0, "words": 2, "words_per_item": 1},
        "clicks, words: -sum x log softmax; kl: 0 at step 0; information: softplus bound",
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
