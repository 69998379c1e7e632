"""Bad input: one line that starts with `error: `, exit code 2, and folders as they were before."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from features.extract import main as extract
from mmrec.run import main as run
from tests.cases.shop import SMALL_RUN, listing, make_shop, one_line, unfinished, write_mmrec_layout

IDS = {"user_id": pl.String, "item_id": pl.String}
PHOTOS = """
items: {image_column: photo, text_columns: []}
features: {encoders: [tests.cases.shop.MeanColour]}
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a shop and configs."""
    make_shop(tmp_path / "shop")
    (tmp_path / "my.yaml").write_text(SMALL_RUN, encoding="utf-8")
    (tmp_path / "photos.yaml").write_text(PHOTOS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def refused(work: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run with these words; the line they are refused with. Nothing may be left."""

    def refused(*words: str, program: Callable[[list[str]], int] = run) -> str:
        before = listing(work)
        given = ["--config", "my.yaml", *words] if program is run else list(words)
        assert program(given) == 2
        assert listing(work) == before
        assert not unfinished(work)
        return one_line(capsys.readouterr().err)

    return refused


def test_the_shop_is_fine_as_it_is(work: Path) -> None:
    assert run(["--config", "my.yaml"]) == 0
    assert run(["--config", "my.yaml", "--config", "photos.yaml"]) == 0
    assert {path.name for path in work.iterdir()} == {"cache", "my.yaml", "photos.yaml", "runs", "shop"}


# ---------------------------------------------------------------- files and columns


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--config", "nope.yaml"], "nope.yaml"),
        (["--data.interactions", "nope.csv"], "nope.csv"),
        (["--items.path", "nope.csv"], "nope.csv"),
        (["--root", "nowhere"], "nowhere"),
        (["--features.encoders", "[]", "--features.stores", "[nope]"], "shop/nope"),
        (["--data.interactions", "."], "folder"),
    ],
)
def test_a_missing_file(words: list[str], expected: str, refused: Callable[..., str]) -> None:
    assert expected in refused(*words)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--data.user_column", "customer"], r"clicks\.csv.*'customer'.*user_id"),
        (["--data.item_column", "itemid"], r"clicks\.csv.*'itemid'.*did you mean 'item_id'"),
        (["--items.id_column", "id"], r"items\.csv has no column 'id'.*item_id"),
        (["--items.image_column", "photos"], r"items\.csv has no column 'photos'.*did you mean 'photo'"),
        (["--items.text_columns", "[title, text]"], r"items\.csv has no column 'text'"),
        (["--items.image_path", "photos/{number}.jpg"], r"no column 'number'"),
    ],
)
def test_a_missing_column(words: list[str], expected: str, refused: Callable[..., str]) -> None:
    assert re.search(expected, refused(*words))


@pytest.mark.parametrize(
    ("content", "clicks", "items"),
    [
        (b"", "the file is empty (0 bytes)", "is empty (0 bytes)"),
        (b"user_id,item_id,x_label,title,description\n", "the table has no rows", "a header but no rows"),
        (b"\x00\x01\x02\xff" * 100, "the header is not UTF-8 text", "the header is not UTF-8 text"),
        (
            b'user_id,item_id\n"1,2\n',
            "a quoted cell never ends",
            "cannot be read as a table (could not parse",
        ),
    ],
    ids=["empty", "header only", "binary", "open quote"],
)
def test_a_table_with_nothing_in_it(
    content: bytes, clicks: str, items: str, work: Path, refused: Callable[..., str]
) -> None:
    for name, reason in (("clicks.csv", clicks), ("items.csv", items)):
        before = (work / "shop" / name).read_bytes()
        (work / "shop" / name).write_bytes(content)
        line = refused()
        assert f"shop/{name}" in line
        assert reason in line
        (work / "shop" / name).write_bytes(before)


def test_ids_that_match_no_item(work: Path, refused: Callable[..., str]) -> None:
    frame = pl.read_csv(work / "shop" / "items.csv", infer_schema=False)
    frame.with_columns(item_id="x" + pl.col("item_id")).write_csv(work / "shop" / "items.csv")
    line = refused()
    assert "none of its item ids is in shop/items.csv" in line
    assert "items.id_column" in line


def test_duplicate_item_ids(work: Path, refused: Callable[..., str]) -> None:
    frame = pl.read_csv(work / "shop" / "items.csv", infer_schema=False)
    frame.extend(frame[3:5]).write_csv(work / "shop" / "items.csv")
    line = refused()
    assert f"id '{frame['item_id'][3]}' is in rows 4 and 25" in line
    assert "2 repeated rows" in line
    assert run(["--config", "my.yaml", "--items.duplicate_items", "first"]) == 0


