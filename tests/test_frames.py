"""Networks that see sounds as short-time Fourier transforms."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

import kintsugi
from kintsugi.errors import InvalidArgument
from kintsugi.priors import NetworkPrior
from kintsugi.priors.frames import Frames
from kintsugi.priors.network import load_model, save_model
from kintsugi.priors.unet import UNet, UNetConfig

CONFIG = UNetConfig(channels=1, widths=(8, 16), blocks=(1, 1), embedding=8, frame=32)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("channels", [1, 2])
def test_back_and_forth_changes_nothing(channels: int) -> None:
    frames, x = Frames(64), noise(3, channels, 32 * 11)
    h = frames.analyse(x)
    assert h.shape == (3, 2 * channels, 32, 12)
    torch.testing.assert_close(frames.synthesise(h, x.shape[-1]), x, rtol=0, atol=1e-5)


def test_coefficients_are_as_large_as_the_sound() -> None:
    """A tight frame: each of the two parts of a coefficient carries the variance of white noise, the sum all energy."""
    frames, x = Frames(64), noise(1, 1, 32 * 400)
    h = frames.analyse(x)
    assert float(h[:, :, 1:].var()) == pytest.approx(1, abs=0.02)
    packed = torch.cat((h[:, :, :1] / 2**0.5, h[:, :, 1:]), 2)  # the two real bins have no mirror image
    assert float(packed.square().sum()) == pytest.approx(2 * float(x.square().sum()), rel=1e-4)


def test_a_steady_tone_in_the_middle_of_a_bin_stands_still() -> None:
    t = torch.arange(32 * 20.0)
    h = Frames(64).analyse(torch.sin(2 * math.pi * 5 * t / 64 + 0.3)[None, None])[0, :, 5, 2:-2]
    torch.testing.assert_close(h, h[:, :1].expand_as(h), rtol=0, atol=1e-4)
    assert float(h[0, 0].square() + h[1, 0].square()) > 10


def test_between_two_bins_it_turns_evenly() -> None:
    """A quarter of a bin above the middle: a quarter of pi a frame."""
    t = torch.arange(32 * 20.0)
    h = Frames(64).analyse(torch.cos(2 * math.pi * 5.25 * t / 64)[None, None])[0, :, 5, 2:-2]
    turned = torch.atan2(h[1], h[0]).diff()
    torch.testing.assert_close(turned.sin(), torch.full_like(turned, math.sin(math.pi / 4)), rtol=0, atol=5e-3)


def test_what_the_network_is_shown_is_finite_and_has_its_places() -> None:
    seen = Frames(64).see(torch.zeros(2, 1, 64))
    assert seen.shape == (2, 6, 32, 3)
    assert bool((seen[:, :4] == 0).all())
    assert float(seen[0, 4, 0, 0]) == -1
    assert float(seen[0, 4, -1, 0]) == 1
    assert bool((seen[0, 5, :, 0].diff() > 0).all())


@pytest.mark.parametrize(("n", "padded"), [(1, 48), (48, 48), (49, 112), (1000, 1008)])
def test_sizes_that_the_network_takes(n: int, padded: int) -> None:
    assert CONFIG.multiple == 64
    assert CONFIG.padded((n,)) == (padded,)


@pytest.mark.parametrize("length", [1, 31, 48, 300])
def test_a_prior_takes_sounds_of_any_length(length: int) -> None:
    torch.manual_seed(0)
    prior = NetworkPrior(UNet(CONFIG), data_variance=0.04)
    torch.nn.init.normal_(prior.net.head.weight, std=0.1)
    assert prior.shape == (1, None)
    out = prior.denoise(noise(2, 1, length), torch.tensor([0.1, 1.0])).detach()
    assert out.shape == (2, 1, length)
    assert bool(torch.isfinite(out).all())


def test_it_is_local_within_its_radius() -> None:
    """A change at one sample reaches no farther than :meth:`receptive_radius`, and not much less far."""
    torch.manual_seed(0)
    prior = NetworkPrior(UNet(CONFIG), data_variance=1.0)
    for parameter in prior.net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    radius, middle = prior.receptive_radius(), 1024
    x = noise(1, 1, 2032)
    other = x.clone()
    other[..., middle] += 3
    eta = torch.tensor([1.0])
    changed = ((prior.denoise(x, eta) - prior.denoise(other, eta)).abs() > 1e-6).nonzero()[:, 2]
    reach = int((changed - middle).abs().max())
    assert reach <= radius
    assert reach > radius / 3


def test_a_model_of_sounds_survives_its_file_and_restores(tmp_path: Path) -> None:
    torch.manual_seed(0)
    prior = NetworkPrior(UNet(CONFIG), data_variance=0.04)
    torch.nn.init.normal_(prior.net.head.weight, std=0.1)
    save_model(prior, tmp_path / "a.safetensors", torch.float32)
    again = load_model(tmp_path / "a.safetensors")
    z = noise(1, 1, 100)
    torch.testing.assert_close(again.denoise(z, torch.ones(1)), prior.denoise(z, torch.ones(1)).detach())
    keep = torch.ones(100)
    keep[40:60] = 0
    mask = kintsugi.operators.Mask(keep, (1, 100))
    result = kintsugi.restore(kintsugi.Problem.simulate(0.2 * z, mask), again, steps=2)
    assert result.samples.shape == (1, 1, 1, 100)
    torch.testing.assert_close(result.samples[0, 0, 0, :40], 0.2 * z[0, 0, :40], rtol=0, atol=1e-5)


@pytest.mark.parametrize("wrong", [{"frame": 30}, {"frame": 0}, {"size": 32}])
def test_frames_that_do_not_fit_the_network_are_named(wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidArgument, match="frame"):
        UNetConfig(**{"channels": 1, "widths": (8, 16), "blocks": (1, 1), "frame": 32} | wrong)
