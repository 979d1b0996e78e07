"""Conjugate gradients and Lanczos against dense matrices, and each row by itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kintsugi.errors import NotConverged
from kintsugi.operators.iterative import conjugate_gradients, lanczos, row_dot


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def positive(n: int, condition: float, seed: int = 0) -> Tensor:
    """A symmetric positive definite matrix with eigenvalues from 1 to ``condition``."""
    q, _ = torch.linalg.qr(randn(n, n, seed=seed))
    return (q * torch.logspace(0, float(torch.tensor(condition).log10()), n, dtype=torch.float64)) @ q.T


def by_rows(matrix: Tensor) -> Callable[[Tensor], Tensor]:
    """``matrix`` on each flattened row, in an order of summation that does not depend on the other rows."""
    return lambda u: (u.flatten(1)[:, None, :] * matrix).sum(-1).view(u.shape)


def test_row_dot() -> None:
    a, b = randn(3, 2, 4), randn(3, 2, 4, seed=1)
    assert torch.allclose(row_dot(a, b), torch.stack([(a[i] * b[i]).sum() for i in range(3)]))


# --- conjugate gradients ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tolerance", [1e-2, 1e-5, 1e-10])
def test_cg_reaches_the_relative_residual_it_promises(tolerance: float) -> None:
    m = positive(30, 100)
    b = randn(4, 2, 15) * torch.tensor([1.0, 1e-6, 1e6, 1.0]).view(4, 1, 1)
    u = conjugate_gradients(by_rows(m), b, tolerance=tolerance, iterations=200, strict=True)
    residual = (b - by_rows(m)(u)).flatten(1).norm(dim=1) / b.flatten(1).norm(dim=1)
    assert bool((residual <= 1.01 * tolerance).all())
    assert bool((residual > 1e-4 * tolerance).all())  # and does no work beyond it
    exact = torch.linalg.solve(m, b.flatten(1).T).T
    assert bool(((u.flatten(1) - exact).norm(dim=1) / exact.norm(dim=1) <= 100 * 1.01 * tolerance).all())


def test_cg_solves_in_as_many_iterations_as_there_are_eigenvalues() -> None:
    """The property of conjugate directions: a wrong step or a wrong beta would need more."""
    q, _ = torch.linalg.qr(randn(20, 20))
    m = (q * torch.tensor([1.0, 4.0, 9.0, 25.0] * 5, dtype=torch.float64)) @ q.T
    b = randn(2, 20)
    u = conjugate_gradients(by_rows(m), b, tolerance=1e-9, iterations=4, strict=True)
    assert torch.allclose(u, torch.linalg.solve(m, b.T).T, rtol=1e-8)
    with pytest.raises(NotConverged):
        conjugate_gradients(by_rows(m), b, tolerance=1e-9, iterations=3, strict=True)


def test_cg_with_an_exact_preconditioner_takes_one_iteration() -> None:
    m = positive(20, 1e4)
    b = randn(2, 20)
    inverse = by_rows(torch.linalg.inv(m))
    u = conjugate_gradients(by_rows(m), b, precondition=inverse, tolerance=1e-8, iterations=1, strict=True)
    assert torch.allclose(u, torch.linalg.solve(m, b.T).T, rtol=1e-6)


def test_cg_starts_where_it_is_told() -> None:
    m, b = positive(20, 100), randn(2, 20)
    exact = torch.linalg.solve(m, b.T).T
    calls = 0

    def matvec(u: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return by_rows(m)(u)

    assert torch.equal(conjugate_gradients(matvec, b, start=exact, tolerance=1e-6), exact)
    assert calls == 1
    near = conjugate_gradients(matvec, b, start=exact + 1e-2 * randn(2, 20, seed=3), tolerance=1e-9)
    assert torch.allclose(near, exact, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("preconditioned", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cg_rows_are_independent_to_the_bit(preconditioned: bool, dtype: torch.dtype) -> None:
    """Rows that converge after 0, 1 and many iterations, together and alone."""
    m = positive(12, 1e3).to(dtype)
    b = torch.stack((torch.zeros(12), torch.linalg.eigh(m)[1][:, 3], randn(12), 1e4 * randn(12, seed=1))).to(dtype)
    diagonal = m.diagonal()
    precondition = (lambda r: r / diagonal) if preconditioned else None
    together = conjugate_gradients(by_rows(m), b, precondition=precondition, tolerance=1e-4)
    for i in range(4):
        alone = conjugate_gradients(by_rows(m), b[i : i + 1], precondition=precondition, tolerance=1e-4)
        assert torch.equal(together[i], alone[0])
    assert torch.equal(together[0], torch.zeros(12, dtype=dtype))


def test_cg_strict() -> None:
    m, b = positive(30, 1e6), randn(2, 30)
    loose = conjugate_gradients(by_rows(m), b, tolerance=1e-8, iterations=3)
    assert bool(torch.isfinite(loose).all())
    with pytest.raises(NotConverged, match=r"relative residual .* after 3 iterations, wanted 1\.0e-08"):
        conjugate_gradients(by_rows(m), b, tolerance=1e-8, iterations=3, strict=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cg_stops_in_a_singular_system(dtype: torch.dtype) -> None:
    """Part of b has no solution: the rest is solved, and the null space is not divided by rounding errors."""
    q, _ = torch.linalg.qr(randn(10, 10))
    values = torch.tensor([1.0, 2, 3, 4, 5, 6, 0, 0, 0, 0], dtype=torch.float64)
    m = ((q * values) @ q.T).to(dtype)
    u = conjugate_gradients(by_rows(m), randn(3, 10).to(dtype), tolerance=1e-6, iterations=500)
    assert bool(torch.isfinite(u).all())
    assert float(u.norm()) < 1e7
    consistent = by_rows(m)(randn(3, 10, seed=2).to(dtype))
    v = conjugate_gradients(by_rows(m), consistent, tolerance=1e-5, iterations=50)
    assert torch.allclose(by_rows(m)(v), consistent, atol=1e-3)


# --- Lanczos ----------------------------------------------------------------------------------------------------------


def windowed(m: Tensor, h: Callable[[Tensor], Tensor], u: Tensor, cutoff: float) -> Tensor:
    """``h(m) w(m) u`` by eigendecomposition."""
    lam, q = torch.linalg.eigh(m)
    c = cutoff**2 * lam.max()
    values = torch.where(lam > 1e-12 * lam.max(), h(lam.clamp_min(1e-300)), 0.0) * lam**2 / (lam**2 + c**2)
    return ((u.flatten(1) @ q) * values @ q.T).view(u.shape)


@pytest.mark.parametrize("h", [torch.reciprocal, torch.sqrt, torch.log1p, torch.ones_like, lambda x: 1 / (x + 0.1)])
@pytest.mark.parametrize("cutoff", [1e-4, 0.1])
def test_lanczos_is_the_function_of_the_matrix(h: Callable[[Tensor], Tensor], cutoff: float) -> None:
    m = positive(24, 1e3) / 100
    u = randn(3, 2, 12)
    got = lanczos(by_rows(m), h, u, cutoff=cutoff, tolerance=1e-10)
    expected = windowed(m, h, u, cutoff)
    assert float((got - expected).norm() / expected.norm()) < 1e-6


def test_lanczos_of_a_rank_deficient_matrix() -> None:
    q, _ = torch.linalg.qr(randn(16, 16))
    m = (q * torch.tensor([5.0] * 3 + [1.0] * 5 + [0.0] * 8, dtype=torch.float64)) @ q.T
    u = randn(2, 16)
    for h in (torch.reciprocal, torch.ones_like):
        got = lanczos(by_rows(m), h, u, cutoff=1e-3)
        assert torch.allclose(got, windowed(m, h, u, 1e-3), atol=1e-9)


def test_lanczos_stops_early_at_its_tolerance() -> None:
    m, u = positive(60, 20), randn(2, 60)
    calls = 0

    def matvec(v: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return by_rows(m)(v)

    expected = windowed(m, torch.sqrt, u, 1e-4)
    errors, work = [], []
    for tolerance in (1e-2, 1e-6):
        calls = 0
        got = lanczos(matvec, torch.sqrt, u, cutoff=1e-4, tolerance=tolerance)
        errors.append(float((got - expected).norm() / expected.norm()))
        work.append(calls)
    assert errors[0] < 1e-2
    assert errors[1] < 1e-6
    assert work[0] < work[1] < 60


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_lanczos_rows_are_independent(dtype: torch.dtype) -> None:
    """A silent row, an eigenvector (its space is exhausted at once), an easy, a hard and a loud row."""
    m = positive(24, 1e4).to(dtype)
    vectors = torch.linalg.eigh(m.double())[1]
    rows = (torch.zeros(24), vectors[:, 20], vectors[:, :3].sum(1), randn(24), 1e8 * randn(24, seed=1))
    u = torch.stack([r.double() for r in rows]).to(dtype)
    rounding = 1e-5 if dtype == torch.float32 else 1e-10
    for h in (torch.reciprocal, torch.ones_like):
        together = lanczos(by_rows(m), h, u, cutoff=0.05, tolerance=1e-3)
        assert bool(torch.isfinite(together).all())
        for i in range(len(u)):
            alone = lanczos(by_rows(m), h, u[i : i + 1], cutoff=0.05, tolerance=1e-3)[0]
            assert float((together[i] - alone).norm()) <= rounding * float(alone.norm())
        assert torch.equal(together[0], torch.zeros(24, dtype=dtype))


def test_lanczos_of_zero_is_zero() -> None:
    matrix, zero = by_rows(positive(8, 10)), torch.zeros(2, 8, dtype=torch.float64)
    assert torch.equal(lanczos(matrix, torch.reciprocal, zero, cutoff=1e-3), zero)
    assert torch.equal(lanczos(torch.zeros_like, torch.reciprocal, randn(2, 8), cutoff=1e-3), zero)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_lanczos_stays_orthogonal(dtype: torch.dtype) -> None:
    """A dense spectrum that needs 190 vectors: where rounding grows from vector to vector, it never settles."""
    q, _ = torch.linalg.qr(randn(300, 300))
    m = (q * torch.linspace(0, 1, 300, dtype=torch.float64) ** 2) @ q.T
    u = randn(2, 300, seed=1)
    got = lanczos(lambda v: v @ m.to(v), torch.reciprocal, u.to(dtype), cutoff=0.03, tolerance=1e-3, iterations=250,
                  strict=True)  # fmt: skip
    expected = windowed(m, torch.reciprocal, u, 0.03)
    assert float((got - expected).norm() / expected.norm()) < 1e-3
