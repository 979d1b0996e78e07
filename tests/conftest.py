"""What the tests share."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from PIL import Image

from kintsugi.priors.network import NetworkPrior, save_model
from kintsugi.priors.unet import UNet, UNetConfig

# A busy machine makes any deadline fail sooner or later; CI must find the same examples every time.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("default"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")

if "PYTEST_XDIST_WORKER" in os.environ:  # the cores are taken by the other workers
    torch.set_num_threads(1)


def draw_picture(size: tuple[int, int], seed: int) -> Image.Image:
    """A picture of ``size`` (width, height) with smooth colours, edges and a little grain: something to learn."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    phases, slopes = rng.uniform(0, 6.28, 3), rng.uniform(2, 9, (3, 2))
    waves = [128 + 90 * np.sin(phases[c] + slopes[c, 0] * x + slopes[c, 1] * y) for c in range(3)]
    pixels = np.stack(waves, axis=-1)
    pixels[(x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.08] = rng.uniform(0, 255, 3)
    pixels += rng.normal(0, 2, pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a network that is small and untrained, the same each time."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(NetworkPrior(UNet(UNetConfig(widths=(8, 8), blocks=(1, 1), embedding=16))), path)
    return path


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of eight small pictures of several sizes, one of them in a subfolder."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "more").mkdir()
    for seed in range(8):
        name = f"more/p{seed}.png" if seed == 7 else f"p{seed}.png"
        draw_picture((40 + 4 * seed, 36 + 3 * seed), seed).save(folder / name)
    return folder


@pytest.fixture(scope="session")
def sound_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of sounds, at 8 kHz."""
    torch.manual_seed(0)
    net = UNet(UNetConfig(channels=1, widths=(8,), blocks=(1,), embedding=8, frame=32))
    path = tmp_path_factory.mktemp("model") / "tiny-sound.safetensors"
    save_model(NetworkPrior(net, data_variance=0.036, card={"training": {"rate": 8000}}), path)
    return path
