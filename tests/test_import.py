"""Importing the package is quick, and pulls in nothing that only some of its users have."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import kintsugi

# Needed by the command line, by training, by deep pictures or by benchmarks; never to restore something in Python.
OPTIONAL = {
    "accelerate", "diffusers", "huggingface_hub", "imagecodecs", "matplotlib", "pandas", "pywt", "rich", "skimage",
    "tifffile", "torchmetrics", "typer",
}  # fmt: skip

# Everything that is imported on first use is used: what a script pays sooner or later.
SCRIPT = """
import json, sys, time
import torch
before, began = set(sys.modules), time.process_time()
import kintsugi
for name in kintsugi.__all__:
    getattr(kintsugi, name)
took = time.process_time() - began
print(json.dumps([took, sorted(set(sys.modules) - before)]))
"""


def python(script: str) -> str:
    """What a fresh process prints."""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def imported() -> tuple[float, set[str]]:
    """Processor seconds of importing all of kintsugi's names beyond torch, and the modules that this brought in."""
    took, modules = json.loads(python(SCRIPT))
    return took, set(modules)


def test_import_brings_in_no_optional_package(imported: tuple[float, set[str]]) -> None:
    _, modules = imported
    assert {"kintsugi", "kintsugi.driver", "kintsugi.priors.network", "kintsugi.samplers"} <= modules
    assert not {name.partition(".")[0] for name in modules} & OPTIONAL


def test_import_takes_less_than_a_second_beyond_torch(imported: tuple[float, set[str]]) -> None:
    took, _ = imported
    assert took < 1.0


def test_the_command_line_can_say_its_version_without_torch() -> None:
    """``kintsugi --help`` must not wait for torch."""
    script = "import sys, kintsugi, kintsugi.cli; assert kintsugi.__version__; print('torch' in sys.modules)"
    assert python(script).strip() == "False"


def test_everything_promised_is_there() -> None:
    assert set(kintsugi.__all__) <= set(dir(kintsugi))
    for name in kintsugi.__all__:
        assert getattr(kintsugi, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'restoer'"):
        kintsugi.restoer  # noqa: B018
