"""The benchmark's own arithmetic; what it times is tested elsewhere."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch

from experiments.speed import bounds, measure
from experiments.speed.cases import CASES
from experiments.speed.epochs import main as epochs
from experiments.speed.peer import Peer
from experiments.speed.picture import draw_ratios
from experiments.speed.propagation import ORDERS, long_tailed, reordered
from features.errors import MMRecError
from mmrec.graph.matrices import user_item_matrix
from mmrec.graph.ops import smooth
from mmrec.graph.view import GraphView
from tests.cases.planted import rng, tiny_view


def test_bytes_of_a_product_by_hand() -> None:
    # per entry: 64 floats of a row, a column number and a weight; per row: 64 floats written
    assert bounds.product_bytes(10, 3) == 10 * (256 + 8) + 3 * 256


def test_a_step_is_bounded_by_its_products_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """All clicks and all nodes are in the batch here, so that every product is a whole one."""
    monkeypatch.setattr(bounds, "_bandwidth", lambda _: 1.0)  # GB/s
    monkeypatch.setattr(bounds, "_rate", lambda *_: 1.0)  # GFLOP/s
    clicks = torch.cartesian_prod(torch.arange(3), torch.arange(4)).T.contiguous()
    view = GraphView(3, 4, clicks)
    table = 7 * 64 * 4
    product = 24 * 264 + 7 * 256
    expected = (2 * 2 * product + 7 * table) / 1e9
    assert bounds.step_bound(CASES["LightGCN, 2 layers"], view, 500) == pytest.approx(expected)
    found = bounds.step_bound(CASES["BM3, frozen, 512 columns"], view, 500)
    widths = 512 + 384
    expected = (2 * product + 7 * table + 4 * widths * 4 + 2 * 2 * 4 * widths * 64) / 1e9
    assert found == pytest.approx(expected)


def test_a_wrong_checkout_or_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(MMRecError, match=r"is no checkout of MMRec: expected src/common/trainer.py"):
        Peer(tmp_path, 1)
    with pytest.raises(MMRecError, match=r"has no baby.inter; name the folder"):
        epochs(["--data", str(tmp_path)])


def test_what_goes_wrong_in_the_peer_is_said_here(tmp_path: Path) -> None:
    (tmp_path / "src" / "common").mkdir(parents=True)
    (tmp_path / "src" / "common" / "trainer.py").write_text("", encoding="utf-8")
    with Peer(tmp_path, 1) as peer:
        assert peer.ask("peak") > 10**6
        with pytest.raises(MMRecError, match=r"MMRec failed at 'prepare': .*utils"):
            peer.ask("prepare", model="LightGCN", options={})
        assert peer.ask("peak") > 10**6  # and it goes on


def test_rows_carry_the_machine(tmp_path: Path) -> None:
    measure.write_csv(tmp_path / "a.csv", [{"what": "x", "ours": 1}, {"what": "y", "ours": 2}])
    with (tmp_path / "a.csv").open(encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["what"] for row in rows] == ["x", "y"]
    assert {row["torch"] for row in rows} == {torch.__version__}


def test_the_median_leaves_warming_up_out() -> None:
    calls: list[int] = []
    assert measure.median_seconds(lambda: calls.append(1), repeats=3, warmup=2) >= 0
    assert len(calls) == 5
    assert measure.output_of(["-c", "print('first'); print('last')"], 1) == "last"


def test_long_tails() -> None:
    clicks = long_tailed(500, 200, 4000)
    assert clicks.shape == (2, 4000)
    assert len(torch.unique(clicks[0] * 200 + clicks[1])) == 4000
    assert int(clicks[0].max()) < 500
    popular = torch.bincount(clicks[1], minlength=200).sort(descending=True).values
    assert int(popular[:20].sum()) > 0.2 * 4000
    assert torch.equal(clicks, long_tailed(500, 200, 4000))


@pytest.mark.parametrize("order", ORDERS)
def test_another_order_is_the_same_graph(order: str) -> None:
    if order == ORDERS[2]:
        pytest.importorskip("scipy")
    view = tiny_view()
    other = reordered(view, order)
    for found, before in zip(other.edge_index, view.edge_index, strict=True):
        assert torch.bincount(found).sort().values.tolist() == torch.bincount(before).sort().values.tolist()
    x = torch.randn(11, 2, generator=rng())
    one, two = (smooth(user_item_matrix(graph), x * 0 + 1, n_layers=2) for graph in (view, other))
    assert torch.allclose(one.sort(dim=0).values, two.sort(dim=0).values, atol=1e-6)


def test_a_picture_is_drawn_only_of_ratios(tmp_path: Path) -> None:
    draw_ratios([{"what": "a", "times_faster": "", "goal": 2}], tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
    pytest.importorskip("matplotlib", reason="matplotlib comes with the extra 'bench'")
    draw_ratios([{"what": "a", "times_faster": "3.1", "goal": 2}], tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000
