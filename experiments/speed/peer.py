"""The MMRec toolbox (enoche/MMRec) from the user's own checkout, timed in a process of its own.

`python -m experiments.speed.peer CHECKOUT` reads one JSON command per line and answers each with one line, so
that it waits, using no processor time, while this project's side runs. Nothing of MMRec is copied or changed:
what it needs of libraries that have moved on is put back in memory, in that process, and it writes to a
temporary folder.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import types
from pathlib import Path
from typing import Any

import numpy as np

from experiments.speed.measure import peak_bytes
from features.errors import MMRecError

DATASET = "bench"


class Peer:
    """The process at work; a context manager."""

    def __init__(self, checkout: Path, threads: int) -> None:
        """Start it.

        Args:
            checkout: folder of the repository, with `src/` inside.
            threads: number of threads it may use.

        Raises:
            MMRecError: if that is no checkout of MMRec.
        """
        if not (checkout / "src" / "common" / "trainer.py").is_file():
            raise MMRecError(f"{checkout} is no checkout of MMRec: expected src/common/trainer.py in it")
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        command = [sys.executable, "-m", "experiments.speed.peer", str(checkout.resolve())]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def ask(self, do: str, **arguments: Any) -> Any:
        """Have something done, see `_Worker`; gives its answer.

        Raises:
            MMRecError: with the last line of what it said, if it failed.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise MMRecError(f"MMRec's process ended at '{do}'; its last words are above")
        answer = json.loads(line)
        if "error" in answer:
            raise MMRecError(f"MMRec failed at '{do}': {answer['error']}")
        return answer["value"]

    def __enter__(self) -> Peer:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(timeout=60)


def save_clicks(data: Path, folder: Path) -> str:
    """Baby's users, items and labels as the .npy [3, n] that `write` takes; gives its path."""
    clicks = np.loadtxt(data / "baby.inter", skiprows=1, dtype=np.int64, delimiter="\t").T
    np.save(folder / "clicks.npy", clicks)
    return str(folder / "clicks.npy")


