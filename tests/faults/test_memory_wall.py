"""A limit of memory is a wall: the process never has more, whatever was estimated."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from kintsugi import data_path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the wall is one of Linux")

ALLOCATE = """
import torch
from kintsugi.memory import OutOfMemory, in_use, room, wall

cpu = torch.device("cpu")
def take(mebibytes):
    return torch.zeros(mebibytes << 18).add_(1)

with wall(None, cpu):
    take(300)
with wall(in_use(cpu) + (232 << 20), cpu):
    assert 150 << 20 < room(cpu, 1 << 40) <= 200 << 20, room(cpu, 1 << 40)
    take(100)
    try:
        with wall(in_use(cpu) + (132 << 20), cpu):
            try:
                take(150)
            except RuntimeError as error:
                raise ValueError("a damaged file") from error
    except OutOfMemory as error:
        print(error)
    take(100)
take(300)
"""

RESTORE = """
import sys
from pathlib import Path
from kintsugi.cli import main

source, out, *limit = sys.argv[1:]
sys.argv = ["kintsugi", "restore", source, "-o", out, "-t", "denoise", "--noise", "0.1", "--steps", "1",
            "--samples", "2", "--device", "cpu", *limit]
try:
    main()
finally:
    lines = Path("/proc/self/status").read_text().splitlines()
    print("peak", next(line.split()[1] for line in lines if line.startswith("VmHWM")))
"""


def test_allocations_beyond_it_fail_and_it_is_gone_after_the_block() -> None:
    result = subprocess.run([sys.executable, "-c", ALLOCATE], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert re.fullmatch(r"memory ran out within max_memory, \d+ MiB\n", result.stdout)


def test_restore_keeps_the_limit_or_refuses(tmp_path: Path) -> None:
    """With less and less memory: the same picture, until it ends with one line."""
    with Image.open(data_path("parrots.png")) as file:
        file.convert("RGB").resize((900, 600)).save(tmp_path / "photo.png")

    def restore(*limit: str) -> tuple[int, float, str]:
        command = [sys.executable, "-c", RESTORE, str(tmp_path / "photo.png"), str(tmp_path / "out.png"), *limit]
        result = subprocess.run(command, capture_output=True, text=True, timeout=300)
        peak = re.search(r"peak (\d+)", result.stdout)
        assert peak is not None, result.stderr
        return result.returncode, int(peak[1]) / 1024, result.stderr

    code, whole, _ = restore()
    assert code == 0
    pixels = (tmp_path / "out.png").read_bytes()
    codes = []
    for below in (-200, 250):
        (tmp_path / "out.png").unlink(missing_ok=True)
        limit = whole - below
        code, peak, told = restore("--max-memory", f"{limit:.0f}MiB")
        assert peak <= limit, (below, told)
        assert code in (0, 2), told
        if code == 0:
            assert (tmp_path / "out.png").read_bytes() == pixels
        else:
            assert re.fullmatch(r"error: (memory ran out|max_memory: expected) .*\n", told.splitlines(True)[-1])
            assert not (tmp_path / "out.png").exists()
        codes.append(code)
    assert codes[0] == 0
    assert codes[-1] == 2
