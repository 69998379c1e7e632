"""Reading interactions: every format, and every kind of bad input."""

from __future__ import annotations

import datetime as dt
import gzip
import io
import random
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import probe
from mmrec.data.interactions import drop_repeats, k_core, keep_rated, read_interactions
from mmrec.errors import DataError, MMRecError

TEXT_NAMES = ["x.csv", "x.tsv", "x.inter", "x.csv.gz", "u.data", "ratings.dat"]


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def error_of(path: Path | str, **columns: str) -> str:
    """The message of the DataError, checked to be one line that names the file."""
    with pytest.raises(DataError) as caught:
        read_interactions(path, **columns)
    message = str(caught.value)
    assert message.isprintable(), repr(message)
    assert Path(path).name in message
    return message


def rows(frame: pl.DataFrame) -> list[tuple[object, ...]]:
    return frame.rows()


# Formats


def test_csv_keeps_ids_as_written_and_finds_every_column(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "a.csv",
        '\ufeffItem ID,note,User_ID,Rating,Timestamp,split\n007,x,"a, b",4.5,12,0\n7,"y\nz",é,1, 13 ,test\n',
    )
    frame = read_interactions(path)
    assert frame.schema == {
        "user": pl.String, "item": pl.String, "rating": pl.Float64, "time": pl.Float64, "label": pl.Int8,
    }  # fmt: skip
    assert rows(frame) == [("a, b", "007", 4.5, 12.0, 0), ("é", "7", 1.0, 13.0, 2)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", b"userID\titemID\n1\tx\n01\ty\n"),
        ("a.inter", b"userID\titemID\n1\tx\n01\ty\n"),
        ("a.inter", b"user_id:token\titem_id:token\n1\tx\n01\ty\n"),
        ("A.CSV", b"UID,ASIN\r\n1,x\r\n\r\n01,y\r\n\r\n"),
        ("a.csv.gz", gzip.compress(b"customer_id,product\n1,x\n01,y\n", mtime=0)),
        ("a[1]*.csv", b"visitor id,sku\n1,x\n01,y"),
    ],
)
def test_text_formats(tmp_path: Path, name: str, content: bytes) -> None:
    assert rows(read_interactions(write(tmp_path, name, content))) == [("1", "x"), ("01", "y")]


def test_inter_takes_quotes_as_letters(tmp_path: Path) -> None:
    path = write(tmp_path, "a.inter", 'userID\titemID\tx_label\n"a\tb\t0\nc\td"\t2\n')
    assert rows(read_interactions(path)) == [('"a', "b", 0), ("c", 'd"', 2)]


def test_movielens_files_have_no_header(tmp_path: Path) -> None:
    expected = [("196", "242", 3.0, 881250949.0), ("22", "377", 1.0, 878887116.0)]
    tabs = write(tmp_path, "u.data", "196\t242\t3\t881250949\n22\t377\t1\t878887116\n")
    colons = write(tmp_path, "ratings.dat", "196::242::3::881250949\n22::377::1::878887116\n")
    for path in (tabs, colons):
        frame = read_interactions(path)
        assert frame.columns == ["user", "item", "rating", "time"]
        assert rows(frame) == expected
    assert read_interactions(tabs, rating_column="", time_column="").columns == ["user", "item"]


def test_parquet_types(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    when = [dt.datetime(2020, 1, 1, 12), dt.datetime(2020, 1, 2)]
    pl.DataFrame(
        {
            "user": pl.Series([7, 12345678901234567], dtype=pl.Int64),
            "item": pl.Series(["007", "b"], dtype=pl.Categorical),
            "stars": pl.Series([1, 5], dtype=pl.UInt8),
            "date": when,
            "label": [0.0, 2.0],
        }
    ).write_parquet(path)
    assert rows(read_interactions(path)) == [
        ("7", "007", 1.0, 1577880000.0, 0),
        ("12345678901234567", "b", 5.0, 1577923200.0, 2),
    ]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-02", 86400.0),
        ("1970-01-01 00:01", 60.0),
        ("1970-01-01 00:00:01.5", 1.5),
        ("1970-01-01T00:00:01", 1.0),
        ("1970-01-01T00:00:01Z", 1.0),
        ("1970-01-01 00:00:01 UTC", 1.0),
        ("1970-01-01T02:00:00+02:00", 0.0),
        ("1e3", 1000.0),
    ],
)
def test_times(tmp_path: Path, text: str, seconds: float) -> None:
    path = write(tmp_path, "a.csv", f"user,item,time\na,b,{text}\n")
    assert read_interactions(path)["time"].to_list() == [seconds]


