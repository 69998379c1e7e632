"""One command, end to end, on a tiny shop: every file of the run's folder against the shop itself."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import yaml

from mmrec.config import parse
from mmrec.data.dataset import SealedSplit
from mmrec.models.base import Recommender
from mmrec.plugins import known
from mmrec.recommend import recommend
from mmrec.run import main, prepare, run
from mmrec.train.checkpoint import load_checkpoint
from mmrec.train.loop import History, fit
from tests.cases.shop import Shop, make_shop, write_mmrec_layout

CONFIG = """
data: {interactions: clicks.csv, split: labels}
items: {path: items.csv, text_columns: [title, description], title_column: title}
features: {encoders: [{class_path: TfidfText, init_args: {dim: 6, min_df: 1}}]}
model: {class_path: FREEDOM, init_args: {dim: 16}}
compare: [{class_path: LightGCN, init_args: {dim: 16, n_layers: 1}}, LightGCN, Popularity]
augment: {epoch: [{class_path: DegreeDrop, init_args: {drop: 0.2}}]}
graph: {k: 4}
train: {epochs: 4, batch_size: 64, lr: 0.02, device: cpu}
eval: {topk: [3, 6], metrics: [recall, ndcg, hit], monitor: recall@3}
recommend: {k: 6, exclude: train}
"""
FILES = {"checkpoint.pt", "config.yaml", "epochs", "log.txt", "metrics.json", "recommendations.csv"}


class Place:
    """A shop, and a way to run on it; runs of the same name and words are made once."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.shop = folder, make_shop(folder / "shop")
        self.config = folder / "config.yaml"
        self.config.write_text(CONFIG, encoding="utf-8")
        self.done: dict[str, dict[str, Any]] = {}

    def words(self, name: str, *words: str) -> list[str]:
        given = {"root": self.shop.folder, "cache_dir": self.folder / "cache", "run_dir": self.folder / name}
        return ["--config", str(self.config), *(f"--{key}={value}" for key, value in given.items()), *words]

    def run(self, name: str, *words: str) -> Path:
        if name not in self.done:
            self.done[name] = run(parse(self.words(name, *words)))
        return self.folder / name


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("run"))


def read_lists(folder: Path) -> dict[str, list[str]]:
    """User -> items, best first; with csv alone, so that polars does not check polars."""
    lists: dict[str, list[str]] = {}
    with (folder / "recommendations.csv").open(newline="", encoding="utf-8") as handle:
        for row in csv.DictReader(handle):
            lists.setdefault(row["user"], []).append(row["item"])
    return lists


def by_hand(lists: Mapping[str, list[str]], shop: Shop, label: int, k: int) -> dict[str, float]:
    """Recall, NDCG and hit rate, one user after the other."""
    warm = {user for user, _ in shop.pairs(0)}
    values: list[tuple[float, float, float]] = []
    for user in sorted(warm):
        wanted = {item for other, item in shop.pairs(label) if other == user}
        if not wanted:
            continue
        hits = [item in wanted for item in lists[user][:k]]
        gain = sum(hit / math.log2(place + 2) for place, hit in enumerate(hits))
        best = sum(1 / math.log2(place + 2) for place in range(min(k, len(wanted))))
        values.append((sum(hits) / len(wanted), gain / best, float(any(hits))))
    recall, ndcg, hit = np.mean(values, axis=0)
    return {f"recall@{k}": recall, f"ndcg@{k}": ndcg, f"hit@{k}": hit}


def test_metrics_are_those_of_the_recommendations_counted_by_hand(place: Place) -> None:
    folder = place.run("first")
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    lists = read_lists(folder)
    for split, label in (("valid", 1), ("test", 2)):
        expected = by_hand(lists, place.shop, label, 3) | by_hand(lists, place.shop, label, 6)
        assert metrics[split] == pytest.approx(expected, abs=1e-12)
        assert metrics[split].keys() == expected.keys()
    values = [*metrics["valid"].values(), *metrics["test"].values()]
    assert any(value != round(value, 4) for value in values), "rounded"
    assert metrics["valid"]["recall@6"] > 0.9, "the shop's blocks were not learned"
    assert metrics == place.done["first"]


