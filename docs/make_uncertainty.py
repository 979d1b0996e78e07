"""Make the pictures of docs/uncertainty.md and docs/control.md from the bundled examples.

    python docs/make_uncertainty.py [NAME ...]        writes docs/pictures/uncertainty-*.jpg and control-*.jpg

NAME is one of inpaint, sr, kernel, strength, grain and surface; all without one. A minute or two each on one core.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from make_pictures import side_by_side
from PIL import Image
from torch import Tensor

import kintsugi
from kintsugi.cli.outputs import spread
from kintsugi.control import measure_grain, mix, noise_residual, surface
from kintsugi.control.grain import Grain, blur_known
from kintsugi.operators import Bicubic, Blur, Identity, Mask, gaussian_kernel
from kintsugi.uncertainty import consistency, gold

PICTURES = Path(__file__).parent / "pictures"
BOX = (250, 130, 506, 386)  # of the parrots
FACE = (146, 172, 274, 300)  # of one of them, with no more than a scratch


def read(name: str, box: tuple[int, int, int, int] | None = None) -> Tensor:
    """A bundled example as (3, H, W) in [-1, 1]."""
    with Image.open(kintsugi.data_path(name)) as file:
        image = file.convert("RGB")
    pixels = np.asarray(image if box is None else image.crop(box), dtype=np.float32)
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy()) / 127.5 - 1


def shown(x: Tensor, size: int | None = None) -> Image.Image:
    """(1 or 3, H, W) in [-1, 1] as a picture, enlarged without smoothing."""
    values = ((x.clamp(-1, 1).expand(3, -1, -1) + 1) * 127.5).round().byte().permute(1, 2, 0)
    image = Image.fromarray(values.contiguous().numpy())
    return image if size is None else image.resize((size, size), Image.Resampling.NEAREST)


def save(images: list[Image.Image], name: str) -> None:
    """A strip, at most 150 kB."""
    side_by_side(images, PICTURES / f"{name}.jpg", gap=6)
    print(PICTURES / f"{name}.jpg", (PICTURES / f"{name}.jpg").stat().st_size // 1024, "kB")


def inpaint() -> None:
    """Damaged, restored, standard deviation, gold."""
    damaged, missing = read("parrots", BOX), read("parrots-mask", BOX)[:1] > 0
    problem = kintsugi.Problem(damaged * ~missing, Mask(~missing, (3, *damaged.shape[1:])), 0.0023)
    result = kintsugi.restore(problem, "photo", texture=1.0, samples=8)
    restored = torch.where(missing, result.samples[0, 0], damaged)
    share = torch.where(missing, result.invented()[0], 0.0)
    std = torch.where(missing, result.std[0], 0.0)
    save([shown(damaged), shown(restored), shown(spread(std).pixels), shown(gold(restored, share, std))],
         "uncertainty-inpaint")  # fmt: skip


def sr() -> None:
    """A quarter of the size, restored, standard deviation, gold."""
    small = read("lighthouse", (64, 38, 128, 102))
    problem = kintsugi.Problem(small, Bicubic((3, 256, 256), 4, "unknown"), 0.0023)
    result = kintsugi.restore(problem, "photo", texture=1.0, samples=8)
    x, std = result.samples[0, 0], result.std[0]
    save([shown(small, 256), shown(x), shown(spread(std).pixels), shown(gold(x, result.invented()[0], std))],
         "uncertainty-sr")  # fmt: skip


def kernel() -> None:
    """Deblurred with the right kernel and with one that is too wide, each with its consistency over 9 pixels, white at
    4."""
    truth = read("parrots", FACE)
    shape = tuple(truth.shape)
    blurred = kintsugi.Problem.simulate(truth[None], Blur(shape, gaussian_kernel(1.6)), 0.02)
    images = [shown(blurred.y[0], 256)]
    for sigma in (1.6, 2.2):
        problem = kintsugi.Problem(blurred.y, Blur(shape, gaussian_kernel(sigma)), 0.02)
        result = kintsugi.restore(problem, "photo", texture=1.0, samples=2)
        found = consistency(problem, result.samples)[0].mean(0, keepdim=True)
        print(f"kernel {sigma}: rms of the map {float(found.square().mean().sqrt()):.2f}")
        smooth = F.avg_pool2d(found.square()[None], 9, 1, 4, count_include_pad=False)[0].sqrt()
        images += [shown(result.samples[0, 0], 256), shown((smooth / 4).clamp(0, 1) * 2 - 1, 256)]
    save(images, "uncertainty-kernel")


def noisy(sigma: float = 0.12) -> tuple[Tensor, Tensor, kintsugi.Prior]:
    """A grainy photograph, its likeliest restoration, and the model."""
    model = kintsugi.load_prior("photo")
    clean = read("parrots", FACE)
    problem = kintsugi.Problem.simulate(clean[None], Identity(tuple(clean.shape)), sigma)
    return problem.y[0], kintsugi.restore(problem, model).samples[0, 0], model


def strength() -> None:
    """As it came, a map of strengths, restored by it, restored everywhere."""
    original, restored, _ = noisy(0.25)
    y, x = torch.meshgrid(torch.linspace(-1, 1, 128), torch.linspace(-1, 1, 128), indexing="ij")
    map_ = torch.sigmoid(8 * (0.65 - ((x + 0.15) ** 2 + (y + 0.1) ** 2).sqrt()))[None]
    images = [original, map_ * 2 - 1, mix(restored, original, map_), mix(restored, original, 0.5), restored]
    save([shown(image, 256) for image in images], "control-strength")


def grain() -> None:
    """Scratched film, mended smoothly, mended with grain."""
    model = kintsugi.load_prior("photo")
    box = (320, 200, 448, 328)
    missing = read("parrots-mask", box)[:1] > 0
    film = read("parrots", box)
    film = film + Grain(_film_spectrum()).sample((128, 128), seed=3)
    damaged = torch.where(missing, torch.tensor([0.87, 0.82, 0.73]).view(3, 1, 1), film)
    problem = kintsugi.Problem(damaged * ~missing, Mask(~missing, (3, 128, 128)), 0.0)
    mended = torch.where(missing, kintsugi.restore(problem, model).samples[0, 0], damaged)
    measured = measure_grain(noise_residual(model, mended, 0.2), blur_known(~missing, 2))
    grainy = torch.where(missing, mended + measured.sample((128, 128), seed=0), damaged)
    print(f"grain: {measured.level:.3f} measured, {Grain(_film_spectrum()).level:.3f} added")
    save([shown(image, 256) for image in (damaged, mended, grainy)], "control-grain")


def _film_spectrum() -> Tensor:
    """Grain of about two pixels: strong in luma, weak in chroma; a standard deviation of 0.1."""
    f = torch.fft.fftfreq(64)
    radius2 = f[:, None] ** 2 + f**2
    power = torch.exp(-radius2 / 0.1) * torch.tensor([1.0, 0.08, 0.08]).view(3, 1, 1)
    return 0.01 * power / power.mean()


def surfaces() -> None:
    """A painting on canvas under noise, restored, with half and with all of its canvas."""
    model = kintsugi.load_prior("photo")
    clean = read("parrots", FACE)
    t = torch.arange(128)
    threads = torch.sin(2 * torch.pi * t / 4)
    weave = 0.06 * (threads[:, None] * (t // 2 % 2) + threads * (1 - (t // 2 % 2)[:, None]))
    rough = 0.05 * torch.randn(1, 128, 128, generator=torch.Generator().manual_seed(0))
    original = (clean + weave + rough).clamp(-1, 1)
    problem = kintsugi.Problem(original, Identity((3, 128, 128)), 0.13)
    restored = kintsugi.restore(problem, model).samples[0, 0]
    residual = noise_residual(model, original, 0.2)
    own = surface(residual, measure_grain(residual))
    images = [original, restored, restored + 0.5 * own, restored + own, 4 * own]
    save([shown(image, 256) for image in images], "control-surface")


MAKERS = {
    "inpaint": inpaint, "sr": sr, "kernel": kernel, "strength": strength, "grain": grain, "surface": surfaces,
}  # fmt: skip

if __name__ == "__main__":
    torch.set_num_threads(1)
    for word in sys.argv[1:] or MAKERS:
        MAKERS[word]()
