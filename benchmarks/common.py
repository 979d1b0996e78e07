"""Images, problems and scores that the benchmarks share. Everything is fixed and printed: no hidden choices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

import kintsugi
from kintsugi.operators import Bicubic, Blur, Identity, LinearOperator, Mask, gaussian_kernel
from kintsugi.training.data import find_images, to_signal

CROP = 96


def load(path: Path, scale: float = 1.0) -> Tensor:
    """``(3, H, W)`` in [-1, 1], reduced by ``scale`` with Lanczos."""
    with Image.open(path) as file:
        image = file.convert("RGB")
    if scale != 1:
        size = (round(image.width * scale), round(image.height * scale))
        image = image.resize(size, Image.Resampling.LANCZOS)
    return to_signal(np.asarray(image))


def crop_at(x: Tensor, fy: float, fx: float, size: int = CROP) -> Tensor:
    top, left = int(fy * (x.shape[-2] - size)), int(fx * (x.shape[-1] - size))
    return x[..., top : top + size, left : left + size]


def test_crops(folder: Path) -> Tensor:
    """``(N, 3, 96, 96)``: the centre of every image at half size."""
    return torch.stack([crop_at(load(p, 0.5), 0.5, 0.5) for p in find_images(folder)])


def problems() -> dict[str, tuple[LinearOperator, float]]:
    """The benchmark's operators on 96 x 96 crops, circular boundaries, and their noise in units of [-1, 1]."""
    shape = (3, CROP, CROP)
    keep = torch.rand(CROP, CROP, generator=torch.Generator().manual_seed(0)) > 0.7
    box = torch.ones(CROP, CROP)
    box[32:64, 32:64] = 0
    return {
        "random 70 %": (Mask(keep, shape), 0.0),
        "box 32 x 32": (Mask(box, shape), 0.0),
        "4x bicubic": (Bicubic(shape, 4), 0.0),
        "blur 1.6, noise 0.02": (Blur(shape, gaussian_kernel(1.6)), 0.02),
        "denoise 25": (Identity(shape), 2 * 25 / 255),
    }


def simulate(x: Tensor, name: str) -> kintsugi.Problem:
    operator, noise = problems()[name]
    return kintsugi.Problem.simulate(x, operator, noise, seed=1)


def psnr(x: Tensor, truth: Tensor) -> Tensor:
    """PSNR in dB of each image, both clipped to [-1, 1]."""
    return peak_signal_noise_ratio(x.clamp(-1, 1), truth, data_range=2.0, reduction="none", dim=(1, 2, 3))  # type: ignore[no-any-return]


def ssim(x: Tensor, truth: Tensor) -> Tensor:
    return structural_similarity_index_measure(x.clamp(-1, 1), truth, data_range=2.0, reduction="none")  # type: ignore[return-value]


def high_frequency_share(x: Tensor, truth: Tensor) -> float:
    """Energy above a quarter of a cycle per pixel, over the truth's: 1 has the texture of the real thing."""

    def energy(image: Tensor) -> Tensor:
        fy, fx = torch.fft.fftfreq(image.shape[-2]), torch.fft.rfftfreq(image.shape[-1])
        high = fy[:, None] ** 2 + fx[None] ** 2 > 0.25**2
        return (torch.fft.rfft2(image).abs().square() * high).sum()

    return float(energy(x.clamp(-1, 1)) / energy(truth))


def interval(values: Tensor) -> str:
    """Mean and half-width of a 95 % confidence interval over images."""
    half = 1.96 * values.std() / len(values) ** 0.5
    return f"{values.mean():.2f} ± {half:.2f}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])