# Columns


def test_named_columns_win_over_usual_names(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "user,who,item,score,liked\nx,u,i,3,9\n")
    frame = read_interactions(path, user_column="who", rating_column="liked")
    assert rows(frame) == [("u", "i", 9.0)]
    inter = write(tmp_path, "a.inter", "who:token\titem_id:token\nu\ti\n")
    assert rows(read_interactions(inter, user_column="who")) == [("u", "i")]
    assert rows(read_interactions(inter, user_column="who:token")) == [("u", "i")]


@pytest.mark.parametrize(
    ("header", "columns", "parts"),
    [
        ("usr_id,item", {}, ["user_column", "did you mean 'usr_id'", "known: item, usr_id"]),
        ("user,itm", {}, ["item_column", "did you mean 'itm'"]),
        ("user,item", {"user_column": "usr"}, ["no column 'usr' for user_column", "did you mean 'user'"]),
        ("user,item", {"time_column": "when"}, ["no column 'when' for time_column"]),
        ("user,userID,item", {}, ["2 columns could be the user ('user', 'userID')", "set user_column"]),
        ("user,user,item", {}, ["2 columns could be the user ('user', 'user')"]),
        ("user,item,date,timestamp", {}, ["2 columns could be the time"]),
        ("user,item", {"item_column": "user"}, ["two roles"]),
        (",".join(f"c{n}" for n in range(5000)), {}, ["no column with a usual name for the user"]),
    ],
)
def test_missing_and_ambiguous_columns(
    tmp_path: Path, header: str, columns: dict[str, str], parts: list[str]
) -> None:
    path = write(tmp_path, "a.csv", f"{header}\n{','.join('1' for _ in header.split(','))}\n")
    message = error_of(path, **columns)
    assert all(part in message for part in parts), message
    assert len(message) < 1000


