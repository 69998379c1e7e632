"""Layouts in and out: what goes through comes back, and bad rows are counted and shown."""

from __future__ import annotations

import contextlib
import gzip
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from features.imported import read_vectors
from features.store import write_store
from mmrec.data.convert import READERS, WRITERS, convert, layout_of, main
from mmrec.data.dataset import load_data
from mmrec.errors import DataError, MMRecError
from tests.cases.planted import rng

CLICKS = pl.DataFrame(
    {
        "user": ["u1", "u1", "ü 2", "u1", "x"],
        "item": ["001", "b", "b", "c", "001"],
        "rating": [1.0, 4.5, 2.0, 3.0, 5.0],
        "time": [10.0, 20.0, 30.0, 40.0, 50.0],
        "label": pl.Series([0, 1, 0, 2, 0], dtype=pl.Int8),
    }
)


def own(folder: Path, clicks: pl.DataFrame = CLICKS) -> Path:
    folder.mkdir()
    clicks.write_parquet(folder / "clicks.parquet")
    table = {
        "item_id": ["001", "b", "c"],
        "title": ["a\ttab", "two\nlines", '"quoted"'],
        "year": ["1", "", "3"],
    }
    pl.DataFrame(table).write_parquet(folder / "items.parquet")
    np.save(folder / "image_feat.npy", np.eye(3, dtype=np.float32))
    return folder


