"""A model at one sampling rate for sounds at a higher one: against exact Gaussian posteriors at the higher rate."""

import pytest
import torch
from torch import Tensor

from kintsugi import Problem, restore
from kintsugi.errors import InvalidArgument
from kintsugi.guidance.spectral import SpectralCovariance, error_covariance
from kintsugi.operators import Mask, StationaryCovariance, dense_matrix
from kintsugi.priors import AtRate, GaussianPrior, Prior, StationaryPrior, UNet, UNetConfig
from kintsugi.priors.network import NetworkPrior
from kintsugi.priors.spectrum import ErrorSpectrum

N, M = 63, 21  # samples at the higher rate and at the model's


def own(radius: Tensor) -> Tensor:
    return torch.stack((0.02 / (0.01 + radius**2),) * 2)


def above(radius: Tensor) -> Tensor:
    return 0.01 + radius


def model() -> Prior:
    prior = StationaryPrior(StationaryCovariance(own), 1)
    prior.shape = (1, None)
    return prior


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def literal_covariance() -> Tensor:
    """At the higher rate, bin by bin: a cosine of amplitude a is one of amplitude a, whatever the rate."""
    f = torch.fft.fftfreq(N, dtype=torch.float64).abs()
    bins = torch.arange(N)
    bins = torch.minimum(bins, N - bins)
    spectrum = torch.where(bins <= M // 2, N / M * own(bins.double() / M)[0], above(f))
    basis = torch.fft.fft(torch.eye(N, dtype=torch.float64), norm="ortho")
    return (basis.conj().T @ torch.diag(spectrum).to(basis) @ basis).real


def test_the_denoiser_is_the_posterior_mean_of_two_independent_bands() -> None:
    prior, z = AtRate(model(), N / M, above, margin=0), randn(2, 1, N)
    eta = torch.tensor([0.2, 1.5], dtype=torch.float64)
    c = literal_covariance()
    for row in range(2):
        expected = c @ torch.linalg.solve(c + eta[row] ** 2 * torch.eye(N, dtype=torch.float64), z[row, 0])
        torch.testing.assert_close(prior.denoise(z, eta)[row, 0], expected, rtol=0, atol=1e-10)
    d, pull = prior.denoise_vjp(z, eta)
    torch.testing.assert_close(d, prior.denoise(z, eta))
    v = randn(2, 1, N, seed=1)
    jacobian = c @ torch.linalg.inv(c + eta[0] ** 2 * torch.eye(N, dtype=torch.float64))
    torch.testing.assert_close(pull(v)[0, 0], jacobian.T @ v[0, 0], rtol=0, atol=1e-10)


def test_the_covariance_that_guidance_uses_is_that_of_the_two_bands() -> None:
    prior = AtRate(model(), N / M, above, margin=0)
    eye = torch.eye(N, dtype=torch.float64).view(N, 1, N)
    torch.testing.assert_close(prior.covariance(eye).flatten(1), literal_covariance(), rtol=0, atol=1e-10)


def test_gaps_at_the_higher_rate_are_filled_as_the_exact_posterior_does() -> None:
    prior, c = AtRate(model(), N / M, above, margin=0), literal_covariance()
    exact = GaussianPrior((1, N), 0.5 * (c + c.T))
    x = exact.sample(2, torch.Generator().manual_seed(0))
    operator = Mask((torch.arange(N) < 20) | (torch.arange(N) > 26), (1, N))
    problem = Problem(operator(x), operator, 0.05)
    z, eta = randn(2, 1, N, seed=5), 0.7
    got, _ = SpectralCovariance()(prior, problem, z, eta, None)
    a = dense_matrix(operator)
    precision = torch.linalg.inv(c) + torch.eye(N, dtype=torch.float64) / eta**2 + a.T @ a / 0.05**2
    right = z.flatten(1) / eta**2 + problem.y.flatten(1) @ a / 0.05**2
    expected = torch.linalg.solve(precision, right.T).T
    error = (got.flatten(1) - expected).square().mean().sqrt()
    assert float(error) < 0.03 * float(expected.square().mean().sqrt())  # the tolerance of its conjugate gradients
    found = restore(problem, prior, steps=20).samples[:, 0]
    wrong = (found - exact.posterior(problem).mean).square().mean().sqrt()
    assert float(wrong) < 0.35 * float((x - found).square().mean().sqrt())


def test_a_measured_spectrum_goes_with_the_noise_that_the_model_sees() -> None:
    """Where errors are as large as the noise, eta^2 at every frequency, they are at the higher rate too."""
    net = NetworkPrior(UNet(UNetConfig(channels=1, widths=(8,), blocks=(1,), embedding=8, frame=16)))
    etas, freqs = torch.tensor([0.01, 1.0]).double(), torch.tensor([0.0, 0.5]).double()
    net.spectrum = ErrorSpectrum(etas, freqs, etas.square()[:, None, None].expand(2, 2, 2).contiguous())
    prior = AtRate(net, 3.0, above)
    radius = torch.tensor([0.05, 0.1, 0.3]).double()
    eta = 0.3
    low, _, high = error_covariance(prior, eta).spectrum(radius)[0].tolist()
    assert low == pytest.approx(eta**2, rel=1e-6)
    assert high == pytest.approx(0.31 * eta**2 / (0.31 + eta**2))


def test_mirrored_ends_do_not_meet() -> None:
    """A ramp: with a periodic transform its jump from end to beginning would ring in both bands."""
    z = torch.linspace(-1, 1, 300, dtype=torch.float64).view(1, 1, -1)
    eta = torch.tensor([1e-4], dtype=torch.float64)

    def silent(radius: Tensor) -> Tensor:
        return torch.full_like(radius, 1e-12)

    ringing = {m: float((AtRate(model(), 3.0, silent, m).denoise(z, eta) - z)[..., :20].abs().max()) for m in (0, 64)}
    assert ringing[0] > 0.1
    assert ringing[64] < 0.01


def test_arguments() -> None:
    with pytest.raises(InvalidArgument, match="ratio"):
        AtRate(model(), 0.5, above)
    with pytest.raises(InvalidArgument, match="model"):
        AtRate(StationaryPrior(StationaryCovariance(own), 1), 2.0, above)
    with pytest.raises(InvalidArgument, match="margin"):
        AtRate(model(), 2.0, above, -1)
