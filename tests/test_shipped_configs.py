"""Every shipped config trains for an epoch on a slice of its own data, and every recipe fits any data."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from jsonargparse import Namespace

import mmrec.run
from mmrec.auxiliary.base import Auxiliary
from mmrec.config import as_yaml, parse, plugin_class
from mmrec.data.dataset import RecData
from mmrec.data.ids import IdMap
from mmrec.models.base import Recommender
from mmrec.run import prepare, run
from tests.cases.planted import as_data
from tests.test_config import CONFIGS, ROOT

RECIPES = sorted(path.stem for path in (ROOT / "configs" / "recipes").glob("*.yaml"))
USERS, ITEMS = 150, 300


@cache
def whole(settings: str, cache_dir: str) -> RecData:
    """The data of a config, read once for all that share it."""
    return prepare(_options[settings])


_options: dict[str, Namespace] = {}


def a_slice(options: Namespace) -> RecData:
    """The most clicked items, with the users who clicked them most, renumbered."""
    kinds = [plugin_class(Recommender, options.model)]
    kinds += [plugin_class(Auxiliary, one) for one in options.auxiliary]  # type: ignore[type-abstract, misc]
    parts = {name: options[name] for name in ("root", "data", "items", "features", "graph")}
    key = json.dumps([str(parts), sorted(part for kind in kinds for part in kind.needs)])
    _options[key] = options
    data = whole(key, options.cache_dir)
    view = data.train
    items = (
        torch.bincount(view.edge_index[1], minlength=view.num_items).topk(min(ITEMS, view.num_items)).indices
    )
    place = torch.full((view.num_items,), -1)
    place[items] = torch.arange(len(items))
    among = view.edge_index[:, place[view.edge_index[1]] >= 0]
    users = torch.bincount(among[0], minlength=view.num_users).topk(USERS).indices
    row = torch.full((view.num_users,), -1)
    row[users] = torch.arange(USERS)

    def clicks(pairs: torch.Tensor) -> torch.Tensor:
        renumbered = torch.stack([row[pairs[0]], place[pairs[1]]])
        return renumbered[:, (renumbered >= 0).all(dim=0)]

    links = weight = None
    if view.item_edge_index is not None and view.item_edge_weight is not None:
        links = place[view.item_edge_index]
        inside = (links >= 0).all(dim=0)
        links, weight = links[:, inside], view.item_edge_weight[inside]
    train = clicks(view.edge_index)
    small = replace(
        view,
        num_users=USERS,
        num_items=len(items),
        edge_index=train,
        edge_weight=None,
        item_edge_index=links,
        item_edge_weight=weight,
        features={name: rows[items] for name, rows in view.features.items()},
        present={name: mask[items] for name, mask in view.present.items()},
    )
    held = clicks(data.valid) if clicks(data.valid).shape[1] else train[:, :40]
    made = as_data(small, valid=held, test=held)
    return RecData(
        users=IdMap.from_values([f"u{number:03}" for number in range(USERS)]),
        items=IdMap.from_values([f"i{number:03}" for number in range(len(items))]),
        train=small,
        valid=made.valid,
        test=made.test,
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_every_shipped_config_trains_for_an_epoch(
    name: str, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: Any
) -> None:
    folder = {"demo": "."}.get(Path(name).parent.name if "/" in name[8:] else "demo", "")
    root = str(tmp_path) if folder else str(shared_data / Path(name).parent.name)
    cache_dir = str(tmp_path_factory.getbasetemp() / "shipped")
    words = ["--root", root, "--cache_dir", cache_dir, "--run_dir", str(tmp_path / "run")]
    options = parse(["--config", str(ROOT / name), *words, "--train.epochs", "1", "--train.device", "cpu"])
    monkeypatch.setattr(mmrec.run, "prepare", a_slice)
    metrics = run(options)
    for one in (metrics, *metrics["compare"].values()):
        assert all(0 <= value <= 1 for value in one["test"].values())
    trained = bool(metrics["training"]["epochs"])
    assert trained is (metrics["model"] not in ("ContentKNN", "EASE", "GFCF", "ItemKNN", "Popularity"))
    assert (tmp_path / "run" / "recommendations.csv").stat().st_size > 1000


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_goes_over_anybodys_config(recipe: str, tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("data: {interactions: clicks.csv}\nmodel: BM3\n", encoding="utf-8")
    path = str(ROOT / "configs" / "recipes" / f"{recipe}.yaml")
    options = parse(["--config", str(tmp_path / "my.yaml"), "--config", path])
    assert options.data.interactions == "clicks.csv"
    assert not options.model.class_path.endswith("BM3")


@pytest.mark.parametrize("dataset", ["demo", "ml-100k", "tiktok", "baby"])
def test_a_config_for_each_model_that_the_data_can_feed(dataset: str) -> None:
    """Baby has ready item graphs and no feature vectors."""
    found = {Path(name).stem for name in CONFIGS if Path(name).parent.name == dataset}
    without_features = {
        *(
            "popularity",
            "itemknn",
            "contentknn",
            "ease",
            "gfcf",
            "bprmf",
            "lightgcn",
            "ngcf",
            "sgl",
            "simgcl",
        ),
        *("xsimgcl", "lightgcl", "dccf", "directau", "freedom", "mmhcl"),
    }
    with_features = {
        *("vbpr", "amr", "lattice", "bm3", "dgvae", "lirdrec", "cm3", "rearm", "sige", "alpharec", "rlmrec"),
        "rlmrec-gen",
    }
    assert without_features <= found
    assert (with_features <= found) is (dataset != "baby")


def test_a_config_is_what_its_parts_come_to(tmp_path: Path) -> None:
    parts = ["configs/data/tiktok.yaml", "configs/recipes/rlmrec.yaml"]
    words = [word for part in parts for word in ("--config", str(ROOT / part))]
    together = parse([*words, "--name", "tiktok-rlmrec"])
    assert as_yaml(together) == as_yaml(parse(["--config", str(ROOT / "configs/tiktok/rlmrec.yaml")]))
