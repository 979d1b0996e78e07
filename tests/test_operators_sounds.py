"""Operators of sounds, against SciPy and their definitions; their contract is in test_operators.py."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.signal import fftconvolve, resample_poly
from torch import Tensor

from kintsugi.errors import InvalidArgument
from kintsugi.operators import ColourMatrix, Convolve, Decimate, MuLaw, Notch, StationaryCovariance, kaiser_kernel


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
@pytest.mark.parametrize("n", [240, 251])
def test_decimation_is_scipys_resampling(factor: int, n: int) -> None:
    operator, x = Decimate((2, n), factor, "unknown"), randn(1, 2, n)
    y = operator(operator.extend(x))[0]
    expected = resample_poly(x[0].numpy(), 1, factor, axis=-1)
    assert tuple(y.shape) == expected.shape
    inside = slice(10, -11)  # beyond the ends SciPy has silence, and we what `extend` put there
    np.testing.assert_allclose(y[:, inside].numpy(), expected[:, inside], rtol=0, atol=1e-12)
    np.testing.assert_allclose(operator.visible(operator.extend(x)).numpy(), x.numpy(), rtol=0, atol=0)


def test_circular_decimation_is_the_same_inside() -> None:
    x = randn(1, 1, 240)
    ends = slice(11, -11)
    expected = resample_poly(x[0, 0].numpy(), 1, 2)[ends]
    np.testing.assert_allclose(Decimate((1, 240), 2)(x)[0, 0, ends].numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_the_low_pass_filter_passes_what_it_says(factor: int) -> None:
    gain = torch.fft.rfft(kaiser_kernel(factor), 8192).abs()
    share = torch.fft.rfftfreq(8192).double() * 2 * factor  # of half the new sampling rate
    assert float(gain[0]) == pytest.approx(1, abs=1e-12)
    assert float(gain[share >= 1.17].max()) < 10 ** (-50 / 20)
    assert float(gain[share <= 0.83].min()) > 0.999
    assert float(gain[(share - 1).abs().argmin()]) == pytest.approx(0.5, abs=0.01)


def test_a_low_tone_survives_decimation_and_its_pseudo_inverse() -> None:
    t = torch.arange(400, dtype=torch.float64)
    x = torch.sin(2 * math.pi * 0.05 * t)[None, None]
    operator = Decimate((1, 400), 4)
    torch.testing.assert_close(operator(x), x[..., ::4], rtol=0, atol=1e-3)
    torch.testing.assert_close(operator.pinv(operator(x)), x, rtol=0, atol=1e-3)


@pytest.mark.parametrize("boundary", ["circular", "unknown"])
def test_a_causal_convolution_is_that_with_the_past(boundary: str) -> None:
    kernel = randn(20, seed=1)
    operator, x = Convolve((1, 100), kernel, boundary, causal=True), randn(1, 1, 100, seed=2)  # type: ignore[arg-type]
    y = operator(operator.extend(x))[0, 0]
    expected = fftconvolve(x[0, 0].numpy(), kernel.numpy())[:100]
    np.testing.assert_allclose(y[19:].numpy(), expected[19:], rtol=0, atol=1e-12)
    if boundary == "circular":
        wrapped = expected.copy()
        wrapped[:19] += fftconvolve(x[0, 0].numpy(), kernel.numpy())[100:]
        np.testing.assert_allclose(y.numpy(), wrapped, rtol=0, atol=1e-12)


def test_the_middle_of_a_kernel_stays_where_it_is() -> None:
    delta = torch.zeros(1, 1, 9, dtype=torch.float64)
    delta[..., 4] = 1
    assert Convolve((1, 9), torch.tensor([3.0, -1.0, 2.0]))(delta)[0, 0].tolist() == pytest.approx(
        [0, 0, 0, 3, -1, 2, 0, 0, 0], abs=1e-12
    )


def test_a_notch_takes_hum_away_and_leaves_the_rest() -> None:
    rate, n = 1000, 2000
    t = torch.arange(n, dtype=torch.float64) / rate
    hum = sum(torch.sin(2 * math.pi * 50 * k * t + k) for k in range(1, 10))
    tone = torch.sin(2 * math.pi * 120 * t) + 0.3
    operator = Notch((1, n), 50, rate, width=2)
    torch.testing.assert_close(operator((tone + hum)[None, None])[0, 0], tone, rtol=0, atol=1e-9)  # type: ignore[operator]
    assert operator.settings()["filter"]


def test_a_notch_of_few_multiples_leaves_the_others() -> None:
    n = 400
    t = torch.arange(n, dtype=torch.float64)
    for k, kept in ((1, 0), (2, 0), (3, 1), (4, 1)):
        x = torch.cos(2 * math.pi * 0.05 * k * t)[None, None]
        torch.testing.assert_close(Notch((1, n), 0.05, harmonics=2)(x), kept * x, rtol=0, atol=1e-9)


def test_how_wide_a_notch_is() -> None:
    """Bins of 0.5 Hz, 4 Hz wide: up to 2 Hz on either side; and never less than three bins."""
    removed = Notch((1, 2000), 50, 1000, width=4, harmonics=1).transfer.abs() < 0.5
    assert (removed[:1000].nonzero().flatten() / 2).tolist() == [48 + i / 2 for i in range(9)]
    assert int((Notch((1, 2000), 50, 1000, harmonics=1).transfer.abs() < 0.5).sum()) == 6


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_mu_law_rounds_after_its_curve(bits: int) -> None:
    operator, even = MuLaw((1, 997), bits), torch.linspace(-1.02, 1.02, 997, dtype=torch.float64)[None, None]
    x = operator.expand(even)
    y = operator(x)
    mu = 2**bits - 1
    curve = np.sign(x.numpy()) * np.log(1 + mu * np.abs(x.numpy())) / np.log(1 + mu)
    index = np.clip(np.floor((curve + 1) / 2 * mu + 0.5), 0, mu)
    levels = 2 * index / mu - 1
    expected = np.sign(levels) * ((1 + mu) ** np.abs(levels) - 1) / mu
    np.testing.assert_allclose(y.numpy(), expected, rtol=0, atol=1e-12)
    assert len(torch.unique(y.mul(1e9).round())) == 2**bits
    torch.testing.assert_close(operator(operator.pinv(y)), y, rtol=0, atol=1e-12)


@pytest.mark.parametrize("bits", [3, 8])
def test_the_intervals_of_mu_law_are_what_rounds_to_its_levels(bits: int) -> None:
    operator = MuLaw((1, 2001), bits)
    x = torch.linspace(-1, 1, 2001, dtype=torch.float64)[None, None]
    y = operator(x)
    lower, upper = operator.interval(y)
    assert bool(((lower <= x + 1e-12) & (x - 1e-12 <= upper)).all())
    just_inside, width = 1e-6, upper - lower
    torch.testing.assert_close(operator(lower + just_inside * width), y, rtol=0, atol=1e-12)
    torch.testing.assert_close(operator(upper - just_inside * width), y, rtol=0, atol=1e-12)
    noisy = operator.interval(y, 0.1)
    torch.testing.assert_close(noisy[0], (lower - 0.1 * math.sqrt(3)).clamp_min(-1), rtol=0, atol=1e-12)


def test_mu_law_moves_the_mean_into_the_interval() -> None:
    operator, x = MuLaw((1, 64), 4), 0.3 * randn(1, 1, 64)
    covariance = StationaryCovariance(lambda radius: 0.01 / (radius.new_ones(2, *radius.shape) * (0.01 + radius)))
    y = operator(x)
    moved = operator.conditional_mean(torch.zeros_like(x), y, covariance)
    lower, upper = operator.interval(y)
    assert bool(((lower <= moved) & (moved <= upper)).all())


def test_separation_of_two_sources_is_a_sum() -> None:
    operator, x = ColourMatrix((2, 50), [[1.0, 1.0]]), randn(1, 2, 50)
    torch.testing.assert_close(operator(x), x.sum(1, keepdim=True))
    assert operator.flat == pytest.approx(2)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("factor", lambda: Decimate((1, 16), 0)),
        ("factor", lambda: Decimate((1, 16), 17)),
        ("factor", lambda: Decimate((1, 15), 2)),
        ("boundary", lambda: Decimate((1, 16), 2, "mirror")),  # type: ignore[arg-type]
        ("factor", lambda: kaiser_kernel(0)),
        ("kernel", lambda: Convolve((1, 16), torch.zeros(3))),
        ("kernel", lambda: Convolve((1, 16), torch.ones(3, 3))),
        ("kernel", lambda: Convolve((1, 16), torch.tensor([1.0, math.nan]))),
        ("frequency", lambda: Notch((1, 100), 0)),
        ("frequency", lambda: Notch((1, 100), 0.6)),
        ("frequency", lambda: Notch((1, 100), 0.01)),
        ("rate", lambda: Notch((1, 100), 0.1, -1)),
        ("width", lambda: Notch((1, 100), 0.1, width=0.1)),
        ("harmonics", lambda: Notch((1, 100), 0.1, harmonics=0)),
        ("bits", lambda: MuLaw((1, 16), 0)),
        ("bits", lambda: MuLaw((1, 16), 17)),
        ("mu", lambda: MuLaw((1, 16), 8, 0.0)),
    ],
)
def test_bad_arguments_are_named(name: str, make: Callable[[], object]) -> None:
    with pytest.raises(InvalidArgument, match=f"^{name}"):
        make()
