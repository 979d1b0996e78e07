"""The contract of a linear operator, held by every operator of the library against its dense matrix in float64."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kintsugi.errors import InvalidArgument
from kintsugi.operators import (
    Bicubic,
    BlockAverage,
    Blur,
    Convolve,
    Crop,
    Decimate,
    Grey,
    Identity,
    LinearOperator,
    Mask,
    Notch,
    Stationary,
    StationaryCovariance,
    check_adjoint,
    check_pinv,
    gaussian_kernel,
    motion_kernel,
    uniform_kernel,
)
from kintsugi.operators.algebra import Composed, Scaled
from kintsugi.operators.base import Accuracy
from kintsugi.operators.stationary import kernel_transfer
from singular import Dense, Function, error


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def holes(*shape: int, seed: int = 0) -> Tensor:
    return rand(*shape, seed=seed) > 0.4


# `lanczos`: functions of A A^T come from Lanczos, with its smooth window instead of a sharp cut-off.
SHARP: dict[str, Callable[[], LinearOperator]] = {
    "identity": lambda: Identity((3, 5, 4)),
    "identity 1-D": lambda: Identity((1, 7)),
    "mask of pixels": lambda: Mask(holes(5, 7), (3, 5, 7)),
    "mask of channels": lambda: Mask(holes(3, 5, 7), (3, 5, 7)),
    "mask (1, H, W), 0 and 1": lambda: Mask(holes(1, 5, 7).float(), (3, 5, 7)),
    "mask of a whole channel": lambda: Mask(torch.tensor([True, False, True]).view(3, 1, 1), (3, 4, 5)),
    "mask of columns": lambda: Mask(holes(7), (2, 5, 7)),
    "mask of everything": lambda: Mask(torch.tensor(True), (1, 4, 3)),
    "mask with weights": lambda: Mask(randn(2, 4, 5) * holes(1, 4, 5), (2, 4, 5)),
    "mask with weights below the cut-off": lambda: Mask(torch.tensor([2.0, 1e-5, -0.5, 0.0, 1.0]), (2, 5)),
    "mask 1-D": lambda: Mask(holes(9), (2, 9)),
    "mask 3-D": lambda: Mask(holes(3, 4, 2), (2, 3, 4, 2)),
    "crop": lambda: Crop((2, 6, 7), (3, 5), (2, 1)),
    "block average": lambda: BlockAverage((3, 6, 8), 2),
    "block average, a factor each axis": lambda: BlockAverage((1, 6, 4), (3, 1)),
    "block average, not dividing": lambda: BlockAverage((2, 7, 8), 3),
    "block average 1-D": lambda: BlockAverage((2, 9), 3),
    "block average 3-D": lambda: BlockAverage((1, 4, 2, 6), 2),
    "bicubic 2": lambda: Bicubic((3, 8, 6), 2),
    "bicubic 3": lambda: Bicubic((1, 9, 12), 3),
    "bicubic 4": lambda: Bicubic((1, 16, 12), 4),
    "bicubic, small size wraps": lambda: Bicubic((1, 4, 8), 4),
    "bicubic, a factor each axis": lambda: Bicubic((1, 12, 8), (3, 2)),
    "bicubic, one axis": lambda: Bicubic((1, 7, 8), (1, 4)),
    "bicubic 1-D": lambda: Bicubic((2, 15), 3),
    "bicubic 3-D": lambda: Bicubic((1, 4, 6, 4), 2),
    "Gaussian blur": lambda: Blur((2, 9, 10), gaussian_kernel(1.0)),
    "uniform blur of even size": lambda: Blur((1, 9, 8), uniform_kernel(4)),
    "motion blur": lambda: Blur((1, 9, 11), motion_kernel(5, 30)),
    "random kernel of odd size": lambda: Blur((2, 7, 9), rand(5, 3)),
    "random kernel of even size": lambda: Blur((2, 8, 7), rand(4, 2)),
    "blur 1-D": lambda: Blur((2, 11), torch.tensor([1.0, 2.0, 0.5])),
    "blur 3-D": lambda: Blur((1, 5, 4, 6), gaussian_kernel(0.6, size=3, dims=3)),
    "blur that does nothing": lambda: Blur((1, 5, 6), torch.ones(1, 1)),
    "decimate 2": lambda: Decimate((2, 24), 2),
    "decimate 3, in two dimensions": lambda: Decimate((1, 9, 8), (3, 1)),
    "decimate 2, in three dimensions": lambda: Decimate((1, 4, 2, 6), 2),
    "convolve, causal": lambda: Convolve((1, 13), randn(5), causal=True),
    "convolve, of sum zero": lambda: Convolve((2, 12), torch.tensor([1.0, 0.5, -1.5]), cutoff=1e-3),
    "convolve in two dimensions, longer than the signal": lambda: Convolve((1, 5, 6), randn(7, 2)),
    "notch": lambda: Notch((2, 40), 0.1),
    "notch, one multiple, in two dimensions": lambda: Notch((1, 3, 40), 4.0, 40.0, width=3.5, harmonics=1),
    "grey": lambda: Grey((3, 5, 6)),
    "grey with weights": lambda: Grey((3, 5, 6), (0.3, 0.6, 0.1)),
    "colour matrix": lambda: Stationary((3, 5, 4), colour=randn(3, 3, seed=5)),
    "colour matrix and blur": lambda: Stationary(
        (3, 5, 4), kernel_transfer(rand(3, 3), (5, 4)), colour=randn(2, 3, seed=5), cutoff=1e-2
    ),
    "grey of rank one in three channels": lambda: Stationary((3, 4, 5), colour=torch.full((3, 3), 1 / 3)),
    "grey after bicubic, fused": lambda: Grey((3, 4, 4)) @ Bicubic((3, 8, 8), 2),
    "block average after blur, fused": lambda: BlockAverage((1, 9, 6), 3) @ Blur((1, 9, 6), rand(3, 4)),
    "blur after bicubic, fused": lambda: Blur((1, 5, 6), rand(3, 3), cutoff=1e-3) @ Bicubic((1, 10, 12), 2),
    "three fused": lambda: Grey((3, 2, 3)) @ BlockAverage((3, 4, 6), 2) @ Bicubic((3, 8, 12), 2),
    "mask after grey": lambda: Mask(holes(5, 6), (1, 5, 6)) @ Grey((3, 5, 6)),
    "mask after block average": lambda: Mask(holes(3, 4), (2, 3, 4)) @ BlockAverage((2, 6, 8), 2),
    "weighted mask after block average": lambda: Mask(rand(3, 4), (2, 3, 4)) @ BlockAverage((2, 6, 8), 2),
    "scaled bicubic": lambda: -2.5 * Bicubic((1, 8, 6), 2),
    "scaled mask": lambda: 0.2 * Mask(holes(5, 7), (2, 5, 7)),
    "scaled twice": lambda: 3.0 * (0.5 * Grey((3, 4, 5))),
    "scaled, composed": lambda: Mask(holes(5, 6), (1, 5, 6)) @ (2.0 * Grey((3, 5, 6))),
    "scaled, fused": lambda: (2.0 * BlockAverage((1, 9, 6), 3)) @ (-0.5 * Blur((1, 9, 6), rand(3, 4))),
}
LANCZOS: dict[str, Callable[[], LinearOperator]] = {
    "Gaussian blur, unknown": lambda: Blur((1, 8, 9), gaussian_kernel(0.8, size=5), "unknown"),
    "random kernel of even size, unknown": lambda: Blur((2, 7, 8), rand(4, 2), "unknown"),
    "motion blur, unknown": lambda: Blur((1, 9, 8), motion_kernel(5, 60), "unknown"),
    "blur 1-D, unknown": lambda: Blur((2, 11), torch.tensor([1.0, 2.0, 0.5, 0.2]), "unknown"),
    "blur 3-D, unknown": lambda: Blur((1, 3, 4, 5), gaussian_kernel(0.6, size=3, dims=3), "unknown"),
    "bicubic 2, unknown": lambda: Bicubic((1, 9, 7), 2, "unknown"),
    "bicubic 3, unknown": lambda: Bicubic((1, 9, 8), 3, "unknown"),
    "bicubic 4, unknown": lambda: Bicubic((1, 9, 13), 4, "unknown"),
    "bicubic, one axis, unknown": lambda: Bicubic((2, 5, 9), (1, 2), "unknown"),
    "decimate 2, unknown": lambda: Decimate((1, 15), 2, "unknown"),
    "convolve, causal, unknown": lambda: Convolve((1, 11), torch.tensor([1.0, 0.0, 0.4, -0.2]), "unknown", causal=True),
    "mask after bicubic": lambda: Mask(holes(4, 4), (2, 4, 4)) @ Bicubic((2, 8, 8), 2),
    "mask after blur": lambda: Mask(holes(8, 7), (1, 8, 7)) @ Blur((1, 8, 7), gaussian_kernel(1.0, size=5)),
    "weighted mask after blur": lambda: Mask(rand(8, 7), (1, 8, 7)) @ Blur((1, 8, 7), gaussian_kernel(1.0, size=5)),
    "grey after unknown bicubic": lambda: Grey((3, 4, 3)) @ Bicubic((3, 7, 6), 2, "unknown"),
    "scaled, unknown": lambda: 3.0 * Bicubic((1, 9, 7), 2, "unknown"),
    "mask after unknown blur": lambda: (
        Mask(holes(6, 7), (1, 6, 7)) @ Blur((1, 6, 7), gaussian_kernel(0.8, size=3), "unknown")
    ),
}
ALL = [*SHARP, *LANCZOS]
every = pytest.mark.parametrize("name", ALL)


@dataclass(frozen=True)
class Toleranced(Dense):
    """And how close the operator comes to it."""

    tolerance: float


@functools.cache
def dense(name: str) -> Toleranced:
    """The reference, from nothing but the operator's forward map and its cut-off."""
    operator = {**SHARP, **LANCZOS}[name]()
    n = math.prod(operator.in_shape)
    matrix = operator(torch.eye(n, dtype=torch.float64).view(n, *operator.in_shape)).flatten(1).T
    u, s, vt = torch.linalg.svd(matrix, full_matrices=False)
    cut = operator.cutoff * s[0]
    if name in LANCZOS:
        keep = s**4 / (s**4 + cut**4)
        keep = torch.where(s > 1e-8 * s[0], keep, 0.0)
    else:
        keep = (s > cut).double()
        assert bool(((s - cut).abs() > 1e-9 * s[0]).all()), "a singular value on the threshold proves nothing"
    return Toleranced(operator, matrix, u, s, vt, keep, 5e-4 if name in LANCZOS else 1e-10)


