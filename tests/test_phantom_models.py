"""The models of phantoms that come with the package: what their files say, and what they do to slices never seen."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import kintsugi
from kintsugi.operators import MRI, Mask, cartesian_mask
from kintsugi.operators.covariance import frequency_radius
from kintsugi.phantoms import complex_phantom, phantom
from kintsugi.priors import prior_path

CHANNELS = {"phantom-ct": 1, "phantom-mri": 2}
SEED = 1  # the models were trained on seed 0


def slices(name: str, count: int = 4) -> Tensor:
    draw = phantom if name == "phantom-ct" else complex_phantom
    return torch.stack([draw(SEED, i) for i in range(count)])


def psnr(a: Tensor, b: Tensor) -> float:
    """Mean over images, dB, of a range of 2."""
    return float((10 * torch.log10(4 / (a - b).square().mean(dim=(1, 2, 3)))).mean())


@pytest.mark.parametrize("name", CHANNELS)
def test_what_the_file_says(name: str) -> None:
    assert name in kintsugi.available_priors()
    prior = kintsugi.load_prior(name)
    assert prior.shape == (CHANNELS[name], None, None)
    assert prior.card["name"] == name
    assert "not for diagnosis" in prior.card["data"]
    assert prior_path(name).stat().st_size < 3.5e6
    x = slices(name, 24)
    assert prior.data_variance == pytest.approx(float(x.var()), rel=0.15)


@pytest.mark.parametrize("name", CHANNELS)
@pytest.mark.parametrize(("eta", "least"), [(0.2, {1: 29.0, 2: 31.5}), (1.0, {1: 22.0, 2: 26.0})])
def test_slices_never_seen_are_denoised(name: str, eta: float, least: dict[int, float]) -> None:
    """Measured: 30.8 and 33.6 dB at 0.2, 23.7 and 28.1 at 1. The noise alone is 20 and 6 dB."""
    prior, x = kintsugi.load_prior(name), slices(name)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    denoised = prior.denoise(x + eta * noise, torch.full((len(x),), eta))
    assert psnr(denoised, x) > least[CHANNELS[name]]


@pytest.mark.parametrize("name", CHANNELS)
def test_the_spectrum_of_errors_is_that_of_the_errors(name: str) -> None:
    """Averaged over all frequencies and channels, the stored spectrum is the mean square of the error."""
    prior, x = kintsugi.load_prior(name), slices(name, 8)
    assert prior.spectrum is not None
    luma, rest = prior.spectrum.at(0.3, frequency_radius(x.shape[2:], half=False, like=x))
    channels = CHANNELS[name]
    expected = float((luma + (channels - 1) * rest).mean()) / channels
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    error = prior.denoise(x + 0.3 * noise, torch.full((len(x),), 0.3)) - x
    # The Hann window looks at the middle of a slice, where there is more to get wrong than in the air around it.
    assert 0.35 * expected < float(error.square().mean()) < 1.2 * expected


@pytest.mark.parametrize(("name", "least"), [("phantom-ct", 26.0), ("phantom-mri", 31.0)])
def test_seven_tenths_missing(name: str, least: float) -> None:
    x = slices(name, 3)
    keep = torch.rand(128, 128, generator=torch.Generator().manual_seed(0)) > 0.7
    problem = kintsugi.Problem.simulate(x, Mask(keep, tuple(x.shape[1:])))
    assert psnr(kintsugi.restore(problem, name).mean, x) > least


def test_a_quarter_of_k_space() -> None:
    """What a quarter of the lines of k-space leaves out, the model puts in: 2 dB and more above zero filling."""
    x = slices("phantom-mri", 3)
    z = torch.complex(x[:, :1].contiguous(), x[:, 1:].contiguous())
    problem = kintsugi.Problem.simulate(z, MRI((1, 128, 128), cartesian_mask((128, 128), 4, "gaussian")), noise=0.005)
    zero_filled = torch.view_as_real(problem.operator.pinv(problem.y)[:, 0]).permute(0, 3, 1, 2)
    restored = kintsugi.restore(problem, "phantom-mri").mean
    if restored.is_complex():
        restored = torch.view_as_real(restored[:, 0]).permute(0, 3, 1, 2)
    assert psnr(restored, x) > psnr(zero_filled, x) + 2
