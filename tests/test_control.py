"""Mixing, grain and surfaces: against closed forms and noise whose spectrum is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import kintsugi
from kintsugi.control import Grain, baseline, measure_grain, mix, noise_residual, surface
from kintsugi.control.grain import blur_known
from kintsugi.control.spectra import from_axes, overlap, side_for, to_axes, windows
from kintsugi.errors import InvalidArgument
from kintsugi.operators import Bicubic, Blur, Grey, Identity, Mask, StationaryCovariance, gaussian_kernel
from kintsugi.priors import StationaryPrior

SHAPE = (3, 16, 16)


def test_mix_is_linear_between_original_and_restoration() -> None:
    g = torch.Generator().manual_seed(0)
    restored, original = torch.randn(4, 3, 5, 6, generator=g), torch.randn(3, 5, 6, generator=g)
    strength = torch.rand(1, 5, 6, generator=g)
    torch.testing.assert_close(mix(restored, original, strength), original + strength * (restored - original))
    torch.testing.assert_close(mix(restored, original, 0.25), 0.75 * original + 0.25 * restored)
    assert mix(restored, original, 0).equal(original.expand_as(restored))
    torch.testing.assert_close(mix(restored, original, 1), restored)


@pytest.mark.parametrize("strength", [-0.1, 1.5, float("nan"), True, "half"])
def test_strengths_are_from_0_to_1(strength: object) -> None:
    with pytest.raises(InvalidArgument, match="strength"):
        mix(torch.zeros(3, 4, 4), torch.zeros(3, 4, 4), strength)  # type: ignore[arg-type]


def test_maps_of_strength_fit_the_picture() -> None:
    for wrong in (torch.ones(4, 4), torch.ones(3, 4, 4), torch.full((1, 4, 4), 1.1), torch.full((1, 4, 4), math.nan)):
        with pytest.raises(InvalidArgument, match="strength"):
            mix(torch.zeros(3, 4, 4), torch.zeros(3, 4, 4), wrong)
    with pytest.raises(InvalidArgument, match="original"):
        mix(torch.zeros(3, 4, 4), torch.zeros(3, 4, 5), 0.5)


def test_the_baseline_is_the_picture_as_it_came() -> None:
    x = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(0))
    for operator in (Identity(SHAPE), Blur(SHAPE, gaussian_kernel(1.0)), Mask(torch.eye(16), SHAPE)):
        problem = kintsugi.Problem.simulate(x, operator)
        assert baseline(problem).equal(problem.y)
    for operator in (Bicubic(SHAPE, 4), Bicubic(SHAPE, 4, "unknown"), Grey(SHAPE)):
        problem = kintsugi.Problem.simulate(x, operator)
        assert baseline(problem).shape == x.shape
        torch.testing.assert_close(baseline(problem), operator.visible(operator.pinv(problem.y)))


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 37, 50), (3, 16, 90)])
def test_windows_add_up_to_the_picture(shape: tuple[int, int, int]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(overlap(windows(x, 16), (shape[1], shape[2])), x)
    torch.testing.assert_close(from_axes(to_axes(x)), x)


def coloured(size: tuple[int, int], seed: int) -> tuple[Tensor, Tensor]:
    """Noise (3, H, W) that falls with frequency, three times as strong in luma as in chroma, and its spectrum there."""
    radius = torch.fft.fftfreq(size[0])[:, None] ** 2 + torch.fft.fftfreq(size[1]) ** 2
    power = 0.01 / (1 + 30 * radius) * torch.tensor([1.0, 1 / 9, 1 / 9]).view(3, 1, 1)
    white = torch.randn(3, *size, generator=torch.Generator().manual_seed(seed))
    return from_axes(torch.fft.ifft2(torch.fft.fft2(white) * power.sqrt()).real), power


def test_the_spectrum_of_noise_is_found() -> None:
    noise, _ = coloured((384, 384), 0)
    grain = measure_grain(noise)
    wanted = coloured((64, 64), 0)[1]
    assert grain.power.shape == (3, 64, 64)
    ratio = grain.power.flatten(1)[:, 1:] / wanted.flatten(1)[:, 1:]
    # The median of some 170 overlapping windows is good to a tenth or so at each frequency, and to 3 % over all.
    torch.testing.assert_close(ratio.mean(1), torch.ones(3), rtol=0, atol=0.05)
    assert float(ratio.std()) < 0.25
    assert grain.level == pytest.approx(float(noise.square().mean().sqrt()), rel=0.03)


def test_edges_do_not_disturb_the_spectrum() -> None:
    noise, _ = coloured((384, 384), 0)
    edges = noise.clone()
    edges[:, 100:102, :] += 1.0
    edges[:, :, 300:302] -= 1.0
    assert float(edges.square().mean().sqrt()) > 1.8 * float(noise.square().mean().sqrt())
    assert measure_grain(edges).level == pytest.approx(measure_grain(noise).level, rel=0.15)


def test_what_is_unknown_is_not_measured() -> None:
    noise, _ = coloured((128, 128), 0)
    known = torch.ones(1, 128, 128, dtype=torch.bool)
    known[:, 40:60, 40:60] = False
    holes = torch.where(known, noise, 5.0)
    assert measure_grain(holes, known).level == pytest.approx(measure_grain(noise).level, rel=0.1)
    checks = (torch.arange(128)[:, None] // 4 + torch.arange(128) // 4) % 2 == 0
    with pytest.raises(InvalidArgument, match="windows of 16 x 16 known pixels"):
        measure_grain(noise, checks[None])
    shrunk = blur_known(known, 2)
    assert int((~shrunk).sum()) == 24 * 24
    assert not shrunk[0, 38, 38]
    assert shrunk[0, 37, 40]


def test_fresh_grain_has_the_level_and_the_spectrum_measured() -> None:
    noise, _ = coloured((256, 256), 0)
    grain = measure_grain(noise)
    fresh = grain.sample((300, 256), seed=1)
    assert fresh.shape == (3, 300, 256)
    assert float(fresh.square().mean().sqrt()) == pytest.approx(grain.level, rel=0.02)
    again = measure_grain(fresh)
    low = torch.fft.fftfreq(64).abs() < 0.1
    for part in (low[:, None] & low, ~(low[:, None] | low)):
        ratio = again.power[:, part].mean(1) / grain.power[:, part].mean(1)
        torch.testing.assert_close(ratio, torch.ones(3), rtol=0, atol=0.1)
    assert grain.sample((40, 40), 1).equal(grain.sample((40, 40), 1))
    assert abs(float((fresh * grain.sample((300, 256), 2)).mean())) < 0.02 * grain.level**2  # another seed, other grain
    torch.testing.assert_close(fresh.mean((1, 2)), torch.zeros(3), rtol=0, atol=1e-6)


def test_grain_that_is_there_is_not_added_again() -> None:
    half, whole = Grain(torch.full((3, 16, 16), 0.25)), Grain(torch.ones(3, 16, 16))
    assert whole.minus(half).level == pytest.approx(0.75**0.5)
    assert half.minus(whole).level == 0
    assert whole.minus(Grain(torch.full((3, 32, 32), 0.25))).level == pytest.approx(0.75**0.5)


def test_a_surface_is_the_noise_and_the_weave_but_not_the_edge() -> None:
    noise, _ = coloured((256, 256), 0)
    weave = 0.1 * torch.sin(2 * torch.pi * torch.arange(256) / 4).expand(3, 256, 256)
    edge = torch.zeros(3, 256, 256)
    edge[:, 126:128] = 1.0
    found = surface(noise + weave + edge, measure_grain(noise + weave + edge))
    away = torch.ones(256, dtype=torch.bool)
    away[60:196] = False  # windows that see the edge
    kept = (found - noise - weave)[:, away].square().mean() / (noise + weave)[:, away].square().mean()
    assert float(kept) < 0.02
    left = found[:, 126:128].mean()
    assert float(left.abs()) < 0.15  # of 1
    assert float((found * weave).mean() / weave.square().mean()) == pytest.approx(1, abs=0.05)


def test_small_pictures_have_small_windows_or_none() -> None:
    assert [side_for((n, 300)) for n in (400, 256, 200, 100, 20)] == [64, 64, 32, 16, 16]
    with pytest.raises(InvalidArgument, match="at least 16 pixels a side"):
        measure_grain(torch.zeros(3, 10, 40))
    with pytest.raises(InvalidArgument, match="1 or 3"):
        measure_grain(torch.zeros(2, 40, 40))


def test_the_residual_is_what_the_model_removes() -> None:
    """A white prior of variance v keeps the share v / (v + eta^2)."""
    prior = StationaryPrior(StationaryCovariance(lambda radius: torch.full((2, *radius.shape), 0.25)), 3, 0.25)
    picture = torch.randn(3, 24, 24, generator=torch.Generator().manual_seed(0))
    found = noise_residual(prior, picture, 0.5)
    torch.testing.assert_close(found, 0.5 * picture, rtol=1e-4, atol=1e-5)
    with pytest.raises(InvalidArgument, match="eta"):
        noise_residual(prior, picture, 0.0)
    with pytest.raises(InvalidArgument, match="prior's shape"):
        noise_residual(prior, picture[:1], 0.5)