def xs(d: Dense, rows: int = 2, seed: int = 1) -> Tensor:
    return randn(rows, *d.operator.in_shape, seed=seed)


def ys(d: Dense, rows: int = 2, seed: int = 2) -> Tensor:
    return randn(rows, *d.operator.out_shape, seed=seed)


FUNCTIONS: dict[str, Function] = {
    "one": torch.ones_like,
    "identity": lambda lam: lam,
    "reciprocal": torch.reciprocal,
    "root": torch.sqrt,
    "Wiener": lambda lam: 1 / (0.3 * lam + 0.01),
    "log": torch.log1p,
}


@every
def test_dot_test(name: str) -> None:
    d = dense(name)
    assert check_adjoint(d.operator) < 1e-12
    assert error(d.operator.adjoint(ys(d)), ys(d).flatten(1) @ d.matrix) < 1e-12


@every
def test_gram_is_a_function_of_the_dense_gram_matrix(name: str) -> None:
    d = dense(name)
    for label, h in FUNCTIONS.items():
        assert error(d.operator.gram(h, ys(d)), d.of_gram(h, ys(d))) < d.tolerance, label


@every
def test_gram_sum_is_the_sum_of_its_terms(name: str) -> None:
    d = dense(name)
    us = [ys(d, seed=seed) for seed in (2, 3, 4)]
    hs = [FUNCTIONS[h] for h in ("Wiener", "root", "log")]
    got = d.operator.gram_sum(lambda lam: [h(lam) for h in hs], us)
    expected = torch.stack([d.of_gram(h, u) for h, u in zip(hs, us, strict=True)]).sum(0)
    assert got.shape == us[0].shape
    assert error(got, expected) < d.tolerance


