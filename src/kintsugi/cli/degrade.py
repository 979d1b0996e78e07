"""``kintsugi degrade``: make a test input out of a clean picture or sound."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InvalidArgument
from . import options
from .app import app

if TYPE_CHECKING:
    from torch import Tensor

    from ..images import Picture


@app.command()
def degrade(
    source: options.Input,
    output: options.Output,
    task: options.TaskOption,
    mask: options.Mask = None,
    missing: Annotated[
        float | None, typer.Option(help="inpaint: hide this share of the pixels at random; gap: of time.")
    ] = None,
    box: Annotated[int | None, typer.Option(help="inpaint: hide a square of this many pixels in the centre.")] = None,
    mask_out: Annotated[
        Path | None,
        typer.Option(
            help="inpaint: where to write the mask made [default: OUT-mask.png]; gap: [default: OUT-gaps.txt]."
        ),
    ] = None,
    factor: options.Factor = None,
    kernel: options.Kernel = None,
    noise: Annotated[
        str | None, typer.Option(help="Standard deviation of the noise to add, 0 to 1 from black to white.")
    ] = None,
    boundary: options.Boundary = "unknown",
    quality: options.Quality = None,
    bits: options.Bits = None,
    gain: options.Gain = 2.0,
    fade: options.Fade = None,
    level: options.Level = None,
    frequency: options.Frequency = None,
    second: Annotated[str | None, typer.Option(help="separate: the sound to add.")] = None,
    seed: options.Seed = 0,
) -> None:
    """Degrade a clean picture or sound, to try 'kintsugi restore' on it.

    Beyond its border the picture is mirrored (--boundary circular: repeated). Values are rounded and clipped by the
    format of OUT: 8 bits unless IN has more.

    Of sounds: --level is where samples are clipped (declip), or how loud the hum is (hum).
    """
    from dataclasses import replace

    from .crafts import craft_of

    path = options.input_path(source)
    craft = craft_of(path, task)
    factor = craft.factor if factor is None else factor
    if craft.what == "sounds":
        from .degrading import degrade_sound
        from .picture import Recipe

        recipe = Recipe(
            task=task, mask=mask, factor=factor, kernel=kernel, noise=noise, level=level, frequency=frequency,
            bits=bits, seed=seed,
        )  # fmt: skip
        degrade_sound(path, output, recipe, missing=missing, mask_out=mask_out, second=second)
        return
    for name, value in (("level", level), ("frequency", frequency), ("second", second)):
        if value is not None:
            raise InvalidArgument(name, value, "none: this option is of sounds")
    from ..images import check_output, losses, read_picture, write_picture
    from ..tasks import simulate

    output = check_output(output)
    makes_mask = task == "inpaint" and mask is None
    mask_path = (mask_out or output.with_name(f"{output.stem}-mask.png")) if makes_mask else None
    if task == "inpaint" and sum(word is not None for word in (mask, missing, box)) != 1:
        raise InvalidArgument("mask", "none or several of them", "one of --mask FILE, --missing SHARE, --box SIDE")
    outputs = [output] if mask_path is None else [output, check_output(mask_path, name="mask-out")]
    if mask_path is not None and mask_path.resolve() == output.resolve():
        raise InvalidArgument("mask-out", mask_path, "another file than the output")
    options.refuse_overwriting([path, mask, kernel], outputs)
    picture = read_picture(path)
    size = (picture.height, picture.width)
    words = options.task_settings(
        size=size, factor=factor, mask=mask, kernel=kernel, noise=noise, boundary=boundary,
        quality=quality, bits=bits, gain=gain, fade=fade,
    )  # fmt: skip
    if makes_mask:
        words = replace(words, mask=_make_mask(size, missing, box, seed))
    degraded = simulate(task, picture, words, seed)
    options.say(*picture.notes, *losses(degraded, output))
    if mask_path is not None and words.mask is not None:
        write_picture(_as_picture(words.mask), mask_path)
        print(f"{mask_path}: the mask, white where pixels are missing")
    write_picture(degraded, output)
    print(f"{output}: {degraded.width} x {degraded.height}")


def _make_mask(size: tuple[int, int], missing: float | None, box: int | None, seed: int) -> Tensor:
    from ..tasks import box_mask, random_mask

    if box is not None:
        return box_mask(size, box)
    assert missing is not None
    # Another stream than the noise, which uses the seed as it is.
    return random_mask(size, missing, seed + 1_000_003)


def _as_picture(missing: Tensor) -> Picture:
    from ..images import Picture

    return Picture(missing.float() * 2 - 1)
