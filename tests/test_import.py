"""Importing the package is quick, and pulls in nothing that only some of its users have."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import kintsugi

# Needed by the command line, by training, by deep pictures or by benchmarks; never by `import kintsugi`.
OPTIONAL = {
    "accelerate", "diffusers", "huggingface_hub", "imagecodecs", "matplotlib", "pandas", "pywt", "rich", "skimage",
    "tifffile", "torchmetrics", "typer", "xdist",
}  # fmt: skip

SCRIPT = """
import json, sys, time
import torch
before, began = set(sys.modules), time.process_time()
import kintsugi
took = time.process_time() - began
print(json.dumps([took, sorted({name.partition(".")[0] for name in set(sys.modules) - before})]))
"""


@pytest.fixture(scope="module")
def imported() -> tuple[float, set[str]]:
    """Processor seconds of `import kintsugi` beyond torch's, and the packages it brought in, in a fresh process."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    took, modules = json.loads(done.stdout)
    return took, set(modules)


def test_import_brings_in_no_optional_package(imported: tuple[float, set[str]]) -> None:
    _, modules = imported
    assert "kintsugi" in modules
    assert not modules & OPTIONAL


def test_import_takes_less_than_a_second_beyond_torch(imported: tuple[float, set[str]]) -> None:
    took, _ = imported
    assert took < 1.0


def test_everything_promised_is_there() -> None:
    assert kintsugi.__all__ == sorted(kintsugi.__all__)
    for name in kintsugi.__all__:
        assert getattr(kintsugi, name) is not None