@every
def test_pinv_is_the_dense_pseudo_inverse_at_the_cutoff(name: str) -> None:
    d = dense(name)
    inverse = torch.where(d.keep > 0, d.keep / d.s.clamp_min(1e-150), 0.0)
    assert error(d.operator.pinv(ys(d)), ((ys(d).flatten(1) @ d.u) * inverse) @ d.vt) < d.tolerance


@every
def test_projection(name: str) -> None:
    """``A A^+ A = A`` and ``P P = P``: literally for a sharp cut-off, with its window for a smooth one."""
    d, x = dense(name), xs(dense(name))
    px = d.operator.project(x)
    v = d.vt.T
    assert error(px, ((x.flatten(1) @ v) * d.keep) @ v.T) < d.tolerance
    assert error(d.operator.project(px), ((x.flatten(1) @ v) * d.keep**2) @ v.T) < 3 * d.tolerance
    report = check_pinv(d.operator)
    if name in SHARP:
        assert report["A A+ A"] < 1e-10
        assert report["symmetric"] < 1e-10
        removed = bool((d.keep == 0).logical_and(d.s > 1e-12 * d.s[0]).any())
        assert (report["range"] > 1e-8) if removed else (report["range"] < 1e-10)
    else:
        assert report["A A+ A"] < 0.25  # the largest w - w^2: the window's, not an error
        assert report["symmetric"] < 3e-4


