"""Latent models: the autoencoder, measurements through its decoder, and what samplers make of them, against a linear
autoencoder with a Gaussian of the codes, whose posterior is known."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import kintsugi
from kintsugi.errors import InvalidArgument
from kintsugi.likelihood import Poisson
from kintsugi.operators import (
    Blur,
    Decoded,
    Identity,
    Mask,
    Matrix,
    check_vjp,
)
from kintsugi.operators.latent import in_pixels
from kintsugi.paths import VP, FlowMatching
from kintsugi.priors.clock import Level
from kintsugi.priors.latent import Autoencoder, LatentPrior
from kintsugi.problem import Problem
from linear_codes import IMAGE, LATENT, PIXELS, W_PINV, W, autoencoder, gaussian, latent_prior, through

A = torch.randn(7, PIXELS, generator=torch.Generator().manual_seed(1), dtype=torch.float64) / 7


def measured(noise: float) -> Problem:
    code = gaussian().sample(1, torch.Generator().manual_seed(2))
    return Problem.simulate(autoencoder().decode(code), Matrix(A, IMAGE), noise)


def as_codes(problem: Problem) -> Problem:
    """The same measurement as a linear one of codes."""
    return Problem(problem.y, through(A), problem.noise)


# --- the autoencoder --------------------------------------------------------------------------------------------------


def test_scale_and_shift() -> None:
    """diffusers' convention: z = (e - shift) scale, and back; one number or one a channel."""
    e = torch.randn(2, *LATENT, dtype=torch.float64)
    for scale, shift in ((0.18215, 0.1), ([0.5, 2.0, 3.0], [0.1, -1.0, 0.0])):
        code = Autoencoder(lambda z: 3 * z, lambda x: x / 3, LATENT, LATENT, scale=scale, shift=shift)
        by_channel = [torch.as_tensor(v, dtype=torch.float64).expand(3).view(3, 1, 1) for v in (scale, shift)]
        torch.testing.assert_close(code.encode(3 * e), (e - by_channel[1]) * by_channel[0])
        torch.testing.assert_close(code.decode((e - by_channel[1]) * by_channel[0]), 3 * e)


def test_codes_take_the_dtype_of_the_network_and_return_that_of_the_caller() -> None:
    net = torch.nn.Conv2d(3, 3, 1).half()
    seen = []

    def half(x: Tensor) -> Tensor:
        seen.append(x.dtype)
        return x

    code = Autoencoder(half, half, LATENT, LATENT, network=net)
    assert code.decode(torch.zeros(1, *LATENT)).dtype == code.encode(torch.zeros(1, *LATENT)).dtype == torch.float32
    assert seen == [torch.float16, torch.float16]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("decode", {"decode": 3}),
        ("encode", {"encode": None}),
        ("shape", {"latent_shape": (3,)}),
        ("scale", {"scale": 0.0}),
        ("scale", {"scale": [1.0, 2.0]}),
        ("shift", {"shift": math.nan}),
    ],
)
def test_an_autoencoder_that_cannot_be(name: str, settings: dict[str, Any]) -> None:
    good: dict[str, Any] = {"decode": abs, "encode": abs, "latent_shape": LATENT, "image_shape": IMAGE}
    with pytest.raises(InvalidArgument, match=f"^{name}: "):
        Autoencoder(**good | settings)


def test_a_prior_of_latents_says_what_it_lacks() -> None:
    with pytest.raises(InvalidArgument, match=r"^autoencoder: "):
        LatentPrior(lambda x, t: x, VP(), "sample", Level(), "vae")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match=r"^prompt: expected nothing"):
        latent_prior().with_condition(prompt="a bowl")
    assert latent_prior().shape == LATENT


# --- measurements of codes --------------------------------------------------------------------------------------------


def test_a_measurement_through_the_decoder() -> None:
    op = Decoded(Matrix(A, IMAGE), autoencoder())
    z = torch.randn(3, *LATENT, dtype=torch.float64)
    y = torch.randn(3, 1, 7, dtype=torch.float64)
    assert (op.in_shape, op.out_shape) == (LATENT, (1, 7))
    torch.testing.assert_close(op(z).flatten(1), z.flatten(1) @ W.T @ A.T)
    assert op.has_pinv
    torch.testing.assert_close(op.pinv(y).flatten(1), y.flatten(1) @ torch.linalg.pinv(A).T @ W_PINV.T)
    torch.testing.assert_close(op.jvp(z, z).flatten(1), z.flatten(1) @ W.T @ A.T)
    check_vjp(op)
    image = torch.randn(3, *IMAGE, dtype=torch.float64)
    torch.testing.assert_close(op.visible(z).flatten(1), z.flatten(1) @ W.T)
    torch.testing.assert_close(op.extend(image).flatten(1), image.flatten(1) @ W_PINV.T)


