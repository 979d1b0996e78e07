"""Methods of deepinv beside ours.

Where packages are missing that deepinv imports at its start and these methods do not use, empty modules stand for them.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Iterator
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import kintsugi
from kintsugi.errors import InvalidArgument, MissingPackage
from kintsugi.operators import JPEG, Bicubic, Blur, Identity, LinearOperator, Mask, Matrix, dense_matrix, motion_kernel
from kintsugi.priors.oracles import GaussianPrior
from kintsugi.problem import Problem

pytest.importorskip("pydantic")
from kintsugi.bench.decomposition import decompose, hartley
from kintsugi.bench.deepinv import Deepinv, denoiser, physics_of
from kintsugi.bench.methods import make_method

SHAPE = (1, 8, 8)


class _Empty(Loader):
    def create_module(self, spec: ModuleSpec) -> types.ModuleType:
        module = types.ModuleType(spec.name)
        module.__path__ = []

        def anything(name: str) -> type:
            if name.startswith("__"):
                raise AttributeError(name)
            return type(name, (), {})

        module.__getattr__ = anything  # type: ignore[method-assign]
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        pass


class _Stubs(MetaPathFinder):
    """Empty modules in place of those that are not installed."""

    NAMES = ("torchvision", "natsort", "h5py", "einops")

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(name, _Empty(), is_package=True) if name.partition(".")[0] in self.NAMES else None


@pytest.fixture(scope="module")
def deepinv() -> Iterator[Any]:
    """The real package: as it is, or with stubs for what it imports and these methods do not use."""
    if importlib.util.find_spec("deepinv") is None:
        pytest.skip("deepinv is not installed")
    pytest.importorskip("torchmetrics.image")  # before the stubs: it looks once for what is installed
    finder, before = _Stubs(), set(sys.modules)
    sys.meta_path.append(finder)  # last: what is installed comes first
    try:
        yield importlib.import_module("deepinv")
    finally:
        sys.meta_path.remove(finder)
        for name in set(sys.modules) - before:
            if name.partition(".")[0] in ("deepinv", *_Stubs.NAMES):
                del sys.modules[name]


def prior(shape: tuple[int, ...] = SHAPE) -> GaussianPrior:
    """Neighbours are alike; a mean that is not 0, so that a mistake in the range shows."""
    n = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return GaussianPrior(shape, 0.1 * torch.exp(-(n[:, None] - n).abs() / 3), mean=0.2)


def mask(shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.rand(shape[1:], generator=torch.Generator().manual_seed(3)) < 0.5


def problem(operator: LinearOperator, noise: float, rows: int = 1) -> Problem:
    x = prior(operator.in_shape).sample(rows, torch.Generator().manual_seed(5)).float()
    return Problem.simulate(x, operator, noise, seed=1)


# --- without deepinv --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "operator",
    [
        Mask(torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0)), (2, 5, 6)),
        Identity((1, 4, 5)),
        Blur((2, 8, 7), motion_kernel(4, 30)),
        Blur((1, 9), torch.tensor([0.2, 0.5, 0.3])),
        Bicubic((1, 8, 8), 2),
        Matrix(torch.randn(40, 24, generator=torch.Generator().manual_seed(0)), (1, 4, 6), (1, 40)),
    ],
    ids=["mask", "identity", "motion", "line", "bicubic", "tall"],
)
def test_decompositions_are_those_of_the_matrix(operator: LinearOperator) -> None:
    svd = decompose(operator, torch.zeros((), dtype=torch.float64))
    a = dense_matrix(operator)
    eye = torch.eye(a.shape[1], dtype=torch.float64).view(-1, *operator.in_shape)
    kept = svd.u(svd.values * svd.v_adjoint(eye)).flatten(1).T
    # What is left out is below the cut-off.
    assert (
        float(torch.linalg.matrix_norm(a - kept, 2)) <= operator.cutoff * float(torch.linalg.matrix_norm(a, 2)) + 1e-9
    )
    torch.testing.assert_close(svd.v(svd.v_adjoint(eye)), eye)
    y = torch.randn(3, *operator.out_shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(svd.u(svd.u_adjoint(y)), y)
    known = torch.linalg.svdvals(a)
    mine = svd.values.flatten().sort(descending=True).values[: len(known)]
    torch.testing.assert_close(mine, torch.where(known > operator.cutoff * known.max(), known, 0.0))


def test_the_hartley_transform_is_that_of_cosines_and_sines() -> None:
    n = torch.arange(6, dtype=torch.float64)
    angle = 2 * torch.pi * n[:, None] * n / 6
    expected = (torch.cos(angle) + torch.sin(angle)) / 6**0.5
    torch.testing.assert_close(hartley(torch.eye(6, dtype=torch.float64)[:, None])[:, 0], expected)


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("deepinv:DDNM", {}, "method: expected one of DDRM, DiffPIR, DPS"),
        ("deepinv:DDRM", {"lambda_": 3}, "lambda_: expected a setting of DDRM: sigmas, eta, etab, eps"),
    ],
)
def test_what_deepinv_does_not_have(name: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        make_method(name, settings)


def test_without_deepinv_nothing_is_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from kintsugi import bench

    monkeypatch.setitem(sys.modules, "deepinv", None)  # as if it were not installed
    with pytest.raises(
        MissingPackage, match=r"deepinv:DDRM needs deepinv: pip install 'kintsugi-diffusion\[deepinv\]'"
    ):
        kintsugi.restore(problem(Mask(mask(), SHAPE), 0.0), prior(), Deepinv("DDRM"), steps=2)
    suite = bench.Suite.model_validate(
        {"name": "both", "oracles": ["line"], "samplers": ["ddrm", "deepinv:DDRM"], "steps": [2], "samples": 4}
    )
    assert list(bench.plan(suite, tmp_path / "run").missing) == ["sampler deepinv:DDRM"]
    with pytest.raises(InvalidArgument, match="samplers"):
        bench.run(suite, tmp_path / "run")
    assert not (tmp_path / "run").exists()


# --- with it ----------------------------------------------------------------------------------------------------------


def test_a_prior_is_a_denoiser_of_pictures_from_0_to_1(deepinv: Any) -> None:
    model, x = prior(), torch.rand((2, *SHAPE), generator=torch.Generator().manual_seed(0)).requires_grad_()
    eta = torch.tensor([0.3, 0.5])
    out = denoiser(model)(x, eta / 2)
    torch.testing.assert_close(2 * out - 1, model.denoise(2 * x.detach() - 1, eta))
    v = torch.randn_like(out)
    (gradient,) = torch.autograd.grad(out, x, v)
    torch.testing.assert_close(gradient, model.denoise_vjp(2 * x.detach() - 1, eta)[1](v))


def test_an_operator_is_a_physics(deepinv: Any) -> None:
    operator = Bicubic(SHAPE, 2)
    physics = physics_of(operator, 0.03, torch.zeros(()))
    assert isinstance(physics, deepinv.physics.LinearPhysics)
    assert float(physics.noise_model.sigma) == pytest.approx(0.03)
    g = torch.Generator().manual_seed(0)
    z, y = (torch.randn((2, *s), generator=g, dtype=torch.float64) for s in (SHAPE, operator.out_shape))
    torch.testing.assert_close(physics.A_adjoint(y), operator.adjoint(y))
    torch.testing.assert_close(physics.A_dagger(y), operator.pinv(y))
    a = dense_matrix(operator)
    system = 7 * a.T @ a + torch.eye(a.shape[1], dtype=torch.float64)
    expected = torch.linalg.solve(system, (7 * y.flatten(1) @ a + z.flatten(1)).T).T
    torch.testing.assert_close(deepinv.optim.data_fidelity.L2().prox(z, y, physics, gamma=7.0).flatten(1), expected)


class Plain(torch.nn.Module):
    """The same prior, for deepinv's own classes and automatic differentiation."""

    def __init__(self) -> None:
        super().__init__()
        self.prior = prior()

    def forward(self, x: Tensor, sigma: Tensor | float, *args: Any, **kwargs: Any) -> Tensor:
        eta = 2 * torch.as_tensor(sigma, dtype=x.dtype).flatten().expand(len(x))
        return x if bool((eta == 0).all()) else (self.prior.denoise(2 * x - 1, eta) + 1) / 2