@every
def test_filter_is_a_function_of_the_dense_normal_matrix(name: str) -> None:
    d = dense(name)
    fs: list[Function] = [lambda lam: torch.exp(-2 * lam), lambda lam: 1 / (lam + 0.1), lambda lam: lam / (lam + 0.05)]
    for f in fs:
        assert error(d.operator.filter(f, xs(d)), d.of_normal(f, xs(d))) < d.tolerance


@every
def test_solve(name: str) -> None:
    d = dense(name)
    in_range = ((ys(d).flatten(1) @ d.u) * d.keep) @ d.u.T
    for r2, sigma2 in ((0.7, 0.2), (2.0, 0.01)):
        system = r2 * d.matrix @ d.matrix.T + sigma2 * torch.eye(len(d.matrix), dtype=torch.float64)
        assert error(d.operator.solve(r2, sigma2, ys(d)), torch.linalg.solve(system, in_range.T).T) < d.tolerance


@every
def test_flat_is_the_only_eigenvalue(name: str) -> None:
    d = dense(name)
    eigenvalues = torch.linalg.eigvalsh(d.matrix @ d.matrix.T)
    spread = float(eigenvalues.max() - eigenvalues.min())
    if d.operator.flat is None:
        assert spread > 1e-6 * float(eigenvalues.max()) or name == "mask of everything"
    else:
        assert spread < 1e-12
        assert d.operator.flat == pytest.approx(float(eigenvalues.max()), rel=1e-12)


def luma_chroma(radius: Tensor) -> Tensor:
    return torch.stack((1 / (0.02 + radius**2), 0.2 / (0.05 + radius**2)))


def covariance_matrix(d: Dense) -> Tensor:
    n = d.matrix.shape[1]
    return StationaryCovariance(luma_chroma)(torch.eye(n, dtype=torch.float64).view(n, *d.operator.in_shape)).flatten(1)


def normal_matrix(d: Dense, sigma2: float) -> Tensor:
    return d.matrix @ covariance_matrix(d) @ d.matrix.T + sigma2 * torch.eye(len(d.matrix), dtype=torch.float64)


@every
def test_solve_normal(name: str) -> None:
    """``(A C A^T + sigma2)^{-1} r`` for what a residual can be: something measured."""
    d = dense(name)
    r = d.operator.gram(torch.ones_like, d.operator(xs(d)) + 0.1 * ys(d))
    covariance = StationaryCovariance(luma_chroma)
    for sigma2 in (0.3, 0.01):
        expected = torch.linalg.solve(normal_matrix(d, sigma2), r.flatten(1).T).T
        got = d.operator.solve_normal(covariance, sigma2, r, Accuracy(1e-9, 300))
        # A sample below the cut-off is left out by us and barely counts in the dense system.
        assert error(got, expected) < (5e-3 if "below the cut-off" in name else 1e-6)


