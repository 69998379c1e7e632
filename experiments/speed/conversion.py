"""Converting 10 million made-up clicks between layouts: seconds and peak memory, each in its own process.

`python -m experiments.speed.conversion [--clicks 10000000]`
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from experiments.speed.measure import FOLDER, header, output_of, peak_bytes, write_csv
from experiments.speed.propagation import long_tailed
from mmrec.data.convert import convert

STEPS = (("own", "recbole"), ("recbole", "own"), ("own", "elliot"), ("own", "mmrec"))


def main(argv: list[str]) -> int:
    """Measure, print, write conversion.csv."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clicks", type=int, default=10_000_000)
    parser.add_argument("--one", nargs=3, help="source, target and layout of one conversion in this process")
    chosen = parser.parse_args(argv)
    if chosen.one:
        started = time.perf_counter()
        convert(chosen.one[0], chosen.one[1], target_format=chosen.one[2])
        print(f"{time.perf_counter() - started:.1f} {peak_bytes() / 2**20:.0f}")
        return 0
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        _write(chosen.clicks, Path(folder, "own"))
        for source, target in STEPS:
            place = "own" if source == "own" else "recbole"
            words = ["-m", "experiments.speed.conversion", "--one", str(Path(folder, place))]
            words += [str(Path(folder, target if target != "own" else "again")), target]
            seconds, mib = output_of(words, int(header()["threads"])).split()
            rows.append({"from": source, "to": target, "clicks": chosen.clicks, "seconds": seconds})
            rows[-1]["peak_mib"] = mib
            print(rows[-1], flush=True)
    write_csv(FOLDER / "conversion.csv", rows)
    return 0


def _write(clicks: int, folder: Path) -> None:
    """A table with ids as of Amazon, ratings, times and labels."""
    import polars as pl

    folder.mkdir()
    user, item = long_tailed(clicks // 20, clicks // 100, clicks)
    frame = pl.DataFrame({"user": user.numpy(), "item": item.numpy()}).lazy()
    frame.select(
        pl.format("A{}", pl.col("user").cast(pl.String).str.zfill(13)).alias("user"),
        pl.format("B{}", pl.col("item").cast(pl.String).str.zfill(9)).alias("item"),
        rating=(pl.col("user") % 5 + 1).cast(pl.Float64),
        time=(pl.col("item") * 1000 + 1_400_000_000).cast(pl.Float64),
        label=(pl.col("user") * 7 + pl.col("item"))
        .mod(10)
        .replace_strict({8: 1, 9: 2}, default=0)
        .cast(pl.Int8),
    ).sink_csv(folder / "clicks.csv")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
