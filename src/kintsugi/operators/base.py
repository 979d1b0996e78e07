"""Measurements, and the calculus that every method is built from.

For a linear measurement ``A`` all methods need ``A``, its adjoint, and functions of the Gram operator ``A A^T``:

    f(A^T A) = f(0) I + A^T h(A A^T) A,    h(lam) = (f(lam) - f(0)) / lam
    A^+ = A^T (A A^T)^+,    P = A^+ A,    A^T (r^2 A A^T + sigma^2 I)^{-1}

An operator provides ``_forward``, ``_adjoint`` and :meth:`LinearOperator.gram`; the rest is derived here, once. No
operator needs a singular value decomposition.

``gram(h, u)`` acts on the *range* of ``A`` only: eigenvalues of ``A A^T`` below ``(cutoff * largest singular
value)^2`` count as zero and their part of ``u`` is dropped. So ``h`` never sees a zero, and what stands in ``y`` where
nothing was measured cannot leak into a result. The cut-off is part of the problem: a strong blur has a few per cent
of full rank at a cut-off of 3e-2.

Signals have shape ``(B, C, *S)`` with one, two or three spatial dimensions. Shapes of operators leave the batch out.
Complex signals and measurements are vectors over the real numbers, with the inner product ``Re <a, b>``; the adjoint is
the conjugate transpose. Samplers and priors see them as twice as many real channels (``realview.py``).
"""

from __future__ import annotations

import functools
import operator as python_operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import torch
from torch import Tensor

from ..errors import InvalidArgument

if TYPE_CHECKING:
    from .covariance import StationaryCovariance

Function = Callable[[Tensor], Tensor]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Accuracy:
    """Where conjugate gradients stop: at a relative residual of ``tolerance``, or after ``iterations``."""

    tolerance: float = 1e-3
    iterations: int = 100

    def __post_init__(self) -> None:
        if not 0 < self.tolerance < 1:
            raise InvalidArgument("tolerance", self.tolerance, "a number between 0 and 1")
        if self.iterations < 1:
            raise InvalidArgument("iterations", self.iterations, "an integer of at least 1")


DEFAULT_ACCURACY = Accuracy()
MOST = 2**31 - 1  # samples along an axis


