"""The model of sounds that comes with the package: its file, and what it does to tones that nobody recorded."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import kintsugi
from kintsugi.operators import Mask
from kintsugi.priors import Prior, prior_path

RATE, LENGTH = 16_000, 24_000


@pytest.fixture(scope="module")
def model() -> Prior:
    return kintsugi.load_prior("sound")


def pluck(pitch: float, start: float = 0.05, seconds: float = LENGTH / RATE) -> Tensor:
    """A plucked string (1, samples): harmonics that decay, the higher the faster."""
    t = torch.arange(round(seconds * RATE), dtype=torch.float64) / RATE - start
    tone = sum(
        math.cos(k) / k * torch.sin(2 * math.pi * pitch * k * t) * torch.exp(-t * (1.5 + 0.6 * k))
        for k in range(1, 1 + int(7000 / pitch))
    )
    return (0.4 * torch.as_tensor(tone) * (t > 0)).float()[None]


def snr(x: Tensor, truth: Tensor) -> float:
    return float(10 * torch.log10(truth.square().sum() / (x - truth).square().sum()))


def test_what_the_file_says(model: Prior) -> None:
    assert model.shape == (1, None)
    card = model.card  # type: ignore[attr-defined]
    assert card["name"] == "sound"
    assert "CC BY 3.0" in card["data"]
    assert prior_path("sound").stat().st_size < 12e6


@pytest.mark.parametrize(("pitch", "eta", "gain"), [(220.0, 0.05, 12.0), (523.0, 0.05, 12.0), (330.0, 0.2, 16.0)])
def test_tones_never_heard_are_denoised(model: Prior, pitch: float, eta: float, gain: float) -> None:
    """Measured: 13.4, 13.8 and 17.7 dB."""
    x = pluck(pitch)[None]
    z = x + eta * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        out = model.denoise(z, torch.tensor([eta]))
    assert snr(out, x) > snr(z, x) + gain


def test_a_gap_in_a_tone_goes_on(model: Prior) -> None:
    """5 ms of silence in a string; in what is filled in a hundredth of its energy is error (measured: a thousandth)."""
    x = pluck(220.0)
    heard = torch.ones(LENGTH, dtype=torch.bool)
    heard[12_000:12_080] = False
    problem = kintsugi.Problem(x * heard, Mask(heard, (1, LENGTH)))
    filled = kintsugi.restore(problem, model, steps=10, eta=0.2, end=0.005).mean[0]
    inside = ~heard
    error = (filled - x)[:, inside].square().sum() / x[:, inside].square().sum()
    assert float(error) < 0.01
    torch.testing.assert_close(filled[:, heard], x[:, heard], rtol=0, atol=1e-5)