@pytest.mark.parametrize("name", [*SHARP, "bicubic 3, unknown", "mask after bicubic"])
def test_gain(name: str) -> None:
    """``C A^T (A C A^T + sigma2)^{-1} r``: the posterior mean of N(0, C)."""
    d = dense(name)
    r = d.operator.gram(torch.ones_like, d.operator(xs(d)) + 0.1 * ys(d))
    for sigma2 in (0.3, 0.05):
        expected = torch.linalg.solve(normal_matrix(d, sigma2), r.flatten(1).T).T @ d.matrix @ covariance_matrix(d)
        got = d.operator.gain(StationaryCovariance(luma_chroma), sigma2, r, Accuracy(1e-9, 300))
        assert got.shape[1:] == d.operator.in_shape
        assert error(got, expected) < (1e-3 if "below the cut-off" in name else 1e-6)


# A weight below the cut-off counts as a hole, but is none.
SELECTING = [n for n in SHARP if n.startswith(("mask", "scaled mask", "identity")) and "below" not in n]


@pytest.mark.parametrize("name", SELECTING)
def test_gain_without_noise_or_with_little(name: str) -> None:
    """Exact at no noise, from any data (what a hole holds does not count); close where the noise hardly matters."""
    d = dense(name)
    inverse = torch.linalg.pinv(normal_matrix(d, 0.0), hermitian=True, rtol=1e-9)
    expected = ys(d).flatten(1) @ inverse @ d.matrix @ covariance_matrix(d)
    covariance = StationaryCovariance(luma_chroma)
    exact = d.operator.gain(covariance, 0.0, ys(d), Accuracy(1e-10, 500))
    assert error(exact, expected) < 1e-6
    single = d.operator.gain(covariance, 0.0, ys(d).float(), Accuracy(1e-5, 500))
    assert single.dtype == torch.float32
    if "weights" not in name:  # a little noise, and the rounding of float32, is much for a small weight
        assert error(single, expected) < 1e-3
        assert error(d.operator.gain(covariance, 1e-4, ys(d), Accuracy(1e-8, 500)), expected) < 1e-2


@every
def test_float32(name: str) -> None:
    d = dense(name)
    a, x, y = d.operator, xs(d), ys(d)
    covariance = StationaryCovariance(luma_chroma)
    actions: list[tuple[Callable[[Tensor], Tensor], Tensor]] = [
        (a, x),
        (a.adjoint, y),
        (a.pinv, y),
        (a.project, x),
        (lambda u: a.solve(0.5, 0.1, u), y),
        (lambda u: a.filter(lambda lam: torch.exp(-lam), u), x),
        (lambda u: a.solve_normal(covariance, 0.1, u, Accuracy(1e-6)), a(x)),
    ]
    for action, value in actions:
        got = action(value.float())
        assert got.dtype == torch.float32
        assert error(got, action(value)) < 1e-4


@every
def test_rows_do_not_know_of_their_neighbours(name: str) -> None:
    d = dense(name)
    a = d.operator
    x, y = xs(d, rows=3), ys(d, rows=3)
    x[1], y[1] = 1e6 * x[1], 0.0  # a loud neighbour and a silent one
    covariance = StationaryCovariance(luma_chroma)
    actions: list[tuple[Callable[[Tensor], Tensor], Tensor]] = [
        (a, x),
        (a.adjoint, y),
        (a.pinv, y),
        (a.project, x),
        (lambda u: a.solve(0.5, 0.1, u), y),
        (lambda u: a.solve_normal(covariance, 0.1, u, Accuracy(1e-10)), a(x)),
    ]
    if name in SHARP:
        actions.append((lambda u: a.gain(covariance, 1e-3, u, Accuracy(1e-10)), a(x)))
    for action, value in actions:
        together = action(value)
        for i in range(3):
            alone = action(value[i : i + 1])[0]
            assert (together[i] - alone).norm() <= 1e-8 * alone.norm()  # iterations amplify the rounding of FFTs


