"""The demo shop: same seed, same bytes; gaps and labels as promised; clicks that follow tastes."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from mmrec.data.demo import demo_catalogue, main, make_demo
from mmrec.data.demo_clicks import draw_clicks
from mmrec.data.demo_items import BOTH, FORMS, KINDS, MATERIALS, NAMES, OCCASIONS, SEEN, WRITTEN, write_texts
from mmrec.data.demo_photos import PIXELS, draw_photo
from mmrec.data.demo_shapes import SHAPES, SIGNS
from mmrec.errors import DataError


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_demo(tmp_path_factory.mktemp("data") / "demo")


@pytest.fixture(scope="module")
def items(demo: Path) -> pl.DataFrame:
    return pl.read_csv(demo / "items.csv", infer_schema=False)


@pytest.fixture(scope="module")
def clicks(demo: Path) -> pl.DataFrame:
    return pl.read_csv(demo / "clicks.csv")


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_same_seed_same_bytes_and_another_seed_another_shop(tmp_path: Path) -> None:
    first, again, other = (
        content(make_demo(tmp_path / name, users=40, items=60, seed=seed, thorough=0.5))
        for name, seed in (("first", 1), ("again", 1), ("other", 2))
    )
    assert first == again
    assert first["clicks.csv"] != other["clicks.csv"]
    assert first["items.csv"] != other["items.csv"]
    assert set(first) != set(other)  # photos are named by id, and ids are drawn too


def test_more_users_leave_the_items_as_they_are(tmp_path: Path) -> None:
    few, many = (content(make_demo(tmp_path / str(n), users=n, items=60)) for n in (30, 60))
    assert {name: few[name] for name in few if "photos" in name} == {
        n: many[n] for n in many if "photos" in n
    }
    assert few["items.csv"] == many["items.csv"]


def test_a_second_call_does_nothing(tmp_path: Path) -> None:
    out = make_demo(tmp_path / "demo", users=10, items=60)
    (out / "items.csv").write_text("mine now")
    assert make_demo(out, users=10, items=60) == out
    assert (out / "items.csv").read_text() == "mine now"


def test_what_an_older_version_made_is_replaced(tmp_path: Path) -> None:
    out = make_demo(tmp_path / "demo", users=10, items=60)
    made = content(out)
    about = json.loads(made["demo.json"])
    (out / "demo.json").write_text(json.dumps(about | {"demo": 0}))
    (out / "items.csv").write_text("old")
    assert content(make_demo(out, users=10, items=60)) == made


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    make_demo(tmp_path / "demo", users=10, items=60)
    with pytest.raises(DataError, match=r"--users 10 .*, not --users 11 .*: choose another place"):
        make_demo(tmp_path / "demo", users=11, items=60)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("three years of work")
    with pytest.raises(DataError, match="is no demo"):
        make_demo(tmp_path / "mine")
    assert content(tmp_path / "mine") == {"thesis.txt": b"three years of work"}


@pytest.mark.parametrize("wrong", [{"users": 0}, {"items": 10}, {"seed": -1}, {"thorough": 1.5}])
def test_arguments_out_of_range(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(DataError, match="expected at least 1 user"):
        make_demo(tmp_path / "demo", **wrong)
    assert not list(tmp_path.iterdir())


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "demo")
    assert main([out, "--users", "10", "--items", "60", "--seed", "3"]) == 0
    assert json.loads((tmp_path / "demo" / "demo.json").read_text())["seed"] == 3
    for words in ([out, "--seed", "4"], [out, "--sed", "4"], [out, "--users", "ten"], []):
        capsys.readouterr()
        assert main(words) == 2
        assert re.fullmatch(r"error: [^\n]+\n", capsys.readouterr().err)


def test_gaps_are_as_promised(demo: Path, items: pl.DataFrame, clicks: pl.DataFrame) -> None:
    assert items.columns == ["item_id", "title", "description", "photo"]
    assert items.height == 600
    assert (
        items["photo"].null_count() == items["title"].null_count() == items["description"].null_count() == 18
    )
    assert items.filter(pl.col("photo").is_null() & pl.col("title").is_null()).is_empty()
    assert {f"photos/{p.name}" for p in (demo / "photos").iterdir()} == set(items["photo"].drop_nulls())
    warm = clicks.filter(pl.col("x_label") == 0)["item_id"].unique()
    assert clicks["item_id"].n_unique() == 600
    assert len(warm) == 570


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_five_percent_of_items_are_never_trained_on_and_came_late(seed: int) -> None:
    clicks = draw_clicks(demo_catalogue(600, seed), 1000, np.random.default_rng(seed))
    cold = np.setdiff1d(np.arange(600), clicks.item[clicks.label == 0])
    assert len(cold) == 30
    held = np.isin(clicks.item, cold)
    assert set(clicks.item[held]) == set(cold.tolist())
    first, last = clicks.time.min(), clicks.time.max()
    assert clicks.time[held].min() > first + 0.74 * (last - first)
    assert 0.08 < held.sum() / (clicks.label > 0).sum() < 0.25


def test_ids_look_like_a_shops_and_rows_are_in_the_order_of_time(
    items: pl.DataFrame, clicks: pl.DataFrame
) -> None:
    ids = items["item_id"]
    assert ids.n_unique() == 600
    assert ids.str.contains(r"^SKU-\d{4}$").all()
    assert ids.to_list() != sorted(ids)
    assert clicks["user_id"].n_unique() == 1000
    assert clicks["user_id"].str.contains(r"^u\d{4}$").all()
    assert clicks["time"].is_sorted()
    assert clicks.select("user_id", "item_id").is_unique().all()


def test_labels_are_random_per_user(items: pl.DataFrame, clicks: pl.DataFrame) -> None:
    warm = set(clicks.filter(pl.col("x_label") == 0)["item_id"])
    usual = 0
    for rows in clicks.partition_by("user_id"):
        n, cold = rows.height, sum(item not in warm for item in rows["item_id"])
        held = max(2 if n < 10 else int(0.2 * n), cold)
        usual += held > cold
        assert (rows["x_label"] == 1).sum() == held // 2
        assert (rows["x_label"] == 2).sum() == held - held // 2
    assert usual > 900  # few users have so many clicks on new items that more is held out
    counts = clicks.group_by("user_id").len()["len"]
    assert 15 < counts.quantile(0.2) < counts.quantile(0.8) < 26
    assert abs((clicks["x_label"] == 0).mean() - 0.8) < 0.03


def test_popularity_is_skewed(clicks: pl.DataFrame) -> None:
    counts = clicks.group_by("item_id").len()["len"].sort(descending=True)
    assert counts[:60].sum() > 0.22 * clicks.height  # one in ten items; without skew they would have 0.13
    assert counts[0] > 4 * counts[300]


def pairs_alike(user: np.ndarray, value: np.ndarray) -> float:
    """Share of two clicks of one user that agree in an attribute."""
    table = np.zeros((user.max() + 1, value.max() + 1))
    np.add.at(table, (user, value), 1)
    total = table.sum(axis=1)
    return float((table * (table - 1)).sum() / (total * (total - 1)).sum())


@pytest.mark.parametrize("name", [*BOTH, *SEEN, *WRITTEN])
def test_tastes_drive_clicks(name: str) -> None:
    shop = demo_catalogue(600, 0)
    clicks = draw_clicks(shop, 1000, np.random.default_rng(0))
    value, rng = getattr(shop, name)[clicks.item], np.random.default_rng(1)
    shuffled = [pairs_alike(clicks.user, rng.permutation(value)) for _ in range(20)]
    lift = pairs_alike(clicks.user, value) / np.mean(shuffled)
    assert max(shuffled) / np.mean(shuffled) < 1.02  # what chance alone would do
    assert lift > 1.05
    if name in (*BOTH, "shade", *WRITTEN):
        assert lift > 1.15


def test_texts_say_what_is_written_and_only_some_what_is_seen() -> None:
    shop = demo_catalogue(300, 0, thorough=0.5)
    pairs = zip(*write_texts(shop, np.random.default_rng(0)), strict=True)
    texts = [f"{title}. {body}".lower() for title, body in pairs]
    assert 100 < shop.tells.sum() < 200
    for name, values in NAMES.items():
        for row, text in enumerate(texts):
            said = {value for value in values if re.search(rf"\b{value}\b", text)}
            expected = {values[getattr(shop, name)[row]]} if name not in SEEN or shop.tells[row] else set()
            assert said == expected, (name, text)


@pytest.mark.parametrize("shows", [False, True])
def test_photos_show_what_is_seen_and_only_some_what_is_written(shows: bool) -> None:
    shop = dataclasses.replace(demo_catalogue(60, 0), shows=np.full(60, shows))

    def pixels(**changes: np.ndarray) -> np.ndarray:
        return np.asarray(draw_photo(dataclasses.replace(shop, **changes), 7, np.random.default_rng(0)))

    plain = pixels()
    assert plain.shape == (PIXELS, PIXELS, 3)
    for name, values in NAMES.items():
        changed = pixels(**{name: (getattr(shop, name) + 1) % len(values)})
        assert (changed != plain).any() == (name not in WRITTEN or shows), name


def test_every_item_can_be_drawn(demo: Path, items: pl.DataFrame) -> None:
    assert set(SHAPES) == {(kind, form) for kind in KINDS for form in FORMS}
    assert set(SIGNS) == {*MATERIALS, *OCCASIONS}
    for name in items["photo"].drop_nulls():
        with Image.open(demo / name) as photo:
            assert (photo.size, photo.mode) == ((PIXELS, PIXELS), "RGB")
            assert np.asarray(photo).std() > 5