@pytest.mark.parametrize(
    ("labels", "words", "expected"),
    [
        ({1: 0}, [], "split 'labels' leaves no valid rows"),
        ({2: 0}, [], "split 'labels' leaves no test rows"),
        ({0: 1, 2: 1}, [], "split 'labels' leaves no train rows"),
        ({}, ["--data.split", "random", "--data.k_core", "99"], "99-core"),
        ({}, ["--data.split", "random", "--data.valid_ratio", "0"], "valid_ratio 0"),
        ({}, ["--data.min_rating", "6"], "no interaction has a rating of 6 or more"),
        ({}, ["--data.time_column", "", "--data.split", "user_time"], "needs a time column"),
    ],
)
def test_a_split_that_leaves_nothing(
    labels: dict[int, int], words: list[str], expected: str, work: Path, refused: Callable[..., str]
) -> None:
    frame = pl.read_csv(work / "shop" / "clicks.csv", schema_overrides=IDS)
    changed = pl.col("x_label").replace(labels) if labels else pl.col("x_label")
    frame.with_columns(changed).write_csv(work / "shop" / "clicks.csv")
    assert expected in refused(*words)


def test_users_who_only_exist_in_valid(work: Path, refused: Callable[..., str]) -> None:
    frame = pl.read_csv(work / "shop" / "clicks.csv", schema_overrides=IDS)
    new = (
        pl.when(pl.col("x_label") == 1).then(pl.lit("new ") + pl.col("user_id")).otherwise(pl.col("user_id"))
    )
    frame.with_columns(user_id=new).write_csv(work / "shop" / "clicks.csv")
    assert re.search(r"none of the 25 users .* has a training click", refused())


# ---------------------------------------------------------------- features


@pytest.fixture
def layout(work: Path) -> Callable[..., list[str]]:
    """Write a matrix in MMRec's layout for a shop with the item ids 0 to 11; words to run on it."""

    def layout(matrix: np.ndarray) -> list[str]:
        write_mmrec_layout(work / "shop" / "made", {"image": matrix})
        rows = [f"{user},{item},{(user + item) % 3}" for user in range(5) for item in range(12)]
        (work / "shop" / "numbers.csv").write_text("user,item,x_label\n" + "\n".join(rows), encoding="utf-8")
        given = {"data.interactions": "numbers.csv", "items.path": "null", "features.stores": "[made]"}
        return [*(f"--{key}={value}" for key, value in given.items()), "--features.encoders=[]"]

    return layout


def test_nan_and_wrong_rows_in_features(
    layout: Callable[..., list[str]], refused: Callable[..., str], work: Path
) -> None:
    good = np.random.default_rng(0).normal(size=(12, 4))
    assert run(["--config", "my.yaml", *layout(good), "--name", "good"]) == 0
    for value in (np.nan, np.inf):
        bad = good.copy()
        bad[7, 2] = value
        line = refused(*layout(bad))
        assert re.search(r"image_feat\.npy: row 7, column 2 \(item '7'\) is (nan|inf)", line)
    assert "has 11 rows" in refused(*layout(good[:11]))
    assert "expected a table" in refused(*layout(good[0]))


def test_a_given_graph_that_does_not_fit(
    layout: Callable[..., list[str]], refused: Callable[..., str], work: Path
) -> None:
    words = [*layout(np.ones((12, 4))), "--graph.edges", "{fused: graph.npz}", "--model.modality_weight", "0"]
    assert "shop/graph.npz" in refused(*words), "it is not there"
    ends = np.arange(13)
    np.savez(work / "shop" / "graph.npz", row=ends, col=ends, weight=np.ones(13))
    assert "it was made for other items" in refused(*words)
    assert "ids such as '001'" in refused("--graph.edges", "{fused: graph.npz}"), "items are not numbered"


def test_a_pickle_is_never_loaded(
    layout: Callable[..., list[str]], refused: Callable[..., str], work: Path
) -> None:
    words = layout(np.ones((12, 4)))
    np.save(work / "shop" / "made" / "image_feat.npy", np.array([{"a": 1}] * 12, dtype=object))
    assert "pickled objects, which are never loaded" in refused(*words)


def test_a_store_made_for_other_items(refused: Callable[..., str], work: Path) -> None:
    table = pl.DataFrame({"item_id": ["x1", "x2", "x3"], "title": ["red lamp", "blue lamp", "red rug"]})
    table.write_csv(work / "other.csv")
    words = ["--items", "other.csv", "--text_columns", "title", "--encoder", "tfidf", "--out", "shop/others"]
    assert extract(words) == 0
    line = refused("--features.encoders", "[]", "--features.stores", "[others]")
    assert "shop/others/text was made for other items" in line
    (work / "shop" / "others" / "text" / "manifest.json").unlink()
    assert "unfinished" in refused("--features.encoders", "[]", "--features.stores", "[others]")