# Bad files and bad cells


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("a.csv", b"", "empty"),
        ("a.csv", b"\n\n", "no table"),
        ("a.csv", b"user,item\n", "no rows"),
        ("a.csv", b"user,item\n\n\n", "no rows"),
        ("a.xlsx", b"user,item\n1,2\n", "unknown format '.xlsx'"),
        ("a.parquet.gz", b"x", "unknown format"),
        ("data", b"user,item\n1,2\n", "unknown format 'data'"),
        ("a.csv", b"user,item\n1,caf\xe9\n", "not UTF-8"),
        ("a.csv", b"us\xe9r,user,item\n1,2,3\n", "header is not UTF-8"),
        ("a.csv", "user,item\n1,2\n".encode("utf-16"), "not UTF-8"),
        ("a.csv", b"user,item\n1,2,3\n", "more cells than the header"),
        ("a.csv", b'user,item\n"1,2\n3,4\n', "quoted cell never ends"),
        ("a.csv.gz", gzip.compress(b"user,item\n1,2\n", mtime=0)[:-9], "cannot be read"),
        ("a.parquet", b"user,item\n1,2\n", "PAR1"),
        ("a.parquet", b"PAR1" + bytes(20) + b"PAR1", "cannot be read"),
        ("u.data", b"1\t2\t3\n", "four cells"),
        ("ratings.dat", b"1:2:3:4\n", "four cells"),
        ("ratings.dat", b"1::2::3::4\n1:x:2::3::4\n", "four cells"),
        ("a.csv", b"user,item\n1,2\n3\n", "row 2: the item id is empty (found nothing)"),
        ("a.csv", b"user,item\n1,2\n\n  ,4\n", "row 3: the user id is empty (found '  ')"),
        ("a.csv", b'user,item\n"",2\n"",3\n', "row 1: the user id is empty (found ''), and 1 more such rows"),
        ("a.csv", b"user,item\n1,2\0\n", "row 1: the item id holds a NUL"),
        ("a.csv", b"user,item\n1," + b"x" * 513 + b"\n", "row 1: the item id has over 512 characters"),
        ("a.csv", b"user,item,rating\n1,2,3\n1,3,good\n", "row 2: the rating is not a number (found 'good')"),
        ("a.csv", b"user,item,rating\n1,2,\n", "row 1: the rating is not a number (found nothing)"),
        ("a.csv", b"user,item,rating\n1,2,nan\n", "row 1: the rating is not a number (found 'nan')"),
        ("a.csv", b"user,item,rating\n1,2,inf\n", "row 1: the rating is not a number"),
        ("a.csv", b"user,item,time\n1,2,3\n1,2,soon\n", "row 2: the time is not a number (found 'soon')"),
        ("a.csv", b"user,item,time\n1,2,2020-01-01\n1,2,2020-13-01\n", "row 2: the time is not an ISO date"),
        ("a.csv", b"user,item,time\n1,2,2020-01-01\n1,2,7\n", "row 2: the time is not an ISO date"),
        ("a.inter", b"userID\titemID\tx_label\n1\t2\t0\n1\t3\t3\n", "row 2: the label is not 0 (train)"),
        ("a.inter", b"userID\titemID\tx_label\n1\t2\t0.5\n", "row 1: the label is not 0 (train)"),
        ("a.inter", b"userID\titemID\tx_label\n1\t2\tdev\n", "(found 'dev')"),
        ("a.csv", b"user,item,rating\n1,2,\x1b[31m\x07\n", r"(found '\x1b[31m\x07')"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, name: str, content: bytes, part: str) -> None:
    assert part in error_of(write(tmp_path, name, content))


def test_missing_file_and_folder(tmp_path: Path) -> None:
    assert "no such file" in error_of(tmp_path / "absent.csv")
    (tmp_path / "folder.csv").mkdir()
    assert "is a folder" in error_of(tmp_path / "folder.csv")
    with pytest.raises(DataError, match=r"cannot be looked at|no such file"):
        read_interactions("a\0b.csv")
    with pytest.raises(DataError) as caught:
        read_interactions(tmp_path / "two\nlines.csv")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("column", "values", "part"),
    [
        ("user", pl.Series([1.0, 2.0]), "user column holds Float64"),
        ("item", pl.Series([["a"], ["b"]]), "item column holds List"),
        ("user", pl.Series([1, None]), "row 2: the user id is empty"),
        ("rating", pl.Series([True, False]), "rating column holds Boolean"),
        ("time", pl.Series([dt.time(1), dt.time(2)]), "time column holds Time"),
        ("time", pl.Series([dt.date(2020, 1, 1), None]), "row 2: the time is not an ISO date"),
        ("label", pl.Series([0, 7]), "row 2: the label is not 0"),
        ("rating", pl.Series([None, None]), "row 1: the rating is not a number"),
    ],
)
def test_bad_parquet_columns(tmp_path: Path, column: str, values: pl.Series, part: str) -> None:
    path = tmp_path / "a.parquet"
    pl.DataFrame({"user": ["a", "b"], "item": ["c", "d"]}).with_columns(values.alias(column)).write_parquet(
        path
    )
    assert part in error_of(path)


def test_unwanted_column_is_not_looked_at(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "user,item,date\n1,2,yesterday\n")
    assert "time_column ''" in error_of(path)
    assert read_interactions(path, time_column="").columns == ["user", "item"]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bytes")