def test_metrics_hold_the_models_to_compare_with_and_what_is_cold(place: Place) -> None:
    metrics = place.done.get("first") or place.done[place.run("first").name]
    assert metrics["model"] == "FREEDOM"
    assert list(metrics["compare"]) == ["LightGCN", "LightGCN-2", "Popularity"]
    for part in (metrics, *metrics["compare"].values()):
        assert part["valid"].keys() == part["test"].keys() == metrics["test"].keys()
        assert part["groups"]["valid"]["cold_users"] == part["groups"]["test"]["cold_users"] == 1
        assert part["groups"]["test"]["cold_item_clicks"] == 3  # one user of each block clicked its new item
        assert part["groups"]["test"]["users"] == 24
        assert 0 <= part["groups"]["test"]["cold_items"]["recall@6"] <= 1
    popularity, lightgcn = metrics["compare"]["Popularity"], metrics["compare"]["LightGCN"]
    assert popularity["training"]["epochs"] == 0
    assert popularity["training"]["best_value"] is None
    assert lightgcn["training"]["epochs"] == 4
    assert lightgcn["valid"]["recall@6"] > popularity["valid"]["recall@6"]
    # FREEDOM finds the items that nobody clicked in training through their texts; Popularity cannot.
    cold = [part["groups"]["test"]["cold_items"]["recall@6"] for part in (metrics, popularity)]
    assert cold[0] > cold[1]
    data = metrics["data"]
    pairs = place.shop.label
    assert data["rows read"] == len(pairs)
    assert [data[f"{name} clicks"] for name in ("train", "valid", "test")] == [
        sum(label == number for label in pairs.values()) for number in range(3)
    ]
    assert (data["users"], data["items"]) == (25, 24)
    assert data["cold users (no train click)"] == 1
    assert data["cold items (no train click)"] == 6
    assert data["items without text"] == 0


