"""setup.cfg, constraints.txt, environment.yml and CI say the same; nothing tracked is of one machine only."""

from __future__ import annotations

import ast
import configparser
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import mmrec

ROOT = Path(__file__).resolve().parents[1]
CONDA_NAMES = {"pytorch": "torch", "pytorch-geometric": "torch-geometric", "pytorch-scatter": "torch-scatter"}
MAX_LINES, MAX_BYTES = 400, 6_000_000
# Written in pieces, so that this file passes its own test.
HOSTS = [
    "pypi" + ".org",
    "pythonhosted" + ".org",
    "download.pytorch" + ".org",
    "pyg" + ".org",
    "anaconda" + ".org",
]
MACHINE_PATH = re.compile(r"(?<![\w./~-])/(?:root|home|Users|work|opt|mnt|tmp/\w+)/")


def _setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def _requirements(text: str) -> dict[str, Requirement]:
    lines = (line.strip() for line in text.splitlines())
    parsed = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(one.name): one for one in parsed}


def _wanted() -> dict[str, Requirement]:
    """What `install_requires` and all extras name."""
    parser = _setup()
    found = _requirements(parser["options"]["install_requires"])
    for text in parser["options.extras_require"].values():
        found |= _requirements(text)
    return found


def _pins() -> dict[str, str]:
    pins = {}
    for name, requirement in _requirements((ROOT / "constraints.txt").read_text()).items():
        (only,) = requirement.specifier
        assert only.operator == "==", f"constraints.txt: {requirement} is not an exact version"
        assert "+" not in only.version, f"constraints.txt: {requirement} names one machine's build"
        pins[name] = only.version
    return pins


