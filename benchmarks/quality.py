"""Restoration quality, for any folder of images and any prior.

    python benchmarks/quality.py denoise FOLDER           full-size denoising at sigma 15, 25, 50 of 255
    python benchmarks/quality.py samplers FOLDER          every sampler at 3, 5, 10 and 20 steps, on half-size crops
    python benchmarks/quality.py texture FOLDER           the texture dial of the default sampler
    python benchmarks/quality.py photo PICTURE            seconds and memory of one photograph

Each prints Markdown. Problems, noise, seeds and crops are in ``common.py``; each sampler runs with its
defaults, which were chosen on held-out training images. Forwards and VJPs are per sample; seconds are for the batch of
crops.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from common import high_frequency_share, interval, load, problems, psnr, simulate, ssim, table, test_crops

import kintsugi
from kintsugi.cli.options import parse_assignments
from kintsugi.operators import Bicubic, Mask
from kintsugi.samplers.space import as_objects
from kintsugi.training.data import find_images

app = typer.Typer(add_completion=False, help=__doc__)
Threads = Annotated[int, typer.Option(help="CPU threads")]


@app.command()
def denoise(folder: Path, prior: str = "photo", sigmas: str = "15,25,50", threads: Threads = 2) -> None:
    """PSNR of one forward at the true noise level, on whole images, and of the default sampler."""
    torch.set_num_threads(threads)
    model = kintsugi.load_prior(prior)
    rows = []
    for sigma in (float(s) for s in sigmas.split(",")):
        eta = 2 * sigma / 255
        scores, seconds = [], 0.0
        for index, path in enumerate(find_images(folder)):
            x = load(path)[None]
            generator = torch.Generator().manual_seed(index)
            y = x + eta * torch.randn(x.shape, generator=generator)
            began = time.perf_counter()
            with torch.inference_mode():
                out = model.denoise(y, torch.tensor([eta]))
            seconds += time.perf_counter() - began
            scores.append(psnr(out, x))
        rows.append([f"{sigma:g}", interval(torch.cat(scores)), f"{seconds / len(scores):.2f}"])
    print(f"Denoising, {len(scores)} images, one forward, noise not clipped or rounded\n")
    print(table(["sigma (of 255)", "PSNR (dB)", "seconds an image"], rows))


@app.command()
def samplers(
    folder: Path,
    prior: str = "photo",
    steps: str = "3,5,10,20",
    only: str = "",
    settings: Annotated[list[str] | None, typer.Option("--set", help="key=value, as of 'kintsugi restore'")] = None,
    threads: Threads = 2,
) -> None:
    """PSNR / SSIM / texture of every sampler on every problem."""
    given = as_objects(parse_assignments(settings or []))
    torch.set_num_threads(threads)
    model = kintsugi.load_prior(prior)
    truth = test_crops(folder)
    print(f"{len(truth)} crops of 96 x 96 at half size; each cell: PSNR (dB, 95 % interval), SSIM, texture\n")
    names = list(problems())
    header = ["sampler", "steps", *names, "forwards", "VJPs", "seconds"]
    rows = []
    baseline = [simulate(truth, name).operator.pinv(simulate(truth, name).y) for name in names]  # type: ignore[attr-defined]
    rows.append(["pseudo-inverse", "", *(_cell(x, truth) for x in baseline), "0", "0", ""])
    chosen = only.split(",") if only else list(kintsugi.available_samplers())
    for sampler in chosen:
        label = " ".join([sampler, *(settings or [])])
        rows.extend([label, n, *_run(model, sampler, given, int(n), truth, names)] for n in steps.split(","))
    print(table(header, rows))


def _run(
    model: kintsugi.Prior, sampler: str, given: dict[str, Any], n: int, truth: torch.Tensor, names: Sequence[str]
) -> list[str]:
    cells, cost = [], None
    seconds = 0.0
    for name in names:
        try:
            problem = simulate(truth, name)
            result = kintsugi.restore(problem, model, sampler, steps=n, batch=len(truth), tile=None, **given)
        except FloatingPointError:
            cells.append("diverged")
            continue
        cells.append(_cell(result.samples[:, 0], truth))
        cost = result.cost
        seconds += result.cost.seconds
    if cost is None:
        return [*cells, "", "", ""]
    return [*cells, f"{cost.forwards:g}", f"{cost.vjps:g}", f"{seconds / len(names):.1f}"]


def _cell(x: torch.Tensor, truth: torch.Tensor) -> str:
    return f"{interval(psnr(x, truth))}, {ssim(x, truth).mean():.3f}, {high_frequency_share(x, truth):.2f}"


@app.command()
def texture(folder: Path, prior: str = "photo", steps: int = 5, threads: Threads = 2) -> None:
    """The dial of the default sampler from 0 to 1."""
    torch.set_num_threads(threads)
    model = kintsugi.load_prior(prior)
    truth = test_crops(folder)
    names = list(problems())
    rows = []
    for dial in (0.0, 0.25, 0.5, 0.75, 1.0):
        cells = []
        for name in names:
            problem = simulate(truth, name)
            result = kintsugi.restore(problem, model, steps=steps, batch=len(truth), texture=dial)
            cells.append(_cell(result.samples[:, 0], truth))
        rows.append([f"{dial:g}", *cells])
    print(table(["texture", *names], rows))


@app.command()
def photo(picture: Path, prior: str = "photo", sampler: str = "kintsugi", steps: int = 5, threads: Threads = 2) -> None:
    """Seconds after start-up and peak memory for one photograph, with the boundaries of a user's file."""
    torch.set_num_threads(threads)
    model = kintsugi.load_prior(prior)
    x = load(picture)
    shape = tuple(x.shape)
    keep = torch.rand(shape[1:], generator=torch.Generator().manual_seed(0)) > 0.7
    rows = []
    tasks = {"4x super-resolution": Bicubic(shape, 4, "unknown"), "inpainting, 70 %": Mask(keep, shape)}
    for name, operator in tasks.items():
        problem = kintsugi.Problem.simulate(x[None], operator, noise=2 / 255 / 12**0.5)
        result = kintsugi.restore(problem, model, sampler, steps=steps)
        score = psnr(result.samples[:, 0], x[None])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        rows.append([name, f"{score.mean():.2f}", f"{result.cost.seconds:.2f}", f"{peak:.2f}"])
    print(f"{picture.name}, {shape[2]} x {shape[1]}, {sampler}, {steps} steps, {threads} threads\n")
    print(table(["task", "PSNR (dB)", "seconds", "peak memory of the process so far (GiB)"], rows))


if __name__ == "__main__":
    app()
