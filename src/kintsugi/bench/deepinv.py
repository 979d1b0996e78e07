"""Methods of deepinv (https://deepinv.github.io) beside ours: on the same prior, problem and seeds, costs counted.

deepinv's pictures are in [0, 1], ``u = (x + 1) / 2``, its denoisers take pictures and noise levels in that range, and
its methods take a physics. So

    denoiser(v, sigma) = (D(2 v - 1, 2 sigma) + 1) / 2,    y' = (y + A 1) / 2 = A u + noise / 2

with the operator A unchanged. Forwards and VJPs are those of our prior, counted as for any sampler: the VJPs that
deepinv takes by automatic differentiation go through ``denoise_vjp``. Each row is run by itself, with deepinv's global
random numbers seeded from the row's own, so a batch of n equals n batches of one.

Everything else is theirs: noise levels, starts, weights, factors. ``DDRM`` needs a singular value decomposition: masks,
denoising and circular blurs have one here (as in deepinv), and so has any operator on few enough numbers for a dense
one. ``DiffPIR`` gets our closed form of its proximal step; its weights need a noise of the measurement, so that of a
noiseless one is stated as ``floor`` (in [-1, 1]: a quarter of a grey level).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..errors import InvalidArgument, MissingPackage
from ..noise import RowNoise
from ..operators import LinearOperator
from ..optional import optional
from ..priors.base import Prior
from ..problem import Problem
from ..samplers.base import Report, Sampler
from .decomposition import MOST, decomposable, decompose

# What a method may be set to: deepinv's own arguments. Steps, noise and network come from the benchmark.
METHODS = {
    "DDRM": ("sigmas", "eta", "etab", "eps"),
    "DiffPIR": ("zeta", "lambda_", "floor"),
    "DPS": ("schedule", "solver", "alpha", "weight", "guidance"),
}
FLOOR = 2e-3


@dataclass(frozen=True)
class Deepinv(Sampler):
    """The method ``method`` of ``deepinv.sampling``, with ``options`` (name, value) as deepinv has them.

    steps: DDRM's noise levels fall from 1 to 0 in so many evaluations, DiffPIR's ``max_iter``, DPS's steps of the
    reverse SDE (its ``num_steps`` counts the points between them).
    """

    name: ClassVar[str] = "deepinv"

    method: str
    options: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InvalidArgument("method", self.method, f"one of {', '.join(METHODS)}")
        for name, value in self.options:
            if name not in METHODS[self.method]:
                raise InvalidArgument(name, value, f"a setting of {self.method}: {', '.join(METHODS[self.method])}")

    @property
    def needs_vjp(self) -> bool:
        return self.method == "DPS"

    def lack(self) -> MissingPackage | None:
        """The error that says why deepinv cannot be used here; None if it can."""
        try:
            optional("deepinv", "deepinv", f"the method deepinv:{self.method}")
        except MissingPackage as error:
            return error
        return None

    def check(self, prior: Prior, problem: Problem) -> None:
        operator = problem.operator
        if not isinstance(operator, LinearOperator) or operator.out_complex:
            raise InvalidArgument("operator", type(operator).__name__, f"a linear operator for deepinv:{self.method}")
        if self.method == "DDRM" and not decomposable(operator):
            expected = f"a mask, a circular blur or at most {MOST} numbers: deepinv:DDRM decomposes operators"
            raise InvalidArgument("operator", type(operator).__name__, expected)
        if (lack := self.lack()) is not None:
            raise lack

    def run(self, prior: Prior, problem: Problem, steps: int, noise: RowNoise, report: Report) -> Tensor:
        # One number a row, uniform in [0, 2^31): what seeds deepinv's generators.
        white = noise.normal((1,), problem.y.double())[:, 0]
        seeds = (torch.special.ndtr(white) * 2**31).long().tolist()
        devices = [problem.y.device] if problem.y.is_cuda else []
        out = []
        for i, seed in enumerate(seeds):
            alone = problem.select([i])
            with torch.random.fork_rng(devices):
                torch.manual_seed(seed)
                out.append(self._row(prior, alone, steps, seed))
            report(steps * (i + 1) // len(seeds), steps)
        return 2 * torch.cat(out).to(problem.y) - 1

    def _row(self, prior: Prior, problem: Problem, steps: int, seed: int) -> Tensor:
        sampling = optional("deepinv.sampling", "deepinv", "a method of deepinv")
        optim = optional("deepinv.optim.data_fidelity", "deepinv", "a method of deepinv")
        options, device = dict(self.options), problem.y.device
        floor = options.pop("floor", FLOOR) if self.method == "DiffPIR" else 0.0
        operator = problem.operator
        assert isinstance(operator, LinearOperator)
        sigma = max(problem.noise, floor) / 2
        y = (problem.y + operator(problem.y.new_ones((1, *operator.in_shape)))) / 2
        network, physics = denoiser(prior), physics_of(operator, sigma, y, decomposed=self.method == "DDRM")
        with torch.inference_mode(False):
            if self.method == "DDRM":
                levels = options.pop("sigmas", torch.linspace(1, 0, steps + 1, dtype=torch.float64).tolist())
                model = sampling.DDRM(network, sigmas=levels, **options)
            elif self.method == "DiffPIR":
                fidelity = optim.L2()
                model = sampling.DiffPIR(network, fidelity, sigma=sigma, max_iter=steps, device=device, **options)
            else:
                generator = torch.Generator(device).manual_seed(seed)
                model = sampling.DPS(network, num_steps=steps + 1, device=device, rng=generator, **options)
            x: Tensor = model(y, physics)
        return x.detach()


class _Denoise(torch.autograd.Function):
    """``D(z, eta)``, whose derivative is the prior's own VJP."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, eta: Tensor, prior: Prior) -> Tensor:
        d, ctx.vjp = prior.denoise_vjp(z, eta)
        return d

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return ctx.vjp(gradients[0]), None, None