def test_what_is_visible_is_the_operators_own_part_of_the_image() -> None:
    blur = Blur((3, 2, 2), torch.tensor([[0.0, 1.0], [1.0, 2.0]]), "unknown")
    assert blur.in_shape == IMAGE
    z = torch.randn(1, *LATENT, dtype=torch.float64)
    shown = Decoded(blur, autoencoder()).visible(z)
    assert torch.equal(shown, blur.visible(autoencoder().decode(z)))
    assert shown.shape == (1, 3, 2, 2)


def test_rows_keep_their_own_operators() -> None:
    masks = [Mask(torch.rand(IMAGE, generator=torch.Generator().manual_seed(i)) > 0.5, IMAGE) for i in range(3)]
    op = Decoded(kintsugi.operators.per_row(masks), autoencoder())
    z = torch.randn(3, *LATENT, dtype=torch.float64)
    chosen = op.select([2, 0])
    assert isinstance(chosen, Decoded)
    torch.testing.assert_close(chosen(z[[2, 0]]), op(z)[[2, 0]])


def test_the_parts() -> None:
    pixels = Matrix(A, IMAGE)
    z, x = torch.randn(2, *LATENT, dtype=torch.float64), torch.randn(2, *IMAGE, dtype=torch.float64)
    of_codes, of_images = in_pixels(Decoded(pixels, autoencoder())), in_pixels(pixels)
    assert of_codes.pixels is of_images.pixels is pixels
    torch.testing.assert_close(of_codes.decode(z), autoencoder().decode(z))
    torch.testing.assert_close(of_codes.encode(x), autoencoder().encode(x))
    assert torch.equal(of_images.decode(x), x)
    assert torch.equal(of_images.encode(x), x)


def test_images_of_another_size_are_refused_before_any_network_runs() -> None:
    def silent(x: Tensor) -> Tensor:
        raise AssertionError("a network ran")

    code = Autoencoder(silent, silent, LATENT, IMAGE)
    with pytest.raises(InvalidArgument, match=r"^operator: expected the images of the autoencoder"):
        Decoded(Identity((3, 4, 6)), code)
    prior = LatentPrior(lambda x, t: silent(x), VP(), "sample", Level(), code)
    problem = Problem(torch.zeros(1, 3, 4, 6), Identity((3, 4, 6)))
    with pytest.raises(InvalidArgument, match=r"^operator: expected images of the prior's size, \(3, 4, 4\)"):
        kintsugi.restore(problem, prior)
    linear = Problem(torch.zeros(1, *IMAGE), Identity(IMAGE))
    with pytest.raises(InvalidArgument, match=r"^operator: expected a linear operator, for DDNM, got Decoded"):
        kintsugi.restore(linear, prior, "ddnm")


# --- samplers ---------------------------------------------------------------------------------------------------------


# Those that treat linear and nonlinear measurements alike, and start from noise alone; two need noise to do so.
ALIKE = [("dps", 0.0), ("sitcom", 0.0), ("daps", 0.0), ("ddim", 0.0), ("mmps", 0.1), ("tmpd", 0.1), ("daps", 0.1)]


@pytest.mark.parametrize("path", [VP(), FlowMatching()], ids=["vp", "flow"])
@pytest.mark.parametrize(("name", "noise"), ALIKE)
def test_latents_are_the_codes_measured_by_a_matrix(name: str, noise: float, path: Any) -> None:
    problem = measured(noise)
    ours = kintsugi.restore(problem, latent_prior(path), name, steps=8, samples=3)
    theirs = kintsugi.restore(as_codes(problem), gaussian().with_path(path), name, steps=8, samples=3)
    assert ours.samples.shape == (1, 3, *IMAGE)
    torch.testing.assert_close(ours.samples[0], autoencoder().decode(theirs.samples[0]), rtol=0, atol=1e-5)
    assert (ours.cost.forwards, ours.cost.vjps) == (theirs.cost.forwards, theirs.cost.vjps)


@pytest.mark.parametrize("name", ["flowdps", "flowchef", "pnpflow"])
def test_descent_differs_by_the_estimate_of_its_step_alone(name: str) -> None:
    """|A'|^2 is found by 30 power iterations for a linear A and 8 for a derivative."""
    problem = measured(0.1)
    ours = kintsugi.restore(problem, latent_prior(), name, steps=8, samples=3)
    theirs = kintsugi.restore(as_codes(problem), gaussian(), name, steps=8, samples=3)
    torch.testing.assert_close(ours.samples[0], autoencoder().decode(theirs.samples[0]), rtol=0, atol=2e-2)


