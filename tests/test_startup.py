"""What a CPU run has imported by the end of training: each of these would cost a user a second or two."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.cases.shop import make_shop

ROOT = Path(__file__).resolve().parents[1]
UNWANTED = {
    *("lightning_fabric", "sympy", "torch._dynamo", "torch._inductor", "torch.distributed.fsdp"),
    *("faiss", "matplotlib", "open_clip", "pandas", "scipy", "sklearn", "torch_geometric", "torchvision"),
}
RUN = """
root: shop
data: {interactions: clicks.csv, split: labels}
model: LightGCN
train: {epochs: 2, device: cpu}
"""


def test_a_run_on_clicks_imports_nothing_heavy(tmp_path: Path) -> None:
    make_shop(tmp_path / "shop")
    (tmp_path / "run.yaml").write_text(RUN, encoding="utf-8")
    code = (
        "import sys\nfrom mmrec.run import main\nstatus = main(['--config', 'run.yaml'])\n"
        "print('\\nimported', *sys.modules)\nsys.exit(status)"
    )
    # This checkout's, whichever one the environment has installed.
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    imported = set(done.stdout.splitlines()[-1].split())
    assert "torch" in imported
    assert not UNWANTED & imported
