"""Coverage of pixelwise intervals on pictures whose truth is known: raw, calibrated and conformal.

    python benchmarks/calibration.py FOLDER --prior MODEL

MODEL is a file that ``kintsugi calibrate`` wrote for the same sampler and steps, or one without calibrations. Each row
is a problem, each cell the share of the uncertain pixels (those whose samples differ) inside the interval, as a mean
over pictures with a 95 % confidence interval:

    raw          m ± t s sqrt(1 + 1/n)
    calibrated   with the model's file, fitted on other pictures
    half, half   calibrated on every other picture of FOLDER, for those between them, and the other way round:
                 what calibration gives where the pictures are alike
    conformal    likewise, for 80 % only: 12 pictures promise no more than 12 / 13

Prints Markdown.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer
from common import crop_at, load, table
from torch import Tensor

import kintsugi
from kintsugi.errors import InvalidArgument
from kintsugi.priors.calibration import DUST
from kintsugi.samplers import make_sampler
from kintsugi.training.data import find_images
from kintsugi.uncertainty import (
    Intervals,
    calibrated_intervals,
    conformal,
    describe_sampler,
    fit,
    heldout,
    intervals,
    kind_of,
)

LEVELS = (0.5, 0.8, 0.9, 0.95)
Halves = Callable[[Tensor, Tensor, Tensor], Intervals]


def main(
    folder: Path,
    prior: str = "photo",
    texture: float = 1.0,
    steps: int = 5,
    samples: int = 8,
    size: int = 64,
    scale: Annotated[float, typer.Option(help="Of the pictures, before the crop at their centre.")] = 0.5,
    threads: int = 1,
) -> None:
    torch.set_num_threads(threads)
    model = kintsugi.load_prior(prior)
    truth = torch.stack([crop_at(load(path, scale), 0.5, 0.5, size) for path in find_images(folder)])
    method = make_sampler("kintsugi", texture=texture)
    rows = []
    for name, (operator, noise) in heldout.problems(size).items():
        problem = kintsugi.Problem.simulate(truth, operator, noise, seed=1)
        result = kintsugi.restore(problem, model, method, steps=steps, samples=samples)
        x, kind = result.samples, kind_of(problem)
        rows.append([name, "raw", *(cell(intervals(x, level), x, truth) for level in LEVELS)])
        try:
            found = [cell(result.intervals(level, calibrated=True), x, truth) for level in LEVELS]
            rows.append(["", "calibrated", *found])
        except InvalidArgument:
            pass

        def fitted(level: float, kind: str = kind) -> Halves:
            def run(known: Tensor, its_truth: Tensor, new: Tensor) -> Intervals:
                entry = fit(known, its_truth, sampler=describe_sampler(method), steps=steps, kind=kind)
                return calibrated_intervals(new, level, entry)

            return run

        rows.append(["", "half, half", *(cell(swap(x, truth, fitted(level)), x, truth) for level in LEVELS)])
        sure = swap(x, truth, lambda known, its_truth, new: conformal(known, its_truth, 0.8).intervals(new))
        rows.append(["", "conformal, 80 %, all pixels", "", cell(sure, x, truth, every=True), "", ""])
    print(f"{len(truth)} crops of {size} x {size}, {describe_sampler(method)}, {steps} steps, {samples} samples\n")
    print(table(["problem", "intervals", *(f"{level:.0%}" for level in LEVELS)], rows))


def swap(x: Tensor, truth: Tensor, run: Halves) -> Intervals:
    """Intervals of each half of the pictures from what the other half taught."""
    even = torch.arange(len(x)) % 2 == 0
    low, high = torch.empty_like(truth), torch.empty_like(truth)
    for new in (even, ~even):
        found = run(x[~new], truth[~new], x[new])
        low[new], high[new] = found.low, found.high
    return Intervals(low, high, found.level)


def cell(found: Intervals, x: Tensor, truth: Tensor, every: bool = False) -> str:
    """Share inside, of the uncertain pixels or of ``every``: mean over pictures and its 95 % interval, in per cent."""
    counted = (torch.ones_like(truth) if every else (x.std(1) > DUST)).flatten(1).double()
    inside = ((truth >= found.low - 1e-6) & (truth <= found.high + 1e-6)).flatten(1).double()
    shares = 100 * (inside * counted).sum(1) / counted.sum(1)
    return f"{shares.mean():.1f} ± {1.96 * shares.std() / len(shares) ** 0.5:.1f}"


if __name__ == "__main__":
    typer.run(main)
