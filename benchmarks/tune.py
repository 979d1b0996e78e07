"""Choose the default settings of the samplers on images held out of training. Never on test images.

    python benchmarks/tune.py FOLDER --prior photo --sampler cpigdm --steps 5

prints a row for every setting of the grid, best first: mean PSNR over images and problems. The winners are written
into ``samplers/defaults.py`` by hand, and the tables into docs/samplers.md.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from common import held_out_crops, high_frequency_share, interval, psnr, simulate, table

import kintsugi
from kintsugi.samplers import Schedule

NOISELESS = ("random 70 %", "box 32 x 32", "4x bicubic")
NOISY = ("blur 1.6, noise 0.02", "denoise 25")


def grid(sampler: str, steps: int) -> dict[str, list[Any]]:
    """The settings that are tried for each sampler; stronger guidance is stable with more steps."""
    more = (steps / 5) ** 0.5
    if sampler in ("cpigdm", "pigdm"):
        return {"w": [round(w * more, 1) for w in (4, 10, 25, 60)], "tau": [0.4, 0.5, 0.6]}
    if sampler in ("cpigfm", "pigfm"):
        return {"w": [round(w * more, 1) for w in (8, 20, 50, 120)], "tau": [0.5, 0.65, 0.8]}
    if sampler == "ddnm":
        starts = [("pinv", 1.0), ("pinv", 2.0), ("pinv", 5.0), ("zero", 20.0)]
        return {"schedule": [Schedule(start=s, eta=e, end=end) for s, e in starts for end in (0.02, 0.1)]}  # type: ignore[arg-type]
    return {"temperature": [0.3, 0.4, 0.55, 0.7], "eta": [0.7, 1.0, 1.5], "end": [0.02, 0.04]}


def main(
    folder: Path,
    sampler: str = "kintsugi",
    prior: str = "photo",
    steps: int = 5,
    noisy: bool = False,
    w: Annotated[str, typer.Option(help="try these values of w instead, such as 10,25")] = "",
    tau: Annotated[str, typer.Option(help="try these values of tau instead")] = "",
    threads: Annotated[int, typer.Option(help="CPU threads")] = 2,
) -> None:
    torch.set_num_threads(threads)
    truth = held_out_crops(folder)
    model = kintsugi.load_prior(prior)
    names = NOISY if noisy else NOISELESS
    axes = grid(sampler, steps)
    for name, given in (("w", w), ("tau", tau)):
        if given:
            axes[name] = [float(v) for v in given.split(",")]
    rows = []
    for values in itertools.product(*axes.values()):
        settings = dict(zip(axes, values, strict=True))
        scores, shares = [], []
        for name in names:
            try:
                result = kintsugi.restore(simulate(truth, name), model, sampler, steps=steps, batch=16, **settings)
            except FloatingPointError:
                scores.append(torch.zeros(len(truth)))
                continue
            scores.append(psnr(result.samples[:, 0], truth))
            shares.append(high_frequency_share(result.samples[:, 0], truth))
        mean = torch.stack(scores).mean(0)
        each = " / ".join(f"{s.mean():.2f}" for s in scores)
        rows.append((float(mean.mean()), [str(settings), interval(mean), each, f"{sum(shares) / len(names):.2f}"]))
    rows.sort(key=lambda row: -row[0])
    print(f"{sampler}, {steps} steps, {', '.join(names)}, {len(truth)} held-out crops")
    print(table(["settings", "PSNR", "each", "texture"], [row for _, row in rows]), flush=True)


if __name__ == "__main__":
    typer.run(main)