def denoiser(prior: Prior) -> Any:
    """``prior`` as a denoiser of deepinv: pictures in [0, 1], ``sigma`` in their units, a number or one a row."""
    models = optional("deepinv.models", "deepinv", "a method of deepinv")

    class Denoiser(models.Denoiser):  # type: ignore[misc, name-defined]
        def forward(self, x: Tensor, sigma: Tensor | float, *args: Any, **kwargs: Any) -> Tensor:
            levels = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).flatten()
            eta = 2 * levels.expand(len(x)) if len(levels) == 1 else 2 * levels
            if bool((eta == 0).all()):
                return x  # nothing to remove; networks are not made for it
            z = 2 * x - 1
            if torch.is_grad_enabled() and x.requires_grad:
                d: Tensor = _Denoise.apply(z, eta, prior)  # type: ignore[no-untyped-call]
            else:
                d = prior.denoise(z, eta)
            return (d + 1) / 2

    return Denoiser()


def physics_of(operator: LinearOperator, sigma: float, like: Tensor, *, decomposed: bool = False) -> Any:
    """``operator`` as a physics of deepinv with Gaussian noise ``sigma``, on the device of ``like``.

    ``decomposed``: with its singular value decomposition.
    """
    package = optional("deepinv.physics", "deepinv", "a method of deepinv")
    noise = package.GaussianNoise(sigma=sigma)

    class Physics(package.LinearPhysics):  # type: ignore[misc, name-defined]
        def A(self, x: Tensor, **kwargs: Any) -> Tensor:
            return operator(x)

        def A_adjoint(self, y: Tensor, **kwargs: Any) -> Tensor:
            return operator.adjoint(y)

        def A_dagger(self, y: Tensor, **kwargs: Any) -> Tensor:
            return operator.pinv(y)

        def prox_l2(self, z: Tensor, y: Tensor, gamma: Any, **kwargs: Any) -> Tensor:
            """``argmin_x gamma/2 |A x - y|^2 + 1/2 |x - z|^2``."""
            strength = float(torch.as_tensor(gamma).flatten()[0])
            return z + strength * operator.adjoint(operator.solve(strength, 1.0, y - operator(z)))

    if not decomposed:
        return Physics(noise_model=noise).to(like.device)
    svd = decompose(operator, like)
    return package.DecomposablePhysics(
        U=svd.u, U_adjoint=svd.u_adjoint, V=svd.v, V_adjoint=svd.v_adjoint, mask=svd.values,
        img_size=operator.in_shape, noise_model=noise, device=like.device,
    )  # fmt: skip