# ---------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--model", "FREEDON"], "did you mean 'FREEDOM'"),
        (["--train.epoch", "3"], "did you mean 'epochs'"),
        (["--train.epochs", "three"], "expected a whole number"),
        (["--train.epochs", "0"], "train.epochs is 0"),
        (["--model.dim", "-1"], "dim of a model is -1"),
        (["--model.n_ui_layers", "-1"], "number of layers is -1"),
        (["--recommend.k", "0"], "recommend.k is 0"),
        (["--augment.epoch", "[{class_path: EdgeDrop, init_args: {drop: 1}}]"], "EdgeDrop.drop is 1.0"),
        (["--eval.metrics", "[auc]"], "no metric is called 'auc'"),
        (["--graph.k", "0"], "graph.k is 0"),
        (["--graph.weights", "{audio: 1}"], "'audio', which the data lacks"),
        (["--features.encoders", "[]"], "no item graph can be built"),
        (["--features.encoders", "[]", "--model", "BM3"], "a model needs item features"),
        (["--items.path", "null"], "set items.path"),
        (["--items.text_columns", "[]"], "TfidfText needs texts"),
        (["--run_dir", "shop/items.csv"], "is a file"),
        (["--cache_dir", "my.yaml"], "my.yaml"),
    ],
)
def test_options_that_cannot_work(
    words: list[str], expected: str, refused: Callable[..., str], work: Path
) -> None:
    assert expected in refused(*words)


# ---------------------------------------------------------------- photos and texts


def break_photos(shop: Path) -> list[str]:
    """Truncate one, empty one, make one a text, remove one; the ids of these items."""
    frame = pl.read_csv(shop / "items.csv", infer_schema=False)
    truncated, empty, text, missing = (shop / name for name in frame["photo"][:4])
    truncated.write_bytes(truncated.read_bytes()[:300])
    empty.write_bytes(b"")
    text.write_text("this is not a photo\n" * 50, encoding="utf-8")
    missing.unlink()
    return frame["item_id"][:4].to_list()


def test_broken_photos_are_counted_listed_and_treated_as_missing(work: Path) -> None:
    ids = break_photos(work / "shop")
    assert run(["--config", "my.yaml", "--config", "photos.yaml", "--name", "broken"]) == 0
    metrics = json.loads((work / "runs" / "broken" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["data"]["items without image"] == 4
    (manifest,) = (work / "cache" / "features").rglob("manifest.json")
    broken = json.loads(manifest.read_text(encoding="utf-8"))["broken"]
    assert [entry["item"] for entry in broken] == ids
    assert all(entry["reason"] for entry in broken)
    assert len({entry["reason"] for entry in broken}) == 4, "four faults, four reasons"
    log = (work / "runs" / "broken" / "log.txt").read_text(encoding="utf-8")
    (line,) = [line for line in log.splitlines() if "broken" in line and "photos" in line]
    assert "photos of 4 of 24 items are broken" in line
    assert f"'{ids[0]}'" in line


def test_broken_photos_stop_a_strict_run(work: Path, refused: Callable[..., str]) -> None:
    ids = break_photos(work / "shop")
    line = refused("--config", "photos.yaml", "--features.strict")
    assert f"item '{ids[0]}'" in line
    assert "items are broken" in line
    given = [
        "--items",
        "shop/items.csv",
        "--image_column",
        "photo",
        "--encoder",
        "tests.cases.shop.MeanColour",
    ]
    assert "items are broken" in refused(*given, "--out", "made", "--strict", program=extract)
    assert extract([*given, "--out", "made"]) == 0
    assert "items are broken" in refused(*given, "--out", "made", "--strict", program=extract), (
        "also when kept"
    )


def test_a_text_of_10_000_words_is_no_problem(work: Path) -> None:
    frame = pl.read_csv(work / "shop" / "items.csv", infer_schema=False)
    long = " ".join(f"word{number}" for number in range(10_000))
    first = pl.int_range(pl.len()) == 0
    frame.with_columns(
        description=pl.when(first).then(pl.lit(long)).otherwise(pl.col("description"))
    ).write_csv(work / "shop" / "items.csv")
    assert run(["--config", "my.yaml"]) == 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--items", "nope.csv", "--text_columns", "title"], "nope.csv"),
        (["--items", "shop/items.csv", "--text_columns", "titel"], "did you mean 'title'"),
        (["--items", "shop/items.csv", "--text_columns", "title", "--id_column", "id"], "no column 'id'"),
        (["--items", "shop/items.csv"], "nothing to encode"),
        (["--items", "shop/items.csv", "--text_column", "title"], "did you mean '--text_columns'"),
        (["--items", "shop/items.csv", "--image_column", "photo"], "encoder 'tfidf' is for texts"),
        (["--items", "empty.csv", "--text_columns", "title"], "empty.csv is empty"),
        (["--items", "twice.csv", "--text_columns", "title"], "id '1' is in rows 1 and 2"),
        (["--text_columns", "title"], "--items"),
        (["--items", "shop/items.csv", "--text_columns", "title", "--dtype", "float8"], "float8"),
    ],
)
def test_extraction_refuses_the_same(
    words: list[str], expected: str, work: Path, refused: Callable[..., str]
) -> None:
    (work / "empty.csv").write_bytes(b"")
    (work / "twice.csv").write_text("item_id,title\n1,red lamp\n1,blue lamp\n", encoding="utf-8")
    assert expected in refused(*words, "--encoder", "tfidf", "--out", "made", program=extract)
