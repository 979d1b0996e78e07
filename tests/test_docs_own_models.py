"""docs/own-models.md and the README: what they call is there, with these names and options."""

from __future__ import annotations

import ast
import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest

from kintsugi.priors import KNOWN, ModelPrior, denoiser_prior, load_prior, velocity_prior
from kintsugi.priors.loading import FAMILIES
from kintsugi.priors.onnx import from_onnx

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "own-models.md"


def keywords(function: object) -> set[str]:
    return set(inspect.signature(function).parameters)  # type: ignore[arg-type]


def calls(text: str) -> list[ast.Call]:
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    return [node for block in blocks for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Call)]


@pytest.fixture(scope="module")
def text() -> str:
    if not PAGE.exists():
        pytest.skip("docs/ is not part of a source distribution")
    return PAGE.read_text()


def test_calls_have_options_that_exist(text: str) -> None:
    pytest.importorskip("diffusers")
    modules = [import_module(f"kintsugi.priors.{name}") for name in (*FAMILIES, "diffusers", "stable")]
    loaders = [getattr(m, "load", None) or m.from_pipeline for m in modules]
    known = {
        "load_prior": keywords(load_prior).union(*map(keywords, loaders), keywords(from_onnx)),
        "velocity_prior": keywords(velocity_prior),
        "denoiser_prior": keywords(denoiser_prior),
        "ModelPrior": keywords(ModelPrior),
        "with_condition": keywords(ModelPrior.with_condition),
    }
    seen = set()
    for call in calls(text):
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        if name in known:
            seen.add(name)
            assert {k.arg for k in call.keywords} <= known[name], ast.unparse(call)
    assert seen == set(known)


def test_short_names_are_in_the_table(text: str) -> None:
    firsts = [c.args[0].value for c in calls(text) if c.args and isinstance(c.args[0], ast.Constant)]
    short = {str(name).split(":")[0] for name in firsts if "/" not in str(name) and "." not in str(name).split(":")[0]}
    short |= {"sd-1.5"}  # the only one with a point
    readme = (ROOT / "README.md").read_text()
    short |= {name.split(":")[0] for name in re.findall(r"--prior (\S+)", readme) if "/" not in name}
    assert len(short) > 5
    assert short <= set(KNOWN)
