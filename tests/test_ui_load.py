"""``benchmarks/load.py`` with a few clients: turns, refusals, stops, and nothing of anybody else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="needs the extra [ui]")
pytest.importorskip("httpx", reason="needs the extra [test]")

FILE = Path(__file__).parent.parent / "benchmarks" / "load.py"


def test_a_few_clients_at_once(tmp_path: Path) -> None:
    # In a process of its own: gradio leaves an event loop open, which would be a warning here.
    words = [sys.executable, str(FILE), "--clients", "6", "--pictures", "2", "--queue", "2", "--out", tmp_path / "out"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "out").read_text())
    assert found["broken"] == []
    assert found["done"] == 10  # five clients wait for both of theirs, the other stops them
    assert found["refused"].get("503", 0) > 0  # the queue of two was full at times
    assert found["tries_at_others"] > 0
    assert found["at_a_time"] == 1