def distance(name: str, noise: float, steps: int, samples: int, **settings: Any) -> tuple[float, float]:
    """Error of the mean less what the number of samples adds, and spread, over the posterior's, of images."""
    problem = measured(noise)
    exact = gaussian().posterior(as_codes(problem))
    mean = autoencoder().decode(exact.mean)
    variance = float((W @ exact.covariance @ W.T).diagonal().sum())
    result = kintsugi.restore(problem, latent_prior(), name, steps=steps, samples=samples, batch=samples, **settings)
    spread = float(result.std.square().sum())
    error = float((result.mean - mean).square().sum()) - spread / samples
    return math.sqrt(max(error, 0.0) / variance), math.sqrt(spread / variance)


def test_moment_matching_finds_the_posterior_of_the_images() -> None:
    """Its Gaussian of the clean code is exact, so what is left is the spread that 60 steps of first order lose."""
    error, spread = distance("mmps", 0.1, 60, 300, iterations=4)
    assert error < 0.1
    assert 0.85 < spread < 1


def test_optimised_noise_finds_the_posterior_of_the_images() -> None:
    """D-Flow without a blend is exact for a Gaussian and no noise, as its steps grow (``samplers/dflow.py``)."""
    error, spread = distance("dflow", 0.0, 60, 40, blend=0.0)
    assert error < 0.1
    assert spread == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("name", ["dps", "psld", "resample", "latino", "flowdps", "mmps"])
def test_a_batch_of_images_is_its_rows(name: str) -> None:
    problem = measured(0.1)
    two = problem.with_rows(torch.cat([problem.y, problem.y + 0.3]))
    together = kintsugi.restore(two, latent_prior(), name, steps=4, samples=2, batch=4)
    apart = kintsugi.restore(two, latent_prior(), name, steps=4, samples=2, batch=1)
    torch.testing.assert_close(together.samples, apart.samples, rtol=1e-7, atol=1e-7)


# Mean squared misfit over the noise's variance: which methods fit the data through a decoder, and how far.
@pytest.mark.parametrize(("name", "most"), [("resample", 1.01), ("latino", 12.0), ("psld", 6.0), ("kintsugi", 4.0)])
def test_images_have_the_measurement(name: str, most: float) -> None:
    problem = measured(0.1)
    steps = 60 if name == "psld" else 12
    result = kintsugi.restore(problem, latent_prior(), name, steps=steps, samples=8)
    misfit = (problem.operator(result.samples[0]) - problem.y).square().mean() / 0.1**2
    assert float(misfit) < most


def test_tiles_and_counts() -> None:
    """Latents are evaluated whole, whatever ``tile`` says."""
    sizes = []
    exact = gaussian()

    def network(x: Tensor, eta: Tensor) -> Tensor:
        sizes.append(tuple(x.shape[1:]))
        return exact.denoise(x * (1 + eta**2).sqrt().view(-1, 1, 1, 1), eta)

    prior = LatentPrior(network, VP(), "sample", Level(), autoencoder())
    prior.receptive_radius = lambda: 0  # type: ignore[assignment]
    result = kintsugi.restore(measured(0.1), prior, "dps", steps=3, tile=1)
    assert set(sizes) == {LATENT}
    assert result.cost.forwards == 3


def test_noise_models_and_complex_measurements_go_through_the_decoder() -> None:
    clean = autoencoder().decode(gaussian().sample(1, torch.Generator().manual_seed(4))).clamp(-0.9, 0.9)
    counts = Problem.simulate(clean, Identity(IMAGE), model=Poisson(50.0))
    result = kintsugi.restore(counts, latent_prior(), "dps", steps=3, samples=2)
    assert result.samples.shape == (1, 2, *IMAGE)
    assert result.notes
    phases = kintsugi.operators.MRI((1, 4, 4), torch.ones(4, 4, dtype=torch.bool))
    code = Autoencoder(lambda z: z[:, :2], lambda x: torch.cat((x, x[:, :1]), 1), (3, 4, 4), (2, 4, 4))
    prior = LatentPrior(lambda x, t: 0 * x, VP(), "epsilon", Level(), code)
    prior.data_scale = math.inf  # a network that sees no noise leaves all of it in
    x = torch.randn(1, 1, 4, 4, dtype=torch.complex128)
    found = kintsugi.restore(Problem(phases(x), phases), prior, "resample", steps=3)
    assert found.samples.is_complex()
    torch.testing.assert_close(found.samples[0], x, rtol=0, atol=1e-3)
