"""The algebra of operators: complex signals, rows of their own, sums, stacks, adjoints, chains."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import kintsugi
from kintsugi.errors import InvalidArgument, NotConverged
from kintsugi.operators import (
    Accuracy,
    BlockAverage,
    Blur,
    Chain,
    Crop,
    Grey,
    Identity,
    LinearOperator,
    Mask,
    Matrix,
    Nonlinear,
    OnComplex,
    Operator,
    Pad,
    Stack,
    Unstructured,
    check_adjoint,
    check_gram,
    check_pinv,
    check_vjp,
    dense_matrix,
    gaussian_kernel,
    per_row,
    real_view,
    to_complex,
    to_real,
)
from kintsugi.operators.stationary import Stationary
from kintsugi.priors import GaussianPrior


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def holes(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) > 0.4


SHAPE = (2, 5, 6)


class Fourier(LinearOperator):
    """Orthonormal FFT of complex signals, sampled by a mask: what a scanner measures, and the least of an operator."""

    in_complex = out_complex = True
    cutoff = 1e-4

    def __init__(self, shape: tuple[int, ...], keep: Tensor) -> None:
        self.in_shape = self.out_shape = shape
        self.keep = keep

    def _forward(self, x: Tensor) -> Tensor:
        return torch.fft.fft2(x, norm="ortho") * self.keep

    def _adjoint(self, y: Tensor) -> Tensor:
        return torch.fft.ifft2(y * self.keep, norm="ortho")

    def gram(self, h: Callable[[Tensor], Tensor], u: Tensor) -> Tensor:
        return float(h(torch.ones((), dtype=torch.float64))) * self.keep * u


class Magnitude(Operator):
    """``|z|`` of complex numbers."""

    in_complex = True

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.in_shape = self.out_shape = shape

    def _forward(self, x: Tensor) -> Tensor:
        return x.abs()


class Learned(Unstructured):
    """A dense matrix that hides its structure."""

    def __init__(self, matrix: Tensor, **settings: object) -> None:
        super().__init__(**settings)  # type: ignore[arg-type]
        self.in_shape, self.out_shape, self.matrix = (1, matrix.shape[1]), (1, matrix.shape[0]), matrix

    def _forward(self, x: Tensor) -> Tensor:
        return x @ self.matrix.T.to(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return y @ self.matrix.to(y)


def blur(seed: int = 0) -> Stationary:
    operator = Blur(SHAPE, randn(3, 3, seed=seed).abs(), cutoff=1e-3)
    assert isinstance(operator, Stationary)
    return operator


SHARP: dict[str, Callable[[], LinearOperator]] = {
    "Fourier": lambda: Fourier((1, 5, 6), holes(5, 6)),
    "blur of a complex signal": lambda: OnComplex(blur()),
    "mask after Fourier": lambda: OnComplex(Mask(holes(1, 5, 6, seed=3), (1, 5, 6))) @ Fourier((1, 5, 6), holes(5, 6)),
    "adjoint of a blur": lambda: blur().T,
    "adjoint of a decimation": lambda: BlockAverage((1, 6, 4), 2).T,
    "adjoint of Fourier": lambda: Fourier((1, 4, 4), holes(4, 4)).T,
    "adjoint of grey": lambda: Grey((3, 4, 5)).T,
    "pad": lambda: Pad(SHAPE, (1, 2), (0, 3)),
    "sum of blurs": lambda: blur(0) + blur(1),
    "stack of blurs": lambda: Stack([blur(0), 0.3 * blur(1), Identity(SHAPE)]),
    "stack of masks": lambda: Stack([Mask(holes(*SHAPE), SHAPE), 2.0 * Mask(holes(*SHAPE, seed=4), SHAPE)]),
}
KRYLOV: dict[str, Callable[[], LinearOperator]] = {
    "sum": lambda: Mask(holes(*SHAPE), SHAPE) + blur(),
    "three terms": lambda: Mask(holes(*SHAPE), SHAPE) + blur() - 0.5 * Mask(holes(*SHAPE, seed=3), SHAPE),
    "sum of complex ones": lambda: Fourier((1, 5, 6), holes(5, 6)) + Fourier((1, 5, 6), holes(5, 6, seed=2)),
    "stack of a mask and a decimation": lambda: Stack([Mask(holes(1, 6, 4), (1, 6, 4)), BlockAverage((1, 6, 4), 2)]),
    "stack of complex ones": lambda: Stack([Fourier((1, 5, 6), holes(5, 6)), OnComplex(Mask(holes(5, 6), (1, 5, 6)))]),
    "learned": lambda: Learned(randn(7, 9)),
}
every = pytest.mark.parametrize("name", [*SHARP, *KRYLOV])


def make(name: str) -> LinearOperator:
    operator = {**SHARP, **KRYLOV}[name]()
    if name in KRYLOV:
        # To full accuracy, and with a cut-off that only removes what is zero: how it fades in is tested elsewhere.
        assert isinstance(operator, Unstructured)
        operator.accuracy, operator.cutoff = Accuracy(1e-10, 300), 1e-7
    return operator


@every
def test_the_dot_test(name: str) -> None:
    assert check_adjoint(make(name)) < 1e-13
    assert check_adjoint(make(name), dtype=torch.float32) < 1e-6


@every
def test_pseudo_inverse(name: str) -> None:
    errors = check_pinv(make(name))
    assert all(value < (1e-5 if name in KRYLOV else 1e-10) for value in errors.values()), errors


@every
@pytest.mark.parametrize(
    "h", [torch.reciprocal, torch.sqrt, lambda lam: 1 / (0.3 * lam + 0.02)], ids=["reciprocal", "root", "Wiener"]
)
def test_gram_against_a_dense_matrix(name: str, h: Callable[[Tensor], Tensor]) -> None:
    assert check_gram(make(name), h) < (1e-5 if name in KRYLOV else 1e-10)


@every
def test_noisy_solve(name: str) -> None:
    operator = real_view(make(name))
    assert isinstance(operator, LinearOperator)
    matrix = dense_matrix(make(name))
    u = operator(randn(3, *operator.in_shape))
    expected = torch.linalg.solve(0.7 * matrix @ matrix.T + 0.1 * torch.eye(len(matrix)).double(), u.flatten(1).T).T
    got = operator.solve(0.7, 0.1, u).flatten(1)
    assert float((got - expected).norm() / expected.norm()) < (1e-5 if name in KRYLOV else 1e-10)


@every
def test_a_batch_is_its_rows(name: str) -> None:
    operator = real_view(make(name))
    assert isinstance(operator, LinearOperator)
    x, y = randn(3, *operator.in_shape), randn(3, *operator.out_shape, seed=1)
    for f, v in ((operator, x), (operator.adjoint, y), (operator.pinv, y)):
        rows = torch.cat([f(v[i : i + 1]) for i in range(3)])
        torch.testing.assert_close(f(v), rows, rtol=1e-9, atol=1e-9)


@every
def test_filter_with_the_identity_is_the_normal_operator(name: str) -> None:
    operator = real_view(make(name))
    assert isinstance(operator, LinearOperator)
    x = randn(2, *operator.in_shape)
    expected = operator.adjoint(operator(x))
    assert float((operator.filter(lambda lam: lam, x) - expected).norm() / expected.norm()) < 1e-3


@every
def test_described_for_reports(name: str) -> None:
    said = make(name).describe()
    assert json.loads(json.dumps(said)) == said
    assert said["in_shape"] == list(make(name).in_shape)


# --- complex numbers --------------------------------------------------------------------------------------------------


def test_real_channels_are_an_isometry() -> None:
    z = torch.complex(randn(2, 3, 4), randn(2, 3, 4, seed=1))
    w = torch.complex(randn(2, 3, 4, seed=2), randn(2, 3, 4, seed=3))
    assert to_real(z).shape == (2, 6, 4)
    assert torch.equal(to_complex(to_real(z)), z)
    assert torch.allclose((z.conj() * w).real.sum(), (to_real(z) * to_real(w)).sum())


def test_real_numbers_are_refused_where_complex_ones_are_due_and_the_reverse() -> None:
    operator = Fourier((1, 4, 4), holes(4, 4))
    with pytest.raises(InvalidArgument, match="x: expected complex numbers"):
        operator(randn(1, 1, 4, 4))
    with pytest.raises(InvalidArgument, match="y: expected complex numbers"):
        operator.adjoint(randn(1, 1, 4, 4))
    with pytest.raises(InvalidArgument, match="x: expected real numbers"):
        blur()(torch.complex(randn(1, *SHAPE), randn(1, *SHAPE)))
    with pytest.raises(InvalidArgument, match="y: expected a tensor of complex numbers"):
        kintsugi.Problem(randn(1, 1, 4, 4), operator)


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_a_complex_signal_is_restored_to_the_exact_posterior_mean(noise: float) -> None:
    """On real channels the prior is a Gaussian of twice the size; moment matching is exact on it."""
    shape, n = (2, 4, 4), 32
    root = 0.5 * randn(n, n, seed=5) / n**0.5
    prior = GaussianPrior(shape, root @ root.T)
    operator = Fourier((1, 4, 4), holes(4, 4, seed=7))
    truth = to_complex(prior.sample(1, torch.Generator().manual_seed(1)))
    problem = kintsugi.Problem.simulate(truth, operator, noise)
    result = kintsugi.restore(problem, prior, "mmps", steps=60, samples=400, iterations=30, tile=None, batch=400)
    assert result.samples.shape == (1, 400, 1, 4, 4)
    assert result.samples.dtype == torch.complex128
    exact = prior.posterior(problem)
    error = to_real(result.mean) - exact.mean
    scale = exact.std.square().mean().sqrt()
    assert float(error.square().mean().sqrt() / scale) < 0.12  # 400 samples leave 0.05 to chance
    spread = to_real(result.samples[0]).std(0).square().mean().sqrt() / scale
    assert float(spread) == pytest.approx(1, abs=0.1)


def test_noise_of_a_complex_measurement_is_that_of_each_part() -> None:
    operator = Fourier((1, 64, 64), torch.ones(64, 64))
    y = kintsugi.Problem.simulate(torch.zeros(1, 1, 64, 64, dtype=torch.complex128), operator, 0.3).batch
    for part in (y.real, y.imag):
        assert float(part.std()) == pytest.approx(0.3, rel=0.03)
    assert abs(float((y.real * y.imag).mean())) < 0.01


# --- rows -------------------------------------------------------------------------------------------------------------


def test_each_row_has_its_own_operator() -> None:
    parts = [blur(seed) for seed in range(3)]
    operator = per_row(parts)
    assert isinstance(operator, LinearOperator)
    x = randn(3, *SHAPE)
    expected = torch.cat([part(x[i : i + 1]) for i, part in enumerate(parts)])
    assert torch.equal(operator(x), expected)
    assert torch.equal(operator.select([2, 0])(x[[2, 0]]), expected[[2, 0]])
    for f in (operator.adjoint, operator.pinv, operator.project):
        rows = torch.cat([getattr(part, f.__name__)(x[i : i + 1]) for i, part in enumerate(parts)])
        torch.testing.assert_close(f(x), rows)
    assert check_adjoint(operator) < 1e-13
    assert max(check_pinv(operator).values()) < 1e-10


def test_rows_with_their_own_masks_are_restored_as_each_alone() -> None:
    covariance = torch.eye(24, dtype=torch.float64) + 0.4
    prior = GaussianPrior((1, 4, 6), covariance)
    masks = [Mask(holes(4, 6, seed=seed), (1, 4, 6)) for seed in range(3)]
    truth = prior.sample(3, torch.Generator().manual_seed(0))
    problem = kintsugi.Problem.simulate(truth, per_row(masks), 0.1)
    for name in ("kintsugi", "ddnm", "cpigdm", "reddiff", "tds", "dps"):
        together = kintsugi.restore(problem, prior, name, steps=4, samples=2, tile=None).samples
        for i, mask in enumerate(masks):
            # Sample j of image i depends on (seed, i, j): the others of the batch are there, but with another operator.
            alone = kintsugi.Problem(problem.y, per_row([mask] * 3), 0.1)
            expected = kintsugi.restore(alone, prior, name, steps=4, samples=2, tile=None).samples[i]
            torch.testing.assert_close(together[i], expected, rtol=1e-7, atol=1e-7)


def test_what_a_later_row_cannot_do_is_said_before_any_network_runs() -> None:
    class Unseen(GaussianPrior):
        def denoise(self, z: Tensor, eta: Tensor) -> Tensor:
            raise AssertionError("a network ran")

    prior = Unseen((1, 4, 4), torch.eye(16, dtype=torch.float64))
    operator = per_row([Identity((1, 4, 4)), square((1, 4, 4))])
    with pytest.raises(InvalidArgument, match="operator: expected a linear operator, for DDNM"):
        kintsugi.restore(kintsugi.Problem(randn(2, 1, 4, 4), operator), prior, "ddnm", batch=1)


def test_rows_that_do_not_fit() -> None:
    with pytest.raises(InvalidArgument, match="operators"):
        per_row([blur(), Identity((2, 5, 5))])
    with pytest.raises(InvalidArgument, match="operators: expected one for each row"):
        per_row([])
    operator = per_row([blur(), blur(1)])
    with pytest.raises(InvalidArgument, match=r"x: expected shape \(2, 2, 5, 6\)"):
        operator(randn(3, *SHAPE))
    with pytest.raises(InvalidArgument, match="y: expected the operator's 2 rows"):
        kintsugi.Problem(randn(3, *SHAPE), operator)


# --- sums, stacks, adjoints -------------------------------------------------------------------------------------------


def test_sums_of_convolutions_are_one_convolution() -> None:
    total = blur(0) - 0.25 * blur(1) + Identity(SHAPE)
    x = randn(2, *SHAPE)
    torch.testing.assert_close(total(x), blur(0)(x) - 0.25 * blur(1)(x) + x)
    assert isinstance(blur(0) + blur(1), Stationary)
    torch.testing.assert_close((-blur(0))(x), -(blur(0)(x)))


def test_stacked_measurements() -> None:
    parts = [Mask(holes(1, 6, 4), (1, 6, 4)), BlockAverage((1, 6, 4), 2), Matrix(randn(5, 24), (1, 6, 4))]
    operator = Stack(parts)
    x = randn(2, 1, 6, 4)
    y = operator(x)
    assert y.shape == (2, 1, 24 + 6 + 5)
    for piece, part in zip(operator.split(y), parts, strict=True):
        assert torch.equal(piece, part(x))
    assert torch.equal(operator.join(operator.split(y)), y)
    assert Stack([blur(0), blur(1)]).out_shape == (4, 5, 6)
    dense = torch.cat([dense_matrix(part) for part in parts])
    torch.testing.assert_close(dense_matrix(operator), dense)
    with pytest.raises(InvalidArgument, match="ys: expected 3 of them"):
        operator.join([y])


def test_noise_of_each_part_is_scaled_to_one() -> None:
    """Two exposures of different noise: the posterior mean of the scaled stack is that of the two measurements."""
    prior = GaussianPrior((1, 4, 4), torch.eye(16, dtype=torch.float64) + 0.5)
    first, second = Blur((1, 4, 4), gaussian_kernel(0.7, 3)), Identity((1, 4, 4))
    x = prior.sample(1, torch.Generator().manual_seed(0))
    ys = [first(x) + 0.1 * randn(1, 1, 4, 4, seed=1), second(x) + 0.4 * randn(1, 1, 4, 4, seed=2)]
    stack = Stack([(1 / 0.1) * first, (1 / 0.4) * second])
    got = prior.posterior(kintsugi.Problem(stack.join([ys[0] / 0.1, ys[1] / 0.4]), stack, 1.0)).mean
    a, b = dense_matrix(first), dense_matrix(second)
    precision = torch.linalg.inv(prior.covariance) + a.T @ a / 0.01 + b.T @ b / 0.16
    right = a.T @ ys[0].flatten() / 0.01 + b.T @ ys[1].flatten() / 0.16
    torch.testing.assert_close(got.flatten(), torch.linalg.solve(precision, right))


def test_padding_is_the_adjoint_of_cropping() -> None:
    operator = Pad((1, 3), (2,), (1,))
    assert operator(torch.tensor([[[1.0, 2.0, 3.0]]])).tolist() == [[[0, 0, 1, 2, 3, 0]]]
    assert isinstance(operator.T, Crop)
    assert blur().T.T(randn(1, *SHAPE)).shape == (1, *SHAPE)


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(InvalidArgument, match="operator"):
        Mask(holes(4, 4), (1, 4, 4)) + Identity((1, 4, 5))
    with pytest.raises(InvalidArgument, match="parts"):
        Stack([Identity((1, 4, 4)), Identity((1, 4, 5))])
    with pytest.raises(InvalidArgument, match="operator"):
        Fourier((1, 4, 4), holes(4, 4)) @ Identity((1, 4, 4))


# --- operators without structure --------------------------------------------------------------------------------------


def test_what_does_not_converge_says_so_and_what_to_do() -> None:
    q, _ = torch.linalg.qr(randn(60, 60))
    hard = Learned(q * torch.logspace(0, -4, 60).double(), cutoff=1e-4, accuracy=Accuracy(1e-6, 8))
    y = hard(randn(1, 1, 60))
    with pytest.raises(NotConverged, match=r"lanczos.*larger cut-off"):
        hard.pinv(y)
    with pytest.raises(NotConverged, match=r"conjugate gradients.*larger cut-off"):
        hard.solve(1.0, 1e-6, y)
    easy = Learned(hard.matrix, cutoff=1e-4, accuracy=Accuracy(1e-6, 60))
    assert float((hard(easy.pinv(y)) - y).norm() / y.norm()) < 1e-2


# --- chains -----------------------------------------------------------------------------------------------------------


def square(shape: tuple[int, ...]) -> Operator:
    return Nonlinear(lambda x: x + 0.3 * x**3, shape)


@pytest.mark.parametrize(
    "operator",
    [
        square(SHAPE) @ blur(),
        blur() @ square(SHAPE),
        square((1, 5, 6)) @ Grey(SHAPE) @ square(SHAPE),
        real_view(Magnitude((1, 5, 6)) @ Fourier((1, 5, 6), torch.ones(5, 6))),
    ],
    ids=["function of a blur", "blur of a function", "three", "magnitude of Fourier"],
)
def test_chains_differentiate_through_each_part(operator: Operator) -> None:
    assert isinstance(operator, Operator)
    assert not isinstance(operator, LinearOperator)
    assert check_vjp(operator) < 1e-7
    x, v = randn(2, *operator.in_shape), randn(2, *operator.in_shape, seed=1)
    step = 1e-6
    slope = (operator(x + step * v) - operator(x - step * v)) / (2 * step)
    torch.testing.assert_close(operator.jvp(x, v), slope, rtol=1e-6, atol=1e-6)
    assert json.dumps(operator.describe())


def test_a_chain_inverts_where_both_parts_do() -> None:
    cube = Nonlinear(lambda x: x**3, SHAPE, pinv=lambda y: y.sign() * y.abs() ** (1 / 3))
    mask = Mask(holes(*SHAPE), SHAPE)
    operator = cube @ mask
    x = randn(2, *SHAPE)
    assert operator.has_pinv
    torch.testing.assert_close(operator(operator.pinv(operator(x))), operator(x))
    assert isinstance(operator, Chain)
    assert not (square(SHAPE) @ mask).has_pinv
    with pytest.raises(InvalidArgument, match="pseudo-inverse"):
        (square(SHAPE) @ mask).pinv(x)
