"""`python -m mmrec.augment`: the list names everything, numbers are right, a picture is drawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmrec.augment.__main__ import main
from mmrec.augment.base import Augmentation
from mmrec.augment.preview import preview
from mmrec.auxiliary.base import Auxiliary
from mmrec.graph.view import GraphView
from mmrec.losses.contrast import Contrast
from mmrec.plugins import known
from tests.cases.planted import dense_adjacency, planted_blocks, rng, tiny_view, without_clicks
from tests.cases.shop import SMALL_RUN, make_shop, one_line


def test_the_list_shows_all_with_their_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    shown = capsys.readouterr().out
    for base in (Augmentation, Contrast, Auxiliary):
        for name, kind in known(base).items():  # type: ignore[type-abstract]
            assert f"{name}: {(kind.__doc__ or '').strip().splitlines()[0]}" in shown
    assert "share of clicks to drop, in [0, 1)" in " ".join(shown.split())


def test_a_preview_of_a_shop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_shop(tmp_path / "shop")
    (tmp_path / "my.yaml").write_text(SMALL_RUN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    words = ["--preview", "[{class_path: EdgeDrop, init_args: {drop: 0.5}}]", "--config", "my.yaml"]
    assert main([*words, "--out", "seen.png", "--seed", "3"]) == 0
    shown = capsys.readouterr().out
    assert "before" in shown
    assert "spectral gap" in shown
    assert "item links" in shown
    with Image.open(tmp_path / "seen.png") as picture:
        assert picture.size[0] > 1000
        assert len(set(picture.convert("RGB").getdata())) > 50  # something is drawn


def test_numbers_by_hand() -> None:
    view = tiny_view()
    numbers = preview(view).numbers
    assert numbers["clicks"] == "10"
    assert numbers["user degree, median / largest"] == "2 / 3"
    assert numbers["users without a click"] == "1"
    assert numbers["items without a click"] == "1"
    assert numbers["connected parts"] == "1"
    assert numbers["item links"] == "12"
    assert numbers["text: items / numbers not zero"].startswith("5 /")
    values = np.linalg.svd(dense_adjacency(view)[:5, 5:], compute_uv=False)
    assert numbers["spectral gap"] == f"{1 - values[1]:.4f}"
    assert np.allclose(preview(view).spectrum, values)


def test_blocks_are_parts_and_have_no_gap() -> None:
    numbers = preview(planted_blocks().data.train).numbers
    assert numbers["connected parts"] == "4"
    assert numbers["spectral gap"] in ("0.0000", "-0.0000")


def test_a_large_graphs_gap_is_found_without_a_dense_matrix() -> None:
    pairs = torch.randint(300 * 260, (9000,), generator=rng()).unique()
    view = GraphView(300, 260, torch.stack([pairs // 260, pairs % 260]))
    values = np.linalg.svd(dense_adjacency(view)[:300, 300:], compute_uv=False)
    assert preview(view).spectrum[:2] == pytest.approx(values[:2], abs=1e-4)


def test_graphs_with_nothing_in_them() -> None:
    bare = replace(without_clicks(tiny_view(item_graph=False)), features={}, present={})
    numbers = preview(bare).numbers
    assert (numbers["clicks"], numbers["connected parts"], numbers["spectral gap"]) == ("0", "0", "-")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "nothing to do; --list shows what there is, --preview NAME what one does"),
        (["--preview", "EdgeDrip"], "no Augmentation is called 'EdgeDrip'; did you mean 'EdgeDrop'"),
        (["--preveiw", "EdgeDrop"], "there is no option '--preveiw'; did you mean '--preview'"),
        (["--preview", "EdgeDrop", "--config", "nowhere.yaml"], "config nowhere.yaml cannot be read"),
    ],
)
def test_what_goes_wrong_is_one_line(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert expected in one_line(capsys.readouterr().err.strip())