@every
def test_wrong_shapes_name_the_argument(name: str) -> None:
    a = dense(name).operator
    bad_x = [torch.zeros(2, *a.in_shape[:-1], a.in_shape[-1] + 1), torch.zeros(a.in_shape), torch.zeros(1)]
    bad_y = [torch.zeros(2, *a.out_shape[:-1], a.out_shape[-1] + 1), torch.zeros(a.out_shape), torch.zeros(1)]
    for action in (a, a.project, lambda x: a.filter(torch.exp, x)):
        for x in bad_x:
            with pytest.raises(InvalidArgument, match=r"^x: expected shape \(B, "):
                action(x)
    for action in (a.adjoint, a.pinv):
        for y in bad_y:
            with pytest.raises(InvalidArgument, match=r"^y: expected shape \(B, "):
                action(y)
    covariance = StationaryCovariance(luma_chroma)
    for action in (
        lambda u: a.gram(torch.sqrt, u),
        lambda u: a.gram_sum(lambda lam: (lam,), (u,)),
        lambda u: a.solve(1.0, 1.0, u),
        lambda u: a.solve_normal(covariance, 1.0, u),
        lambda u: a.gain(covariance, 1.0, u),
        lambda u: a.gain(covariance, 0.0, u),
    ):
        for u in bad_y:
            with pytest.raises(InvalidArgument, match=r"^(u|r): expected shape \(B, "):
                action(u)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu() -> None:
    covariance = StationaryCovariance(luma_chroma)
    for name in ALL:
        a, y = dense(name).operator, ys(dense(name))
        assert error(a.pinv(y.cuda()).cpu(), a.pinv(y)) < 1e-6, name
        y = a(a.adjoint(y))
        got = a.solve_normal(covariance, 0.1, y.cuda(), Accuracy(1e-9)).cpu()
        assert error(got, a.solve_normal(covariance, 0.1, y, Accuracy(1e-9))) < 1e-6, name


# --- any size, factor and kernel --------------------------------------------------------------------------------------


@st.composite
def operators(draw: st.DrawFn) -> LinearOperator:
    """A circular operator, or one with an unknown boundary, of one to three dimensions."""
    dims = draw(st.integers(1, 3))
    top = {1: 20, 2: 8, 3: 4}[dims]
    factor = tuple(draw(st.integers(1, {1: 5, 2: 4, 3: 2}[dims])) for _ in range(dims))
    boundary = draw(st.sampled_from(["circular", "unknown"]))
    family = draw(st.sampled_from(["block", "bicubic", "blur"]))
    channels = draw(st.integers(1, 2))
    size = tuple(draw(st.integers(s, top)) for s in factor)
    if family == "blur":
        kernel = rand(*(draw(st.integers(1, n)) for n in size), seed=draw(st.integers(0, 99)))
        return Blur((channels, *size), kernel, boundary, cutoff=1e-3)
    if family == "block":
        return BlockAverage((channels, *size), factor)
    if boundary == "circular":
        size = tuple(s * max(1, n // s) for n, s in zip(size, factor, strict=True))
    return Bicubic((channels, *size), factor, boundary)


@given(operators())
@settings(max_examples=40, deadline=None, derandomize=True)
def test_dot_test_and_pseudo_inverse_at_any_size(operator: LinearOperator) -> None:
    assert check_adjoint(operator) < 1e-12
    assert operator.visible(torch.zeros(1, *operator.in_shape)).shape[2:] <= operator.in_shape[1:]
    lanczos = isinstance(operator, Composed) and operator.flat is None
    assert check_pinv(operator)["A A+ A"] < (0.1 if lanczos else 1e-9)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 3), st.integers(0, 999))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_fused_and_separate_compositions_agree(height: int, width: int, factor: int, seed: int) -> None:
    """Fusing is an optimisation: the composition is what it says it is."""
    inner = Bicubic((2, height * factor, width * factor), factor)
    outer = Blur((2, height, width), rand(min(3, height), min(2, width), seed=seed), cutoff=1e-3)
    fused, separate = outer @ inner, Composed(outer, inner)
    assert type(fused) is Stationary
    x = randn(2, *inner.in_shape, seed=seed)
    assert error(fused(x), separate(x)) < 1e-12
    assert error(fused.adjoint(fused(x)), separate.adjoint(separate(x))) < 1e-12


# --- known values -----------------------------------------------------------------------------------------------------


