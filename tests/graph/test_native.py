"""The CPU kernel against dense products, and what happens where it cannot be compiled."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrec.compiled import compiled
from mmrec.errors import GraphError
from mmrec.graph import native, ops
from mmrec.graph.matrices import user_item_matrix
from mmrec.graph.ops import Readout, row_differences, smooth, smooth_rows, sparse_matrix
from mmrec.graph.view import GraphView
from tests.cases.planted import rng, tiny_view, views

needs_kernel = pytest.mark.skipif(
    compiled(native.SOURCE) is None, reason="no C++ compiler, so no native kernel"
)
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}


@pytest.fixture
def fresh() -> Iterator[None]:
    """The kernel is looked for anew in the test, and once more after it."""
    compiled.cache_clear()
    yield
    compiled.cache_clear()


def random_csr(rows: int, columns: int, entries: int, dtype: torch.dtype, seed: int) -> torch.Tensor:
    row = torch.randint(rows, (entries,), generator=rng(seed))
    column = torch.randint(columns, (entries,), generator=rng(seed + 1))
    value = torch.randn(entries, generator=rng(seed + 2), dtype=dtype)
    return sparse_matrix(row, column, value, (rows, columns)).csr


@needs_kernel
@settings(max_examples=150, deadline=None)
@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    entries=st.integers(0, 200),
    width=st.sampled_from([1, 3, 4, 7, 8, 15, 16, 31, 32, 33, 63, 64, 65, 100, 128, 200]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    scale=st.sampled_from([1.0, 0.25]),
    added=st.booleans(),
    threads=st.integers(1, 3),
)
def test_the_kernel_against_a_dense_product(
    rows: int,
    columns: int,
    entries: int,
    width: int,
    dtype: torch.dtype,
    scale: float,
    added: bool,
    threads: int,
) -> None:
    csr = random_csr(rows, columns, entries, dtype, seed=rows)
    x = torch.randn(columns, width, generator=rng(7), dtype=dtype)
    add = torch.randn(rows, width, generator=rng(8), dtype=dtype) if added else None
    expected = scale * (csr.to_dense().double() @ x.double() + (add.double() if add is not None else 0))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = native.multiply(csr, x, add=add, scale=scale)
        again = native.multiply(csr, x, add=add, scale=scale)
    finally:
        torch.set_num_threads(before)
    assert found.dtype == dtype
    assert torch.allclose(found.double(), expected, atol=TOLERANCE[dtype] * 20)
    assert torch.equal(found, again)


@needs_kernel
@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(1, 30),
    entries=st.integers(0, 120),
    width=st.sampled_from([1, 8, 64, 70]),
    data=st.data(),
)
def test_look_ups_stand_for_rows(size: int, entries: int, width: int, data: st.DataObject) -> None:
    csr = random_csr(size, size, entries, torch.float64, seed=entries)
    dense = csr.to_dense()
    some = torch.tensor(data.draw(st.lists(st.integers(0, size - 1), max_size=40)), dtype=torch.int64)
    x = torch.randn(size, width, generator=rng(), dtype=torch.float64)
    add = torch.randn(size, width, generator=rng(1), dtype=torch.float64)
    found = native.multiply(csr, x, add=add, scale=0.5, rows=some)
    assert torch.allclose(found, 0.5 * (dense @ x + add)[some])
    place = torch.randint(5, (size,), generator=rng(2), dtype=torch.int32)
    short, short_add = (
        x[:1].repeat(5, 1) * torch.arange(5)[:, None],
        torch.randn(5, width, dtype=torch.float64),
    )
    found = native.multiply(csr, short, place=place, add=short_add, add_place=place)
    assert torch.allclose(found, dense @ short[place.long()] + short_add[place.long()])


@needs_kernel
def test_the_result_does_not_depend_on_the_number_of_threads() -> None:
    csr = random_csr(500, 300, 5000, torch.float32, seed=3)
    x = torch.randn(300, 64, generator=rng())
    before, results = torch.get_num_threads(), []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        results.append(native.multiply(csr, x))
    torch.set_num_threads(before)
    assert all(torch.equal(results[0], other) for other in results)


@needs_kernel
@settings(max_examples=60, deadline=None)
@given(
    view=views(),
    n_layers=st.integers(0, 4),
    readout=st.sampled_from(["mean", "sum", "last"]),
    seed=st.integers(0, 99),
)
def test_rows_and_their_gradient_are_those_of_the_plain_way(
    view: GraphView, n_layers: int, readout: Readout, seed: int
) -> None:
    size = view.num_users + view.num_items
    nodes = torch.randint(size, (1 + seed % 9,), generator=rng(seed))
    coming = torch.randn(2, len(nodes), 3, generator=rng(seed + 1))
    results = []
    for backend in ("native", "csr"):
        x = torch.randn(size, 3, generator=rng(seed + 2)).requires_grad_()
        matrix = user_item_matrix(replace(view, backend=backend))  # type: ignore[arg-type]
        final, first = smooth_rows(matrix, x, nodes, n_layers=n_layers, readout=readout)
        assert torch.equal(first, x[nodes])
        ((final * coming[0]).sum() + (first * coming[1]).sum()).backward()
        results.append((final.detach(), x.grad))
    (values, gradient), (plain_values, plain_gradient) = results
    assert torch.allclose(values, plain_values, atol=1e-5)
    assert gradient is not None
    assert plain_gradient is not None
    assert torch.allclose(gradient, plain_gradient, atol=1e-5)


@needs_kernel
@pytest.mark.parametrize("readout", ["mean", "sum", "last"])
@pytest.mark.parametrize("n_layers", [1, 2, 3])
def test_gradcheck_of_rows(n_layers: int, readout: Readout) -> None:
    view = tiny_view(dtype=torch.float64)
    x = torch.randn(11, 2, generator=rng(), dtype=torch.float64, requires_grad=True)
    nodes = torch.tensor([3, 0, 3, 10, 4])  # one twice, two without clicks

    def rows(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return smooth_rows(user_item_matrix(view), x, nodes, n_layers=n_layers, readout=readout)

    assert torch.autograd.gradcheck(rows, (x,))


def test_row_differences_and_their_gradient() -> None:
    table = torch.randn(6, 5, generator=rng(), dtype=torch.float64, requires_grad=True)
    first, second = torch.tensor([0, 2, 2, 5]), torch.tensor([1, 2, 4, 0])
    assert torch.equal(row_differences(table, first, second), table[first] - table[second])
    assert torch.autograd.gradcheck(lambda table: row_differences(table, first, second), (table,))


def test_shapes_that_do_not_fit_are_one_line() -> None:
    matrix = user_item_matrix(tiny_view())
    with pytest.raises(GraphError, match=r"\[11, 11\] cannot be multiplied with \[10, 2\]"):
        matrix.multiply(torch.ones(10, 2))
    with pytest.raises(GraphError, match=r"\[11, 11\] .* \[11, 2\] and an addend \[11, 3\]"):
        matrix.multiply(torch.ones(11, 2), add=torch.ones(11, 3))


def test_a_kind_of_number_the_kernel_lacks_goes_to_torch_or_is_refused() -> None:
    csr = user_item_matrix(tiny_view()).csr
    assert ops.backend_of("auto", csr, torch.ones(11, 2, dtype=torch.float64)) == "csr"
    matrix = user_item_matrix(replace(tiny_view(), backend="native"))
    with pytest.raises(GraphError, match="'native' takes float32 or float64"):
        matrix.multiply(torch.ones(11, 2, dtype=torch.float16))


@pytest.mark.usefixtures("fresh")
def test_without_a_compiler_torch_does_it_and_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with caplog.at_level(logging.WARNING, logger="mmrec"):
        for _ in range(3):
            matrix = user_item_matrix(tiny_view())
            out = smooth(matrix, torch.eye(11), n_layers=1, readout="last")
    assert torch.allclose(out, matrix.csr.to_dense())
    assert [record.message for record in caplog.records] == [
        "spmm.cpp could not be compiled (no C++ compiler was found): torch does the same, some times slower; "
        "install a C++ compiler with OpenMP, such as g++"
    ]


@pytest.mark.usefixtures("fresh")
def test_a_compiler_that_fails_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "bin" / "c++"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho 'fatal error: no such header' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{broken.parent}:{os.environ['PATH']}")
    with caplog.at_level(logging.WARNING, logger="mmrec"):
        assert compiled(native.SOURCE) is None
    assert "no such header" in caplog.text
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


@needs_kernel
@pytest.mark.usefixtures("fresh")
def test_it_is_compiled_once_and_anew_where_the_file_is_damaged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    calls: list[object] = []
    run = subprocess.run
    monkeypatch.setattr(
        subprocess, "run", lambda *args, **kwargs: (calls.append(args), run(*args, **kwargs))[1]
    )
    assert compiled(native.SOURCE) is not None
    assert len(calls) == 2  # compiled and linked
    compiled.cache_clear()
    assert compiled(native.SOURCE) is not None
    assert len(calls) == 2
    (kernel,) = (tmp_path / "mmrec").iterdir()
    assert kernel.stat().st_mode & 0o022 == 0


@needs_kernel
def test_it_uses_the_threads_of_torch() -> None:
    """A second OpenMP library in the process would have a second pool of threads."""
    code = (
        "from mmrec.compiled import compiled; from mmrec.graph import native; compiled(native.SOURCE); "
        "print(sum(1 for line in {line.split()[-1] for line in open('/proc/self/maps')} if 'omp' in line))"
    )
    if not Path("/proc/self/maps").exists():
        pytest.skip("needs /proc")
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(found.stdout) == 1
