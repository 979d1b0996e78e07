"""``benchmarks/load.py`` with a few clients: turns, refusals, stops, and nothing of anybody else."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="needs the extra [ui]")
pytest.importorskip("httpx", reason="needs the extra [test]")

FILE = Path(__file__).parent.parent / "benchmarks" / "load.py"


def test_a_few_clients_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("benchmark_of_load", FILE)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "benchmark_of_load", script)
    spec.loader.exec_module(script)
    found = script.run(clients=6, pictures=2, seconds=0.02, queue=2)
    assert found["broken"] == []
    assert found["done"] == 10  # five clients wait for both of theirs, the other stops them
    assert found["refused"].get("503", 0) > 0  # the queue of two was full at times
    assert found["tries_at_others"] > 0
    assert found["at_a_time"] == 1