def test_known_values() -> None:
    x = torch.arange(24, dtype=torch.float64).view(1, 2, 3, 4)
    assert BlockAverage((2, 3, 4), (3, 2))(x).flatten().tolist() == pytest.approx([4.5, 6.5, 16.5, 18.5])
    assert Grey((2, 3, 4))(x)[0, 0, 0].tolist() == pytest.approx([6.0, 7.0, 8.0, 9.0])
    assert Grey((2, 3, 4), (1, -1))(x).unique().tolist() == pytest.approx([-12.0])
    assert torch.equal(Crop((2, 3, 4), (1, 2), (2, 1))(x).flatten(), torch.tensor([9.0, 10, 21, 22]).double())
    mask = torch.tensor([True, False, False, True])
    assert Mask(mask, (2, 3, 4))(x)[0, 0, 0].tolist() == [0.0, 0.0, 0.0, 3.0]


def test_flat_values() -> None:
    assert Identity((3, 4, 4)).flat == 1.0
    assert BlockAverage((3, 8, 8), 4).flat == pytest.approx(1 / 16, rel=1e-12)
    assert BlockAverage((3, 9, 7), 4).flat == pytest.approx(1 / 16, rel=1e-12)
    assert Grey((3, 4, 4)).flat == pytest.approx(1 / 3, rel=1e-12)
    assert (2 * Grey((3, 4, 4))).flat == pytest.approx(4 / 3, rel=1e-12)
    assert Bicubic((3, 8, 8), 2).flat is None
    assert Mask(torch.tensor([True, False]), (3, 4, 2)).flat is None


def test_flat_does_not_depend_on_units() -> None:
    blur = kernel_transfer(torch.tensor([0.25, 0.5, 0.25]), (8,))
    for scale in (1e-9, 1.0, 1e9):
        colour = scale * torch.eye(2, dtype=torch.float64)
        assert Stationary((2, 8), blur, colour=colour).flat is None
        assert Stationary((2, 8), colour=colour).flat == pytest.approx(scale**2, rel=1e-12)
        assert Stationary((2, 8), colour=colour, factor=2).flat == pytest.approx(scale**2, rel=1e-12)


def test_one_eigenvalue_stays_one_through_a_cutoff_of_the_inner_operator() -> None:
    """A weighted mask after a blur that does nothing is that mask: the blur's cut-off has nothing to cut."""
    mask = Mask(torch.tensor([1.0, 0.01, 0.0, 0.5]), (1, 4))
    composed = mask @ Blur((1, 4), torch.ones(1))
    y = randn(1, 1, 4)
    assert torch.allclose(composed.pinv(y), mask.pinv(y), rtol=1e-12)
    assert composed.cutoff == mask.cutoff


def test_what_was_not_measured_cannot_leak() -> None:
    mask = Mask(torch.tensor([True, False, True]), (1, 3))
    assert mask.pinv(torch.tensor([[[1.0, 99.0, 2.0]]])).tolist() == [[[1.0, 0.0, 2.0]]]
    assert mask.solve(1.0, 0.0, torch.tensor([[[1.0, 99.0, 2.0]]])).tolist() == [[[1.0, 0.0, 2.0]]]


