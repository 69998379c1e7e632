from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from mmrec.data.dataset import RecData
from mmrec.errors import ConfigError
from mmrec.recommend import recommend, write_recommendations
from tests.cases.planted import Scripted, as_data, tiny_view

# Higher numbers are liked more by users 0..3; user 4 has no training click.
SCORES = torch.tensor(
    [[6.0, 5, 4, 3, 2, 1], [1, 2, 3, 4, 5, 6], [1, 6, 2, 5, 3, 4], [6, 1, 5, 2, 4, 3], [9, 9, 9, 9, 9, 9]]
)
KNOWN = {0: {0, 1, 3}, 1: {1, 2}, 2: {0, 4}, 3: {2, 3, 4}, 4: set[int]()}
HELD_OUT = torch.tensor([[0, 1, 4], [2, 5, 5]])


def data(titles: list[str] | None = None) -> RecData:
    none = torch.empty(2, 0, dtype=torch.int64)
    return as_data(tiny_view(), valid=none, test=none, titles=titles)


def run(titles: list[str] | None = None, **options: Any) -> pl.DataFrame:
    return recommend(Scripted(tiny_view(), SCORES), data(titles), HELD_OUT, **options)


def by_loop(exclude: str, k: int) -> list[tuple[str, str, int, float]]:
    rows = []
    for user in range(4):
        left_out = KNOWN[user] | (
            {item for u, item in HELD_OUT.T.tolist() if u == user} if exclude == "seen" else set()
        )
        best = sorted(set(range(6)) - left_out, key=lambda item: -float(SCORES[user, item]))[:k]
        rows += [
            (f"u{user:02}", f"i{item:02}", rank, float(SCORES[user, item]))
            for rank, item in enumerate(best, 1)
        ]
    return rows


@pytest.mark.parametrize("exclude", ["seen", "train"])
@pytest.mark.parametrize("k", [1, 3, 20])
@pytest.mark.parametrize("batch_size", [1, 2048])
def test_lists_of_known_users_item_by_item(exclude: Any, k: int, batch_size: int) -> None:
    frame = run(k=k, exclude=exclude, batch_size=batch_size)
    assert frame.columns == ["user", "item", "rank", "score"]
    assert frame.filter(pl.col("user") != "u04").rows() == by_loop(exclude, k)


def test_new_users_get_the_most_clicked_items() -> None:
    new = run(k=6).filter(pl.col("user") == "u04")
    assert new["rank"].to_list() == [1, 2, 3, 4, 5]
    assert sorted(new["item"]) == ["i00", "i01", "i02", "i03", "i04"]  # i05 is the one held out
    assert new["score"].to_list() == [2.0] * 5  # clicks, not the model's 9
    assert run(k=6, exclude="train").filter(pl.col("user") == "u04")["item"].to_list()[-1] == "i05"


def test_every_user_has_a_list_in_the_order_of_users_and_ranks() -> None:
    frame = run(k=2)
    assert frame["user"].to_list() == [f"u{user:02}" for user in range(5) for _ in range(2)]
    assert frame["rank"].to_list() == [1, 2] * 5


def test_titles_stand_beside_their_items() -> None:
    titles = [f"title of i{item:02}, with a comma" for item in range(6)]
    frame = run(titles, k=3)
    assert frame.columns == ["user", "item", "rank", "score", "title"]
    assert frame["title"].to_list() == [f"title of {item}, with a comma" for item in frame["item"]]


def test_a_list_is_shorter_where_nothing_is_left() -> None:
    everything = torch.tensor([[1] * 6, list(range(6))])
    frame = recommend(Scripted(tiny_view(), SCORES), data(), everything, k=3)
    assert frame["user"].unique(maintain_order=True).to_list() == ["u00", "u02", "u03", "u04"]


def test_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = run(["a,b", 'c"d', "e\nf", "ü", "g", "h"], k=3)
    write_recommendations(frame, tmp_path / "recommendations.csv")
    assert pl.read_csv(tmp_path / "recommendations.csv", schema=frame.schema).equals(frame)

    def stopped(self: pl.DataFrame, path: Path) -> None:
        path.write_text("user,item")
        raise KeyboardInterrupt

    monkeypatch.setattr(pl.DataFrame, "write_csv", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_recommendations(frame, tmp_path / "other.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["recommendations.csv"]


def test_no_items_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"recommend\.k is 0, expected at least 1"):
        run(k=0)
