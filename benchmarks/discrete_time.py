"""What it costs that a network knows only the steps it was trained at: the tables of docs/own-models.md.

    python benchmarks/discrete_time.py

An exact Gaussian oracle plays a DDPM with linear betas: it is asked for the noise at whole steps only. Three ways to
use it at the noise levels between them: the nearest step taken for the level at hand (the noise it predicts, times eta:
what most code does when a sampler brings its own levels), what :class:`kintsugi.priors.ModelPrior` does with
``between="nearest"``, and steps between, which the oracle answers exactly and a network by its embedding.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch
import typer
from common import table
from torch import Tensor

import kintsugi
from kintsugi.oracles import distance, oracle
from kintsugi.paths import DiscreteVP
from kintsugi.priors import GaussianPrior, ModelPrior, Prior
from kintsugi.priors.clock import Clock, Steps

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from disguise import Disguised, ddpm, linear_betas

NAME = "gaussian-bicubic-noisy"


def naive(path: DiscreteVP) -> Clock:
    """The nearest step, taken for the level at hand."""
    asked = Steps(path, "nearest")
    return lambda eta: (asked(eta)[0], eta)


def priors(exact: Prior, n: int) -> dict[str, Prior]:
    """The oracle as it is, and as a network of ``n`` steps used in three ways."""
    betas = linear_betas(n)
    path = DiscreteVP(tuple(betas.tolist()))
    ways: dict[str, Callable[[DiscreteVP], Clock]] = {
        "nearest, naive": naive,
        "nearest": lambda p: Steps(p, "nearest"),
        "interpolate": Steps,
    }
    out: dict[str, Prior] = {"continuous": exact.with_path(path)}
    for word, way in ways.items():
        network = Disguised(exact, ddpm(betas), "epsilon")
        prior = ModelPrior(network, path, "epsilon", way(path), data_variance=exact.data_variance)
        out[word] = prior
    return out


def denoiser_error(exact: Prior, prior: Prior, etas: Tensor, signals: Tensor) -> float:
    """The largest error of D over the levels, in its own standard deviation given z, root mean square."""
    worst = 0.0
    for eta in etas:
        levels = eta.expand(len(signals))
        white = torch.randn(signals.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        z = signals + eta * white
        d = exact.denoise(z, levels)
        error = (prior.denoise(z, levels) - d).square().mean().sqrt()
        worst = max(worst, float(error / (signals - d).square().mean().sqrt()))
    return worst


def main(steps: str = "5,20,100", samples: int = 64) -> None:
    """Print two Markdown tables."""
    torch.set_num_threads(1)
    known = oracle(NAME)
    signals = GaussianPrior.stationary(known.shape, known.prior.covariance).sample(64, torch.Generator().manual_seed(0))
    rows = []
    for n in (1000, 100):
        made = priors(known.prior, n)
        lowest = float(made["nearest"].path.eta(1 / n))
        for name, low, high in (("first step to 40", lowest, 40.0), ("below the first step", 1e-3, lowest)):
            etas = torch.logspace(torch.tensor(low).log10(), torch.tensor(high).log10(), 97, dtype=torch.float64)
            cells = [f"{100 * denoiser_error(known.prior, p, etas, signals):.2g} %" for p in list(made.values())[1:]]
            rows.append([str(n), name, *cells])
    print(table(["training steps", "levels", *list(made)[1:]], rows), "\n")

    rows = []
    for n in (1000, 100):
        made = priors(known.prior, n)
        for sampler in ("kintsugi", "cpigdm", "ddnmplus", "dps"):
            for count in (int(s) for s in steps.split(",")):
                drawn = {
                    word: kintsugi.restore(
                        known.problem, prior, sampler, steps=count, samples=samples, batch=samples, tile=None
                    ).samples[0]
                    for word, prior in made.items()
                }
                plain = drawn["continuous"]
                own = distance(plain, known, generator=1)
                cells = [
                    f"{100 * float((x - plain).square().mean().sqrt()) / known.scale:.2g} %"
                    for word, x in drawn.items()
                    if word != "continuous"
                ]
                rows.append([str(n), sampler, str(count), f"{100 * own.sliced:.0f} %", *cells])
    print(table(["training steps", "sampler", "steps", "own error (sliced)", *list(made)[1:]], rows))


if __name__ == "__main__":
    typer.run(main)
