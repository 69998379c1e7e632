"""One run of the ledger, in a process of its own so that its peak memory is its own: CONFIG SEED.

The last line on stdout is the row as JSON.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
from pathlib import Path

from experiments.ledger.rows import settings_of
from experiments.seeds import one_run


def main(argv: list[str]) -> int:
    """Run and print the row of the config's own model."""
    config, seed = argv
    with tempfile.TemporaryDirectory() as folder:
        row = one_run(config, int(seed), ["--run_dir", str(Path(folder, "run")), "--compare", "[]"])[0]
    row |= {"options": "", "settings": settings_of(config)}
    row["peak_mib"] = f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}"
    print(json.dumps(row))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
