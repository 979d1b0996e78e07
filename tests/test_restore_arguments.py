"""Every argument of ``restore`` that can be wrong: an error that names it, before any network runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import kintsugi
from kintsugi.errors import InvalidArgument
from kintsugi.operators import Mask, Operator
from kintsugi.paths import VE
from kintsugi.priors import GaussianPrior, Prior
from kintsugi.problem import Problem
from kintsugi.samplers import CPiGDM, PiGDM, Schedule, about, available_samplers
from toy import KEEP, SHAPE, mixture


class Untouched(Prior):
    """A prior that must not be asked."""

    shape = SHAPE

    def denoise(self, z: Tensor, eta: Tensor) -> Tensor:
        raise AssertionError("the network ran")


def small_problem() -> Problem:
    return Problem(torch.zeros(1, *SHAPE), Mask(KEEP, SHAPE))


class Nonlinear(Operator):
    in_shape = out_shape = SHAPE

    def _forward(self, x: Tensor) -> Tensor:
        return x**2


# What the docstrings say; test_sampler_contract.py holds the methods to it.
LINEAR_ONLY = [name for name, cls in available_samplers().items() if about(cls).takes.startswith("any linear")]
LINEAR_ONLY = [name for name in LINEAR_ONLY if "nonlinear" not in about(available_samplers()[name]).takes]
CURVED = Problem(torch.zeros(SHAPE), Nonlinear())
Call = Callable[[], Any]


def call(*args: Any, **settings: Any) -> Call:
    return lambda: kintsugi.restore(small_problem(), Untouched(), *args, **settings)


WRONG: list[tuple[str, Call]] = [
    *(("steps", call(steps=steps)) for steps in (0, -1, 2.5, "5", None, True)),
    *(("samples", call(samples=samples)) for samples in (0, -3, 1.0, None)),
    *(("seed", call(seed=seed)) for seed in (-1, 0.5, "a", None)),
    *(("batch", call(batch=batch)) for batch in (0, -1, 1.5, "all")),
    *(("tile", call(tile=tile)) for tile in (0, -64, 1.5, "big")),
    ("progress", call(progress="yes")),
    *(("sampler", call(sampler)) for sampler in ("nosuch", "", None, CPiGDM, 3)),
    ("prior", lambda: kintsugi.restore(small_problem(), "nosuch")),
    ("prior", lambda: kintsugi.restore(small_problem(), None)),
    ("problem", lambda: kintsugi.restore(torch.zeros(1, *SHAPE), Untouched())),
    ("operator", lambda: kintsugi.restore(Problem(torch.zeros(3, 4, 4), Mask(KEEP, (3, 4, 4))), Untouched())),
    *(("operator", lambda s=s: kintsugi.restore(CURVED, Untouched(), s)) for s in LINEAR_ONLY),
    *(("nosuch", call(sampler, nosuch=1)) for sampler in available_samplers()),
    ("w", call(CPiGDM(), w=2.0)),
    *(("w", call(s, w=w)) for s in ("cpigdm", "cpigfm", "pigdm", "pigfm") for w in (0.0, -1.0, math.nan, "x", True)),
    *(("w", call(s, w=math.inf)) for s in ("cpigdm", "cpigfm")),
    *(("tau", call(s, tau=t)) for s in ("cpigdm", "cpigfm", "pigdm", "pigfm") for t in (0.0, -0.1, 1.1, math.nan, "x")),
    *(("lam", call("cpigdm", lam=lam)) for lam in (math.nan, math.inf, None, "x")),
    *(("frozen", call("cpigdm", frozen=frozen)) for frozen in ("score", None)),
    *(("start", call("cpigdm", start=start)) for start in ("noise", None)),
    ("jacobian", call("cpigdm", jacobian="no")),
    *(("path", call(s, path="vp")) for s in ("cpigdm", "pigdm")),
    ("path", call("cpigdm", frozen="velocity", path=VE())),
    *(("solver", call(s, solver="ddim")) for s in ("pigdm", "ddnm")),
    *(("schedule", call(s, schedule=5)) for s in ("pigdm", "ddnm")),
    ("hard", call("ddnm", hard=1.0)),
    ("tau", call("ddnm", schedule=Schedule(tau=1.5))),
    ("eta", call("ddnm", schedule=Schedule(eta=0.01, end=0.02))),
    ("start", call("ddnm", schedule=Schedule(eta=math.inf))),
    ("start", call("ddnm", schedule=Schedule(start="nosuch"))),
    ("grid", call("ddnm", schedule=Schedule(grid="nosuch"))),
    ("grid", call("ddnm", schedule=Schedule(grid=(1.0, 2.0)))),
    *(("texture", call("kintsugi", texture=texture)) for texture in (-0.1, 1.1, math.nan)),
    *(("eta", call("kintsugi", eta=eta)) for eta in (0.0, -1.0, math.nan)),
]


@pytest.mark.parametrize(("name", "wrong"), WRONG, ids=[f"{i}-{name}" for i, (name, _) in enumerate(WRONG)])
def test_wrong_arguments_are_named_before_any_network_runs(name: str, wrong: Call) -> None:
    with pytest.raises(InvalidArgument) as caught:
        wrong()
    assert caught.value.name == name
    assert str(caught.value).startswith(f"{name}: expected ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_samples_that_are_not_finite_are_an_error(bad: float) -> None:
    class Broken(GaussianPrior):
        def denoise(self, z: Tensor, eta: Tensor) -> Tensor:
            return super().denoise(z, eta) + bad

    broken = Broken(SHAPE, torch.eye(16))
    with pytest.raises(FloatingPointError, match="ddnm"):
        kintsugi.restore(small_problem(), broken, "ddnm", steps=2)


def test_an_unstable_method_is_an_error_not_a_picture() -> None:
    stated = Problem(torch.zeros(1, *SHAPE, dtype=torch.float32), Mask(KEEP, SHAPE))
    diverging = PiGDM(w=1e30, schedule=Schedule(start="zero", eta=100.0, end=1.0))
    with pytest.raises(FloatingPointError, match=r"w smaller \(now 1e\+30\)"):
        kintsugi.restore(stated, mixture(), diverging, steps=5)
