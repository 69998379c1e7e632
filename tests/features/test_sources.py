"""Where photos come from: patterns, lists, archives, bytes in parquet."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from features.errors import FeatureError
from features.extract import main
from features.items import read_items
from features.photos import load_photo
from features.sources import Cell, Member, PhotoError, each, read_photo
from features.store import open_stores


def png(value: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (4, 4), (value, value, value)).save(stream, "png")
    return stream.getvalue()


def shop(folder: Path, cells: dict[str, str]) -> Path:
    rows = [f'{name},"{cell}"' for name, cell in cells.items()]
    path = folder / "items.csv"
    path.write_text("\n".join(["item_id,photo", *rows]), encoding="utf-8")
    for value in range(5):
        (folder / f"{value}.png").write_bytes(png(value))
    return path


def values(entry: object) -> list[int]:
    """What each photo of an item shows."""
    return [int(np.asarray(load_photo(photo))[0, 0, 0]) for photo in each(entry)]  # type: ignore[arg-type]


def test_paths_patterns_and_several_in_a_cell(tmp_path: Path) -> None:
    table = shop(tmp_path, {"a": "1.png", "b": "[2-3].png", "c": "4.png| 0.png ", "d": "", "e": "nine*.png"})
    photos = read_items(table, image_column="photo", image_separator="|").photos
    assert photos is not None
    assert [values(entry) for entry in photos] == [[1], [2, 3], [4, 0], [], []]
    whole = read_items(table, image_column="photo").photos
    assert whole is not None
    assert whole[2] == tmp_path / "4.png| 0.png", "without a separator a cell is one name"


def test_a_name_with_signs_of_a_pattern_that_is_there_is_that_file(tmp_path: Path) -> None:
    table = shop(tmp_path, {"a": "x[1].png"})
    (tmp_path / "x[1].png").write_bytes(png(77))
    (photos,) = read_items(table, image_column="photo").photos or []
    assert values(photos) == [77]


def test_a_folder_for_each_item(tmp_path: Path) -> None:
    table = shop(tmp_path, {"a": "x", "b": "x", "c": "x"})
    for name, value in (("a/1", 10), ("a/2", 20), ("b/front", 30)):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / f"{name}.png").write_bytes(png(value))
    photos = read_items(table, image_path="photos/{item_id}/*.png").photos or []
    assert [values(entry) for entry in photos] == [[10, 20], [30], []]
    with pytest.raises(FeatureError, match="none of the 3 items has a photo"):
        read_items(table, image_path="nowhere/{item_id}/*.png")


def pack(path: Path, members: dict[str, bytes], mode: str = "w") -> None:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))


def test_archives_by_the_name_of_their_files(tmp_path: Path) -> None:
    table = shop(tmp_path, {"a": "", "b": "", "b.1": "", "c": ""})
    pack(tmp_path / "s-0.tar", {"a.png": png(1), "a.json": b"{}", "x/b.0.png": png(2), "x/b.1.png": png(3)})
    pack(tmp_path / "s-1.tar", {"c/2.png": png(5), "c/1.png": png(4), "else.png": png(9)})
    photos = read_items(table, image_archives="s-*.tar").photos or []
    assert [values(entry) for entry in photos] == [[1], [2], [3], [4, 5]]
    assert str(photos[0]) == "s-0.tar:a.png"


def test_archives_that_do_not_work(tmp_path: Path) -> None:
    table = shop(tmp_path, {"a": ""})
    with pytest.raises(FeatureError, match=r"there is no archive .*none-\*.tar"):
        read_items(table, image_archives="none-*.tar")
    pack(tmp_path / "s.tar", {"q.png": png(1)})
    with pytest.raises(FeatureError, match=r"item's id, for example s.tar:q.png: expected .*a.jpg"):
        read_items(table, image_archives="s.tar")
    pack(tmp_path / "z.tar", {"a.png": png(1)}, mode="w:gz")
    with pytest.raises(FeatureError, match="expected one that is not compressed"):
        read_items(table, image_archives="z.tar")
    with pytest.raises(FeatureError, match="both image_column and image_archives are given"):
        read_items(table, image_column="photo", image_archives="s.tar")
    torn = Member(tmp_path / "s.tar", "q.png", 512, 10**6)
    with pytest.raises(PhotoError, match="the archive ends within it"):
        read_photo(torn)
    with pytest.raises(PhotoError, match="bytes, at most"):
        read_photo(Member(tmp_path / "s.tar", "q.png", 0, 10**9))


@pytest.mark.parametrize("kind", ["bytes", "struct", "names"])
def test_photos_inside_a_parquet_file(tmp_path: Path, kind: str) -> None:
    shop(tmp_path, {})
    data = [png(1), None, png(3), b""]
    column = {
        "bytes": pl.Series("photo", data, dtype=pl.Binary),
        "struct": pl.Series("photo", [{"bytes": one, "path": None} for one in data]),
        "names": pl.Series("photo", [["1.png"], None, ["3.png"], []], dtype=pl.List(pl.String)),
    }[kind]
    ids = pl.Series("item_id", ["a", "b", "c", "a"])
    pl.DataFrame([ids, column]).write_parquet(tmp_path / "items.parquet")
    items = read_items(tmp_path / "items.parquet", image_column="photo", duplicate_items="first")
    assert [values(entry) for entry in items.photos or []] == [[1], [], [3]]


def test_bytes_are_read_block_by_block(tmp_path: Path) -> None:
    data = [png(row % 250) if row % 3 else None for row in range(1300)]
    frame = pl.DataFrame({"item_id": [str(row) for row in range(1300)], "photo": data})
    frame.write_parquet(tmp_path / "items.parquet", row_group_size=100)
    photos = read_items(tmp_path / "items.parquet", image_column="photo").photos or []
    assert photos[0] is None
    for row in (1, 511, 512, 1025, 1297, 2):
        assert values(photos[row]) == ([row % 250] if row % 3 else [])
    with pytest.raises(PhotoError, match="empty cell"):
        read_photo(Cell(tmp_path / "items.parquet", "photo", 0))


def test_a_column_that_cannot_hold_photos(tmp_path: Path) -> None:
    pl.DataFrame({"item_id": ["a"], "photo": [[1, 2]]}).write_parquet(tmp_path / "items.parquet")
    with pytest.raises(FeatureError, match=r"column 'photo' holds List\(Int64\): expected text"):
        read_items(tmp_path / "items.parquet", image_column="photo")


def test_command_on_an_archive(tmp_path: Path) -> None:
    table = shop(tmp_path, {"a": "", "b": "", "c": ""})
    pack(tmp_path / "s.tar", {"a.0.png": png(1), "a.1.png": png(200), "c.png": png(5)})
    words = [f"--items={table}", f"--out={tmp_path / 'out'}", "--image_archives=s.tar", "--encoder=demo"]
    assert main(words) == 0
    store = open_stores(tmp_path / "out")["image"]
    assert store.present.tolist() == [True, False, True]
    np.testing.assert_allclose(np.linalg.norm(store.matrix[[0, 2]], axis=1), 1, atol=1e-5)
