"""Each guidance against a dense, literal transcription of its equation, and the spectral one against the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from kintsugi.errors import InvalidArgument
from kintsugi.guidance import DDNM, PiGDM, SpectralCovariance
from kintsugi.guidance.base import Guidance
from kintsugi.guidance.spectral import error_covariance, gaussian_estimate
from kintsugi.operators import (
    Bicubic,
    BlockAverage,
    Blur,
    Grey,
    LinearOperator,
    Mask,
    Operator,
    StationaryCovariance,
    gaussian_kernel,
)
from kintsugi.operators.base import Accuracy
from kintsugi.paths import VP, FlowMatching, Path
from kintsugi.priors import MixturePrior, StationaryPrior
from kintsugi.priors.oracles import dense_matrix
from kintsugi.priors.spectrum import ErrorSpectrum
from kintsugi.problem import Problem
from toy import mixture, operator

ETAS = (3.0, 0.8, 0.1)


def case(prior: MixturePrior, name: str, noise: float) -> tuple[Problem, np.ndarray, np.ndarray]:
    """A problem with two rows, its matrix and its measurement."""
    op, matrix = operator(name)
    rng = np.random.default_rng(1)
    y = prior.sample(2, torch.Generator().manual_seed(5)).flatten(1).numpy() @ matrix.T
    y = y + noise * rng.standard_normal(y.shape)
    return Problem(torch.from_numpy(y).view(-1, *op.out_shape), op, noise), matrix, y


def at(guidance: Guidance, prior: MixturePrior, problem: Problem, z: torch.Tensor, eta: float) -> np.ndarray:
    guidance.check(prior, problem)
    d, _ = guidance(prior, problem, z, eta, guidance.init(prior, problem))
    return d.flatten(1).numpy()


def noisy(prior: MixturePrior, eta: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(8)
    x = prior.sample(2, generator)
    return x + eta * torch.randn(x.shape, generator=generator, dtype=torch.float64)


def denoised(prior: MixturePrior, z: torch.Tensor, eta: float) -> tuple[np.ndarray, np.ndarray]:
    """``D`` (2, n) and its dense Jacobian (2, n, n), by autograd."""
    level = torch.full((1,), eta, dtype=torch.float64)

    def one(v: torch.Tensor) -> torch.Tensor:
        return prior.denoise(v.view(1, *z.shape[1:]), level).flatten()

    jacobians = [torch.autograd.functional.jacobian(one, row.flatten()) for row in z]
    return prior.denoise(z, level.expand(len(z))).flatten(1).numpy(), torch.stack(jacobians).numpy()


@pytest.fixture(scope="module")
def prior() -> MixturePrior:
    return mixture()


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("name", ["mask", "average", "blur"])
@pytest.mark.parametrize("eta", ETAS)
def test_ddnm_hard(prior: MixturePrior, name: str, eta: float, noise: float) -> None:
    """Wang, Yu and Zhang (2023), equation 13: ``A^+ y + (I - A^+ A) D``, noise or not."""
    problem, matrix, y = case(prior, name, noise)
    z = noisy(prior, eta)
    d, _ = denoised(prior, z, eta)
    pinv = np.linalg.pinv(matrix, rcond=3e-2)
    wanted = y @ pinv.T + d @ (np.eye(16) - pinv @ matrix).T
    np.testing.assert_allclose(at(DDNM(hard=True), prior, problem, z, eta), wanted, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("noise", [0.03, 0.5])
@pytest.mark.parametrize("name", ["mask", "average", "blur"])
@pytest.mark.parametrize("eta", ETAS)
def test_ddnm_wiener(prior: MixturePrior, name: str, eta: float, noise: float) -> None:
    """The posterior mean of ``x ~ N(D, r^2 I)`` given y, in information form."""
    problem, matrix, y = case(prior, name, noise)
    z = noisy(prior, eta)
    d, _ = denoised(prior, z, eta)
    s2 = prior.data_variance
    precision = np.eye(16) * (1 / s2 + 1 / eta**2) + matrix.T @ matrix / noise**2
    wanted = np.linalg.solve(precision, (d * (1 / s2 + 1 / eta**2) + y @ matrix / noise**2).T).T
    np.testing.assert_allclose(at(DDNM(), prior, problem, z, eta), wanted, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", ["mask", "average", "blur"])
def test_ddnm_wiener_without_noise_is_hard(prior: MixturePrior, name: str) -> None:
    problem, _, _ = case(prior, name, 0.0)
    z = noisy(prior, 0.8)
    np.testing.assert_allclose(
        at(DDNM(), prior, problem, z, 0.8), at(DDNM(hard=True), prior, problem, z, 0.8), rtol=1e-9, atol=1e-10
    )


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("name", ["mask", "average", "blur"])
@pytest.mark.parametrize("eta", ETAS)
@pytest.mark.parametrize(("path", "w"), [(VP(), None), (VP(), 7.0), (FlowMatching(), None), (FlowMatching(), 7.0)])
def test_pigdm(prior: MixturePrior, name: str, eta: float, noise: float, path: Path, w: float | None) -> None:
    """Song et al. (2023), equation 7, in x_t: ``grad_x log p(y | x) = (dD/dx)^T A^T (r^2 A A^T + s^2)^{-1} (y - A D)``.

    Diffusion: it is added to the score, times ``w r^2 mu^2`` with a w. Flow, with s the authors' time, 1 at the data:
    ``(1 - s)/s`` times it is added to the velocity (Pokle et al.), and ``w s (1 - s) r^2`` times it with a w.
    """
    problem, matrix, y = case(prior, name, noise)
    z = noisy(prior, eta)
    d, jacobian = denoised(prior, z, eta)
    alpha = 1 / (1 + eta) if isinstance(path, FlowMatching) else 1 / math.sqrt(1 + eta**2)
    r2 = 1 / (1 / prior.data_variance + 1 / eta**2)
    cutoff = 3e-2 if name == "blur" else 1e-4
    u = np.linalg.pinv(r2 * matrix @ matrix.T + noise**2 * np.eye(len(matrix)), rcond=cutoff**2, hermitian=True)
    gradient = np.einsum("bij,bi->bj", jacobian / alpha, (y - d @ matrix.T) @ u @ matrix)  # dD/dx_t = J / alpha
    if isinstance(path, FlowMatching):
        s = alpha
        velocity = (d - z.flatten(1).numpy() * s) / (1 - s)  # x_1 = x + (1 - s) v
        velocity = velocity + ((1 - s) / s if w is None else w * s * (1 - s) * r2) * gradient
        wanted = z.flatten(1).numpy() * s + (1 - s) * velocity
    else:
        strength = 1.0 if w is None else w * r2 * alpha**2
        wanted = d + (eta * alpha) ** 2 * strength * gradient / alpha  # x_0 = (x + sigma^2 score) / mu
    ours = at(PiGDM(w), prior.with_path(path), problem, z, eta)
    np.testing.assert_allclose(ours, wanted, rtol=1e-8, atol=1e-9)


# --- spectral covariance ----------------------------------------------------------------------------------------------

COLOUR = (3, 8, 8)


def data_spectrum(radius: torch.Tensor) -> torch.Tensor:
    luma = 0.02 / (radius**2 + 0.05**2)
    return torch.stack((luma, luma / 10))


def colour_operators() -> dict[str, LinearOperator]:
    keep = torch.rand(8, 8, generator=torch.Generator().manual_seed(2)) > 0.6
    kernel = gaussian_kernel(0.8, 5)
    return {
        "mask": Mask(keep, COLOUR),
        "average": BlockAverage(COLOUR, 2),
        "bicubic": Bicubic(COLOUR, 2),
        "blur": Blur(COLOUR, kernel),
        "grey": Grey(COLOUR),
        "grey, weighted": Grey(COLOUR, (0.3, 0.6, 0.1)),
        "small and grey": Grey((3, 4, 4)) @ BlockAverage(COLOUR, 2),
        "blur with borders": Blur(COLOUR, kernel, "unknown"),
        "bicubic with borders": Bicubic(COLOUR, 2, "unknown"),
        "mask of a blur": Mask(keep, COLOUR) @ Blur(COLOUR, kernel),
    }


def dense_covariance(covariance: StationaryCovariance, shape: tuple[int, ...]) -> np.ndarray:
    """Column by column, from the definition: a sum of plane waves, over luma and chroma."""
    channels, *size = shape
    waves = np.stack(np.meshgrid(*(np.fft.fftfreq(n) for n in size), indexing="ij"), -1).reshape(-1, len(size))
    luma, chroma = covariance.spectrum(torch.from_numpy(np.linalg.norm(waves, axis=1))).numpy()
    places = np.stack(np.meshgrid(*(np.arange(n) for n in size), indexing="ij"), -1).reshape(-1, len(size))
    phases = np.exp(2j * np.pi * places @ waves.T) / math.sqrt(len(places))
    grey = np.full((channels, channels), 1 / channels)
    space = [np.real(phases * s @ phases.conj().T) for s in (luma, chroma)]
    return np.kron(grey, space[0]) + np.kron(np.eye(channels) - grey, space[1])


@pytest.mark.parametrize("noise", [0.05, 0.5])
@pytest.mark.parametrize("name", colour_operators())
def test_spectral_guidance_is_the_posterior_mean(name: str, noise: float) -> None:
    """On a stationary Gaussian, ``D_y`` is E[x_0 | z, y] itself, by dense linear algebra in information form."""
    op = colour_operators()[name]
    shape = op.in_shape
    prior = StationaryPrior(StationaryCovariance(data_spectrum))
    covariance = dense_covariance(prior.covariance, shape)
    matrix = dense_matrix(op).numpy()
    rng, eta = np.random.default_rng(0), 0.4
    z, y = rng.standard_normal((2, len(covariance))), rng.standard_normal((2, len(matrix)))
    precision = np.linalg.inv(covariance) + np.eye(len(covariance)) / eta**2 + matrix.T @ matrix / noise**2
    wanted = np.linalg.solve(precision, (z / eta**2 + y @ matrix / noise**2).T).T

    problem = Problem(torch.from_numpy(y).view(-1, *op.out_shape), op, noise)
    guidance = SpectralCovariance(Accuracy(1e-11, 2000))
    ours, _ = guidance(prior, problem, torch.from_numpy(z).view(-1, *shape), eta, guidance.init(prior, problem))
    np.testing.assert_allclose(ours.flatten(1).numpy(), wanted, rtol=0, atol=1e-7 * np.abs(wanted).max())


@pytest.mark.parametrize("name", ["mask", "average", "bicubic", "blur", "grey", "small and grey"])
def test_spectral_guidance_without_noise(name: str) -> None:
    """The limit of no noise: ``x = D + C A^T (A C A^T)^{-1} (y - A D)``, which is consistent with y."""
    op = colour_operators()[name]
    prior = StationaryPrior(StationaryCovariance(data_spectrum))
    eta, shape = 0.4, op.in_shape
    data = dense_covariance(prior.covariance, shape)
    gain = data @ np.linalg.inv(data + eta**2 * np.eye(len(data)))
    error = gain * eta**2  # C (C + eta^2)^{-1} eta^2
    matrix = dense_matrix(op).numpy()
    rng = np.random.default_rng(0)
    z, x = rng.standard_normal((2, len(data))), rng.standard_normal((2, len(data)))
    y, d = x @ matrix.T, z @ gain.T
    wanted = d + (y - d @ matrix.T) @ np.linalg.pinv(matrix @ error @ matrix.T, rcond=1e-10) @ matrix @ error

    problem = Problem(torch.from_numpy(y).view(-1, *op.out_shape), op)
    ours, _ = SpectralCovariance(Accuracy(1e-11, 2000))(prior, problem, torch.from_numpy(z).view(-1, *shape), eta, None)
    scale = float(np.abs(wanted).max())
    np.testing.assert_allclose(ours.flatten(1).numpy(), wanted, rtol=0, atol=1e-4 * scale)
    np.testing.assert_allclose(ours.flatten(1).numpy() @ matrix.T, y, rtol=0, atol=1e-4 * scale)


def test_error_covariance_prefers_what_was_measured() -> None:
    prior = StationaryPrior(StationaryCovariance(data_spectrum))
    radius = torch.linspace(0, 0.7, 5, dtype=torch.float64)
    s = data_spectrum(radius)
    torch.testing.assert_close(error_covariance(prior, 0.3).spectrum(radius), s * 0.09 / (s + 0.09))
    measured = ErrorSpectrum(
        torch.tensor([0.1, 1.0]).double(), torch.tensor([0.0, 0.7]).double(), torch.full((2, 2, 2), 0.01).double()
    )
    prior.spectrum = measured
    torch.testing.assert_close(error_covariance(prior, 0.3).spectrum(radius), torch.full((2, 5), 0.01).double())


def test_gaussian_estimate_is_the_posterior_mean_without_a_network() -> None:
    op = colour_operators()["mask"]
    prior = StationaryPrior(StationaryCovariance(data_spectrum))
    covariance, matrix = dense_covariance(prior.covariance, COLOUR), dense_matrix(op).numpy()
    y = np.random.default_rng(0).standard_normal((2, len(matrix))) @ matrix.T
    # The constant colour that fits best comes first; the Gaussian posterior mean of what is left is added to it.
    constants = np.kron(np.eye(COLOUR[0]), np.ones((1, COLOUR[1] * COLOUR[2])))
    level = np.linalg.lstsq(matrix @ constants.T, y.T, rcond=None)[0].T @ constants
    gain = np.linalg.solve(matrix @ covariance @ matrix.T + 0.04 * np.eye(len(matrix)), matrix @ covariance)
    wanted = level + (y - level @ matrix.T) @ gain
    problem = Problem(torch.from_numpy(y).view(-1, *COLOUR), op, 0.2)
    ours = gaussian_estimate(prior, problem, Accuracy(1e-10, 2000)).flatten(1).numpy()
    np.testing.assert_allclose(ours, wanted, rtol=0, atol=2e-3 * np.abs(wanted).max())


def test_conjugate_gradients_bounds_are_loose_but_safe() -> None:
    """The default tolerance leaves an error of the order of 1 % of the correction."""
    op = colour_operators()["mask"]
    prior = StationaryPrior(StationaryCovariance(data_spectrum))
    generator = torch.Generator().manual_seed(0)
    z, y = (torch.randn(2, *COLOUR, generator=generator, dtype=torch.float64) for _ in range(2))
    problem = Problem(op(y), op, 0.05)
    default, _ = SpectralCovariance()(prior, problem, z, 0.4, None)
    exact, _ = SpectralCovariance(Accuracy(1e-11, 2000))(prior, problem, z, 0.4, None)
    plain = prior.denoise(z, torch.full((2,), 0.4, dtype=torch.float64))
    assert float((default - exact).norm()) < 0.05 * float((exact - plain).norm())


class Nonlinear(Operator):
    in_shape = out_shape = (1, 4, 4)

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        return x**2


def test_the_spectral_covariance_takes_the_derivative_of_what_is_not_linear(prior: MixturePrior) -> None:
    """d + C A'^T (A' C A'^T + sigma^2)^{-1} (y - A(d)) for y = x^2: A' = diag(2 d), dense."""
    d = torch.linspace(0.2, 1.0, 16, dtype=torch.float64).view(1, 1, 4, 4)
    problem = Problem(torch.full((1, 1, 4, 4), 0.3, dtype=torch.float64), Nonlinear(), 0.1)
    guidance = SpectralCovariance(Accuracy(1e-12, 500))
    covariance = error_covariance(prior, 0.5)
    c = covariance(torch.eye(16, dtype=torch.float64).view(16, 1, 4, 4)).flatten(1)
    a = torch.diag(2 * d.flatten())
    system = a @ c @ a.T + 0.01 * torch.eye(16, dtype=torch.float64)
    expected = d.flatten() + c @ a.T @ torch.linalg.solve(system, (problem.y - d**2).flatten())
    torch.testing.assert_close(guidance.correct(prior, problem, d, 0.5).flatten(), expected)


@pytest.mark.parametrize("guidance", [DDNM(), DDNM(hard=True)])
def test_only_linear_operators(prior: MixturePrior, guidance: Guidance) -> None:
    problem = Problem(torch.zeros(1, 4, 4), Nonlinear())
    with pytest.raises(InvalidArgument, match="operator"):
        guidance.check(prior, problem)


@pytest.mark.parametrize("name", ["mask", "blur"])
def test_confidence_is_a_smaller_noise_above_the_last_level(prior: MixturePrior, name: str) -> None:
    problem, matrix, y = case(prior, name, 0.3)
    guidance = SpectralCovariance(Accuracy(1e-12, 500), confidence=4.0, last=0.1)
    for eta, variance in ((0.8, 0.3**2 / 4), (0.1, 0.3**2)):
        z = noisy(prior, eta)
        d, _ = denoised(prior, z, eta)
        c = dense_covariance(error_covariance(prior, eta), prior.shape)
        gain = np.linalg.solve(matrix @ c @ matrix.T + variance * np.eye(len(matrix)), matrix @ c)
        expected = d + (y - d @ matrix.T) @ gain
        np.testing.assert_allclose(at(guidance, prior, problem, z, eta), expected, atol=1e-8)


def test_confidence_is_not_for_a_covariance_that_is_known() -> None:
    op = colour_operators()["blur"]
    prior = StationaryPrior(StationaryCovariance(data_spectrum))
    z, y = (torch.randn(1, *op.in_shape, generator=torch.Generator().manual_seed(i)).double() for i in (0, 1))
    problem = Problem(y, op, 0.2)
    plain, sure = (SpectralCovariance(confidence=k)(prior, problem, z, 0.5, None)[0] for k in (1.0, 4.0))
    torch.testing.assert_close(plain, sure)
    with pytest.raises(InvalidArgument, match="confidence"):
        SpectralCovariance(confidence=0.5)


@pytest.mark.parametrize("w", [0.0, -1.0, math.nan])
def test_settings_are_checked(w: float) -> None:
    with pytest.raises(InvalidArgument, match="w"):
        PiGDM(w)
    with pytest.raises(InvalidArgument, match="tolerance"):
        Accuracy(tolerance=w)
    with pytest.raises(InvalidArgument, match="iterations"):
        Accuracy(iterations=0)