@pytest.mark.parametrize("method", ["DDRM", "DiffPIR", "DPS"])
def test_it_is_what_deepinv_does_by_itself(method: str, deepinv: Any) -> None:
    """The same seed, deepinv's own inpainting and pictures in [0, 1]: the same restoration."""
    given = problem(Mask(mask(), SHAPE), 0.1)
    options = {"DDRM": {"eta": 0.7}, "DiffPIR": {"lambda_": 4.0, "zeta": 0.3}, "DPS": {"weight": 0.5}}[method]
    done = kintsugi.restore(given, prior(), make_method(f"deepinv:{method}", options), steps=6, seed=2)
    assert (done.cost.forwards, done.cost.vjps) == (6, 6 if method == "DPS" else 0)
    from kintsugi.noise import RowNoise

    white = RowNoise([(2, 0, 0)]).normal((1,), torch.zeros((), dtype=torch.float64))
    seed = int(torch.special.ndtr(white) * 2**31)
    physics = deepinv.physics.Inpainting(
        SHAPE, mask=mask().float()[None], noise_model=deepinv.physics.GaussianNoise(0.05)
    )
    y = (given.y + mask()) / 2
    s = deepinv.sampling
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        if method == "DDRM":
            x = s.DDRM(Plain(), sigmas=[1, 5 / 6, 4 / 6, 0.5, 2 / 6, 1 / 6, 0], eta=0.7)(y, physics)
        elif method == "DiffPIR":
            fidelity = deepinv.optim.data_fidelity.L2()
            x = s.DiffPIR(Plain(), fidelity, sigma=0.05, max_iter=6, lambda_=4.0, zeta=0.3)(y, physics)
        else:
            x = s.DPS(Plain(), num_steps=7, weight=0.5, rng=torch.Generator().manual_seed(seed))(y, physics)
    torch.testing.assert_close(done.samples[0], (2 * x - 1).float(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("method", ["DDRM", "DiffPIR", "DPS"])
def test_rows_are_independent(method: str, deepinv: Any) -> None:
    given, sampler = problem(Blur(SHAPE, motion_kernel(3)), 0.05, rows=2), Deepinv(method)
    both = kintsugi.restore(given, prior(), sampler, steps=3, seed=1, samples=2).samples
    torch.testing.assert_close(
        both, kintsugi.restore(given, prior(), sampler, steps=3, seed=1, samples=2, batch=1).samples
    )
    assert not torch.equal(both[0, 0], both[0, 1])
    state = torch.get_rng_state()
    kintsugi.restore(given, prior(), sampler, steps=2)
    assert torch.equal(state, torch.get_rng_state())


def test_means_are_near_those_of_the_posterior(deepinv: Any) -> None:
    """Of noisy inpainting, 64 samples: deepinv's DDRM finds the mean, but its noise is divided by the root of two."""
    given = problem(Mask(mask(), SHAPE), 0.1)
    exact = prior().posterior(given)
    done = kintsugi.restore(given, prior(), Deepinv("DDRM"), steps=40, samples=64)
    error = float((done.mean[0] - exact.mean[0]).square().mean().sqrt() / exact.std.mean())
    spread = float(done.std[0].square().mean().sqrt() / exact.std.square().mean().sqrt())
    ours = kintsugi.restore(given, prior(), "ddrm", steps=40, samples=64)
    mine = float(ours.std[0].square().mean().sqrt() / exact.std.square().mean().sqrt())
    assert error < 0.4
    assert spread / mine == pytest.approx(0.5**0.5, abs=0.06)


@pytest.mark.parametrize(
    ("operator", "method", "said"),
    [
        (JPEG((3, 16, 16), 10), "DPS", "operator: expected a linear operator for deepinv:DPS, got JPEG"),
        (Bicubic((3, 32, 32), 4), "DDRM", "expected a mask, a circular blur or at most 2048 numbers"),
    ],
)
def test_what_it_does_not_take_is_refused(operator: Any, method: str, said: str) -> None:
    given = Problem(torch.zeros(operator.out_shape), operator, 0.0)
    with pytest.raises(InvalidArgument, match=said):
        Deepinv(method).check(prior(), given)
