"""Whether one model of photographs is anywhere worse than another: kinds of picture on which small denoisers fail.

    python benchmarks/photo.py OLD NEW FOLDER             NEW against OLD; names of 'kintsugi priors', or files

One crop of each picture of FOLDER, as it is, at half and at twice its scale, grey, and out of focus (a Gaussian of 4
pixels); its flattest part; and gradients that were drawn. Each is denoised at several noise levels with one forward and
the same noise for both models. Prints PSNR in dB of a range of 2 for each, the mean gain with its 95 % interval, and
the worst.

Then the problems of quality.py, and the flattest parts enlarged four times, restored with the default sampler, which
shows a model less noise than it tells it: how much less is its ``temperature``. The worst crop matters more there than
the mean: models that denoised better everywhere have made a glaring pattern of one picture in 24, or a lattice of a
sky, which no mean showed. So the worst gain over the pseudo-inverse is printed for both models.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
import typer
from common import crop_at, interval, load, problems, psnr, simulate, table, test_crops
from torch import Tensor

import kintsugi
from kintsugi.operators import Bicubic, Blur, LinearOperator, gaussian_kernel
from kintsugi.training.data import find_images
from kintsugi.training.synthetic import gradient_picture

LEVELS = (0.05, 2 * 15 / 255, 2 * 25 / 255, 2 * 50 / 255, 1.0, 3.0)


def main(
    old: str,
    new: str,
    folder: Path,
    side: int = 160,
    temperature: Annotated[float | None, typer.Option(help="Of the default sampler; its own without.")] = None,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
) -> None:
    """See above."""
    torch.set_num_threads(threads)
    models, files = [kintsugi.load_prior(name) for name in (old, new)], find_images(folder)
    rows = []
    for kind, pictures in kinds(files, side).items():
        for level in LEVELS:
            generator = torch.Generator().manual_seed(round(level * 1000))
            z = pictures + level * torch.randn(pictures.shape, generator=generator)
            before, after = (psnr(denoised(model, z, level), pictures) for model in models)
            gain = after - before
            row = [f"{float(x.mean()):.2f}" for x in (before, after)]
            rows.append([kind, f"{level:.3g}", *row, interval(gain), f"{float(gain.min()):+.2f}"])
    print(f"{len(pictures)} crops of {side} x {side} a kind, one forward, {old} and {new}\n")
    header = ["kind", "noise level", "before (dB)", "after (dB)", "gain (dB)", "worst gain (dB)"]
    print(table(header, rows))
    print("\nRestored with the default sampler; the worst crop of each model, in dB over its pseudo-inverse\n")
    header = ["problem", "steps", *header[2:], "worst before", "worst after"]
    crops, flat = test_crops(folder), torch.stack([flattest(load(path), 128) for path in files])
    asked = {name: (crops, simulate(crops, name)) for name in problems()}
    asked["4x bicubic, flattest part"] = flat, kintsugi.Problem.simulate(flat, Bicubic((3, 128, 128), 4))
    print(table(header, restored(models, asked, temperature)))


def restored(
    models: list[kintsugi.Prior], asked: dict[str, tuple[Tensor, kintsugi.Problem]], temperature: float | None
) -> list[list[str]]:
    """A row for each problem, with its truth, and number of steps."""
    rows = []
    for name, (truth, problem) in asked.items():
        assert isinstance(problem.operator, LinearOperator)
        least = psnr(problem.operator.pinv(problem.y), truth)
        for steps in (5, 20):
            results = [
                kintsugi.restore(problem, model, steps=steps, batch=8, tile=None, temperature=temperature)
                for model in models
            ]
            before, after = (psnr(result.samples[:, 0], truth) for result in results)
            gain = after - before
            means = [f"{float(x.mean()):.2f}" for x in (before, after)]
            worst = [f"{float(x.min()):+.2f}" for x in (gain, before - least, after - least)]
            rows.append([name, str(steps), *means, interval(gain), *worst])
    return rows


@torch.inference_mode()
def denoised(model: kintsugi.Prior, z: Tensor, level: float) -> Tensor:
    return torch.cat([model.denoise(part, torch.full((len(part),), level)) for part in z.split(8)])


def kinds(files: list[Path], side: int) -> dict[str, Tensor]:
    """Each kind, ``(N, 3, side, side)`` in [-1, 1]."""
    whole = [load(path) for path in files]
    crops = torch.stack([crop_at(x, 0.5, 0.5, side) for x in whole])
    twice = [
        crop_at(F.interpolate(x[None], scale_factor=2, mode="bicubic")[0].clamp(-1, 1), 0.5, 0.5, side) for x in whole
    ]
    blur = Blur((3, side, side), gaussian_kernel(4.0))
    rng = np.random.default_rng(0)
    return {
        "as they are": crops,
        "half scale": torch.stack([crop_at(load(path, 0.5), 0.5, 0.5, side) for path in files]),
        "twice the scale": torch.stack(twice),
        "grey": crops.mean(1, keepdim=True).expand(-1, 3, -1, -1).contiguous(),
        "out of focus": blur(crops),
        "flattest part": torch.stack([flattest(x, 96) for x in whole]),
        "gradients": torch.stack([gradient_picture(96, rng) for _ in files]),
    }


def flattest(x: Tensor, side: int) -> Tensor:
    """The crop of least variance on a grid of half its side: sky, wall, background."""
    step = side // 2
    places = [(i, j) for i in range(0, x.shape[1] - side + 1, step) for j in range(0, x.shape[2] - side + 1, step)]
    crops = [x[:, i : i + side, j : j + side] for i, j in places]
    return min(crops, key=lambda crop: float(crop.var(dim=(1, 2)).sum()))


if __name__ == "__main__":
    typer.run(main)
