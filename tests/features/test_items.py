from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features import probe
from features.errors import FeatureError
from features.items import read_items

TABLE = "item_id,title,text,photo\n001,One,first,a.jpg\n1,,second,\n x ,Three ,  ,b.jpg\n"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "items.csv"
    path.write_text(TABLE)
    return path


def test_ids_stay_text(table: Path) -> None:
    assert read_items(table).ids.tolist() == ["001", "1", " x "]


def test_everything_is_none_until_asked_for(table: Path) -> None:
    items = read_items(table)
    assert (items.photos, items.texts, items.titles) == (None, None, None)
    assert len(items) == 3


def test_columns(table: Path) -> None:
    items = read_items(table, image_column="photo", text_columns=["title", "text"], title_column="title")
    assert items.photos == [table.parent / "a.jpg", None, table.parent / "b.jpg"]
    assert items.texts == ["One. first", "second", "Three"]
    assert items.titles == ["One", "1", "Three"]


def test_item_without_any_text_has_none(table: Path) -> None:
    assert read_items(table, text_columns=["text"]).texts == ["first", "second", None]
    assert read_items(table, text_template="{text}!").texts == ["first!", "second!", None]


def test_text_template(table: Path) -> None:
    texts = read_items(table, text_template="{title}: {text} ({title})").texts
    assert texts == ["One: first (One)", ": second ()", "Three:  (Three)"]


def test_image_template_takes_photos_that_exist(table: Path) -> None:
    (table.parent / "p").mkdir()
    (table.parent / "p" / "001-One.jpg").write_bytes(b"")
    items = read_items(table, image_path="p/{item_id}-{title}.jpg")
    assert items.photos == [table.parent / "p" / "001-One.jpg", None, None]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_formats_agree(tmp_path: Path, suffix: str) -> None:
    frame = pl.DataFrame({"item_id": [7, 10], "text": ['one, "two"', None], "list": [[1], [2]]})
    path = tmp_path / f"items.{suffix}"
    if suffix == "parquet":
        frame.write_parquet(path)
    else:
        frame.drop("list").write_csv(path, separator="," if suffix == "csv" else "\t")
    items = read_items(path, text_columns=["text"])
    assert (items.ids.tolist(), items.texts) == (["7", "10"], ['one, "two"', None])


def test_whole_numbers_that_pandas_made_floats_are_whole_again(tmp_path: Path) -> None:
    pl.DataFrame({"item_id": [7.0, 10.0]}).write_parquet(tmp_path / "items.parquet")
    assert read_items(tmp_path / "items.parquet").ids.tolist() == ["7", "10"]


def test_byte_order_mark_and_windows_lines(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_bytes("\ufeffitem_id,text\r\na,é\r\n".encode())
    assert read_items(tmp_path / "items.csv", text_columns=["text"]).texts == ["é"]


def test_duplicates(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_text("item_id,text\na,1\nb,2\na,3\na,4\n")
    with pytest.raises(
        FeatureError, match=r"id 'a' is in rows 1 and 3 of column 'item_id' \(2 repeated rows"
    ):
        read_items(path)
    items = read_items(path, text_columns=["text"], duplicate_items="first")
    assert (items.ids.tolist(), items.texts, items.duplicates) == (["a", "b"], ["1", "2"], 2)


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (None, {}, "no item table at .*items.csv"),
        ("", {}, "is empty"),
        ("item_id,text\n", {}, "a header but no rows"),
        ("item_id,text\na,b,c,d\n", {}, "cannot be read as a table"),
        (b"item_id,text\na,\xff\xfe\n", {}, "cannot be read as a table.*UTF-8"),
        ("item_id,título\na,b\n".encode("latin-1"), {}, "the header is not UTF-8 text"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\xff", {}, "cannot be read|no rows|no column"),
        ("itemid,text\na,b\n", {}, "no column 'item_id'; did you mean 'itemid'"),
        ("item_id,title\na,b\n", {"text_columns": ["titel"]}, "no column 'titel'; did you mean 'title'"),
        ("item_id,title\na,b\n", {"text_template": "a {titel}"}, "no column 'titel'"),
        ("item_id,title\na,b\n", {"title_column": "name"}, "no column 'name'"),
        ("item_id,title\na,b\n", {"text_template": "plain"}, "names no column"),
        ("item_id,title\na,b\n", {"text_template": "{title"}, "not a template"),
        ("item_id,title\na,b\n,c\n", {}, "row 2 has no 'item_id'"),
        ("item_id,photo\na,\n", {"image_column": "photo"}, "'photo' is empty in every row"),
        ("item_id,photo\na,\n", {"image_path": "p/{item_id}.png"}, "none of the 1 items.*p/a.png"),
        ("item_id,photo\na,b\n", {"image_path": "{item_id}", "image_column": "photo"}, "both"),
    ],
)
def test_bad_tables(
    tmp_path: Path, content: str | bytes | None, options: dict[str, Any], message: str
) -> None:
    path = tmp_path / "items.csv"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(FeatureError, match=message) as caught:
        read_items(path, **options)
    assert "\n" not in str(caught.value)


def test_unknown_suffix(tmp_path: Path) -> None:
    (tmp_path / "items.xlsx").write_text("x")
    with pytest.raises(FeatureError, match=r"ends in '.xlsx'"):
        read_items(tmp_path / "items.xlsx")


words = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0\x1c\x1d\x1e\x1f")
)  # what Rust does not strip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.dictionaries(words.filter(bool), words, min_size=1, max_size=8))
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_any_text_comes_back(tmp_path: Path, suffix: str, rows: dict[str, str]) -> None:
    path = tmp_path / f"items.{suffix}"
    frame = pl.DataFrame({"item_id": list(rows), "text": list(rows.values())})
    frame.write_parquet(path) if suffix == "parquet" else frame.write_csv(path, quote_style="always")
    items = read_items(path, text_columns=["text"])
    assert items.ids.tolist() == list(rows)
    assert items.texts == [text.strip() or None for text in rows.values()]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200))
@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_any_bytes_are_items_or_one_line(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"items.{suffix}"
    path.write_bytes(b"item_id," + content if suffix == "csv" else content)
    message = ""
    try:
        read_items(path)
    except FeatureError as error:
        message = str(error)
    assert "\n" not in message


def test_a_parquet_file_that_ends_its_reader_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "items.parquet"
    pl.DataFrame({"item_id": ["a"]}).write_parquet(path)
    monkeypatch.setattr(probe, "_READ", "import os; os.abort()")
    with pytest.raises(FeatureError, match="reading it ended the reading process"):
        read_items(path)


def test_rows_have_no_column_of_their_own_to_users(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item_id,__row__,photo\na,9,a.png\nb,9,\n")
    items = read_items(tmp_path / "items.csv", image_column="photo")
    assert items.photos == [tmp_path / "a.png", None]
    with pytest.raises(
        FeatureError, match=r"no column 'fhoto'; did you mean 'photo'\? known: item_id, photo"
    ):
        read_items(tmp_path / "items.csv", image_column="fhoto")
