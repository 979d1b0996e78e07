"""What every sampler owes to its caller, whatever it computes: one contract over all of them."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import torch
from torch import Tensor

import kintsugi
from kintsugi.errors import InvalidArgument
from kintsugi.noise import RowNoise
from kintsugi.operators import BlockAverage, LinearOperator, Magnitude, Mask, StationaryCovariance
from kintsugi.paths import VE, VP, FlowMatching
from kintsugi.priors import Prior, StationaryPrior
from kintsugi.problem import Problem
from kintsugi.samplers import Sampler, about, available_samplers, make_sampler
from toy import spectrum

NAMES = list(available_samplers())
# Two channels, neither square nor even.
SHAPE = (2, 7, 10)


def prior(path: Any = None) -> Prior:
    model = StationaryPrior(StationaryCovariance(spectrum), SHAPE[0])
    return model if path is None else model.with_path(path)


def problem(rows: int = 1, dtype: torch.dtype = torch.float64, noise: float = 0.0) -> Problem:
    generator = torch.Generator().manual_seed(3)
    keep = torch.rand(SHAPE, generator=generator) > 0.5
    x = 0.5 * torch.randn(rows, *SHAPE, generator=generator, dtype=torch.float64)
    return Problem.simulate(x.to(dtype), Mask(keep, SHAPE), noise)


def run(name: str, problem: Problem, keys: list[tuple[int, ...]], steps: int = 3, model: Prior | None = None) -> Tensor:
    """What ``name`` draws with its defaults."""
    method = make_sampler(name)
    model = prior() if model is None else model
    with torch.no_grad():
        return method.run(model, problem, steps, RowNoise(keys), lambda done, total: None)


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_docstring_says_what_the_tables_need(name: str) -> None:
    said = about(available_samplers()[name])
    assert ": " in said.summary
    assert all(len(value) > 3 for value in (said.paper, said.cost, said.takes, said.authors))


def test_settings_are_immutable_and_shown(name: str) -> None:
    sampler = make_sampler(name)
    with pytest.raises(AttributeError):
        sampler.anything = 1  # type: ignore[attr-defined]
    assert sampler == make_sampler(name)
    assert repr(sampler).startswith(type(sampler).__name__)


def test_a_batch_is_its_rows(name: str) -> None:
    stated = problem(3, noise=0.05)
    keys = [(0, 0, 0), (0, 1, 0), (5, 1, 2)]
    together = run(name, stated, keys)
    for i, key in enumerate(keys):
        alone = run(name, stated.with_rows(stated.y[i : i + 1]), [key])
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-9, atol=1e-9)


def test_the_same_seed_gives_the_same_sample_and_another_does_not(name: str) -> None:
    stated = problem()
    first, again, other = (run(name, stated, [key]) for key in ((1, 0, 0), (1, 0, 0), (2, 0, 0)))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-6)


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_any_number_of_steps_from_one(name: str, steps: int, noise: float) -> None:
    """A sampler that overshoots in few steps is of no use: the result stays within the size of the signal."""
    stated = problem(noise=noise)
    out = run(name, stated, [(0, 0, 0)], steps)
    assert out.shape == (1, *SHAPE)
    assert float(out.abs().max()) < 20


def test_precision_is_that_of_the_measurement(name: str) -> None:
    """float32 in, float32 out, and the same numbers up to its rounding."""
    single, double = problem(dtype=torch.float32, noise=0.05), problem(noise=0.05)
    keys = [(0, 0, 0)]

    class Fixed(RowNoise):
        """The numbers of float64, rounded: generators draw others in float32."""

        def normal(self, shape: Any, like: Tensor) -> Tensor:
            return super().normal(shape, like.double()).to(like)

    method = make_sampler(name)
    out = {}
    for stated in (single, double):
        stated = Problem(double.y.to(stated.y.dtype), double.operator, 0.05)
        with torch.no_grad():
            out[stated.y.dtype] = method.run(prior(), stated, 3, Fixed(keys), lambda done, total: None)
    assert out[torch.float32].dtype == torch.float32
    assert out[torch.float64].dtype == torch.float64
    torch.testing.assert_close(out[torch.float32].double(), out[torch.float64], rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("path", [VP(), FlowMatching()], ids=["vp", "flow"])
def test_diffusion_and_flow_priors(name: str, path: Any) -> None:
    """The signal is found where it was measured without noise, up to what a biased method leaves, on either path."""
    out = run(name, problem(), [(0, 0, 0)], 20, prior(path))
    assert float(out.abs().max()) < 5


def test_a_variance_exploding_prior_is_no_other_than_a_variance_preserving_one(name: str) -> None:
    """The denoiser is the same, whatever path it was trained on, and so are steps that suit the method."""
    path = VP()
    keys: list[tuple[int, ...]] = [(0, 0, 0)]
    preserving = run(name, problem(noise=0.05), keys, steps=4, model=prior(path))
    exploding = run(name, problem(noise=0.05), keys, steps=4, model=prior(VE(path.eta_max)))
    torch.testing.assert_close(exploding, preserving, rtol=1e-6, atol=1e-8)


def test_no_gradient_is_kept_and_none_is_asked_of_the_caller(name: str) -> None:
    stated = problem()
    for context in (torch.no_grad, torch.enable_grad, torch.inference_mode):
        with context():
            out = make_sampler(name).run(prior(), stated, 2, RowNoise([(0, 0, 0)]), lambda done, total: None)
        assert not out.requires_grad
    assert not stated.y.requires_grad


def test_the_driver_counts_its_network(name: str) -> None:
    result = kintsugi.restore(problem(), prior(), name, steps=3, samples=2, tile=None)
    assert result.samples.shape == (1, 2, *SHAPE)
    assert result.cost.forwards >= 3
    said = about(available_samplers()[name]).cost
    assert (result.cost.vjps > 0) == ("VJP" in said and "no VJP" not in said), said


def test_progress_ends_at_its_total(name: str) -> None:
    seen: list[tuple[int, int]] = []
    make_sampler(name).run(prior(), problem(), 3, RowNoise([(0, 0, 0)]), lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == list(range(1, len(seen) + 1))
    assert {total for _, total in seen} == {len(seen)}


def test_memory_is_flat_in_the_number_of_steps(name: str) -> None:
    """Signals alive while the network runs, at the fourth step and at the last of 24: nothing may pile up."""
    shape = (2, 35, 50)
    size = 2 * 35 * 50

    class Watching(StationaryPrior):
        """Counts the signals that are alive at each ``every``-th call."""

        alive: list[int]
        calls, every = 0, 1

        def denoise(self, z: Tensor, eta: Tensor) -> Tensor:
            self.calls += 1
            if self.calls % self.every == 0:
                tensors = [t for t in gc.get_objects() if isinstance(t, Tensor)]
                self.alive.append(sum(t.numel() for t in tensors if t.numel() >= size) // size)
            return super().denoise(z, eta)

    x = torch.rand(1, *shape, dtype=torch.float64)
    stated = Problem.simulate(x, Mask(torch.rand(shape) > 0.5, shape))
    few, many = (Watching(StationaryCovariance(spectrum), 2) for _ in range(2))
    for model, steps in ((few, 4), (many, 24)):
        model.alive, model.every = [], steps // 4
        gc.freeze()  # what was there before is not looked through at each call: dflow makes thousands
        try:
            run(name, stated, [(0, 0, 0)], steps, model)
        finally:
            gc.unfreeze()
    kept = 20 if "an image a step of memory" in about(available_samplers()[name]).cost else 0
    assert max(many.alive) <= max(few.alive) + 4 + kept


def test_what_cannot_be_done_is_said_before_any_network_runs(name: str) -> None:
    """A nonlinear measurement: either the method takes it, or its check names the operator."""

    class Silent(StationaryPrior):
        def denoise(self, z: Tensor, eta: Tensor) -> Tensor:
            raise AssertionError("the network ran")

    operator = Magnitude(SHAPE)
    stated = Problem(operator(torch.rand(1, *SHAPE, dtype=torch.float64)), operator, 0.05)
    takes = about(available_samplers()[name]).takes
    method = make_sampler(name)
    silent = Silent(StationaryCovariance(spectrum), SHAPE[0])
    refused = takes.startswith(("linear", "any linear")) and "nonlinear" not in takes
    if refused:
        with pytest.raises(InvalidArgument, match=r"^operator: "):
            method.check(silent, stated)
    else:
        method.check(silent, stated)
        out = run(name, stated, [(0, 0, 0)], 3)
        assert float(out.abs().max()) < 20


def test_a_measurement_smaller_than_the_signal(name: str) -> None:
    """Block averages of a signal that the factor divides: nothing may assume that y has the shape of x."""
    operator: LinearOperator = BlockAverage((2, 6, 10), 2)
    x = 0.5 * torch.randn(1, 2, 6, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    out = run(name, Problem.simulate(x, operator), [(0, 0, 0)], 4)
    assert out.shape == x.shape


def test_every_method_is_a_sampler() -> None:
    assert all(issubclass(cls, Sampler) and cls.name == name for name, cls in available_samplers().items())
