"""How much of the bare encoder's speed is left when photos are read, decoded and stored.

`python experiments/extraction/run.py [--photos 256] [--model ViT-B-32] [--device auto]`. Photos are made up
(JPEG, 500 x 500); weights are random, which takes as long as trained ones. By turns: the image tower alone on
tensors in memory, in the same batches, and the whole of `features.extract`.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image

from features.errors import MMRecError
from features.extract import extract
from features.files import atomic_file
from features.items import read_items
from features.open_clip import OpenClipImage, build_open_clip

FOLDER = Path(__file__).parent


def main(argv: list[str]) -> int:
    """Measure, print, write throughput.csv."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=int, default=256)
    parser.add_argument("--model", default="ViT-B-32")
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16", "fp16"])
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        items = _photos(place, chosen.photos)
        options = _random_weights(place, chosen.model)
        encoder = OpenClipImage(
            **options, batch_size=chosen.batch_size, device=chosen.device, precision=chosen.precision
        )
        tensors = [
            encoder.prepare(Image.open(path))
            for path in sorted((place / "photos").iterdir())[: chosen.batch_size]
        ]
        encoder.encode(tensors)  # loads and warms up
        bare, whole = [], []
        for turn in range(chosen.repeats):
            started = time.perf_counter()
            for start in range(0, chosen.photos, chosen.batch_size):
                encoder.encode(tensors[: min(chosen.batch_size, chosen.photos - start)])
            bare.append(chosen.photos / (time.perf_counter() - started))
            table = read_items(items, image_column="photo")
            started = time.perf_counter()
            extract(table, [encoder], place / f"out-{turn}")
            whole.append(chosen.photos / (time.perf_counter() - started))
    row = {
        "model": chosen.model,
        "photos": chosen.photos,
        "bare_items_per_s": f"{median(bare):.2f}",
        "extract_items_per_s": f"{median(whole):.2f}",
        "share": f"{median(whole) / median(bare):.3f}",
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
    }
    print(row)
    with (
        atomic_file(FOLDER / "throughput.csv") as path,
        path.open("w", newline="", encoding="utf-8") as stream,
    ):
        writer = csv.DictWriter(stream, list(row))
        writer.writeheader()
        writer.writerow(row)
    return 0


def _photos(folder: Path, count: int) -> Path:
    """A table of items with a photo each."""
    (folder / "photos").mkdir()
    draw = np.random.default_rng(0)
    for number in range(count):
        coarse = draw.integers(0, 255, (10, 10, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((500, 500), Image.Resampling.BICUBIC)
        noise = draw.integers(0, 24, (500, 500, 3), dtype=np.uint8)
        Image.fromarray(np.asarray(image) // 2 + noise).save(
            folder / "photos" / f"{number:06}.jpg", quality=88
        )
    rows = [f"{number},photos/{number:06}.jpg" for number in range(count)]
    (folder / "items.csv").write_text("\n".join(["item_id,photo", *rows]), encoding="utf-8")
    return folder / "items.csv"


def _random_weights(folder: Path, model: str) -> dict[str, str]:
    """A checkpoint of this architecture that needs no download."""
    from safetensors.torch import save_file

    from features.open_clip_weights import import_open_clip

    config = import_open_clip().get_model_config(model)
    if config is None:
        raise MMRecError(f"open_clip has no model '{model}'")
    (folder / "model.json").write_text(json.dumps(config), encoding="utf-8")
    network = build_open_clip(str(folder / "model.json"), None, device="cpu").model
    save_file(
        {name: value.contiguous() for name, value in network.state_dict().items()},
        folder / "weights.safetensors",
    )
    return {"model": str(folder / "model.json"), "pretrained": str(folder / "weights.safetensors")}


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except MMRecError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
