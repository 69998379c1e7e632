"""Extraction killed by SIGKILL again and again: only the batch under way is lost, the store is the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

ITEMS, BATCH, KILLS = 90, 4, 25

# One process that forks: 25 starts of Python would take half a minute. The child extracts, its parent kills.
CODE = """
import json, os, random, signal, sys, time
from pathlib import Path
import numpy as np
from features.base import Encoder
from features.extract import extract
from features.items import read_items
import features.files

folder, items, batch, kills = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])

class Slow(Encoder):
    modality, dim, batch_size = "image", 5, batch
    def fingerprint(self):
        return {"encoder": "Slow"}
    def encode(self, inputs):
        time.sleep(0.004)
        rows = np.array([np.asarray(image).mean(axis=(0, 1)) for image in inputs], dtype=np.float32)
        # numbers that depend on the batch, as those of a real model do in their last bits
        more = np.full((len(rows), 2), [rows.sum(), len(rows)], dtype=np.float32)
        rows = np.concatenate([rows, more], axis=1)
        with open(folder / "batches", "a") as log:
            log.write(json.dumps(sorted(rows[:, 0].tolist())) + "\\n")
        return rows

def once(out):
    sys.stdout = open(os.devnull, "w")
    extract(read_items(items, image_column="photo"), [Slow()], out, workers=2)

random.seed(0)
killed = 0
while killed < kills:
    child = os.fork()
    if child == 0:
        try:
            once(folder / "out")
        finally:
            os._exit(0)
    time.sleep(random.uniform(0.005, 0.05))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    killed += 1
    if (folder / "out" / "image" / "manifest.json").exists():  # done before: kill it while it is changed
        for name in ("manifest.json", "inputs.npy", "matrix.npy", "item_ids.npy", "present.npy"):
            (folder / "out" / "image" / name).unlink()
        (folder / "out" / "image").rmdir()
        open(folder / "batches", "a").write("done\\n")
once(folder / "out")
"""


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_killed_at_random_points_it_ends_with_the_same_store(tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    shop.mkdir()
    for item in range(ITEMS):
        Image.new("RGB", (40, 40), (item * 2, 255 - item, 7)).save(shop / f"{item}.png")
    (shop / "3.png").write_bytes(b"broken")
    rows = [f"i{item},{item}.png" for item in range(ITEMS)]
    (shop / "items.csv").write_text("\n".join(["item_id,photo", *rows]), encoding="utf-8")

    def run(name: str, kills: int) -> list[str]:
        folder = tmp_path / name
        folder.mkdir()
        words = [sys.executable, "-c", CODE, str(folder), str(shop / "items.csv"), str(BATCH), str(kills)]
        subprocess.run(words, check=True, timeout=120)
        return (folder / "batches").read_text(encoding="utf-8").splitlines()

    whole, killed = run("whole", 0), run("killed", KILLS)
    assert len(whole) == -(-ITEMS // BATCH)
    assert files(tmp_path / "killed" / "out") == files(tmp_path / "whole" / "out")
    # Between two complete stores every batch is encoded once, and one more at most for each kill.
    again = len(killed) - killed.count("done") - (killed.count("done") + 1) * len(whole)
    assert again + KILLS > 0
    assert again <= KILLS
    assert set(killed) - {"done"} == set(whole), "batches are cut as without a kill"
    store = json.loads((tmp_path / "killed" / "out" / "image" / "manifest.json").read_text(encoding="utf-8"))
    assert (store["present"], len(store["broken"])) == (ITEMS - 1, 1)
    assert np.load(tmp_path / "killed" / "out" / "image" / "matrix.npy").shape == (ITEMS, 5)
