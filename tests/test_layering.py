"""Who may import whom, and when; the one file that knows sparse back-ends ("Layers" in CONTRIBUTING.md)."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(
    str(path.relative_to(ROOT)) for folder in ("features", "mmrec") for path in (ROOT / folder).rglob("*.py")
)
LIGHT = {
    "base",
    "command_line",
    "errors",
    "files",
    "items",
    "probe",
    "progress",
    "store",
}  # of features/: no torch, no encoder
HEAVY = {
    "lightning_fabric",
    "matplotlib",
    "open_clip",
    "sklearn",
    "torch_geometric",
    "torch_scatter",
    "torchvision",
}
ON_DEMAND = "mmrec/run.py"
SPARSE_FILE = "mmrec/graph/ops.py"


def _imports(tree: ast.AST, *, inside: bool = False) -> Iterator[tuple[str, bool]]:
    """Full dotted name of everything imported, and whether not yet when the file itself is."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            dots = "." * node.level
            yield from ((f"{dots}{node.module or ''}.{alias.name}", inside) for alias in node.names)
        else:
            later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or (
                isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            )
            yield from _imports(node, inside=inside or later)


def _breaches(name: str, source: str) -> list[str]:
    """What file `name` with this text does against the rules."""
    tree, found = ast.parse(source), []
    package = name.split("/")[0]
    for imported, inside in _imports(tree):
        top, *rest = imported.split(".")
        if top == "":
            found.append(f"relative import of {imported}; imports are absolute")
        if package == "features" and top == "mmrec":
            found.append(f"features imports {imported}")
        is_light = bool(set(rest[:1]) & LIGHT) or (inside and name == ON_DEMAND)
        if package == "mmrec" and top == "features" and not is_light:
            allowed = ", ".join(sorted(LIGHT))
            found.append(f"{imported} is imported; allowed are {allowed}, more in functions of {ON_DEMAND}")
        if top in HEAVY and not inside:
            found.append(f"{top} is imported at module level; import it in the function that uses it")
        if top == "torch_scatter" and name != SPARSE_FILE:
            found.append(f"torch_scatter is for {SPARSE_FILE} only")
    if name != SPARSE_FILE:
        found += [f"{what} is for {SPARSE_FILE} only" for what in _sparse(tree)]
    return found


def _sparse(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            is_torch = isinstance(node.value, ast.Name) and node.value.id == "torch"
            if node.attr.startswith(("to_sparse", "sparse_c", "sparse_b")) or (
                is_torch and node.attr == "sparse"
            ):
                yield ast.unparse(node)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("torch.sparse"):
            yield "torch.sparse"


@pytest.mark.parametrize("name", SOURCES)
def test_file_keeps_to_its_layer(name: str) -> None:
    assert _breaches(name, (ROOT / name).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("features/a.py", "def f():\n    from mmrec.data import dataset"),
        ("mmrec/a.py", "from features.open_clip import OpenClipImage"),
        ("mmrec/a.py", "from features import extract"),
        ("mmrec/a.py", "import features"),
        ("mmrec/a.py", "def f():\n    import features.extract"),
        ("mmrec/run.py", "from features.extract import extract"),
        ("mmrec/a.py", "import torch_geometric.utils"),
        ("features/a.py", "if True:\n    from sklearn.decomposition import PCA"),
        ("mmrec/a.py", "def f():\n    import torch_scatter"),
        ("mmrec/a.py", "def f(x):\n    return x.to_sparse_csr()"),
        ("mmrec/a.py", "def f(x, y):\n    return torch.sparse.mm(x, y)"),
        ("mmrec/a.py", "x = torch.sparse_coo_tensor(i, v)"),
        ("mmrec/a.py", "from . import errors"),
    ],
)
def test_breach_is_seen(name: str, source: str) -> None:
    assert len(_breaches(name, source)) == 1


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("mmrec/a.py", "from features.store import open_stores\nfrom features import errors"),
        ("mmrec/run.py", "def f():\n    from features.extract import extract"),
        ("mmrec/a.py", "def f():\n    from torch_geometric.data import HeteroData"),
        ("mmrec/a.py", "if TYPE_CHECKING:\n    from torch_geometric.data import HeteroData"),
        ("mmrec/graph/ops.py", "def f(x):\n    import torch_scatter\n    return x.to_sparse_csr()"),
        ("mmrec/a.py", "import scipy.sparse\nx = scipy.sparse.csr_array(y)"),
    ],
)
def test_what_is_allowed_is_let_through(name: str, source: str) -> None:
    assert _breaches(name, source) == []


@pytest.mark.parametrize(
    ("modules", "unwanted"),
    [
        (sorted(f"features.{name}" for name in LIGHT), HEAVY | {"torch"}),
        (["mmrec.run", "features.extract"], HEAVY),
    ],
    ids=["light", "programs"],
)
def test_importing_is_cheap(modules: list[str], unwanted: set[str]) -> None:
    """Also what is imported in turn: `--help` must not wait for libraries it does not use."""
    code = f"import sys, {', '.join(modules)}; print(*sorted({unwanted!r} & set(sys.modules)))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    assert loaded.split() == []