def read(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(folder / "clicks.parquet").sort("user", "item")


@pytest.mark.parametrize("layout", sorted(WRITERS.keys() & READERS.keys()))
def test_there_and_back_again(tmp_path: Path, layout: str) -> None:
    source = own(tmp_path / "shop")
    convert(str(source), str(tmp_path / "there"), target_format=layout)
    assert layout_of(tmp_path / "there") == layout
    convert(str(tmp_path / "there"), str(tmp_path / "back"))
    back, expected = read(tmp_path / "back"), CLICKS.sort("user", "item")
    if layout == "mmrec":  # which numbers users and items, and keeps no ratings
        for role, name in (("user", "u"), ("item", "i")):
            ids = pl.read_csv(
                tmp_path / "there" / f"{name}_id_mapping.csv", separator="\t", infer_schema=False
            )
            assert ids["id"].to_list() == sorted(CLICKS[role].unique())
            back = back.with_columns(pl.col(role).replace(dict(zip(ids[:, 1], ids["id"], strict=True))))
        back = back.sort("user", "item")
    kept = {"mmrec": ["label"], "lattice": ["label"]}.get(layout, ["rating", "time", "label"])
    columns = ["user", "item", *kept]
    assert back.select(columns).equals(expected.select(columns))
    if layout == "recbole":
        items = pl.read_parquet(tmp_path / "back" / "items.parquet")
        assert items["title"].to_list() == ["a tab", "two lines", '"quoted"']
        assert items.columns == ["item_id", "title", "year"]


def test_features_go_along_with_their_items(tmp_path: Path) -> None:
    source = tmp_path / "peer"
    source.mkdir()
    (source / "a.inter").write_text("userID\titemID\tx_label\n0\t2\t0\n1\t0\t1\n0\t1\t2\n", encoding="utf-8")
    np.save(source / "image_feat.npy", np.arange(6, dtype=np.float32).reshape(3, 2) + 1)
    convert(str(source), str(tmp_path / "own"))
    convert(str(tmp_path / "own"), str(tmp_path / "again"), target_format="mmrec")
    assert np.load(tmp_path / "again" / "image_feat.npy").tolist() == [[1, 2], [3, 4], [5, 6]]
    convert(str(tmp_path / "own"), str(tmp_path / "graph"), target_format="pyg")
    from torch_geometric.data import HeteroData

    graph = HeteroData.from_dict(torch.load(tmp_path / "graph" / "hetero.pt", weights_only=True))
    assert graph["user", "clicks", "item"].edge_index.tolist() == [[0, 1, 0], [2, 0, 1]]
    assert graph["item"].x_image.tolist() == [[1, 2], [3, 4], [5, 6]]


def test_duchos_files_are_read_back_by_id(tmp_path: Path) -> None:
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    source = own(tmp_path / "shop")
    blocks = [(np.array([0, 2]), rows[[0, 2]])]
    ids = np.array(["001", "b", "c.d"])
    write_store(source / "features" / "image", "image", ids, blocks, lambda: {"key": "k"})
    convert(str(source), str(tmp_path / "ducho"), target_format="ducho")
    found, vectors = read_vectors(tmp_path / "ducho" / "image")
    assert found is not None
    assert dict(zip(found.tolist(), vectors.tolist(), strict=True)) == {"001": [0, 1], "c.d": [4, 5]}
    convert(str(source), str(tmp_path / "plain"))
    assert (tmp_path / "plain" / "features" / "image" / "manifest.json").is_file()
    with pytest.raises(DataError, match="and the data have none"):
        convert(str(own(tmp_path / "bare")), str(tmp_path / "o"), target_format="ducho")
    write_store(source / "features" / "text", "text", np.array(["a/b"]), [(np.array([0]), rows[:1])], dict)
    with pytest.raises(DataError, match="named by the item id 'a/b'"):
        convert(str(source), str(tmp_path / "o"), target_format="ducho")
    assert not (tmp_path / "o").exists()


def test_what_was_converted_is_read_by_a_run(tmp_path: Path) -> None:
    draw = rng()
    users, items = torch.randint(40, (600,), generator=draw), torch.randint(30, (600,), generator=draw)
    frame = pl.DataFrame(
        {"user": [f"u{u}" for u in users.tolist()], "item": [f"i{i}" for i in items.tolist()]}
    )
    source = own(tmp_path / "shop", frame)
    convert(str(source), str(tmp_path / "peer"), target_format="mmrec", split="random", k_core=5)
    data = load_data(str(tmp_path / "peer" / "peer.inter"), split="labels")
    again = load_data(str(source / "clicks.parquet"), split="random", k_core=5)
    assert data.report["train clicks"] == again.report["train clicks"]
    assert data.valid.shape == again.valid.shape


def amazon(folder: Path, year: int) -> Path:
    folder.mkdir()
    if year == 2023:
        reviews = [
            {"user_id": "A", "asin": "c1", "parent_asin": "p1", "rating": 4.0, "timestamp": 1500000000123}
        ]
        images = [{"thumb": "http://x/t.jpg", "large": "http://x/l.jpg", "hi_res": None}]
        about = {"title": "Mug", "store": "Cups", "description": ["Red.", "Large."]}
        meta = [{"parent_asin": "p1", **about, "images": images}]
    else:
        reviews = [{"reviewerID": "A", "asin": "p1", "overall": 4.0, "unixReviewTime": 1500000000}]
        photo = {"imUrl": "http://x/l.jpg"} if year == 2014 else {"imageURLHighRes": ["http://x/l.jpg"]}
        meta = [{"asin": "p1", "title": "Mug", "brand": "Cups", "description": "Red. Large.", **photo}]
    good = [repr(row) if year == 2014 else json.dumps(row) for row in reviews * 3]
    broken = ["{'half': ", "[1, 2]", json.dumps({"asin": "x"}), "", "__import__('os').getcwd()"]
    text = "\n".join([*good, *broken])
    name = "reviews_Mugs.json.gz" if year < 2023 else "Mugs.jsonl.gz"
    (folder / name).write_bytes(gzip.compress(text.encode(), mtime=0))
    lines = "\n".join(repr(row) if year == 2014 else json.dumps(row) for row in meta)
    (folder / "meta_Mugs.json").write_text(lines, encoding="utf-8")
    return folder


@pytest.mark.parametrize("year", [2014, 2018, 2023])
def test_amazon_reviews(tmp_path: Path, year: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING", logger="mmrec"):
        convert(str(amazon(tmp_path / "raw", year)), str(tmp_path / "out"))
    clicks, items = read(tmp_path / "out"), pl.read_parquet(tmp_path / "out" / "items.parquet")
    assert clicks["user"].to_list() == ["A"] * 3
    assert clicks["item"].to_list() == ["p1"] * 3
    assert clicks["time"][0] == pytest.approx(1500000000, abs=1)
    assert items.select("item_id", "title", "description", "brand", "photo").rows() == [
        ("p1", "Mug", "Red. Large.", "Cups", "http://x/l.jpg")
    ]
    assert "skipped 2 rows: the line is neither JSON nor a Python literal" in caplog.text
    assert "line 4: \"{'half':\"" in caplog.text
    assert "skipped 1 rows: the line is no object" in caplog.text
    assert "skipped 1 rows: no user" in caplog.text
    with pytest.raises(DataError, match=r"line 4.*or leave out --strict"):
        convert(str(tmp_path / "raw"), str(tmp_path / "strict"), strict=True)
    assert not (tmp_path / "strict").exists()


def test_movielens_in_its_three_forms(tmp_path: Path) -> None:
    for name, files in {
        "100k": {"u.data": "1\t2\t3\t4\n", "u.item": "2|Café (1995)|x\n"},
        "1m": {"ratings.dat": "1::2::3::4\n", "movies.dat": "2::Café (1995)::Drama\n"},
        "25m": {
            "ratings.csv": "userId,movieId,rating,timestamp\n1,2,3,4\n",
            "movies.csv": "movieId,title\n2,Café (1995)\n",
        },
    }.items():
        (tmp_path / name).mkdir()
        for file, text in files.items():
            (tmp_path / name / file).write_bytes(text.encode("latin-1" if name != "25m" else "utf-8"))
        convert(str(tmp_path / name), str(tmp_path / f"{name}-out"))
        assert read(tmp_path / f"{name}-out").row(0) == ("1", "2", 3.0, 4.0)
        items = pl.read_parquet(tmp_path / f"{name}-out" / "items.parquet")
        assert items.select("item_id", "title").row(0) == ("2", "Café (1995)")


def test_microlens_and_x_wines(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "MicroLens-50k_pairs.csv").write_text("user,item,timestamp\n7,9,1583378629552\n")
    (tmp_path / "m" / "MicroLens-50k_titles.csv").write_text('item,title\n9,"A, title"\n')
    convert(str(tmp_path / "m"), str(tmp_path / "m-out"))
    assert read(tmp_path / "m-out").row(0) == ("7", "9", 1583378629552.0)
    assert pl.read_parquet(tmp_path / "m-out" / "items.parquet").row(0) == ("9", "A, title")
    (tmp_path / "x").mkdir()
    text = "RatingID,UserID,WineID,Vintage,Rating,Date\n1,5,10,1990,4.5,2021-11-02 20:52:59\n"
    (tmp_path / "x" / "XWines_Slim_150K_ratings.csv").write_text(text)
    (tmp_path / "x" / "XWines_Slim_1K_wines.csv").write_text("WineID,WineName,Type\n10,Red,Red\n")
    convert(str(tmp_path / "x"), str(tmp_path / "x-out"))
    assert read(tmp_path / "x-out").row(0) == ("5", "10", 4.5, 1635886379.0)


def test_bad_rows_of_a_table_are_counted_shown_and_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "in").mkdir()
    good = [f"u{row},i{row},{row}" for row in range(5)]
    bad = [",i,1", "u,,1", *["u,i,many"] * 12, "u,i", "u,i,nan"]
    text = "\n".join(["user_id,item_id,rating", *good, *bad])
    (tmp_path / "in" / "clicks.csv").write_text(text + "\nlast,one,5", encoding="utf-8")
    with caplog.at_level("WARNING", logger="mmrec"):
        convert(str(tmp_path / "in"), str(tmp_path / "out"))
    assert read(tmp_path / "out").height == 6
    lines = [record.getMessage() for record in caplog.records]
    assert "skipped 1 rows: no user" in lines
    assert "  clicks.csv, line 7: ' | i | 1'" in lines
    assert "skipped 14 rows: the rating is not a number" in lines
    assert sum("line" in line for line in lines) == 1 + 1 + 10
    with pytest.raises(DataError, match=r"no user \(1 such rows\), line 7"):
        convert(str(tmp_path / "in"), str(tmp_path / "out2"), strict=True)


def test_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = own(tmp_path / "shop", CLICKS.drop("label"))
    for words, message in {
        (str(tmp_path / "absent"), str(tmp_path / "o")): "is no folder",
        (str(source), str(tmp_path / "o"), "--target_format=mmrec"): "needs split labels",
        (str(source), str(tmp_path / "o"), "--target_format=mmrecs"): "did you mean 'mmrec'",
        (str(source), str(tmp_path / "o"), "--source_format=amazon"): "has no reviews",
        (str(source), str(source)): "is a folder of something else",
    }.items():
        assert main(list(words)) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="looks like none of the known layouts"):
        convert(str(tmp_path / "empty"), str(tmp_path / "o"))


