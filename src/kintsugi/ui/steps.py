"""What happens between two steps: the pictures on the way, and the stop button."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..files import atomic_path
from ..priors.base import Prior, Vjp
from ..priors.wrappers import Wrapped
from ..tasks import Prepared

SIDE = 512  # the longer side of a picture on the way, in pixels
PAUSE = 350  # milliseconds that each stands in the animation; the last stands longer


class Stopped(Exception):
    """The visitor pressed the stop button, or left."""


class Watched(Wrapped):
    """A prior that stops when ``stopped()`` says so, and shows each of its estimates of the clean picture.

    ``seen`` gets the denoised rows (B, C, *S) of every evaluation. The estimates themselves are not touched.
    """

    def __init__(
        self, inner: Prior, stopped: Callable[[], bool], seen: Callable[[Tensor], None] = lambda d: None
    ) -> None:
        super().__init__(inner)
        self.stopped, self.seen = stopped, seen

    def denoise(self, z: Tensor, eta: Tensor) -> Tensor:
        if self.stopped():
            raise Stopped
        d = self.inner.denoise(z, eta)
        self.seen(d)
        return d

    def denoise_vjp(self, z: Tensor, eta: Tensor) -> tuple[Tensor, Vjp]:
        if self.stopped():
            raise Stopped
        d, vjp = self.inner.denoise_vjp(z, eta)
        self.seen(d)
        return d, vjp


class Frames:
    """Writes the model's estimate of the first sample at each step as ``step1.webp``, ``step2.webp``, ...

    A model that sees its picture in parts (tiles, windows, latents) has no whole estimate to show: no file then.
    """

    def __init__(self, folder: Path, prepared: Prepared, most: int) -> None:
        self.folder, self.prepared, self.most = folder, prepared, most
        self.count = 0

    def __call__(self, d: Tensor) -> None:
        operator = self.prepared.problem.operator
        if self.count >= self.most or tuple(d.shape[1:]) != tuple(operator.in_shape):
            return
        picture = self.prepared.finish(operator.visible(d[:1])[0])
        save_small(picture.colour(), self.folder / f"step{self.count + 1}.webp")
        self.count += 1

    def animate(self, last: Tensor) -> Path | None:
        """``steps.webp``, an animation that ends with ``last`` (1 or 3, H, W); None where there is nothing to show."""
        if not self.count:
            return None
        frames = []
        for i in range(self.count):
            with Image.open(self.folder / f"step{i + 1}.webp") as image:
                frames.append(image.convert("RGB"))
        frames.append(as_small(last))
        path = self.folder / "steps.webp"
        with atomic_path(path) as temporary:
            pauses = [PAUSE] * self.count + [4 * PAUSE]
            frames[0].save(temporary, save_all=True, append_images=frames[1:], duration=pauses, loop=0, quality=85)
        return path


def as_image(pixels: Tensor) -> Image.Image:
    """(1 or 3, H, W) in [-1, 1] as a picture of 8 bits, in colour."""
    array = ((pixels.detach().cpu().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).expand(3, -1, -1)
    return Image.fromarray(np.ascontiguousarray(array.permute(1, 2, 0).numpy()))


def as_small(pixels: Tensor) -> Image.Image:
    """The same, shrunk to at most ``SIDE`` pixels a side."""
    image = as_image(pixels)
    image.thumbnail((SIDE, SIDE))
    return image


def save_small(pixels: Tensor, path: Path) -> None:
    """Write :func:`as_small`, whole or not at all."""
    with atomic_path(path) as temporary:
        as_small(pixels).save(temporary, quality=85)
