"""``kintsugi sample``: what a model draws when nothing is measured."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InvalidArgument
from . import options
from .app import app

if TYPE_CHECKING:
    from torch import Tensor


@app.command()
def sample(
    prior: Annotated[str, typer.Argument(metavar="MODEL", help="A model file, or a name of 'kintsugi priors'.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The file to write, of a picture or a sound.", show_default=False)
    ],
    count: Annotated[int, typer.Option("--count", "-n", help="How many.", min=1)] = 16,
    size: Annotated[
        str | None, typer.Option(help="Of pictures, as in 96x64 or 64; a model of one size needs none.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="Of sounds: how long they are.")] = 4.0,
    steps: Annotated[int, typer.Option(help="Steps; one network evaluation each.", min=1)] = 50,
    churn: Annotated[
        float, typer.Option(help="Fresh noise in each step: 0 for none, 1 as much as there was.", min=0, max=1)
    ] = 0.0,
    seed: options.Seed = 0,
    device: options.Device = "auto",
) -> None:
    """Draw samples of a model with nothing measured: one sheet of pictures, or a file for each sound.

    What a model cannot draw it will not invent well in a hole. A model of crops, as 'photo' is, draws textures.
    """
    from ..drawing import sample as draw
    from ..drawing import signal_shape
    from ..files import check_file
    from ..images import check_output
    from ..priors import load_prior
    from ..progress import shown
    from ..sounds.restoring import model_rate
    from ..sounds.writing import FORMATS
    from .picture import find_device

    model, target = load_prior(prior), find_device(device)
    sounds = model.shape is not None and len(model.shape) == 2
    if sounds:
        check_file(output, FORMATS, "output")
        if not 0 < seconds <= 3600:
            raise InvalidArgument("seconds", seconds, "a number above 0, and at most 3600")
        shape = signal_shape(model, (max(1, round(seconds * model_rate(model))),))
    else:
        check_output(output)
        pixels = None if size is None else parse_size(size)
        shape = signal_shape(model, (3, *pixels) if pixels and model.shape is None else pixels)
        if len(shape) != 3 or shape[0] not in (1, 3):
            raise InvalidArgument("prior", prior, "a model of grey or colour pictures, or of sounds")
        rows, columns = sheet_layout(count)
        check_output(output, size=(rows * shape[1], columns * shape[2]))
    with shown(True, "drawing") as show:
        x = draw(model, count, size=shape, steps=steps, seed=seed, churn=churn, device=target, progress=show).cpu()
    for path in save_sounds(x, output, model_rate(model)) if sounds else save_sheet(x, output):
        print(path)


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) of "WIDTHxHEIGHT", or of one number for both.

    >>> parse_size("96x64"), parse_size("32")
    ((64, 96), (32, 32))
    """
    found = re.fullmatch(r"(\d{1,6})(?:x(\d{1,6}))?", text.strip())
    width, height = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if min(width, height) < 1:
        raise InvalidArgument("size", text, "WIDTHxHEIGHT in pixels, as in 96x64, or one number for both")
    return height, width


def sheet_layout(count: int) -> tuple[int, int]:
    """Rows and columns for ``count`` pictures: about a square, at most eight in a row.

    >>> sheet_layout(1), sheet_layout(16), sheet_layout(10), sheet_layout(100)
    ((1, 1), (4, 4), (3, 4), (13, 8))
    """
    columns = min(8, math.ceil(math.sqrt(count)))
    return -(-count // columns), columns


def save_sheet(x: Tensor, output: Path) -> list[Path]:
    """Write pictures (n, C, H, W) as one, row by row; places that are left are black."""
    from ..images import Picture, write_picture

    rows, columns = sheet_layout(len(x))
    _, channels, height, width = x.shape
    sheet = x.new_full((rows * columns, channels, height, width), -1.0)
    sheet[: len(x)] = x
    pixels = sheet.view(rows, columns, channels, height, width).permute(2, 0, 3, 1, 4)
    picture = Picture(pixels.reshape(channels, rows * height, columns * width).clamp(-1, 1).float().contiguous())
    return [write_picture(picture, output)]


def save_sounds(x: Tensor, output: Path, rate: int) -> list[Path]:
    """Write sounds (n, C, T), each to a file of its own where there are several: OUT-1, OUT-2."""
    from ..sounds import write_sound

    several = len(x) > 1
    paths = [output.with_name(f"{output.stem}-{k + 1}{output.suffix}") if several else output for k in range(len(x))]
    for samples, path in zip(x, paths, strict=True):
        write_sound(path, samples, rate)
    return paths
