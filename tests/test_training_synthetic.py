"""Crops that are drawn, crops that are enlarged, and networks that grow."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kintsugi.errors import InvalidArgument
from kintsugi.priors.unet import UNet, UNetConfig
from kintsugi.training.config import TrainConfig
from kintsugi.training.data import Crops
from kintsugi.training.loop import begin_with
from kintsugi.training.synthetic import synthetic_picture

NET = UNetConfig(widths=(8, 16), blocks=(1, 1), embedding=8)
CONFIG = TrainConfig(steps=50, batch=4, crop=32, net=NET)


def test_a_drawn_picture_depends_on_its_generator_alone() -> None:
    first, again, other = (synthetic_picture(48, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert first.shape == (3, 48, 48)
    assert first.dtype == torch.float32
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_drawn_pictures_are_in_range_and_finer_than_8_bits() -> None:
    pictures = torch.stack([synthetic_picture(32, np.random.default_rng((1, i))) for i in range(60)])
    assert pictures.abs().max() <= 1
    levels = (pictures + 1) * 127.5
    assert ((levels - levels.round()).abs() > 1e-3).float().mean() > 0.2
    # Dark and light ones, flat and busy ones.
    assert pictures.mean((1, 2, 3)).std() > 0.2
    spreads = pictures.std((2, 3)).mean(1)
    assert spreads.min() < 0.05
    assert spreads.max() > 0.3


def test_leaves_have_the_heavy_tailed_gradients_of_natural_pictures() -> None:
    """Kurtosis of neighbouring differences: 3 of a Gaussian texture, far above it of edges between flat regions."""
    d = torch.stack([synthetic_picture(64, np.random.default_rng((2, i))) for i in range(40)]).diff(dim=3)
    assert float((d**4).mean() / (d**2).mean() ** 2) > 10


def test_a_grey_picture_has_three_equal_channels() -> None:
    picture = synthetic_picture(32, np.random.default_rng(0), grey=True)
    torch.testing.assert_close(picture[0], picture[1], rtol=0, atol=0)
    torch.testing.assert_close(picture[0], picture[2], rtol=0, atol=0)


@pytest.fixture(scope="module")
def black(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("black")
    Image.new("RGB", (64, 64)).save(folder / "a.png")
    return [folder / "a.png"]


def test_the_share_of_drawn_crops_is_the_one_that_was_asked_for(black: list[Path]) -> None:
    crops = Crops(black, replace(CONFIG, synthetic=0.25))
    drawn = sum(bool((crops[i] > -1).any()) for i in range(200))
    assert 35 <= drawn <= 66  # 50 expected, 2.5 standard deviations
    assert not any(bool((Crops(black, CONFIG)[i] > -1).any()) for i in range(50))


def test_arrays_are_never_drawn(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.full((3, 64, 64), -1, np.float32))
    crops = Crops([tmp_path / "a.npy"], replace(CONFIG, synthetic=1.0))
    assert bool((crops[0] == -1).all())


def test_crops_are_enlarged_up_to_the_largest_scale(tmp_path: Path) -> None:
    """Stripes of period 4: of a crop enlarged k times the period is 4 k, and none is reduced."""
    x = np.arange(256)
    stripes = np.tile((127.5 * (1 + np.cos(2 * np.pi * x / 4))).astype(np.uint8)[None, :, None], (256, 1, 3))
    Image.fromarray(stripes).save(tmp_path / "a.png")
    config = replace(CONFIG, min_scale=1.0, max_scale=2.0, orientations="one", grey_share=0.0)
    crops = Crops([tmp_path / "a.png"], config)
    peaks = [int(torch.fft.rfft(crops[i][0, 16]).abs()[1:].argmax()) + 1 for i in range(60)]
    assert set(peaks) <= set(range(4, 9))  # 32 / period
    assert peaks.count(8) >= 15  # as they are
    assert min(peaks) <= 5


def test_a_network_grows_from_a_shallower_one_and_computes_the_same_at_first() -> None:
    torch.manual_seed(0)
    small, deep = UNet(NET), UNet(replace(NET, blocks=(2, 3)))
    torch.nn.init.normal_(small.head.weight, std=0.1)
    begin_with(deep, small, deep.config)
    x, c = torch.randn(2, 3, 16, 16), torch.zeros(2)
    expected = small(x, c).detach()
    assert float(expected.std()) > 1e-3
    torch.testing.assert_close(deep(x, c).detach(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("other", [replace(NET, blocks=(2, 1)), replace(NET, widths=(8, 8)), replace(NET, channels=1)])
def test_a_deeper_or_another_network_is_refused(other: UNetConfig) -> None:
    with pytest.raises(InvalidArgument, match="start_from"):
        begin_with(UNet(NET), UNet(other), NET)


@pytest.mark.parametrize(("name", "value"), [("max_scale", 0.5), ("max_scale", 9.0), ("synthetic", 1.5)])
def test_impossible_settings_are_named(name: str, value: float) -> None:
    with pytest.raises(InvalidArgument, match=name):
        replace(CONFIG, **{name: value})