def _conda() -> tuple[dict[str, Requirement], list[str], str]:
    """Conda's packages by their name in pip, the lines of the pip section, and Python's version."""
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (pip,) = [line["pip"] for line in listed if isinstance(line, dict)]
    lines = [line for line in listed if isinstance(line, str)]
    (python,) = [line.removeprefix("python=") for line in lines if line.startswith("python=")]
    packages = _requirements("\n".join(line for line in lines if not line.startswith("python=")))
    return {CONDA_NAMES.get(name, name): requirement for name, requirement in packages.items()}, pip, python


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    """Files git tracks or would track."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-coz", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / name for name in sorted(set(names.split("\0")) - {""}) if (ROOT / name).is_file()]


def _texts(files: list[Path]) -> Iterator[tuple[str, str]]:
    for path in files:
        try:
            yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


@pytest.mark.parametrize("name", sorted(_wanted()))
def test_requirement_is_pinned_within_its_range(name: str) -> None:
    assert _wanted()[name].specifier.contains(_pins()[name]), f"{name}: constraints.txt has {_pins()[name]}"


def test_one_range_per_package() -> None:
    parser = _setup()
    texts = [parser["options"]["install_requires"], *parser["options.extras_require"].values()]
    names = [name for text in texts for name in _requirements(text)]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("name", sorted(_requirements(_setup()["options"]["install_requires"])))
def test_requirement_is_in_conda_environment_with_the_same_range(name: str) -> None:
    packages, pip, _ = _conda()
    listed = packages | _requirements("\n".join(line for line in pip if not line.startswith("-e")))
    assert listed[name].specifier == _wanted()[name].specifier


def test_conda_environment_has_extras_scatter_and_python() -> None:
    packages, pip, python = _conda()
    extras = _setup()["options.extras_require"]
    assert pip[-1] == "-e .[test,dev]"
    assert {"test", "dev", "scatter"} <= set(extras)
    assert packages["torch-scatter"].specifier == _requirements(extras["scatter"])["torch-scatter"].specifier
    assert _setup()["options"]["python_requires"] == f">={python}"
    assert f'target-version = "py{python.replace(".", "")}"' in (ROOT / "ruff.toml").read_text()
    assert _setup()["mypy"]["python_version"] == python


def test_pins_are_all_that_is_installed_and_no_more() -> None:
    """Complete, so that CI moves only when constraints.txt does; nothing left of what is no longer used."""
    if Path(sys.prefix).resolve() != (ROOT / ".venv").resolve():
        pytest.skip("only in the environment that make builds")
    todo = [(name, frozenset(one.extras)) for name, one in _wanted().items()]
    seen = set()
    while todo:
        name, extras = todo.pop()
        if (name, extras) in seen or re.match("nvidia|cuda|triton", name):
            continue
        seen.add((name, extras))
        try:
            needs = [Requirement(line) for line in metadata.distribution(name).requires or []]
        except metadata.PackageNotFoundError:
            assert name == "torch-scatter", f"{name} is not installed"
            continue
        for need in needs:
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in {"", *extras}):
                todo.append((canonicalize_name(need.name), frozenset(need.extras)))
    assert set(_pins()) == {name for name, _ in seen} | {"setuptools", "wheel"}
    assert {name: version for name, version in _pins().items() if name != "torch-scatter"} == {
        name: metadata.version(name).partition("+")[0] for name in _pins() if name != "torch-scatter"
    }


def test_imports_are_declared() -> None:
    """Each package our code imports is asked for by name, not had by luck through another."""
    owners = metadata.packages_distributions()
    declared, missing = set(_wanted()), []
    for path in [path for folder in ("features", "mmrec", "tests") for path in (ROOT / folder).rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                top = name.partition(".")[0]
                dists = {canonicalize_name(dist) for dist in owners.get(top, [])}
                if top not in {"features", "mmrec", "tests"} and dists and not dists & declared:
                    missing.append(
                        f"{path.relative_to(ROOT)}:{node.lineno} imports {name} of {', '.join(dists)}"
                    )
    assert not missing, "\n".join(missing)


def test_version_is_the_same_everywhere() -> None:
    assert _setup()["metadata"]["version"] == "attr: mmrec.__version__"
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == mmrec.__version__


def test_ci_runs_make_test_and_nothing_else() -> None:
    script = ROOT / ".ci" / "run"
    lines = [line for line in script.read_text().splitlines() if line and not line.startswith("#")]
    assert lines == ["set -euo pipefail", 'cd "$(dirname "${BASH_SOURCE[0]}")/.."', "make test"]
    assert os.access(script, os.X_OK)


def test_readme_names_only_targets_that_exist() -> None:
    readme, makefile = (ROOT / "README.md").read_text(encoding="utf-8"), (ROOT / "Makefile").read_text()
    named = set(re.findall(r"(?:^\s*(?:\$ )?|`)make ([a-z]+)", readme, re.MULTILINE))
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    assert {"run", "test"} <= named <= targets
    assert "conda env create -f environment.yml && conda activate mmrec && python -m mmrec.run" in readme


def test_pre_commit_downloads_nothing() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert {repo["repo"] for repo in hooks} == {"local"}
    assert {hook["language"] for repo in hooks for hook in repo["hooks"]} == {"system"}


def test_tracked_files_are_small(tracked: list[Path]) -> None:
    sizes = {str(path.relative_to(ROOT)): path.stat().st_size for path in tracked}
    assert {name: size for name, size in sizes.items() if size > MAX_BYTES} == {}


def test_source_files_are_short(tracked: list[Path]) -> None:
    sources = [path for path in tracked if path.suffix in {".py", ".md", ".yaml", ".yml", ".cfg", ".toml"}]
    lines = {name: len(text.splitlines()) for name, text in _texts(sources)}
    assert {name: count for name, count in lines.items() if count > MAX_LINES} == {}


def test_no_file_is_called_utils(tracked: list[Path]) -> None:
    assert [path for path in tracked if path.stem.strip("_") in {"util", "utils"}] == []


def test_no_registry_hosts_nor_paths_of_one_machine(tracked: list[Path]) -> None:
    found = [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in _texts(tracked)
        for number, line in enumerate(text.splitlines(), start=1)
        if any(host in line for host in HOSTS) or MACHINE_PATH.search(line)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "line", ["cd {}root/x", 'open("{}home/me/a.csv")', "at: {}Users/me/d/x", "={}tmp/w/v"]
)
def test_paths_of_one_machine_are_recognised(line: str) -> None:
    assert MACHINE_PATH.search(line.format("/")) is not None


@pytest.mark.parametrize(
    "line", ["#!/usr/bin/env bash", "../shared/work/x", "a/home/b", "~/work/x", "> /dev/null"]
)
def test_other_paths_are_left_alone(line: str) -> None:
    assert MACHINE_PATH.search(line) is None
