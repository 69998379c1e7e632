from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from mmrec.errors import GraphError
from mmrec.graph import neighbours
from mmrec.graph.item_graph import add_item_graph, fuse
from mmrec.graph.knn import Search, knn
from mmrec.graph.view import GraphView
from tests.cases.planted import assert_same_tensors, copies, dense_item_graph, rng, tiny_view


def view_of(items: int = 12, **missing: list[int]) -> GraphView:
    """Random image and text features; `missing` names items that lack a modality."""
    present = {name: torch.ones(items, dtype=torch.bool) for name in ("image", "text")}
    features = {name: torch.randn(items, 4, generator=rng(seed)) for seed, name in enumerate(present)}
    for name, lacking in missing.items():
        present[name][lacking] = False
        features[name][lacking] = 0
    return GraphView(2, items, torch.tensor([[0, 1], [0, 1]]), features=features, present=present)


def write_edges(path: Path, **arrays: object) -> str:
    given = {
        "row": np.array([0, 0, 1, 2]),
        "col": np.array([0, 1, 1, 0]),
        "cosine": np.array([1.0, 0.5, 1.0, 0.8]),
    }
    np.savez(path, **{name: value for name, value in {**given, **arrays}.items() if value is not None})  # type: ignore[arg-type]
    return path.name


def test_one_modality_is_the_mean_over_its_nearest() -> None:
    view = view_of()
    before = copies(view)
    dense = dense_item_graph(add_item_graph(view, k=3, weights={"image": 1}))
    index, _ = knn(view.features["image"], view.present["image"], k=3)
    expected = np.zeros((12, 12))
    expected[index[0], index[1]] = 1 / 3
    assert np.allclose(dense, expected, atol=1e-7)
    assert_same_tensors(view, before)


def test_fusion_weighs_and_adds() -> None:
    view = view_of()
    image = dense_item_graph(add_item_graph(view, k=3, weights={"image": 1}))
    text = dense_item_graph(add_item_graph(view, k=3, weights={"text": 1}))
    fused = add_item_graph(view, k=3, weights={"image": 1, "text": 3})
    assert np.allclose(dense_item_graph(fused), 0.25 * image + 0.75 * text, atol=1e-7)
    assert fused.item_edge_index is not None
    keys = (fused.item_edge_index[0] * 12 + fused.item_edge_index[1]).tolist()
    assert keys == sorted(set(keys))
    equal = dense_item_graph(add_item_graph(view, k=3))
    assert np.allclose(equal, 0.5 * image + 0.5 * text, atol=1e-7)
    assert np.allclose(equal.sum(axis=1), 1, atol=1e-6)


def test_weight_zero_leaves_a_modality_out() -> None:
    view = view_of()
    alone = add_item_graph(view, k=3, weights={"text": 0.3})
    assert_same_tensors(add_item_graph(view, k=3, weights={"image": 0, "text": 2}), copies(alone))


def test_an_item_without_a_modality_takes_its_row_from_the_others() -> None:
    view = view_of(image=[2, 7], text=[7, 9])
    dense = dense_item_graph(add_item_graph(view, k=3, weights={"image": 0.1, "text": 0.9}))
    image = dense_item_graph(add_item_graph(view, k=3, weights={"image": 1}))
    text = dense_item_graph(add_item_graph(view, k=3, weights={"text": 1}))
    assert np.allclose(dense[2], text[2], atol=1e-7)
    assert np.allclose(dense[9], image[9], atol=1e-7)
    assert np.allclose(dense[0], 0.1 * image[0] + 0.9 * text[0], atol=1e-7)
    assert (dense[7] == 0).all()
    assert (dense[:, 7] == 0).all()
    assert np.allclose(np.delete(dense, 7, axis=0).sum(axis=1), 1, atol=1e-6)


