"""The driver: what a batch may not change, seeds, cost, progress, dtypes, and every argument that can be wrong."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import kintsugi
from kintsugi.operators import BlockAverage, Blur, LinearOperator, Mask, StationaryCovariance, gaussian_kernel
from kintsugi.priors import Prior, StationaryPrior
from kintsugi.problem import Problem
from kintsugi.samplers import DDNM, CPiGDM, Kintsugi, Sampler, available_samplers, make_sampler
from kintsugi.solvers import FirstOrder, Multistep
from toy import spectrum

COLOUR = (3, 12, 10)
# Forwards and VJPs a step, of the methods that take the same number at each.
COSTS = {
    **dict.fromkeys(("kintsugi", "ddnm", "ddnmplus", "ddrm", "diffpir", "cm4ir", "reddiff", "ddim", "optcov"), (1, 0)),
    **dict.fromkeys(("pnpflow", "flowdps", "flowchef", "resample", "latino"), (1, 0)),
    **dict.fromkeys(("cpigdm", "cpigfm", "pigdm", "pigfm", "dps", "mcg", "otode", "psld"), (1, 1)),
    "tmpd": (1, 2),
}
VARYING = {"mmps", "sitcom", "dflow", "repaint", "daps", "tds"}


def operators() -> dict[str, LinearOperator]:
    keep = torch.rand(12, 10, generator=torch.Generator().manual_seed(2)) > 0.6
    return {
        "mask": Mask(keep, COLOUR),
        "average": BlockAverage(COLOUR, 2),
        "blur with borders": Blur(COLOUR, gaussian_kernel(0.8, 5), "unknown"),
    }


def prior() -> Prior:
    return StationaryPrior(StationaryCovariance(spectrum), 3, 0.26)


def problem(name: str = "mask", rows: int = 3, noise: float = 0.05, dtype: torch.dtype = torch.float64) -> Problem:
    operator = operators()[name]
    x = torch.rand(rows, *operator.in_shape, generator=torch.Generator().manual_seed(4), dtype=dtype) - 0.5
    return Problem.simulate(x, operator, noise)


# --- rows do not know of each other -----------------------------------------------------------------------------------


@pytest.mark.parametrize("operator", ["mask", "average"])
@pytest.mark.parametrize("sampler", available_samplers())
def test_a_batch_of_n_is_n_batches_of_one(sampler: str, operator: str) -> None:
    stated = problem(operator)
    together = kintsugi.restore(stated, prior(), sampler, steps=3, samples=2, batch=6).samples
    for size in (1, 4):
        apart = kintsugi.restore(stated, prior(), sampler, steps=3, samples=2, batch=size).samples
        torch.testing.assert_close(apart, together, rtol=0, atol=1e-10)


@pytest.mark.parametrize("sampler", available_samplers())
def test_rows_of_iterative_operators(sampler: str) -> None:
    """A blur with real borders, whose functions of A A^T come from Lanczos."""
    operator = Blur((1, 6, 5), gaussian_kernel(0.6, 3), "unknown")
    x = torch.rand(2, *operator.in_shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64) - 0.5
    stated, model = Problem.simulate(x, operator, 0.05), StationaryPrior(StationaryCovariance(spectrum), 1, 0.26)
    together, apart = (kintsugi.restore(stated, model, sampler, steps=2, batch=size).samples for size in (2, 1))
    torch.testing.assert_close(apart, together, rtol=0, atol=1e-7)


@pytest.mark.parametrize("sampler", available_samplers())
def test_in_float32_too(sampler: str) -> None:
    stated = problem("average", dtype=torch.float32)
    together = kintsugi.restore(stated, prior(), sampler, steps=3, samples=2, batch=6).samples
    apart = kintsugi.restore(stated, prior(), sampler, steps=3, samples=2, batch=1).samples
    torch.testing.assert_close(apart, together, rtol=0, atol=2e-5)


@pytest.mark.parametrize("sampler", available_samplers())
def test_a_sample_depends_on_its_seed_image_and_number_alone(sampler: str) -> None:
    stated = problem()
    four = kintsugi.restore(stated, prior(), sampler, steps=3, samples=4, seed=5).samples
    two = kintsugi.restore(stated, prior(), sampler, steps=3, samples=2, seed=5).samples
    torch.testing.assert_close(four[:, :2], two, rtol=0, atol=1e-10)
    first = kintsugi.restore(stated.with_rows(stated.y[:1]), prior(), sampler, steps=3, samples=4, seed=5).samples
    torch.testing.assert_close(four[:1], first, rtol=0, atol=1e-10)


@pytest.mark.parametrize("sampler", available_samplers())
def test_seeds(sampler: str) -> None:
    stated = problem("average", rows=2)
    once, again, other = (
        kintsugi.restore(stated, prior(), sampler, steps=3, samples=2, seed=seed).samples for seed in (1, 1, 2)
    )
    assert torch.equal(once, again)
    assert float((once - other).abs().mean()) > 0.01
    # Equal measurements still get different noise: by image and by sample.
    twins = stated.with_rows(stated.y[:1].expand(2, *stated.operator.out_shape))
    drawn = kintsugi.restore(twins, prior(), sampler, steps=3, samples=2, seed=1).samples.flatten(0, 1)
    distances = torch.cdist(drawn.flatten(1), drawn.flatten(1)) / math.sqrt(drawn[0].numel())
    assert float(distances[~torch.eye(4, dtype=torch.bool)].min()) > 0.01


@pytest.mark.parametrize("batch", [1, 2, 6])
def test_each_measurement_gets_its_own_samples(batch: int) -> None:
    stated = problem("average", rows=3, noise=0.0)
    out = kintsugi.restore(stated, prior(), "ddnm", steps=2, samples=2, batch=batch).samples
    for j in (0, 1):
        torch.testing.assert_close(stated.operator(out[:, j]), stated.y, rtol=0, atol=1e-10)


def test_global_random_state_is_left_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    first = kintsugi.restore(problem(), prior(), "ddnm", steps=2).samples
    assert torch.equal(torch.rand(1), expected)
    torch.manual_seed(99)
    assert torch.equal(kintsugi.restore(problem(), prior(), "ddnm", steps=2).samples, first)


# --- the result -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("sampler", COSTS)
def test_cost_is_counted_per_sample(sampler: str, steps: int) -> None:
    cost = kintsugi.restore(problem(rows=2), prior(), sampler, steps=steps, samples=3, batch=4).cost
    assert (cost.forwards, cost.vjps) == tuple(steps * n for n in COSTS[sampler])
    assert cost.seconds > 0


def test_without_the_jacobian_there_are_no_vjps() -> None:
    cost = kintsugi.restore(problem(), prior(), "cpigdm", steps=4, jacobian=False).cost
    assert (cost.forwards, cost.vjps) == (4, 0)


def test_mean_and_standard_deviation() -> None:
    result = kintsugi.restore(problem(rows=2), prior(), steps=2, samples=3)
    a, b, c = result.samples.unbind(1)
    mean = (a + b + c) / 3
    torch.testing.assert_close(result.mean, mean)
    torch.testing.assert_close(result.std, (((a - mean) ** 2 + (b - mean) ** 2 + (c - mean) ** 2) / 2).sqrt())
    single = kintsugi.restore(problem(rows=2), prior(), steps=2)
    assert torch.equal(single.std, torch.zeros(2, *COLOUR, dtype=torch.float64))


def test_what_lies_beyond_the_border_is_cut_off() -> None:
    stated = problem("blur with borders", rows=2)
    assert stated.operator.in_shape != COLOUR
    assert kintsugi.restore(stated, prior(), steps=2, samples=3).samples.shape == (2, 3, *COLOUR)


def test_one_measurement_without_a_batch_axis() -> None:
    stated = problem(rows=1)
    bare = Problem(stated.y[0], stated.operator, stated.noise)
    result = kintsugi.restore(bare, prior(), steps=2, samples=2)
    assert torch.equal(result.samples, kintsugi.restore(stated, prior(), steps=2, samples=2).samples)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("operator", ["mask", "average"])
@pytest.mark.parametrize("sampler", available_samplers())
def test_dtype_is_that_of_the_measurement(sampler: str, operator: str, dtype: torch.dtype) -> None:
    seen = set()

    class Watching(StationaryPrior):
        def denoise(self, z: Tensor, eta: Tensor) -> Tensor:
            seen.add(z.dtype)
            return super().denoise(z, eta)

    watching = Watching(StationaryCovariance(spectrum), 3, 0.26)
    out = kintsugi.restore(problem(operator, 1, dtype=dtype), watching, sampler, steps=2).samples
    assert out.dtype == dtype
    assert seen == {dtype}


def test_progress_counts_steps_over_all_batches() -> None:
    calls: list[tuple[int, int]] = []
    kintsugi.restore(
        problem(rows=3), prior(), steps=2, samples=2, batch=4, progress=lambda done, total: calls.append((done, total))
    )
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize("progress", [True, False, None])
def test_progress_bar(progress: bool | None, capsys: pytest.CaptureFixture[str]) -> None:
    kintsugi.restore(problem(), prior(), steps=2, progress=progress)
    out, _ = capsys.readouterr()
    assert ("restoring" in out) <= bool(progress)


def test_tiles_do_not_change_what_a_local_prior_gives() -> None:
    """A prior that treats every pixel alone, in tiles."""

    class Pixelwise(Prior):
        shape = (1, None, None)

        def denoise(self, z: Tensor, eta: Tensor) -> Tensor:
            return torch.tanh(z) / (1 + eta.view(-1, 1, 1, 1) ** 2)

        def receptive_radius(self) -> int:
            return 0

    op = Mask(torch.rand(70, 100, generator=torch.Generator().manual_seed(0)) > 0.5, (1, 70, 100))
    stated = Problem(op(torch.ones(1, 1, 70, 100)), op, 0.1)
    for sampler in ("kintsugi", "cpigdm"):
        whole = kintsugi.restore(stated, Pixelwise(), sampler, steps=2, tile=None).samples
        tiled = kintsugi.restore(stated, Pixelwise(), sampler, steps=2, tile=32).samples
        torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-5)


# --- settings ---------------------------------------------------------------------------------------------------------


def test_settings_reach_the_sampler() -> None:
    result = kintsugi.restore(problem(), prior(), "cpigdm", steps=2, w=3.0, lam=0.1, tau=0.4)
    assert result.sampler == CPiGDM(w=3.0, lam=0.1, tau=0.4)
    same = kintsugi.restore(problem(), prior(), CPiGDM(w=3.0, lam=0.1, tau=0.4), steps=2)
    assert torch.equal(result.samples, same.samples)
    other = kintsugi.restore(problem(), prior(), "cpigdm", steps=2, w=30.0, lam=0.1, tau=0.4)
    assert float((result.samples - other.samples).abs().mean()) > 0.01


def test_names() -> None:
    assert set(COSTS) | VARYING == set(available_samplers())
    for name, cls in available_samplers().items():
        assert type(make_sampler(name)) is cls
        assert cls.name == name


SOLVERS = [DDNM(solver=FirstOrder(0.5)), DDNM(solver=Multistep(0.3, 0.7)), Kintsugi(texture=0.5)]


@pytest.mark.parametrize("sampler", SOLVERS)
def test_any_solver_keeps_rows_apart(sampler: Sampler) -> None:
    stated = problem()
    together = kintsugi.restore(stated, prior(), sampler, steps=4, samples=2, batch=6).samples
    apart = kintsugi.restore(stated, prior(), sampler, steps=4, samples=2, batch=1).samples
    torch.testing.assert_close(apart, together, rtol=0, atol=1e-10)