class _Worker:
    """What the process can do; each method is a command and returns what JSON can hold."""

    def __init__(self, checkout: Path) -> None:
        self.started = time.perf_counter()
        _put_back()
        sys.path.insert(0, str(checkout / "src"))
        self.checkout = checkout

    def write(self, folder: str, inter: str, widths: dict[str, int], graph: str = "") -> None:
        """A dataset in MMRec's layout: clicks of an .npy [3, n], made-up features, maybe FREEDOM's graph."""
        import pandas
        import torch

        self.folder = Path(folder)
        place = self.folder / DATASET
        place.mkdir(parents=True, exist_ok=True)
        users, items, label = np.load(inter)
        frame = pandas.DataFrame({"userID": users, "itemID": items, "x_label": label})
        frame.to_csv(place / f"{DATASET}.inter", sep="\t", index=False)
        files = {"image": "image_feat.npy", "text": "text_feat.npy"}
        for name, file in files.items():
            (place / file).unlink(missing_ok=True)
            if name in widths:
                random = np.random.default_rng(0)
                np.save(
                    place / file, random.standard_normal((items.max() + 1, widths[name]), dtype=np.float32)
                )
        if graph:
            arrays = np.load(graph)
            index = torch.from_numpy(np.stack([arrays["row"], arrays["col"]]).astype(np.int64))
            shape = (int(items.max()) + 1,) * 2
            torch.save(
                torch.sparse_coo_tensor(index, torch.from_numpy(arrays["weight"]).float(), shape).coalesce(),
                place / "mm_adj_freedomdsp_10_1.pt",
            )

    def use(self, folder: str) -> None:
        """Take a dataset that another process wrote."""
        self.folder = Path(folder)

    def prepare(self, model: str, options: dict[str, Any]) -> None:
        """Dataset, loaders, model and trainer, as MMRec's own `quick_start` makes them."""
        os.chdir(self.checkout / "src")  # where it looks for its configs
        from utils.configurator import Config  # type: ignore[import-not-found]
        from utils.dataloader import EvalDataLoader, TrainDataLoader  # type: ignore[import-not-found]
        from utils.dataset import RecDataset  # type: ignore[import-not-found]
        from utils.utils import get_model, get_trainer, init_seed  # type: ignore[import-not-found]

        fixed = {
            "use_gpu": False,
            "gpu_id": 0,
            "data_path": f"{self.folder}/",
            "inter_file_name": f"{DATASET}.inter",
            "save_recommended_topk": False,
            "vision_feature_file": "image_feat.npy",
            "text_feature_file": "text_feat.npy",
            "USER_ID_FIELD": "userID",
            "ITEM_ID_FIELD": "itemID",
            "seed": 999,
        }
        config = Config(model, DATASET, fixed | options)
        init_seed(config["seed"])
        os.chdir(self.folder)
        train, valid, test = RecDataset(config).split()
        for part in (train, valid, test):
            str(part)  # which is where it counts its rows
        self.train = TrainDataLoader(config, train, batch_size=config["train_batch_size"], shuffle=True)
        self.held_out = [
            EvalDataLoader(config, part, additional_dataset=train, batch_size=config["eval_batch_size"])
            for part in (valid, test)
        ]
        self.train.pretrain_setup()
        self.model = get_model(model)(config, self.train).to(config["device"])
        self.trainer = get_trainer()(config, self.model, False)

    def epoch(self) -> float:
        """Seconds of one training epoch, with what it does before each."""
        started = time.perf_counter()
        self.model.train()
        self.model.pre_epoch_processing()
        self.trainer._train_epoch(self.train, 0)
        return time.perf_counter() - started

    def first_step(self) -> float:
        """Seconds from the process's start to the end of the first training step."""
        self.model.pre_epoch_processing()
        batch = next(iter(self.train))
        self.model.calculate_loss(batch).backward()
        self.trainer.optimizer.step()
        return time.time() - _process_start()

    def evaluate(self) -> float:
        """Seconds of full ranking of valid and of test."""
        started = time.perf_counter()
        for part in self.held_out:
            self.trainer.evaluate(part)
        return time.perf_counter() - started

    def fit(self) -> dict[str, Any]:
        """A whole training to the end of early stopping, test looked at as MMRec does."""
        started, processor = time.perf_counter(), time.process_time()
        _, valid, test = self.trainer.fit(self.train, self.held_out[0], self.held_out[1], verbose=False)
        seconds = {
            "seconds": time.perf_counter() - started,
            "processor_seconds": time.process_time() - processor,
        }
        return seconds | {"valid": valid, "test": test, "epochs": len(self.trainer.train_loss_dict)}

    def peak(self) -> int:
        """Bytes of memory at the highest so far."""
        return peak_bytes()


def _process_start() -> float:
    """When this process was started, in seconds since the epoch."""
    import psutil

    return float(psutil.Process().create_time())


def _put_back() -> None:
    """What MMRec (2022) uses and today's libraries no longer have; for this process only."""
    import random

    import scipy.sparse
    import torch

    for name in ("float", "int", "bool", "object"):
        if name not in np.__dict__:
            setattr(np, name, getattr(__builtins__, name, None) or __builtins__[name])  # type: ignore[index]
    scipy.sparse.dok_matrix._update = lambda self, data: _fill(self, data)
    sample = random.sample
    random.sample = lambda population, k, **more: sample(  # sets were allowed
        sorted(population) if isinstance(population, set) else population, k, **more
    )
    load = torch.load
    torch.load = lambda *args, **kwargs: load(*args, **{"weights_only": False} | kwargs)
    # Readers of photos, and plots, that its dataset and trainer import and do not use.
    for name in ("lmdb", "utils.data_utils", "matplotlib", "matplotlib.pyplot"):
        stand_in = types.ModuleType(name)
        stand_in.__dict__.update(
            dict.fromkeys(
                ("ImageResize", "ImagePad", "image_to_tensor", "load_decompress_img_from_lmdb_value")
            )
        )
        sys.modules.setdefault(name, stand_in)


def _fill(matrix: Any, data: dict[tuple[int, int], float]) -> None:
    for place, value in data.items():
        matrix[place] = value


def main(argv: list[str]) -> int:
    """Answer commands until there are none."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what MMRec prints is no answer
    worker = _Worker(Path(argv[0]))
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = {"value": getattr(worker, command.pop("do"))(**command)}
        except Exception as error:  # whatever goes wrong in there, the other side is to hear of it
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    return 0


if __name__ == "__main__":
    with tempfile.TemporaryDirectory():
        sys.exit(main(sys.argv[1:]))
