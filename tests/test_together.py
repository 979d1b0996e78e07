"""Several signals at once, each with its prior: against dense linear algebra."""

import pytest
import torch
from torch import Tensor

from kintsugi import Problem, restore
from kintsugi.errors import InvalidArgument
from kintsugi.guidance.spectral import SpectralCovariance, error_covariance
from kintsugi.operators import (
    Clip,
    ColourMatrix,
    Decimate,
    Identity,
    LinearOperator,
    Mask,
    SideBySide,
    StationaryCovariance,
    dense_matrix,
)
from kintsugi.operators.base import Accuracy
from kintsugi.operators.intervals import sample_variance
from kintsugi.paths import FlowMatching
from kintsugi.priors import GaussianPrior, NetworkPrior, Prior, StationaryPrior, Together, UNet, UNetConfig
from kintsugi.priors.together import sources
from kintsugi.priors.wrappers import Counted, Counter, Tiled

N = 24


def low(radius: Tensor) -> Tensor:
    return torch.stack((0.002 / (0.003 + radius**2),) * 2)


def high(radius: Tensor) -> Tensor:
    return torch.stack((0.01 + radius**2,) * 2)


def coloured(radius: Tensor) -> Tensor:
    return torch.stack((0.5 / (0.1 + radius), 0.05 / (0.2 + radius)))


LOW, HIGH, COLOURED = (StationaryCovariance(spectrum) for spectrum in (low, high, coloured))


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def line(covariance: StationaryCovariance, channels: int = 1) -> Prior:
    """The stationary prior, said to be of sounds."""
    prior = StationaryPrior(covariance, channels)
    prior.shape = (channels, None)
    return prior


def dense(covariance: StationaryCovariance, channels: int) -> Tensor:
    n = channels * N
    return covariance(torch.eye(n, dtype=torch.float64).view(n, channels, N)).flatten(1)


def test_the_covariance_is_block_diagonal() -> None:
    both = SideBySide([(1, LOW), (2, COLOURED)])
    expected = torch.block_diag(dense(LOW, 1), dense(COLOURED, 2))
    torch.testing.assert_close(dense(both, 3), expected, rtol=0, atol=1e-12)
    root = both.root(torch.eye(3 * N, dtype=torch.float64).view(3 * N, 3, N)).flatten(1)
    torch.testing.assert_close(root @ root.T, expected, rtol=0, atol=1e-12)
    more = dense(both.plus(0.3), 3)
    torch.testing.assert_close(more, expected + 0.3 * torch.eye(3 * N, dtype=torch.float64), rtol=0, atol=1e-12)
    variances = sample_variance(both, randn(1, 3, N)).expand(3, N).flatten()
    torch.testing.assert_close(variances, expected.diagonal(), rtol=0, atol=1e-12)
    assert both == SideBySide([(1, LOW), (2, COLOURED)])
    assert both != SideBySide([(1, HIGH), (2, COLOURED)])
    with pytest.raises(InvalidArgument, match="several sources"):
        both.values(randn(1, 3, N))
    with pytest.raises(InvalidArgument, match="3 channels"):
        both(randn(1, 2, N))