def test_cosine_weighting_by_hand() -> None:
    angles = torch.tensor([0.0, 60, 150]) * torch.pi / 180
    features = {"image": torch.stack([angles.cos(), angles.sin()], dim=1)}
    present = {"image": torch.ones(3, dtype=torch.bool)}
    view = GraphView(1, 3, torch.zeros(2, 1, dtype=torch.int64), features=features, present=present)
    # Cosines: 1 on the diagonal, .5 between 0 and 1, 0 between 1 and 2, negative (so zero) between 0 and 2.
    similar = np.array([[1, 0.5, 0], [0.5, 1, 0], [0, 0, 1]])
    scale = similar.sum(axis=1) ** -0.5
    expected = similar * scale[:, None] * scale[None, :]
    dense = dense_item_graph(add_item_graph(view, k=3, weighting="cosine"))
    assert np.allclose(dense, expected, atol=1e-6)


def test_given_edges_as_they_are(tmp_path: Path) -> None:
    name = write_edges(
        tmp_path / "a.npz", cosine=None, weight=np.array([0.5, 0.25, 2.0, 1.0], dtype=np.float32)
    )
    view = add_item_graph(view_of(3), edges={"any": name}, root=tmp_path)
    assert np.allclose(dense_item_graph(view), [[0.5, 0.25, 0], [0, 2, 0], [1, 0, 0]])


def test_given_cosines_by_hand(tmp_path: Path) -> None:
    """Rows of 2, 1 and 1 entries: an entry is 1 / sqrt(its row's count * its column's row's count)."""
    name = write_edges(tmp_path / "a.npz")
    view = add_item_graph(view_of(3), edges={"any": name}, root=tmp_path)
    assert np.allclose(dense_item_graph(view), [[1 / 2, 2**-0.5, 0], [0, 1, 0], [2**-0.5, 0, 0]])


def test_given_cosines_are_weighted_like_our_own(tmp_path: Path) -> None:
    view = view_of()
    index, cosine = knn(view.features["text"], view.present["text"], k=4)
    np.savez(tmp_path / "text.npz", row=index[0].int(), col=index[1].int(), cosine=cosine, shape=[12, 12])
    for weighting in ("binary", "cosine"):
        ours = add_item_graph(view, k=4, weights={"text": 1}, weighting=weighting)  # type: ignore[arg-type]
        given = add_item_graph(view, edges={"text": "text.npz"}, root=tmp_path, weighting=weighting)  # type: ignore[arg-type]
        assert np.allclose(dense_item_graph(given), dense_item_graph(ours), atol=1e-7), weighting


def test_edges_for_one_modality_and_features_for_another(tmp_path: Path) -> None:
    view = view_of()
    index, cosine = knn(view.features["text"], view.present["text"], k=4)
    np.savez(tmp_path / "text.npz", row=index[0], col=index[1], cosine=cosine)
    shares = {"image": 0.1, "text": 0.9}
    mixed = add_item_graph(view, k=4, edges={"text": "text.npz"}, weights=shares, root=tmp_path)
    assert np.allclose(dense_item_graph(mixed), dense_item_graph(add_item_graph(view, k=4, weights=shares)))


def test_real_neighbours_fused_are_the_graph_that_freedom_ships(shared_data: Path) -> None:
    folder = shared_data / "baby"
    items = 7050
    view = GraphView(1, items, torch.zeros(2, 1, dtype=torch.int64))
    edges = {"image": str(folder / "image_knn.npz"), "text": str(folder / "text_knn.npz")}
    found = add_item_graph(view, edges=edges, weights={"image": 0.1, "text": 0.9})
    shipped = add_item_graph(view, edges={"fused": str(folder / "freedom_item_graph.npz")})
    assert found.item_edge_index is not None
    assert shipped.item_edge_index is not None
    assert torch.equal(found.item_edge_index, shipped.item_edge_index)
    assert found.item_edge_weight is not None
    assert shipped.item_edge_weight is not None
    assert torch.allclose(found.item_edge_weight, shipped.item_edge_weight, atol=1e-7)
    sums = torch.zeros(items).index_add_(0, found.item_edge_index[0], found.item_edge_weight)
    assert torch.allclose(sums, torch.ones(items), atol=1e-5)


