"""The code of docs/compare.md runs as it is written, with small models in place of published ones."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import kintsugi
from kintsugi.operators import BlockAverage, Blur, Mask
from kintsugi.paths import FlowMatching
from test_bench_deepinv import deepinv  # noqa: F401  (a fixture)

PAGE = Path(__file__).parents[1] / "docs" / "compare.md"
pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="docs/ is not part of a source distribution")


def block(name: str) -> str:
    """The Python of the page after ``<!-- runs: NAME -->``."""
    found = re.search(rf"<!-- runs: {name} -->\n```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


def run(name: str, **given: Any) -> dict[str, Any]:
    exec(compile(block(name), str(PAGE), "exec"), given)
    return given


def test_every_block_is_run() -> None:
    text = PAGE.read_text()
    assert text.count("```python") == text.count("<!-- runs: ") == 4


def test_a_physics_of_deepinv(deepinv: Any) -> None:  # noqa: F811
    """What it restores from is our own operator's measurement of the same picture, in our range."""
    torch.manual_seed(0)
    made = run("deepinv")
    picture = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    own = Blur((3, 32, 32), torch.ones(3, 3) / 9, "circular")
    y = 2 * made["physics"].A(picture) - made["white"]
    torch.testing.assert_close(y, own(2 * picture - 1), atol=1e-5, rtol=0)
    torch.testing.assert_close(made["operator"](picture), own(picture), atol=1e-5, rtol=0)
    restored = made["restored"]
    assert restored.shape == (1, 3, 32, 32)
    # In [0, 1], and with the measurement: its own, but for the noise and what the blur lost.
    assert (made["physics"].A(restored) - made["y"]).square().mean().sqrt() < 0.02
    assert made["problem"].noise == 0.02


def test_a_denoiser_of_deepinv() -> None:
    """A shrinking denoiser about mid-grey in [0, 1]: the prior denoises in [-1, 1] as it does."""

    def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
        return 0.5 + (x - 0.5) / (1 + sigma.view(-1, 1, 1, 1))

    operator = Mask(torch.rand(16, 16, generator=torch.Generator().manual_seed(0)) < 0.5, (3, 16, 16))
    problem = kintsugi.Problem.simulate(torch.zeros(1, 3, 16, 16), operator, noise=0.02)
    made = run("a denoiser", denoiser=denoiser, problem=problem)
    z = torch.full((1, 3, 4, 4), 0.6)
    torch.testing.assert_close(made["prior"].denoise(z, torch.tensor([0.4])), z / 1.2)
    assert ((operator(made["restored"][:, 0]) - problem.y).abs() < 0.15).all()


def test_a_pipeline_of_diffusers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    network = diffusers.UNet2DModel(
        sample_size=16, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    diffusers.DDPMPipeline(network, diffusers.DDPMScheduler(clip_sample=False)).save_pretrained(tmp_path / "ddpm")
    load, asked = kintsugi.load_prior, []

    def here(name: str) -> Any:
        asked.append(name)
        return load(tmp_path / "ddpm")

    monkeypatch.setattr(kintsugi, "load_prior", here)
    monkeypatch.setattr("kintsugi.operators.Bicubic", lambda shape, factor: BlockAverage((3, 16, 16), factor))
    made = run("a pipeline", small=torch.zeros(3, 4, 4))
    assert asked == ["google/ddpm-celebahq-256"]
    assert made["restored"].shape == (1, 1, 3, 16, 16)


def test_a_denoiser_of_azula() -> None:
    """The same convention of paths: the mean of x given ``x_t = (1 - t) x + t z`` for x of variance 1/4."""

    def denoiser(x: Tensor, t: Tensor) -> Any:
        t = t.view(-1, 1, 1, 1)
        return SimpleNamespace(mean=x * 0.25 * (1 - t) / (0.25 * (1 - t) ** 2 + t**2))

    made = run("azula", denoiser=denoiser)
    z, eta = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)), torch.tensor([0.7])
    torch.testing.assert_close(made["prior"].denoise(z, eta), z * 0.25 / (0.25 + 0.7**2), atol=1e-5, rtol=1e-5)
    assert isinstance(made["path"], FlowMatching)


def test_words_are_there() -> None:
    """What the table of words calls ours is in the library."""
    table = PAGE.read_text().split("## Words")[1]
    for name in ("Mask", "Blur", "Bicubic", "MRI", "ParallelBeamCT"):
        assert f"`{name}`" in table
        assert hasattr(importlib.import_module("kintsugi.operators"), name)
    assert {"ddrm", "diffpir", "dps"} <= set(kintsugi.available_samplers())
    assert "kintsugi.guidance" in sys.modules
