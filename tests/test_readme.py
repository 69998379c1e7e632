"""Every command of the README is run as it stands there, on the README's own files, and made fast."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from features.extract import main as extract
from mmrec.augment.__main__ import main as augment
from mmrec.config import arguments_of, parse
from mmrec.data.convert import main as convert
from mmrec.data.describe import main as describe
from mmrec.data.download import SOURCES
from mmrec.run import main as run
from tests.cases.shop import make_shop

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
PROGRAMS: dict[str, Callable[[list[str]], int]] = {
    "mmrec.run": run,
    "features.extract": extract,
    "mmrec.data.describe": describe,
    "mmrec.augment": augment,
    "mmrec.data.convert": convert,
    # It would fetch; tests/data/test_download.py has it do so from a server on this machine.
    "mmrec.data.download": lambda words: 0 if words[0] in SOURCES else 2,
}
# What the README's my.yaml names must be downloaded; the small CLIP that comes along takes the same path.
SMALL_CLIP = yaml.safe_dump(
    [
        {"class_path": name, "init_args": {"model": "demo", "pretrained": "demo"}}
        for name in ("OpenClipImage", "OpenClipText")
    ],
    default_flow_style=True,
)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


COMMANDS = [line for block in blocks("bash") for line in block.splitlines() if line.strip()]
PYTHON = [line for line in COMMANDS if line.startswith("python ")]


def test_each_command_is_run_by_something() -> None:
    """`make run` and python's here; `make test` is what CI runs; conda's are left aside."""
    assert [line for line in COMMANDS if line not in PYTHON] == [
        "make run",
        "make test",
        "conda env create -f environment.yml && conda activate mmrec && python -m mmrec.run",
    ]
    assert len(PYTHON) >= 6
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A newcomer's folder: their tables and photos, my.yaml and my_shop/augment.py as the README has them."""
    place = tmp_path_factory.mktemp("newcomer")
    make_shop(place)
    (place / "my.yaml").write_text(blocks("yaml")[0], encoding="utf-8")
    (place / "my_shop").mkdir()
    (place / "my_shop" / "augment.py").write_text(blocks("python")[0], encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.syspath_prepend(str(place))
        yield place


def words_of(command: str) -> tuple[Callable[[list[str]], int], list[str]]:
    python, flag, module, *words = shlex.split(command, comments=True)
    assert (python, flag) == ("python", "-m")
    return PROGRAMS[module], words


@pytest.mark.parametrize("command", PYTHON)
def test_a_command(command: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program, words = words_of(command)
    if program is run:
        if "my.yaml" in words and "--features.encoders" not in words:
            words += ["--features.encoders", SMALL_CLIP]
        words += ["--train.epochs", "1"]
    if {"--help", "--print_config"} & set(words):
        with pytest.raises(SystemExit) as caught:
            program(words)
        assert caught.value.code == 0
        assert len(capsys.readouterr().out) > 1000
    else:
        assert program(words) == 0


def test_the_demo_from_the_command_line(folder: Path) -> None:
    """What `make run` runs; the run's folder holds what the README says."""
    assert run(["--train.epochs", "2"]) == 0
    place = folder / "runs" / "demo"
    (sentence,) = re.findall(r"The folder `runs/demo` then holds (.*?)\.\n", TEXT, re.DOTALL)
    named = set(re.findall(r"`([\w./]+)`", sentence))
    assert {name.rstrip("/") for name in named} == {path.name for path in place.iterdir()}
    metrics = json.loads((place / "metrics.json").read_text(encoding="utf-8"))
    assert [metrics["model"], *metrics["compare"]] == ["FREEDOM", "LightGCN", "Popularity"]
    assert metrics["data"]["users"] == 1000
    assert metrics["data"]["items"] == 600
    assert 0 < metrics["test"]["recall@20"] < 1


def test_your_own_data_is_five_lines() -> None:
    lines = blocks("yaml")[0].splitlines()
    assert len(lines) == 5
    assert "in five lines" in TEXT


def test_an_augmentation_is_ten_lines() -> None:
    assert len(blocks("python")[0].splitlines()) == 10
    assert "in ten lines" in TEXT


@pytest.mark.parametrize("block", blocks("yaml"))
def test_every_config_binds(block: str, tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text(blocks("yaml")[0], encoding="utf-8")
    (tmp_path / "block.yaml").write_text(textwrap.dedent(block), encoding="utf-8")
    options = parse(["--config", str(tmp_path / "my.yaml"), "--config", str(tmp_path / "block.yaml")])
    assert options.model.class_path == "mmrec.models.freedom.FREEDOM"
    assert [plugin.class_path.rpartition(".")[2] for plugin in options.features.encoders] == [
        "OpenClipImage",
        "OpenClipText",
    ]
    for plugin in yaml.safe_load(block)["features"]["encoders"]:
        if isinstance(plugin, dict):
            given = [arguments_of(one) for one in options.features.encoders]
            assert any(plugin["init_args"].items() <= arguments.items() for arguments in given)


def test_options_that_decide_have_the_default_it_states(tmp_path: Path) -> None:
    bare = tmp_path / "bare.yaml"
    bare.write_text("model: LightGCN\ndata: {interactions: clicks.csv}\n", encoding="utf-8")
    table = TEXT[TEXT.index("## Options that decide") :]
    rows = re.findall(r"^\| (`[^|]+) \| ([^|]+) \|", table, re.MULTILINE)
    assert len(rows) >= 6
    checked = 0
    for names, stated in rows:
        default = yaml.safe_load(re.split(r"[:,; ]", stated)[0].strip("`"))
        for name in re.findall(r"`([\w.]+)`", names):
            owner, _, option = name.partition(".")
            if owner[0].isupper():
                found: Any = arguments_of(parse(["--model", owner]).model)[option]
            else:
                found = parse(["--config", str(bare)])[owner][option]
            assert found == default, name
            checked += 1
    assert checked >= len(rows)


def test_folders_it_names_exist() -> None:
    table = TEXT[TEXT.index("## What is where") : TEXT.index("## Results")]
    for name in re.findall(r"^\| `(\w+)/` \|", table, re.MULTILINE):
        assert (ROOT / name).is_dir()


def test_make_run() -> None:
    if not (ROOT / ".venv" / ".installed").is_file():
        pytest.skip("make has not made .venv here; CI has")
    name = f"readme-{os.getpid()}"
    arguments = f"--train.epochs 1 --compare [] --name {name}"
    done = subprocess.run(
        ["make", "run", f"ARGS={arguments}"], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    place = ROOT / "runs" / name
    try:
        assert (place / "metrics.json").is_file()
    finally:
        for path in sorted(place.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        place.rmdir()
