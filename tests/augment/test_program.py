"""`python -m mmrec.augment`: the list names everything, numbers are right, a picture is drawn."""

from __future__ import annotations

import inspect
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mmrec.augment.__main__ import Seen, augment, main
from mmrec.augment.base import Augmentation
from mmrec.augment.changes import changes
from mmrec.augment.edge_drop import EdgeDrop
from mmrec.augment.preview import Preview, preview
from mmrec.augment.svd_view import SVDView
from mmrec.auxiliary.base import Auxiliary
from mmrec.config import parse
from mmrec.graph.view import GraphView
from mmrec.losses.contrast import Contrast
from mmrec.plugins import known
from mmrec.report.progress import console
from mmrec.run import prepare
from mmrec.train.streams import stream
from tests.cases.planted import dense_adjacency, planted_blocks, rng, tiny_view, without_clicks
from tests.cases.shop import SMALL_RUN, Shop, make_shop, one_line


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    made = make_shop(tmp_path / "shop")
    (tmp_path / "my.yaml").write_text(SMALL_RUN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return made


def seen(preview: str, **options: Any) -> Seen:
    found = augment(preview=preview, config="my.yaml", **options)
    assert isinstance(found, Seen)
    return found


def test_the_list_shows_all_with_their_options_and_places(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    shown = capsys.readouterr().out
    words = " ".join(shown.split())
    bases: list[type[Any]] = [Augmentation, Contrast, Auxiliary]
    for base in bases:
        for name, kind in known(base).items():
            start = f"\n{name}: {(kind.__doc__ or '').strip().splitlines()[0]}\noptions:"
            assert start in shown
            part = shown[shown.index(start) :].partition("\n\n")[0]
            for option in list(inspect.signature(kind).parameters)[base is Auxiliary :]:
                assert f"\n  {option} " in part, f"{name}.{option}"
    assert "share of clicks to drop, in [0, 1)" in words
    assert "transform TRANSFORM import path of its class, such as" in words
    for place in (
        "augment.epoch",
        "augment.step",
        "augment.views",
        "augment.contrast",
        "auxiliary: [",
        "train:",
    ):
        assert place in shown
    assert "\n  mirror_every MIRROR_EVERY" in shown
    assert "\n  epochs EPOCHS\n" not in shown.partition("Mirror Gradient leads")[2]  # no other of train's
    for unwanted in ("known subclasses", "<class", "WEIGHTS+"):
        assert unwanted not in shown


def test_a_preview_of_a_shop(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "width", 150)  # where no name has to be wrapped
    plugin = "[{class_path: EdgeDrop, init_args: {drop: 0.5}}]"
    words = ["--preview", plugin, "--config", "my.yaml", "--seed", "3"]
    assert main([*words, "--out", "seen.png"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    pairs = shop.pairs(0)
    found = seen(plugin, seed=3)
    before = found.found["before"].numbers
    assert before["clicks"] == str(len(pairs))
    for kind, place in (("user", 0), ("item", 1)):
        degrees = sorted(Counter(pair[place] for pair in pairs).values())
        levels = [degrees[math.ceil(share * len(degrees)) - 1] for share in (0.1, 0.5, 0.9, 0.99, 1)]
        assert before[f"{kind} degree at 10, 50, 90, 99, 100%"] == " / ".join(map(str, levels))
    assert before["users without a click"] == "1"  # the cold one
    view = prepare(parse(["--config", "my.yaml"])).train
    left = EdgeDrop(0.5)(view, stream(3, "augment")).edge_index.shape[1]
    assert found.found["after"].numbers["clicks"] == str(left)
    assert found.changes["clicks kept"] == f"{left} of {len(pairs)} ({left / len(pairs):.1%})"
    assert found.changes["item links kept"].endswith("(100.0%)")
    assert found.hints == ()
    for name, what in {**before, **found.changes}.items():
        assert name in shown
        assert what in shown
    with Image.open(tmp_path / "seen.png") as picture:
        assert picture.size[0] > 1000
        assert len(set(picture.convert("RGB").getdata())) > 50  # something is drawn


def test_a_schedule_is_shown_at_an_epoch(shop: Shop) -> None:
    plugin = "{class_path: Scheduled, init_args: {augmentation: EdgeDrop, end: 0.8, epochs: 3}}"
    assert [seen(plugin, epoch=epoch).found["after"].numbers["clicks"] for epoch in (1, 9)] == [
        str(len(shop.pairs(0))),
        seen("{class_path: EdgeDrop, init_args: {drop: 0.8}}").found["after"].numbers["clicks"],
    ]
    assert seen(plugin).hints == ("EdgeDrop changed nothing; is its strength zero?",)


def test_an_augmentation_with_nothing_to_act_on_is_named(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("my.yaml").write_text(SMALL_RUN.replace("FREEDOM", "LightGCN"), encoding="utf-8")
    assert main(["--preview", "[EdgeDrop, FeatureMask]", "--config", "my.yaml"]) == 0
    hint = (
        "FeatureMask changed nothing: the view has no features and no item graph, as LightGCN asks for none"
    )
    assert hint in capsys.readouterr().out
    assert len(seen("[EdgeDrop, FeatureMask]").hints) == 1


def test_layers_of_their_own_are_drawn(shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    drawn: list[dict[str, Preview]] = []
    monkeypatch.setattr("mmrec.augment.__main__.draw", lambda found, *_: drawn.append(found))
    found = seen("{class_path: RandomWalk, init_args: {drop: 0.5, n_layers: 2}}", out=tmp_path / "a.png")
    assert list(drawn[0]) == ["before", "layer 1", "layer 2"]
    total = len(shop.pairs(0))
    each = [int(drawn[0][f"layer {number}"].degrees[0].sum()) for number in (1, 2)]
    expected = " / ".join(f"{left / total:.1%}" for left in each)
    assert found.changes["clicks kept, layer by layer"] == expected


def test_numbers_by_hand() -> None:
    view = tiny_view()
    numbers = preview(view).numbers
    assert numbers["clicks"] == "10"
    assert numbers["user degree at 10, 50, 90, 99, 100%"] == "2 / 2 / 3 / 3 / 3"  # of 2, 2, 3, 3
    assert numbers["item degree at 10, 50, 90, 99, 100%"] == "2 / 2 / 2 / 2 / 2"
    assert numbers["users without a click"] == "1"
    assert numbers["items without a click"] == "1"
    assert numbers["connected parts"] == "1"
    assert numbers["nodes in the largest"] == "9 (100.0%)"
    assert numbers["item links"] == "12"
    assert numbers["text: items / numbers not zero"].startswith("5 /")
    values = np.linalg.svd(dense_adjacency(view)[:5, 5:], compute_uv=False)
    assert numbers["spectral gap of the largest"] == f"{1 - values[1]:.4f}"
    assert np.allclose(preview(view).spectrum, values[:4], atol=1e-6)
    low = preview(SVDView(2)(view, rng())).spectrum
    assert np.allclose(low[:2], values[:2], atol=1e-5)
    assert np.allclose(low[2:], 0)


def test_the_gap_is_that_of_the_largest_part() -> None:
    """Users of a block click all of its 6 items but one: R'R = (2 I + 8 J) / 50, eigenvalues 1 and 1 / 25."""
    numbers = preview(planted_blocks().data.train).numbers
    assert numbers["connected parts"] == "4"
    assert numbers["nodes in the largest"] == "18 (25.0%)"
    assert numbers["spectral gap of the largest"] == "0.8000"
    pairs = torch.tensor([[0, 1, 1, 2, 2, 3], [0, 0, 1, 1, 2, 3]])  # a path of six nodes, and a pair
    path = preview(GraphView(4, 4, pairs))
    assert path.numbers["connected parts"] == "2"
    assert path.numbers["nodes in the largest"] == "6 (75.0%)"
    values = np.linalg.svd(dense_adjacency(GraphView(3, 3, pairs[:, :5]))[:3, 3:], compute_uv=False)
    assert np.allclose(path.spectrum, values)
    assert path.numbers["spectral gap of the largest"] == f"{1 - values[1]:.4f}"


def test_a_large_graphs_gap_is_found_without_a_dense_matrix() -> None:
    pairs = torch.randint(300 * 260, (9000,), generator=rng()).unique()
    view = GraphView(300, 260, torch.stack([pairs // 260, pairs % 260]))
    values = np.linalg.svd(dense_adjacency(view)[:300, 300:], compute_uv=False)
    assert preview(view).spectrum[:2] == pytest.approx(values[:2], abs=1e-4)


def test_graphs_with_nothing_in_them() -> None:
    bare = replace(without_clicks(tiny_view(item_graph=False)), features={}, present={})
    numbers = preview(bare).numbers
    assert (numbers["clicks"], numbers["connected parts"]) == ("0", "0")
    assert numbers["spectral gap of the largest"] == "-"
    assert preview(SVDView(1)(bare, rng())).numbers["inside propagation"] == "rank 1"
    assert changes(bare, bare)["clicks kept"] == "0 of 0"
    assert changes(bare, SVDView(1)(bare, rng()))["propagated rows, relative change"] == "0.000"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "nothing to do; --list shows what there is, --preview NAME what one does"),
        (
            ["--preview", "EdgeDrip"],
            "--preview: no Augmentation is called 'EdgeDrip'; did you mean 'EdgeDrop'",
        ),
        (["--preview", "[[EdgeDrop]]"], "--preview holds ['EdgeDrop'], expected a class name"),
        (["--preview", ""], "--preview is ''; name an augmentation, --list shows what there is"),
        (["--preview", "[]"], "--preview is '[]'; name an augmentation"),
        (["--preview", "[EdgeDrop"], "--preview, line 1, column 10 is not YAML"),
        (
            ["--preview", "EdgeDrop", "--options", "--root 'x"],
            '--options "--root \'x" cannot be split into words: no closing quotation; check quotes',
        ),
        (["--preview", "EdgeDrop", "--epoch", "0"], "--epoch is 0, expected at least 1"),
        (["--preveiw", "EdgeDrop"], "there is no option '--preveiw'; did you mean '--preview'"),
        (["--preview", "EdgeDrop", "--config", "nowhere.yaml"], "config nowhere.yaml cannot be read"),
    ],
)
def test_what_goes_wrong_is_one_line(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert expected in one_line(capsys.readouterr().err.strip())