FILES = {
    "mmrec": ["a.inter"],
    "recbole": ["a.inter", "a.item"],
    "elliot": ["train.tsv", "test.tsv"],
    "movielens": ["ratings.dat", "movies.dat"],
    "microlens": ["a_pairs.csv", "a_titles.csv"],
    "x-wines": ["XWines_a_ratings.csv", "XWines_a_wines.csv"],
    "amazon": ["reviews_a.json", "meta_a.json"],
    "lattice": ["train.json", "val.json", "test.json"],
    "pyg": ["hetero.pt", "ids.json"],
    "own": ["clicks.csv", "items.csv"],
}
WORDS = ["user_id", "item_id:token", "u", "1", "::", ",", "\t", "\n", '"', "{", "}", "[", "]", ":", "nan"]
TEXTS = st.one_of(
    st.binary(max_size=120),
    st.lists(st.sampled_from(WORDS), max_size=40).map(lambda parts: "".join(parts).encode()),
)


@settings(max_examples=200, deadline=None)
@given(layout=st.sampled_from(sorted(FILES)), texts=st.lists(TEXTS, min_size=3, max_size=3))
def test_whatever_bytes_come_it_is_a_result_or_one_of_our_errors(
    layout: str, texts: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert FILES.keys() == READERS.keys()
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "in").mkdir()
    for name, text in zip(FILES[layout], texts, strict=False):
        (folder / "in" / name).write_bytes(text)
    with contextlib.suppress(MMRecError):
        convert(str(folder / "in"), str(folder / "out"), source_format=layout)
        assert pl.read_parquet(folder / "out" / "clicks.parquet").height > 0
