"""Partly known degradations on photographs: what is recovered, and what not knowing it costs.

    python benchmarks/blind.py table FOLDER               every degradation, on one crop of each image at half size
    python benchmarks/blind.py picture FOLDER TARGET      three of them on one image, as a picture

The oracle restores with the true operator and noise level. *Ignored* is what one gets without an estimate: for a blur,
denoising at the true level; for noise, denoising as if its level were 0.12. Crops are 256 x 256 pixels, or as large as
the image at half size; borders are unknown.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from common import crop_at, interval, load, psnr, table
from PIL import Image
from torch import Tensor

import kintsugi
from kintsugi.blind import Estimate, Family, GaussianBlur, MotionBlur, NoiseOnly, estimate
from kintsugi.operators import Blur, Identity, Operator, gaussian_kernel, motion_kernel
from kintsugi.training.data import find_images

app = typer.Typer(add_completion=False, help=__doc__)
Threads = Annotated[int, typer.Option(help="CPU threads")]
Shape = tuple[int, ...]
SIDE, GUESS = 256, 0.12
Case = tuple[str, Callable[[Shape], Family], Callable[[Shape], Operator], dict[str, float], float]


def blur(width: float, noise: float) -> Case:
    def operator(shape: Shape) -> Operator:
        return Blur(shape, gaussian_kernel(width), "unknown")

    return f"Gaussian {width:g}", GaussianBlur, operator, {"width": width}, noise


def motion(length: float, angle: float, noise: float) -> Case:
    def operator(shape: Shape) -> Operator:
        return Blur(shape, motion_kernel(length, angle), "unknown")

    return f"motion {length:g}, {angle:g} deg", MotionBlur, operator, {"length": length, "angle": angle}, noise


CASES: tuple[Case, ...] = (
    blur(1.2, 0.01),
    blur(1.8, 0.02),
    blur(2.5, 0.02),
    motion(6, 30, 0.01),
    motion(10, 75, 0.02),
    motion(15, 140, 0.01),
    *(("noise only", NoiseOnly, Identity, {}, sigma) for sigma in (0.05, 0.1, 0.2, 0.3)),
)


def crops(folder: Path, count: int) -> list[Tensor]:
    images = [load(path, 0.5) for path in find_images(folder)][: count or None]
    return [crop_at(x, 0.5, 0.5, min(SIDE, *x.shape[1:]))[None] for x in images]


def errors(found: Estimate, truth: dict[str, float], noise: float) -> dict[str, float]:
    """Relative for widths and noise, pixels for lengths, degrees for angles."""
    out = {"noise": abs(found.noise / noise - 1)}
    for name, value in truth.items():
        off = abs(float(found.parameters[name]) - value)
        out[name] = {"width": off / value, "angle": min(off, 180 - off)}.get(name, off)
    return out


def run(x: Tensor, case: Case, seed: int, prior: kintsugi.Prior) -> tuple[Estimate, list[Tensor], float]:
    """The estimate, then [degraded, ignored, estimated, oracle], and CPU seconds of the estimate."""
    _, family, operator, _, noise = case
    shape = tuple(x.shape[1:])
    problem = kintsugi.Problem.simulate(x, operator(shape), noise, seed=seed)
    began = time.process_time()
    found = estimate(problem.y, family(shape), prior)
    seconds = time.process_time() - began
    assumed = GUESS if family is NoiseOnly else noise
    ignored = kintsugi.restore(kintsugi.Problem(problem.y, Identity(shape), assumed), prior)
    oracle = kintsugi.restore(problem, prior)
    results = [problem.y, ignored.samples[:, 0], found.restoration.samples[:, 0], oracle.samples[:, 0]]
    return found, results, seconds


@app.command("table")
def measure(folder: Path, prior: str = "photo", count: int = 0, only: str = "", threads: Threads = 2) -> None:
    """Recovered parameters and PSNR (dB, 95 % interval)."""
    torch.set_num_threads(threads)
    model = kintsugi.load_prior(prior)
    rows = []
    truths = crops(folder, count)
    for case in CASES:
        name, _, _, parameters, noise = case
        if only and not name.startswith(only):
            continue
        missed: list[dict[str, float]] = []
        scores: list[list[Tensor]] = []
        spent = 0.0
        for index, x in enumerate(truths):
            found, results, seconds = run(x, case, index, model)
            missed.append(errors(found, parameters, noise))
            scores.append([psnr(result, x) for result in results])
            spent += seconds
        cells = []
        for key in (*parameters, "noise"):
            off = torch.tensor([m[key] for m in missed])
            unit = {"length": "{:.2f} px", "angle": "{:.1f} deg"}.get(key, "{:.1%}")
            cells.append(f"{key} {unit.format(float(off.median()))} ({unit.format(float(off.mean()))})")
        degraded, ignored, restored, oracle = (torch.cat(column) for column in zip(*scores, strict=True))
        pairs = [interval(v) for v in (degraded, ignored, restored, oracle)]
        cost = interval(oracle - restored)
        rows.append([f"{name}, noise {noise:g}", ", ".join(cells), *pairs, cost, f"{spent / len(truths):.1f}"])
        print(" | ".join(rows[-1]), flush=True)
    header = [
        "degradation",
        "error, median (mean)",
        "degraded",
        "ignored",
        "estimated",
        "oracle",
        "lost",
        "CPU seconds",
    ]
    print(f"\n{len(truths)} crops, {prior}, {threads} threads\n")
    print(table(header, rows))


@app.command()
def picture(folder: Path, target: Path, image: int = 6, prior: str = "photo", threads: Threads = 2) -> None:
    """A row for each of three degradations: degraded, ignored, estimated, oracle, truth (160 x 160 of each crop)."""
    torch.set_num_threads(threads)
    model = kintsugi.load_prior(prior)
    x = crops(folder, image + 1)[image]
    lines = []
    for index in (1, 4, 8):
        found, results, _ = run(x, CASES[index], 0, model)
        print(
            CASES[index][0], found.parameters, f"noise {found.noise:.4f}", [f"{float(psnr(r, x)):.2f}" for r in results]
        )
        lines.append(torch.cat([crop_at(v[0], 0.5, 0.5, 160) for v in (*results, x)], 2))
    pixels = ((torch.cat(lines, 1).clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0)
    Image.fromarray(np.asarray(pixels)).save(target, quality=88)


if __name__ == "__main__":
    app()
