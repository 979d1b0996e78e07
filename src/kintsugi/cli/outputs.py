"""The files that ``kintsugi restore`` writes, and the picture that compares input and output."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..images import Picture, check_output, write_picture
from ..tasks import Prepared

if TYPE_CHECKING:
    from .. import Restoration

STD_WHITE = 0.25  # a standard deviation, of [0, 1], that the map shows as white: a fixed scale, so that maps compare
GOLD = (0.86, 0.65, 0.13)  # of [0, 1]: a colour for holes that is not part of a grey or an ordinary picture
LABEL = 18  # height in pixels of the strip with the label


@dataclass(frozen=True)
class Files:
    """Where each result goes."""

    first: Path
    samples: tuple[Path, ...] = ()
    mean: Path | None = None
    std: Path | None = None
    compare: Path | None = None
    uncertainty: Path | None = None
    invented: Path | None = None

    @property
    def all(self) -> tuple[Path, ...]:
        return (self.first, *self.samples, *(p for p in (self.mean, *self._shallow) if p is not None))

    @property
    def _shallow(self) -> tuple[Path | None, ...]:
        """What has 8 bits whatever the picture has."""
        return (self.std, self.compare, self.uncertainty, self.invented)

    def check(self, bits: int, size: tuple[int, int]) -> None:
        """Check that pictures of ``bits`` and ``size`` (height, width) can be written to all of them."""
        for path in self.all:
            deep = bits if path not in self._shallow else 8
            check_output(path, bits=deep, size=size)


def plan(output: Path, samples: int, compare: bool) -> Files:
    """The files for ``samples`` restorations. Errors: those of :func:`check_output`, for ``output``."""
    return name_files(check_output(output), samples, compare)


def name_files(output: Path, samples: int, compare: bool) -> Files:
    """The names of those files, unchecked."""

    def beside(word: str, suffix: str = output.suffix) -> Path:
        return output.with_name(f"{output.stem}-{word}{suffix}")

    several = samples > 1
    return Files(
        first=output,
        samples=tuple(beside(f"sample{i + 1}") for i in range(samples)) if several else (),
        mean=beside("mean") if several else None,
        std=beside("std", ".png") if several else None,
        compare=beside("compare", ".png") if compare else None,
    )


def write(files: Files, prepared: Prepared, result: Restoration, missing: Tensor | None) -> None:
    """Write every file of ``files`` from the one problem's ``result``."""
    finished = [prepared.finish(x) for x in result.samples[0]]
    first = finished[0]
    write_picture(first, files.first)
    for picture, path in zip(finished, files.samples, strict=False):
        write_picture(picture, path)
    # Of the finished pictures, so that the map is black where known pixels were kept.
    pixels = torch.stack([picture.pixels for picture in finished])
    if files.mean is not None:
        write_picture(replace(first, pixels=pixels.mean(0)), files.mean)
    if files.std is not None:
        write_picture(spread(pixels.std(0)), files.std)
    if files.compare is not None:
        write_picture(side_by_side(prepared.picture, first, missing), files.compare)


def spread(std: Tensor) -> Picture:
    """The standard deviation (C, H, W), in units of [-1, 1], as a grey map: root mean square over channels, white at
    ``STD_WHITE`` of the range from black to white."""
    level = std.detach().float().cpu().square().mean(dim=0, keepdim=True).sqrt() / 2 / STD_WHITE
    return Picture(level.clamp(0, 1) * 2 - 1)


def side_by_side(before: Picture, after: Picture, missing: Tensor | None = None) -> Picture:
    """Input and output beside each other, the input enlarged to the output's size and its holes filled with gold."""
    left = before.colour()
    if missing is not None:
        gold = torch.tensor(GOLD).view(3, 1, 1) * 2 - 1
        left = torch.where(missing, gold, left)
    left = F.interpolate(left[None], (after.height, after.width), mode="nearest")[0]
    gap = torch.ones(3, after.height + LABEL, 4)
    panels = [
        torch.cat((_label(text, after.width), pixels.clamp(-1, 1)), dim=1)
        for text, pixels in (("input", left), ("restored", after.colour()))
    ]
    plain = replace(after, alpha=None, icc=None, bits=8, notes=())
    return replace(plain, pixels=torch.cat((panels[0], gap, panels[1]), dim=2))


def _label(text: str, width: int) -> Tensor:
    """A white strip (3, LABEL, width) with ``text`` in black."""
    strip = Image.new("L", (width, LABEL), 255)
    ImageDraw.Draw(strip).text((4, LABEL // 2), text, fill=0, font=ImageFont.load_default(12), anchor="lm")
    return torch.from_numpy(np.asarray(strip, dtype=np.float32) / 127.5 - 1).expand(3, -1, -1)
