"""Memory does not grow with the number of pictures of a folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kintsugi.priors.network import NetworkPrior, save_model
from kintsugi.priors.unet import UNet, UNetConfig

sys.path.insert(0, str(Path(__file__).parents[1]))
from conftest import draw_picture

RUN = """
import sys
from pathlib import Path
from kintsugi.cli import main

model, *folders = sys.argv[1:]
for folder in folders:
    sys.argv = ["kintsugi", "restore", folder, "-o", folder + "-out", "-t", "denoise", "--noise", "0.1",
                "--prior", model, "--steps", "1", "--device", "cpu"]
    try:
        main()
    except SystemExit as end:
        assert not end.code, end.code
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    print("resident", pages * 4096, flush=True)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")
def test_memory_is_flat_over_the_pictures_of_a_folder(tmp_path: Path) -> None:
    """After 60 pictures more, at most 8 MiB above what the first 15 left: one picture kept would be 0.1 MiB, all 7."""
    torch.manual_seed(0)
    model = tmp_path / "model.safetensors"
    save_model(NetworkPrior(UNet(UNetConfig(widths=(4, 8), blocks=(1, 1), embedding=8))), model)
    for name, count in (("first", 15), ("second", 60), ("third", 60)):
        (tmp_path / name).mkdir()
        for seed in range(count):
            draw_picture((120, 96), seed).save(tmp_path / name / f"{seed}.png")
    folders = [str(tmp_path / name) for name in ("first", "second", "third")]
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(model), *folders], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    resident = [int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("resident")]
    assert len(resident) == 3
    assert len(list((tmp_path / "third-out").glob("*.png"))) == 60
    assert resident[2] - resident[1] < 4 * 2**20, resident
    assert resident[2] - resident[0] < 8 * 2**20, resident