def read_or_refuse(path: Path) -> None:
    """Whatever the bytes: a sound frame or one line."""
    try:
        frame = read_interactions(path)
    except MMRecError as error:
        message = str(error)
    else:
        assert frame.height > 0
        assert frame["user"].null_count() == frame["item"].null_count() == 0
        return
    assert message.isprintable(), repr(message)
    assert len(message) < 1500


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from([*TEXT_NAMES, "x.parquet"]),
    content=st.binary(max_size=200)
    | st.lists(st.sampled_from([b"user", b"item", b"rating", b",", b"\t", b"::", b"\n", b'"', b"1", b"\xff"]))
    .map(b"".join)
    .map(lambda body: b"user,item\n" + body),
)
def test_random_bytes(scratch: Path, name: str, content: bytes) -> None:
    read_or_refuse(write(scratch, name, content))


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_damaged_parquet(scratch: Path, seed: int) -> None:
    whole = io.BytesIO()
    pl.DataFrame({"user": [1, 2, 3] * 20, "item": ["a", "b", "cc"] * 20}).write_parquet(whole)
    draw = random.Random(seed)
    content = bytearray(whole.getvalue())
    content[draw.randrange(len(content))] = draw.randrange(256)
    read_or_refuse(write(scratch, "x.parquet", bytes(content)))


def test_a_parquet_file_that_ends_the_reader_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.parquet"
    pl.DataFrame({"user": [1], "item": [2]}).write_parquet(path)
    noisy_end = "import os, sys; sys.stderr.write('thread panicked'); sys.stderr.flush(); os.abort()"
    monkeypatch.setattr(probe, "_READ", noisy_end)
    assert "damaged, or larger than the memory" in error_of(path)
    assert capfd.readouterr().err == ""


IDS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=5
).filter(lambda text: text.strip() != "")


@settings(max_examples=60, deadline=None)
@given(pairs=st.lists(st.tuples(IDS, IDS), min_size=1, max_size=8))
def test_csv_round_trip_of_any_id(scratch: Path, pairs: list[tuple[str, str]]) -> None:
    frame = pl.DataFrame(pairs, schema=["user", "item"], orient="row")
    frame.write_csv(scratch / "round.csv", quote_style="always")
    assert rows(read_interactions(scratch / "round.csv")) == pairs


# Real data


def test_real_baby(shared_data: Path) -> None:
    frame = read_interactions(shared_data / "baby" / "baby.inter")
    assert frame["label"].value_counts().sort("label").rows() == [(0, 118_551), (1, 20_559), (2, 21_682)]
    assert frame["user"].n_unique() == 19_445
    assert frame["item"].n_unique() == 7_050
    assert drop_repeats(frame)[1] == 0
    assert k_core(frame, 5).height == frame.height


def test_real_tiktok(shared_data: Path) -> None:
    frame = read_interactions(shared_data / "tiktok" / "tiktok.inter")
    assert frame["label"].value_counts().sort("label").rows() == [(0, 59_541), (1, 3_051), (2, 6_130)]
    assert frame["user"].n_unique() == 9_308
    assert frame["item"].n_unique() == 6_710


def test_real_ml_100k(shared_data: Path) -> None:
    frame = read_interactions(shared_data / "ml-100k" / "u.data")
    assert frame.height == 100_000
    assert (frame["user"].n_unique(), frame["item"].n_unique()) == (943, 1_682)
    assert frame.row(0) == ("196", "242", 3.0, 881250949.0)
    assert keep_rated(frame, 4)["rating"].unique().sort().to_list() == [4.0, 5.0]


def test_real_x_wines(shared_data: Path) -> None:
    frame = read_interactions(shared_data / "x-wines" / "XWines_Slim_150K_ratings.csv")
    assert frame.columns == ["user", "item", "rating", "time"]
    assert frame.height == 150_000
    assert (frame["user"].n_unique(), frame["item"].n_unique()) == (10_561, 1_007)
    assert frame.row(0) == ("1356810", "103471", 4.5, 1635886379.0)