def test_fuse_adds_what_repeats() -> None:
    part = torch.tensor([[1, 0, 1], [0, 1, 0]]), torch.tensor([0.25, 1.0, 0.5])
    index, weight = fuse({"a": part}, {"a": 1.0}, 2)
    assert index.tolist() == [[0, 1], [1, 0]]
    assert weight.tolist() == [1, 0.75]


def test_fuse_works_where_its_parts_are() -> None:
    """Shapes and devices alone; `meta` stands for a GPU, as no operation may mix it with the CPU."""
    with FakeTensorMode(shape_env=ShapeEnv()):
        part = torch.empty(2, 5, dtype=torch.int64, device="meta"), torch.empty(5, device="meta")
        index, weight = fuse({"a": part, "b": part}, {"a": 0.5, "b": 0.5}, 4)
    assert {index.device.type, weight.device.type} == {"meta"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"weights": {"imag": 1}},
            r"graph.weights names 'imag', which the data lacks; did you mean 'image'\?",
        ),
        ({"weights": {"image": -0.1}}, "graph.weights.image is -0.1, expected a finite number of at least 0"),
        ({"weights": {"image": float("nan")}}, "graph.weights.image is nan"),
        ({"weights": {"image": 0}}, "graph.weights sum to 0"),
        ({"weights": {}}, "graph.weights sum to 0"),
        ({"k": 0}, "graph.k is 0, expected at least 1"),
    ],
)
def test_bad_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(GraphError, match=message) as error:
        add_item_graph(view_of(), **options)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_nothing_to_build_from() -> None:
    view = replace(view_of(), features={}, present={})
    with pytest.raises(GraphError, match=r"there are no features and no graph\.edges"):
        add_item_graph(view)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.write_text("row,col"), "not a zip file"),
        (lambda path: path.write_bytes(b""), "cannot be read as .npz"),
        (lambda path: path.write_bytes(b"\x93NUMPY\x01\x00"), "not a zip file"),
        (lambda path: np.savez(path, row=np.array([None, {}])), "Object arrays cannot be loaded"),
        (
            lambda path: write_edges(path, row=None),
            r"holds \['col', 'cosine'\], expected row, col and weight or cosine",
        ),
        (lambda path: write_edges(path, cosine=None), r"holds \['col', 'row'\], expected"),
        (
            lambda path: write_edges(path, row=np.array([0.0, 0, 1, 2])),
            r"row float64\(4,\), col int64\(4,\), expected ints",
        ),
        (lambda path: write_edges(path, row=np.array([0, 1])), r"row int64\(2,\), col int64\(4,\)"),
        (lambda path: write_edges(path, col=np.array([0, 1, 1, 3])), r"numbers 0..3, expected \[3, 3\]"),
        (lambda path: write_edges(path, col=np.array([0, 1, 1, -1])), r"numbers -1..2, expected \[3, 3\]"),
        (
            lambda path: write_edges(path, shape=np.array([4, 4])),
            r"is \[4, 4\] with numbers 0..2, expected \[3, 3\]",
        ),
        (
            lambda path: write_edges(path, cosine=np.array([1.0, np.nan, 1, 1])),
            "a finite weight or cosine for each of 4 edges",
        ),
        (lambda path: write_edges(path, cosine=np.ones(3)), "a finite weight or cosine"),
        (
            lambda path: write_edges(path, cosine=np.array(["a", "b", "c", "d"])),
            "a finite weight or cosine",
        ),
    ],
)
def test_edges_that_cannot_be_used(tmp_path: Path, make: Callable[[Path], None], message: str) -> None:
    make(tmp_path / "a.npz")
    with pytest.raises(GraphError, match=message) as error:
        add_item_graph(view_of(3), edges={"any": "a.npz"}, root=tmp_path)
    assert "\n" not in str(error.value)
    assert "a.npz" in str(error.value)


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Titles of the searches that were made."""
    made: list[str] = []

    def counted(*args: object, title: str = "", **options: object) -> object:
        made.append(title)
        return knn(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(neighbours, "knn", counted)
    return made


def test_neighbours_are_kept_under_what_they_depend_on(tmp_path: Path, searches: list[str]) -> None:
    view = replace(view_of(), cache_dir=tmp_path)
    first = add_item_graph(view, k=3)
    assert searches == ["item graph, image", "item graph, text"]
    assert_same_tensors(add_item_graph(view, k=3, memory_mb=1), copies(first))
    fresh = add_item_graph(view, k=3, weights={"image": 0.9, "text": 0.1})
    add_item_graph(view, k=3, weighting="cosine")
    add_item_graph(replace(view, edge_index=view.edge_index[:, :1]), k=3)
    assert len(searches) == 2
    assert_same_tensors(fresh, copies(add_item_graph(view_of(), k=3, weights={"image": 0.9, "text": 0.1})))


def test_another_input_never_finds_them(tmp_path: Path, searches: list[str]) -> None:
    view = replace(view_of(), cache_dir=tmp_path)
    add_item_graph(view, k=3)
    del searches[:]
    add_item_graph(view, k=4)
    assert len(searches) == 2
    changed = {**view.features, "text": view.features["text"].clone()}
    changed["text"][0, 0] += 1e-3
    add_item_graph(replace(view, features=changed), k=3)
    assert searches[2:] == ["item graph, text"]
    lacking = {**view.present, "image": view.present["image"].clone()}
    lacking["image"][5] = False
    add_item_graph(replace(view, present=lacking), k=3)
    assert searches[3:] == ["item graph, image"]


def test_neighbours_found_with_and_without_faiss_are_kept_apart(
    tmp_path: Path, searches: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    view = replace(view_of(), cache_dir=tmp_path)

    def themselves(features: Tensor, ids: Tensor, k: int, title: str) -> tuple[Tensor, Tensor]:
        return torch.arange(len(ids))[:, None].expand(-1, k), torch.ones(len(ids), k)

    def found(faiss: bool, search: Search = "auto") -> list[list[int]]:
        monkeypatch.setattr("mmrec.graph.knn.have_faiss", lambda: faiss)
        index = add_item_graph(view, k=3, weights={"text": 1}, search=search, exact_up_to=11).item_edge_index
        assert index is not None
        return index.tolist()

    monkeypatch.setattr("mmrec.graph.knn.approximate_neighbours", themselves)
    exact = found(faiss=False)
    assert found(faiss=True) == [[*range(12)]] * 2
    assert len(searches) == 2
    assert (
        found(faiss=False) == found(faiss=False, search="exact") == found(faiss=True, search="exact") == exact
    )
    assert found(faiss=False, search="approximate") == [[*range(12)]] * 2  # it is there
    assert len(searches) == 2


def test_nothing_is_kept_without_a_folder(
    tmp_path: Path, searches: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        add_item_graph(view_of(), k=3, weights={"text": 1})
    assert len(searches) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.98])
def test_a_damaged_cache_is_one_line(tmp_path: Path, keep: float) -> None:
    view = replace(view_of(), cache_dir=tmp_path)
    add_item_graph(view, k=3, weights={"text": 1})
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(GraphError, match=r"cached graph .* delete it and run again") as error:
        add_item_graph(view, k=3, weights={"text": 1})
    assert "\n" not in str(error.value)


def test_flipped_bytes_in_a_cache_are_noticed(tmp_path: Path) -> None:
    view = replace(view_of(), cache_dir=tmp_path)
    add_item_graph(view, k=3, weights={"text": 1})
    (path,) = tmp_path.iterdir()
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 255
    path.write_bytes(bytes(whole))
    with pytest.raises(GraphError, match="delete it and run again"):
        add_item_graph(view, k=3, weights={"text": 1})


def test_a_graph_that_could_not_be_built_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(neighbours, "knn", interrupted)
    with pytest.raises(KeyboardInterrupt):
        add_item_graph(replace(view_of(), cache_dir=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_models_get_the_graph_that_was_asked_for() -> None:
    """The tiny view's own item graph is replaced, not added to."""
    view = add_item_graph(tiny_view(), k=2, weights={"image": 1})
    assert np.allclose(dense_item_graph(view).sum(axis=1), 1)
    assert ((dense_item_graph(view) > 0).sum(axis=1) == 2).all()
