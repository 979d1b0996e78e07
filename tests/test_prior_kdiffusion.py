"""k-diffusion's files, and a package in its place: its own needs torchvision, which is not everywhere.

The stand-in has the three functions of ``k_diffusion.config`` that are called, with the meaning of version 0.1.1,
and the formula of its ``layers.Denoiser``.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import kintsugi
from kintsugi.errors import InvalidArgument, MissingPackage
from kintsugi.priors import ModelPrior

CONFIG = {
    "model": {"type": "image_v1", "input_channels": 3, "input_size": [8, 6], "sigma_max": 60.0, "sigma_data": 0.6},
    "dataset": {"num_classes": 4},
}


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 3, 1)
        self.labels = nn.Embedding(5, 3)

    def forward(self, x: Tensor, sigma: Tensor, class_cond: Tensor) -> Tensor:
        return self.mix(x) / (1 + sigma.view(-1, 1, 1, 1)) + self.labels(class_cond)[..., None, None]


class Denoiser(nn.Module):
    def __init__(self, inner_model: nn.Module, sigma_data: float) -> None:
        super().__init__()
        self.inner_model, self.sigma_data = inner_model, sigma_data

    def forward(self, input: Tensor, sigma: Tensor, **kwargs: Tensor) -> Tensor:
        s, d = sigma.view(-1, 1, 1, 1), self.sigma_data
        root = (s**2 + d**2) ** 0.5
        return self.inner_model(input / root, sigma, **kwargs) * s * d / root + input * d**2 / root**2


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> None:
    config: Any = ModuleType("k_diffusion.config")
    config.load_config = lambda given: json.loads(json.dumps(given))
    config.make_model = lambda config: Inner()
    config.make_denoiser_wrapper = lambda config: partial(Denoiser, sigma_data=config["model"]["sigma_data"])
    stand_in: Any = ModuleType("k_diffusion")
    stand_in.config = config
    monkeypatch.setitem(sys.modules, "k_diffusion", stand_in)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "model.safetensors"
    save_file(Inner().state_dict(), path, metadata={"config": json.dumps(CONFIG)})
    return path


@pytest.mark.usefixtures("package")
def test_a_file_of_k_diffusion(file: Path) -> None:
    prior = kintsugi.load_prior(file)
    assert isinstance(prior, ModelPrior)
    torch.manual_seed(0)
    net = Denoiser(Inner(), 0.6)
    z, eta = torch.randn(2, 3, 8, 6), torch.tensor([0.4, 5.0])
    for label, given in ((4, prior), (2, prior.with_condition(label=2))):
        torch.testing.assert_close(given.denoise(z, eta), net(z, eta, class_cond=torch.tensor([label, label])))
    assert prior.shape == (3, 8, 6)
    assert prior.path.eta_max == 60
    assert prior.data_variance == pytest.approx(0.36)
    with pytest.raises(InvalidArgument, match="size"):
        kintsugi.load_prior(file, size=8)


@pytest.mark.usefixtures("package")
def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(1)}, path, metadata={"config": json.dumps(CONFIG)})
    with pytest.raises(InvalidArgument, match="checkpoint"):
        kintsugi.load_prior(path)


def test_without_the_package(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "k_diffusion", None)
    with pytest.raises(MissingPackage, match=r"k_diffusion: pip install .*\[kdiffusion\]"):
        kintsugi.load_prior(file)