def test_a_try_never_opens_the_test_split(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = place.done.get("first") or place.done[place.run("first").name]
    monkeypatch.setattr(SealedSplit, "open", lambda self: pytest.fail("the test split was opened"))
    folder = place.run("try", "--open_test=false", "--recommend.exclude=seen")
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    for part, whole in (
        (metrics, expected),
        *zip(metrics["compare"].values(), expected["compare"].values(), strict=True),
    ):
        assert "test" not in part
        assert list(part["groups"]) == ["valid"]
        assert part["valid"] == whole["valid"]
    known = set(place.shop.pairs(0)) | set(place.shop.pairs(1))
    listed = {(user, item) for user, items in read_lists(folder).items() for item in items}
    assert not listed & known
    assert listed & set(place.shop.pairs(2)), "test clicks were left out: they were looked at"


def test_recommendations_are_in_the_shops_own_ids(place: Place) -> None:
    frame = pl.read_csv(place.run("first") / "recommendations.csv", infer_schema=False)
    assert frame.columns == ["user", "item", "rank", "score", "title"]
    assert set(frame["user"]) == set(place.shop.user_block)
    assert set(frame["item"]) <= set(place.shop.block)
    assert {"001", "Zoë 0/0", "ü-0, 0"} <= {*frame["user"], *frame["item"]}
    assert frame["title"].to_list() == [f"Thing {item}" for item in frame["item"]]
    seen = place.shop.pairs(0)
    for _, user in frame.group_by("user"):
        assert user["rank"].cast(int).to_list() == list(range(1, 7))
        scores = user["score"].cast(float).to_list()
        assert scores == sorted(scores, reverse=True)
        assert user["item"].n_unique() == 6
        assert not {(name, item) for name, item in zip(user["user"], user["item"], strict=True)} & seen


def test_users_without_a_training_click_get_the_most_popular_items(place: Place) -> None:
    clicks: dict[str, int] = {}
    for _, item in place.shop.pairs(0):
        clicks[item] = clicks.get(item, 0) + 1
    given = read_lists(place.run("first"))[place.shop.cold_user]
    assert sorted((clicks[item] for item in given), reverse=True) == sorted(clicks.values(), reverse=True)[:6]


def test_recommendations_leave_out_all_that_is_known_unless_asked(place: Place) -> None:
    folder = place.run("seen", "--recommend.exclude", "seen", "--compare", "[]")
    known = place.shop.pairs(0, 1, 2)
    given = {(user, item) for user, items in read_lists(folder).items() for item in items}
    assert given
    assert not given & known


def test_the_folder_holds_everything_and_nothing_else(place: Place) -> None:
    folder = place.run("first")
    assert {path.name for path in folder.iterdir()} == FILES
    assert {path.name for path in (folder / "epochs").iterdir()} == {"FREEDOM", "LightGCN", "LightGCN-2"}
    with (folder / "epochs" / "FREEDOM" / "metrics.csv").open(encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    assert [float(row["epoch"]) for row in rows] == [1, 2, 3, 4]
    best = place.done["first"]["training"]
    values = [float(row["valid_recall@3"]) for row in rows]
    assert max(values) == best["best_value"] == values[best["best_epoch"] - 1]
    assert best["best_value"] == pytest.approx(place.done["first"]["valid"]["recall@3"], abs=1e-12)
    assert all(float(row["loss"]) > 0 for row in rows)
    assert not [path for path in place.folder.iterdir() if path.name.startswith(".")], (
        "something temporary is left"
    )


def test_the_best_epoch_is_the_one_that_is_kept(place: Place) -> None:
    """At a rate at which training gets worse, what is scored and recommended is not the last epoch."""
    words = ["--model", "LightGCN", "--model.reg=1", "--train.lr=5", "--train.epochs=12", "--compare=[]"]
    folder = place.run("wild", *words)
    metrics = place.done["wild"]
    rows = pl.read_csv(folder / "epochs" / "LightGCN" / "metrics.csv")
    values = rows["valid_recall@3"].to_list()
    assert values[-1] < max(values)
    assert metrics["training"]["best_epoch"] == values.index(max(values)) + 1
    assert metrics["valid"]["recall@3"] == pytest.approx(max(values), abs=1e-12)
    expected = by_hand(read_lists(folder), place.shop, 1, 3)
    assert metrics["valid"]["recall@3"] == pytest.approx(expected["recall@3"], abs=1e-12)


def test_the_log_says_what_was_read_trained_and_found(place: Place) -> None:
    log = (place.run("first") / "log.txt").read_text(encoding="utf-8")
    for line in (
        " 149 rows read",
        " 1 cold users",
        "text: 24 of 24 items encoded",
        "FREEDOM: 4 epochs",
        "LightGCN-2",
    ):
        assert line in log
    table = [line.split("│")[1:-1] for line in log.splitlines() if line.startswith("│")]
    metrics = place.done["first"]
    shown = {row[0].strip(): [cell.strip() for cell in row[1:]] for row in table}
    assert shown["FREEDOM"] == [
        *(f"{metrics[split][name]:.4f}" for split in ("valid", "test") for name in ("recall@3", "ndcg@3")),
        f"{metrics['groups']['test']['cold_items']['recall@3']:.4f}",
    ]
    assert "\x1b" not in log


def test_the_checkpoint_scores_as_the_model_did(place: Place) -> None:
    folder = place.run("first")
    options = parse(place.words("first"))
    data = prepare(options)
    checkpoint = load_checkpoint(folder / "checkpoint.pt")
    assert checkpoint.class_path == "mmrec.models.freedom.FREEDOM"
    assert checkpoint.init_args["dim"] == 16
    model = checkpoint.build(data)
    frame = recommend(model, data, data.valid, k=6, exclude="train")
    kept = pl.read_csv(folder / "recommendations.csv", schema=frame.schema)
    assert frame.drop("score").equals(kept.drop("score"))
    assert np.allclose(frame["score"], kept["score"], atol=1e-6)


def without_times(metrics: dict[str, Any]) -> dict[str, Any]:
    return {
        key: without_times(value) if isinstance(value, dict) else value
        for key, value in metrics.items()
        if "seconds" not in key
    }


def test_the_same_seed_gives_the_same_run_and_another_seed_another(place: Place) -> None:
    first, second = place.run("first"), place.run("second")
    third = place.run("third", "--seed", "1")
    assert without_times(place.done["first"]) == without_times(place.done["second"])
    texts = [(folder / "recommendations.csv").read_bytes() for folder in (first, second, third)]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]
    states = [load_checkpoint(folder / "checkpoint.pt").state for folder in (first, second)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_the_saved_config_makes_the_run_again(place: Place) -> None:
    first = place.run("first")
    saved = yaml.safe_load((first / "config.yaml").read_text(encoding="utf-8"))
    assert saved["train"]["patience"] == 20, "defaults are filled in"
    run(parse(["--config", str(first / "config.yaml"), "--run_dir", str(place.folder / "again")]))
    again = place.folder / "again"
    assert (again / "recommendations.csv").read_bytes() == (first / "recommendations.csv").read_bytes()
    metrics = [json.loads((folder / "metrics.json").read_text(encoding="utf-8")) for folder in (first, again)]
    assert without_times(metrics[0]) == without_times(metrics[1])


def test_ready_features_in_mmrecs_layout(place: Place, tmp_path: Path) -> None:
    """Image and text matrices, rows by item number; the fused graph finds each item's block."""
    blocks = np.repeat(np.arange(3), 8)
    draw = np.random.default_rng(0)
    features = {name: np.eye(3)[blocks] + 0.05 * draw.normal(size=(24, 3)) for name in ("image", "text")}
    write_mmrec_layout(tmp_path / "layout", features)
    pairs = [(user, item) for user in range(24) for item in range(24) if user % 3 == blocks[item]]
    rows = "".join(f"{user}\t{item}\t{(item + user) % 8 % 3}\n" for user, item in pairs)
    (tmp_path / "clicks.inter").write_text(
        "userID:token\titemID:token\tx_label:float\n" + rows, encoding="utf-8"
    )
    words = ["--root", str(tmp_path), "--data.interactions=clicks.inter", "--features.stores=[layout]"]
    folder = place.run(
        "layout", *words, "--features.encoders=[]", "--items.path=null", "--compare=[]", "--train.epochs=1"
    )
    metrics = place.done["layout"]
    assert metrics["data"]["items without image"] == metrics["data"]["items without text"] == 0
    lists = read_lists(folder)
    assert set(lists) == {str(user) for user in range(24)}
    frame = pl.read_csv(folder / "recommendations.csv")
    assert frame.columns == ["user", "item", "rank", "score"], "no table of items, no titles"


def test_models_see_fewer_columns_and_the_graph_is_made_of_all(place: Place) -> None:
    full = prepare(parse(place.words("wide"))).train
    reduced = prepare(parse(place.words("narrow", "--features.width=3"))).train
    assert full.features["text"].shape[1] == 6
    assert reduced.features["text"].shape == (full.num_items, 3)
    assert torch.equal(reduced.present["text"], full.present["text"])
    assert full.item_edge_index is not None
    assert reduced.item_edge_index is not None
    assert torch.equal(reduced.item_edge_index, full.item_edge_index)
    same = prepare(parse(place.words("same", "--features.width=6"))).train
    assert torch.equal(same.features["text"], full.features["text"])


def test_test_is_opened_once_and_only_after_all_training(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    opening = SealedSplit.open

    def opened(self: SealedSplit) -> torch.Tensor:
        events.append("open")
        return opening(self)

    def fitted(model: Recommender, *args: Any, **options: Any) -> History:
        events.append("fit")
        history = fit(model, *args, **options)
        events.append("end of fit")
        return history

    monkeypatch.setattr(SealedSplit, "open", opened)
    monkeypatch.setattr("mmrec.run.fit", fitted)
    run(parse(place.words("unused", "--run_dir", str(tmp_path / "run"))))
    assert events == ["fit", "end of fit"] * 4 + ["open"]


@pytest.mark.parametrize("error", [RuntimeError("boom"), KeyboardInterrupt()], ids=["error", "Ctrl-C"])
@pytest.mark.parametrize("where", ["fit", "write_recommendations", "save_config"])
def test_a_run_that_fails_leaves_no_folder_and_keeps_the_old_one(
    error: BaseException, where: str, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise error

    words = place.words(
        "unused", "--compare=[]", "--train.epochs=1", "--run_dir", str(tmp_path / "runs" / "one")
    )
    with monkeypatch.context() as patch:
        patch.setattr(f"mmrec.run.{where}", fail)
        with pytest.raises(type(error)):
            run(parse(words))
    assert list(tmp_path.iterdir()) == [], "not even the folder above it"
    run(parse(words))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.setattr(f"mmrec.run.{where}", fail)
    with pytest.raises(type(error)):
        run(parse(words))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_second_run_replaces_the_first(place: Place, tmp_path: Path) -> None:
    words = place.words("unused", "--compare=[]", "--train.epochs=1", "--run_dir", str(tmp_path / "one"))
    run(parse(words))
    (tmp_path / "one" / "left over").write_text("from before", encoding="utf-8")
    run(parse([*words, "--model", "Popularity"]))
    assert {path.name for path in (tmp_path / "one").iterdir()} == FILES - {"epochs"}
    assert (
        json.loads((tmp_path / "one" / "metrics.json").read_text(encoding="utf-8"))["model"] == "Popularity"
    )


@pytest.mark.parametrize("word", ["--run_dir=.", "--run_dir=mine", "--name=.", "--name=..", "--name="])
def test_a_folder_of_something_else_is_never_replaced(
    word: str,
    place: Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    given = [other for other in place.words("unused") if not other.startswith("--run_dir")]
    assert main([*given, word]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "thesis.txt"]


@pytest.mark.parametrize("model", sorted(known(Recommender)))  # type: ignore[type-abstract]
def test_every_model_runs(model: str, place: Place) -> None:
    """What it reports is what it recommends; REARM takes two modalities and nothing else."""
    words = ["--model", model, "--compare=[]", "--train.epochs=2", "--augment.epoch=[EdgeDrop]"]
    both = "--features.encoders=[TfidfText, tests.cases.shop.MeanColour]"
    words += ["--items.image_column=photo", both] if model == "REARM" else []
    expected = by_hand(read_lists(place.run(model, *words)), place.shop, 1, 6)
    assert place.done[model]["model"] == model
    assert place.done[model]["valid"]["recall@6"] == pytest.approx(expected["recall@6"], abs=1e-12)