@pytest.mark.parametrize("name", ["bicubic 4", "grey", "mask of pixels", "bicubic 4, unknown", "mask after bicubic"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_solve_normal_without_noise_explains_the_data(name: str, dtype: torch.dtype) -> None:
    """``x = C A^T (A C A^T)^{-1} y`` measures as ``y``, to the precision of the number type."""
    a = dense(name).operator
    covariance = StationaryCovariance(luma_chroma)
    y = a(xs(dense(name))).to(dtype)
    u = a.solve_normal(covariance, 0.0, y, Accuracy(1e-7, 300))
    assert error(a(covariance(a.adjoint(u))), y.double()) < (2e-3 if dtype == torch.float32 else 1e-6)


@pytest.mark.parametrize(
    "name", ["Gaussian blur", "Gaussian blur, unknown", "mask after unknown blur", "grey of rank one in three channels"]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_solve_normal_of_a_singular_system_stays_finite(name: str, dtype: torch.dtype) -> None:
    """No noise and data outside the range: no solution exists, but what comes back must be usable."""
    a = dense(name).operator
    y = ys(dense(name)).to(dtype)
    u = a.solve_normal(StationaryCovariance(lambda r: luma_chroma(r).clamp_min(1e-9)), 0.0, y, Accuracy(iterations=200))
    assert bool(torch.isfinite(u).all())


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "make"),
    [
        ("shape", lambda: Identity((3,))),
        ("shape", lambda: Identity((1, 2, 3, 4, 5))),
        ("shape", lambda: Identity((3, 0, 4))),
        ("mask", lambda: Mask(torch.ones(5, 6), (3, 5, 7))),
        ("mask", lambda: Mask(torch.ones(1, 1, 5, 7), (3, 5, 7))),
        ("mask", lambda: Mask(torch.zeros(5, 7), (3, 5, 7))),
        ("mask", lambda: Mask(torch.full((5, 7), math.nan), (3, 5, 7))),
        ("mask", lambda: Mask(torch.full((5, 7), math.inf), (3, 5, 7))),
        ("factor", lambda: Bicubic((1, 8, 8), 0)),
        ("factor", lambda: Bicubic((1, 8, 8), -2)),
        ("factor", lambda: Bicubic((1, 8, 8), 1000)),
        ("factor", lambda: Bicubic((1, 8, 8), 3)),
        ("factor", lambda: Bicubic((1, 8, 8), 2.5)),  # type: ignore[arg-type]
        ("factor", lambda: Bicubic((1, 8, 8), (2, 2, 2))),
        ("factor", lambda: Bicubic((1, 8, 8), "2")),  # type: ignore[arg-type]
        ("factor", lambda: BlockAverage((1, 8, 8), 9)),
        ("boundary", lambda: Bicubic((1, 8, 8), 2, "reflect")),  # type: ignore[arg-type]
        ("boundary", lambda: Blur((1, 8, 8), uniform_kernel(3), "zero")),  # type: ignore[arg-type]
        ("kernel", lambda: Blur((1, 8, 8), uniform_kernel(9))),
        ("kernel", lambda: Blur((1, 8, 8), uniform_kernel(9), "unknown")),
        ("kernel", lambda: Blur((1, 8, 8), torch.ones(3))),
        ("kernel", lambda: Blur((1, 8, 8), torch.zeros(3, 3))),
        ("kernel", lambda: Blur((1, 8, 8), torch.full((3, 3), math.nan))),
        ("cutoff", lambda: Blur((1, 8, 8), uniform_kernel(3), cutoff=1.0)),
        ("cutoff", lambda: Blur((1, 8, 8), uniform_kernel(3), cutoff=-0.1)),
        ("cutoff", lambda: Blur((1, 8, 8), uniform_kernel(3), "unknown", cutoff=math.nan)),
        ("weights", lambda: Grey((3, 4, 4), (1.0, 2.0))),
        ("weights", lambda: Grey((3, 4, 4), (math.nan, 1.0, 1.0))),
        ("weights", lambda: Grey((3, 4, 4), (0.0, 0.0, 0.0))),
        ("colour", lambda: Stationary((3, 4, 4), colour=torch.eye(2))),
        ("transfer", lambda: Stationary((3, 4, 4), torch.ones(4, 3))),
        ("size", lambda: Crop((3, 4, 4), (5, 1), (0, 0))),
        ("size", lambda: Crop((3, 4, 4), (2, 2), (-1, 0))),
        ("size", lambda: Crop((3, 4, 4), (2,), (0,))),
        ("scale", lambda: 0.0 * Identity((3, 4, 4))),
        ("scale", lambda: math.nan * Identity((3, 4, 4))),
        ("operator", lambda: Identity((3, 4, 4)) @ Identity((3, 4, 5))),
        ("operator", lambda: Composed(Identity((3, 4, 4)), Identity((1, 4, 4)))),
    ],
)
def test_bad_arguments_are_named(argument: str, make: Callable[[], object]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        make()
    assert caught.value.name == argument


def test_composition_keeps_the_closed_form_of_scaled_operators() -> None:
    a, b = BlockAverage((1, 8, 8), 2), Blur((1, 8, 8), rand(3, 3))
    for product in ((2.0 * a) @ b, a @ (2.0 * b), (4.0 * a) @ (0.5 * b)):
        assert isinstance(product, Scaled)
        assert type(product.operator) is Stationary
        x = randn(1, 1, 8, 8)
        assert torch.allclose(product(x), 2 * a(b(x)), rtol=1e-12)


def test_numpy_integers_are_integers() -> None:
    import numpy as np

    assert BlockAverage((1, 8, 8), np.int64(4)).out_shape == (1, 2, 2)  # type: ignore[arg-type]