OPERATORS: dict[str, LinearOperator] = {
    "sum": ColourMatrix((2, N), [[1.0, 1.0]]),
    "weighted sum": ColourMatrix((2, N), [[0.7, -0.2]]),
    "two microphones": ColourMatrix((2, N), [[1.0, 0.4], [0.3, 1.0]]),
    "sum of parts": ColourMatrix((2, N // 2), [[1.0, 1.0]]) @ Decimate((2, N), 2),
    "part of the sum": Mask(torch.arange(N) % 5 != 0, (1, N)) @ ColourMatrix((2, N), [[1.0, 1.0]]),
    "decimated apart": Decimate((2, N), 2),
    "holes in each": Mask(randn(2, N, seed=9) > -0.5, (2, N)),
    "both in noise": Identity((2, N)),
}


@pytest.mark.parametrize("name", list(OPERATORS))
def test_systems_are_those_of_dense_matrices(name: str) -> None:
    operator, both = OPERATORS[name], SideBySide([(1, LOW), (1, HIGH)])
    a, c = dense_matrix(operator), torch.block_diag(dense(LOW, 1), dense(HIGH, 1))
    r = operator(randn(2, 2, N))
    noise = 0.1 * torch.eye(len(a), dtype=torch.float64)
    inverse = torch.linalg.inv(a @ c @ a.T + noise)
    expected = (r.flatten(1) @ inverse @ a @ c).view(2, 2, N)
    got = operator.gain(both, 0.1, r, Accuracy(1e-10, 500))
    assert float((got - expected).abs().max()) < 1e-7 * float(expected.abs().max())
    closed = name in ("sum", "weighted sum", "sum of parts", "decimated apart", "both in noise")
    found = getattr(operator, "normal_eigenvalues", lambda *_: None)(both, r)
    assert (found is not None) == closed


def test_the_posterior_denoiser_of_a_mixture_is_exact() -> None:
    """Wiener: E[x | z, y] for two Gaussian sources, of which one measurement sees the sum."""
    both, operator = Together([line(LOW), line(HIGH)]), OPERATORS["sum"]
    eta, sigma = 0.6, 0.1
    y, z = randn(1, 1, N, seed=1), randn(1, 2, N, seed=2)
    got, _ = SpectralCovariance()(both, Problem(y, operator, sigma), z, eta, None)
    a, c = dense_matrix(operator), torch.block_diag(dense(LOW, 1), dense(HIGH, 1))
    precision = torch.linalg.inv(c) + torch.eye(2 * N, dtype=torch.float64) / eta**2 + a.T @ a / sigma**2
    expected = torch.linalg.solve(precision, z.flatten() / eta**2 + a.T @ y.flatten() / sigma**2)
    torch.testing.assert_close(got.flatten(), expected, rtol=0, atol=1e-7)


def test_sources_are_separated_as_well_as_the_exact_posterior_does() -> None:
    both, operator = Together([line(LOW), line(HIGH)]), OPERATORS["sum"]
    c = torch.block_diag(dense(LOW, 1), dense(HIGH, 1))
    exact = GaussianPrior((2, N), 0.5 * (c + c.T))
    x = exact.sample(8, torch.Generator().manual_seed(3))
    problem = Problem(operator(x), operator, 0.01)
    expected = exact.posterior(problem).mean
    got = restore(problem, both, steps=20, samples=1).samples[:, 0]
    error = (got - expected).square().mean().sqrt()
    assert float(error) < 0.5 * float((x - expected).square().mean().sqrt())
    halves = torch.cat([problem.y / 2] * 2, 1)
    assert float((got - x).square().mean()) < 0.5 * float((halves - x).square().mean())


def test_signals_of_one_prior_can_be_exchanged() -> None:
    both, z = Together([line(LOW), line(LOW)]), randn(2, 2, N)
    eta = torch.tensor([0.3, 2.0], dtype=torch.float64)
    torch.testing.assert_close(both.denoise(z.flip(1), eta), both.denoise(z, eta).flip(1))


def test_denoiser_and_vjp_are_those_of_the_parts() -> None:
    parts = [line(LOW), line(COLOURED, 2)]
    both, z, v = Together(parts), randn(2, 3, N), randn(2, 3, N, seed=1)
    eta = torch.tensor([0.3, 2.0], dtype=torch.float64)
    d, pull = both.denoise_vjp(z, eta)
    for k, (part, rows) in enumerate(((parts[0], slice(0, 1)), (parts[1], slice(1, 3)))):
        one, back = part.denoise_vjp(z[:, rows], eta)
        torch.testing.assert_close(d[:, rows], one, msg=str(k))
        torch.testing.assert_close(pull(v)[:, rows], back(v[:, rows]), msg=str(k))
    torch.testing.assert_close(both.denoise(z, eta), d)
    assert both.shape == (3, None)
    assert both.data_variance == pytest.approx(0.25)
    assert both.evaluations == 2
    counter = Counter()
    Counted(both, counter).denoise(z, eta)
    assert counter.forwards == 4


def test_measured_spectra_of_the_parts_are_used_behind_wrappers() -> None:
    both = Counted(Together([line(LOW), line(HIGH)]), Counter())
    covariance = error_covariance(both, 0.5)
    assert isinstance(covariance, SideBySide)
    radius = torch.linspace(0, 0.5, 5, dtype=torch.float64)
    for (_, part), spectrum in zip(covariance.parts, (low, high), strict=True):
        s = spectrum(radius)
        torch.testing.assert_close(part.spectrum(radius), s * 0.25 / (s + 0.25))
    assert isinstance(both.covariance, SideBySide)
    assert len(sources(both)) == 2
    assert sources(line(LOW)) == []


def test_clipped_sums_take_each_sources_variance() -> None:
    """A nonlinear measurement of both: the clip of each channel."""
    both = Together([line(LOW), line(HIGH)])
    x = 0.5 * randn(1, 2, N)
    operator = Clip((2, N), 2.0)
    found = restore(Problem(operator(x), operator), both, steps=5).samples[0, 0]
    y = operator(x)[0]
    torch.testing.assert_close(found[y.abs() < 0.99], x[0][y.abs() < 0.99], rtol=0, atol=0.002)
    assert float(found[y >= 1].min()) > 0.5 - 0.01


def sound_net(seed: int, widths: tuple[int, ...]) -> NetworkPrior:
    torch.manual_seed(seed)
    blocks = (1,) * len(widths)
    net = UNet(UNetConfig(channels=1, patch=1, widths=widths, blocks=blocks, embedding=8, frame=16))
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return NetworkPrior(net).double().eval().requires_grad_(False)


def test_tiles_of_several_networks_have_no_seams() -> None:
    """Grids of 8 and of 16 samples, radii of their own."""
    both = Together([sound_net(0, (4,)), sound_net(1, (4, 6))])
    z, v, eta = randn(1, 2, 1500), randn(1, 2, 1500, seed=1), torch.tensor([0.5], dtype=torch.float64)
    tiled = Tiled(both, 100)
    assert tiled.tile % 16 == 0
    assert tiled.overlap >= max(part.receptive_radius() for _, part in both.sources)  # type: ignore[attr-defined]
    whole, pull = both.denoise_vjp(z, eta)
    torch.testing.assert_close(tiled.denoise(z, eta), whole, rtol=0, atol=1e-6)
    torch.testing.assert_close(tiled.denoise_vjp(z, eta)[1](v), pull(v), rtol=0, atol=1e-5)  # frames are float32


def test_a_prior_that_looks_everywhere_among_them_is_not_tiled() -> None:
    both = Together([sound_net(0, (4,)), line(LOW)])
    assert not hasattr(both, "receptive_radius")
    assert Tiled(both, 64).sees_whole(randn(1, 2, 4000))


def test_sizes_and_paths() -> None:
    fixed = line(HIGH)
    fixed.shape = (1, N)
    assert Together([line(LOW), fixed]).shape == (2, N)
    assert isinstance(Together([line(LOW), fixed]).with_path(FlowMatching()).path, FlowMatching)
    other = line(HIGH)
    other.shape = (1, N + 1)
    wrong: list[tuple[list[object], str]] = [([], "priors"), ([fixed, other], "same size"), ([fixed, 3], "priors")]
    picture = StationaryPrior(LOW, 1)
    wrong.append(([fixed, picture], "as many dimensions"))
    for priors, match in wrong:
        with pytest.raises(InvalidArgument, match=match):
            Together(priors)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="2 channels"):
        Together([line(LOW), fixed]).denoise(randn(1, 3, N), torch.tensor([1.0]))