class Operator:
    """A measurement ``(B, *in_shape) -> (B, *out_shape)``, linear or not. Immutable.

    ``in_complex``, ``out_complex``: whether signals and measurements are complex. ``batch``: the number of rows that it
    is for, where each row has a measurement of its own (``rows.py``); None for any.
    """

    in_shape: Shape
    out_shape: Shape
    in_complex: bool = False
    out_complex: bool = False
    batch: int | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """The measurement of each row of ``x`` (B, *in_shape), without noise; shape (B, *out_shape)."""
        check_shape("x", x, self.in_shape, self.in_complex, self.batch)
        wide = single(x)
        return self._forward(x) if wide is x else self._forward(wide).to(x.dtype)

    def _forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def vjp(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """``A(x)`` and ``v -> (dA/dx)^T v``, which may be called more than once; no gradient is kept."""
        with torch.inference_mode(False), torch.enable_grad():
            leaf = x.detach().clone().requires_grad_(True)
            out = self(leaf)

        def product(v: Tensor) -> Tensor:
            (grad,) = torch.autograd.grad(out, leaf, v, retain_graph=True)
            return grad

        return out.detach(), product

    def jvp(self, x: Tensor, v: Tensor) -> Tensor:
        """``(dA/dx) v``: how the measurement of ``x`` changes along ``v``, both (B, *in_shape).

        In forward mode or, for a function that has none, as the derivative of ``u -> (dA/dx)^T u`` along ``v``.
        """
        try:
            return torch.func.jvp(self, (x,), (v,))[1]
        except (NotImplementedError, RuntimeError):
            with torch.inference_mode(False), torch.enable_grad():
                leaf = x.detach().clone().requires_grad_(True)
                out = self(leaf)
                u = torch.zeros_like(out, requires_grad=True)
                (back,) = torch.autograd.grad(out, leaf, u, create_graph=True)
            if not back.requires_grad:  # it does not depend on u: the derivative is 0
                return torch.zeros_like(out)
            return torch.autograd.grad(back, u, v, materialize_grads=True)[0]

    @property
    def has_pinv(self) -> bool:
        """Whether :meth:`pinv` has a meaning: always for linear operators."""
        return False

    def pinv(self, y: Tensor) -> Tensor:
        """A signal (B, *in_shape) whose measurement is ``y`` (B, *out_shape), or as close as it gets."""
        raise InvalidArgument("operator", type(self).__name__, "an operator with a pseudo-inverse")

    def visible(self, x: Tensor) -> Tensor:
        """The part of ``x`` (B, *in_shape) that the user asked for: all of it, unless the operator added a margin."""
        return x

    def extend(self, x: Tensor) -> Tensor:
        """A visible signal (B, *S) on the operator's own grid (B, *in_shape), for simulations: margins are mirrored."""
        return x

    def select(self, rows: Sequence[int]) -> Operator:
        """The operator for these rows of a batch, in this order: itself, unless each row has its own."""
        return self

    def settings(self) -> dict[str, Any]:
        """What distinguishes this operator from others of its class, as JSON would hold it."""
        return {}

    def describe(self) -> dict[str, Any]:
        """What it is, for reports: the class, shapes and settings, as JSON would hold them."""
        out = {"operator": type(self).__name__, "in_shape": list(self.in_shape), "out_shape": list(self.out_shape)}
        return out | self.settings()

    def __matmul__(self, inner: Operator) -> Operator:
        """``(A @ B)(x) = A(B(x))``."""
        from .chain import Chain

        return Chain(self, inner)


class LinearOperator(Operator):
    """A linear measurement with the Gram calculus. ``cutoff`` is relative to the largest singular value."""

    cutoff: float = 1e-4

    def vjp(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        return self(x), self.adjoint

    def jvp(self, x: Tensor, v: Tensor) -> Tensor:
        return self(v)

    def select(self, rows: Sequence[int]) -> LinearOperator:
        return self

    @property
    def has_pinv(self) -> bool:
        return True

    def describe(self) -> dict[str, Any]:
        return super().describe() | {"cutoff": self.cutoff}

    def adjoint(self, y: Tensor) -> Tensor:
        """``A^T y`` for ``y`` of shape (B, *out_shape); shape (B, *in_shape)."""
        check_shape("y", y, self.out_shape, self.out_complex, self.batch)
        wide = single(y)
        return self._adjoint(y) if wide is y else self._adjoint(wide).to(y.dtype)

    def _adjoint(self, y: Tensor) -> Tensor:
        raise NotImplementedError

    def gram(self, h: Function, u: Tensor) -> Tensor:
        """``h(A A^T) u`` on the range of ``A``, zero on its complement.

        ``u`` has shape (B, *out_shape). ``h`` maps a tensor of positive eigenvalues to values of the same shape. An
        operator with a single eigenvalue (:attr:`flat`) need not provide this.
        """
        if self.flat is None:
            raise NotImplementedError
        check_shape("u", u, self.out_shape, self.out_complex, self.batch)
        return float(h(torch.tensor(self.flat, dtype=torch.float64))) * u

    def gram_sum(self, h: Callable[[Tensor], Sequence[Tensor]], us: Sequence[Tensor]) -> Tensor:
        """``sum_i h_i(A A^T) u_i`` where ``h(lam)`` returns all ``h_i(lam)`` at once; the shape of ``us[0]``.

        Diagonal operators evaluate ``h`` once; this default evaluates it for each term.
        """

        def term(i: int, u: Tensor) -> Tensor:
            return self.gram(lambda lam: h(lam)[i], u)

        return total(term(i, u) for i, u in enumerate(us))

    def lift(self, h: Callable[[Tensor], Sequence[Tensor]], xs: Sequence[Tensor], y: Tensor) -> Tensor:
        """``A^T sum_i h_i(A A^T) u_i`` for ``u = (A x_1, ..., A x_n, y)``; shape (B, *in_shape).

        What every guidance does with the signals and the measurement; an operator may do it in one go.
        """
        return self.adjoint(self.gram_sum(h, [*(self(x) for x in xs), y]))

    @property
    def flat(self) -> float | None:
        """The eigenvalue of ``A A^T`` if there is only one, else None."""
        return None

    @property
    def scalar(self) -> float | None:
        """``lam`` if ``A^T A = lam I``, nothing lost and nothing coloured (denoising), else None."""
        same = self.in_shape == self.out_shape  # square, so A^T A has the eigenvalues of A A^T
        return self.flat if same else None

    def filter(self, f: Function, x: Tensor) -> Tensor:
        """``f(A^T A) x`` for a function of the eigenvalues, zero included; shape of ``x`` (B, *in_shape)."""
        f0 = float(f(torch.zeros((), dtype=torch.float64)))
        return f0 * x + self.adjoint(self.gram(lambda lam: (f(lam) - f0) / lam, self(x)))

    def pinv(self, y: Tensor) -> Tensor:
        """The pseudo-inverse ``A^+ y`` at the operator's cut-off; shape (B, *in_shape)."""
        check_shape("y", y, self.out_shape, self.out_complex, self.batch)
        wide = single(y)
        if self.flat is not None:
            x = self._adjoint(wide if self.flat == 1 else wide / self.flat)
        else:
            x = self.lift(lambda lam: (lam.reciprocal(),), (), wide)
        return x if wide is y or self.in_complex else x.to(y.dtype)

    def project(self, x: Tensor) -> Tensor:
        """``P x = A^+ A x``: what of ``x`` was measured; shape (B, *in_shape)."""
        return self.pinv(self(x))

    def solve(self, r2: float, sigma2: float, u: Tensor) -> Tensor:
        """``(r2 A A^T + sigma2 I)^{-1} u`` on the range of ``A``; shape (B, *out_shape)."""
        return self.gram(lambda lam: 1 / (r2 * lam + sigma2), u)

    def solve_normal(
        self,
        covariance: StationaryCovariance,
        sigma2: float,
        r: Tensor,
        accuracy: Accuracy = DEFAULT_ACCURACY,
    ) -> Tensor:
        """``(A C A^T + sigma2 I)^{-1} r`` for a stationary covariance C; shape (B, *out_shape).

        Closed form where ``A`` is diagonal in Fourier, conjugate gradients to ``accuracy`` elsewhere.
        """
        from .iterative import conjugate_gradients

        check_shape("r", r, self.out_shape, self.out_complex, self.batch)

        def matvec(u: Tensor) -> Tensor:
            return self(covariance(self.adjoint(u))) + sigma2 * u

        return conjugate_gradients(matvec, r, tolerance=accuracy.tolerance, iterations=accuracy.iterations)

    def gain(
        self,
        covariance: StationaryCovariance,
        sigma2: float,
        r: Tensor,
        accuracy: Accuracy = DEFAULT_ACCURACY,
    ) -> Tensor:
        """``C A^T (A C A^T + sigma2 I)^{-1} r``: what a residual says about the signal; shape (B, *in_shape)."""
        u = self.solve_normal(covariance, sigma2, r, accuracy)
        return covariance(self.adjoint(u))

    @property
    def T(self) -> LinearOperator:
        """The adjoint as an operator."""
        from .adjoint import Adjoint

        return Adjoint(self)

    @overload
    def __matmul__(self, inner: LinearOperator) -> LinearOperator: ...
    @overload
    def __matmul__(self, inner: Operator) -> Operator: ...
    def __matmul__(self, inner: Operator) -> Operator:
        """``(A @ B)(x) = A(B(x))``; linear where both are."""
        from .algebra import compose

        return compose(self, inner) if isinstance(inner, LinearOperator) else super().__matmul__(inner)

    def __add__(self, other: LinearOperator) -> LinearOperator:
        """``(A + B)(x) = A(x) + B(x)``."""
        from .sums import add

        return add(self, other)

    def __sub__(self, other: LinearOperator) -> LinearOperator:
        """``(A - B)(x) = A(x) - B(x)``."""
        return self + (-1.0) * other

    def __neg__(self) -> LinearOperator:
        return (-1.0) * self

    def __rmul__(self, scale: float) -> LinearOperator:
        """``(c * A)(x) = c A(x)``."""
        from .algebra import Scaled

        return Scaled(float(scale), self)


def check_fits(outer: Operator, inner: Operator) -> int | None:
    """The number of rows that ``outer(inner(x))`` is for; :class:`InvalidArgument` where the two do not fit."""
    if outer.in_shape != inner.out_shape or outer.in_complex != inner.out_complex:
        raise InvalidArgument("operator", f"{outer.in_shape} after {inner.out_shape}", "shapes that fit")
    if None not in (outer.batch, inner.batch) and outer.batch != inner.batch:
        raise InvalidArgument("operator", f"{outer.batch} rows after {inner.batch}", "the same rows")
    return outer.batch if inner.batch is None else inner.batch


def total(terms: Iterable[Tensor]) -> Tensor:
    """The sum of at least one tensor; a single one as it is."""
    return functools.reduce(torch.add, terms)


def restricted(h: Function, lam: Tensor, threshold: float | Tensor) -> Tensor:
    """``h(lam)`` where ``lam > threshold``, and 0 elsewhere, without evaluating ``h`` there."""
    inside = lam > threshold
    return torch.where(inside, h(torch.where(inside, lam, 1.0)), 0.0)


def restricted_all(h: Callable[[Tensor], Sequence[Tensor]], lam: Tensor, threshold: float) -> list[Tensor]:
    """:func:`restricted` for several functions that are computed together."""
    inside = lam > threshold
    return [torch.where(inside, value, 0.0) for value in h(torch.where(inside, lam, 1.0))]


def check_shape(name: str, x: Tensor, shape: Sequence[int], is_complex: bool = False, batch: int | None = None) -> None:
    """Raise :class:`InvalidArgument` unless ``x`` is a batch of signals of ``shape``, of the right kind of number."""
    if x.ndim != len(shape) + 1 or tuple(x.shape[1:]) != tuple(shape) or (batch is not None and len(x) != batch):
        rows = "B" if batch is None else batch
        raise InvalidArgument(name, tuple(x.shape), f"shape ({rows}, {', '.join(map(str, shape))})")
    if not (x.is_complex() if is_complex else x.is_floating_point()):
        raise InvalidArgument(name, x.dtype, f"{'complex numbers' if is_complex else 'real numbers in floating point'}")
    if x.layout is not torch.strided or x.device.type == "meta":
        check_plain(name, x)


def single(x: Tensor) -> Tensor:
    """``x`` in float32 where it is of half precision, of which Fourier transforms and solvers know nothing on CPUs."""
    if x.dtype in (torch.float16, torch.bfloat16):
        return x.float()
    return x.to(torch.complex64) if x.dtype == torch.complex32 else x


def check_plain(name: str, x: Tensor) -> None:
    """Raise :class:`InvalidArgument` for a sparse tensor, or one without values (of the device "meta")."""
    if x.layout is not torch.strided or x.device.type == "meta":
        raise InvalidArgument(name, f"{x.layout} on {x.device}", "a dense tensor with values")


def signal_shape(shape: Sequence[int]) -> Shape:
    """Check ``(C, *S)`` with one to three spatial dimensions."""
    try:
        out = tuple(python_operator.index(n) for n in shape)
    except TypeError:
        raise InvalidArgument("shape", shape, "(C, *S) of whole numbers") from None
    if not 2 <= len(out) <= 4 or min(out) < 1:
        raise InvalidArgument("shape", tuple(shape), "(C, *S) with one to three spatial dimensions, all positive")
    return out


def spatial(x: Tensor) -> tuple[int, ...]:
    """The dimensions of space of ``(B, C, *S)``."""
    return tuple(range(2, x.ndim))


def per_axis(name: str, value: int | Sequence[int], dims: int) -> tuple[int, ...]:
    """One integer for each of ``dims`` axes of space."""
    try:
        out = tuple(python_operator.index(n) for n in (value if isinstance(value, Sequence) else (value,) * dims))
    except TypeError:
        out = ()
    if len(out) != dims or min(out) < 1:
        raise InvalidArgument(name, value, f"a positive integer, or {dims} of them")
    return out
