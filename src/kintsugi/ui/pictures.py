"""A picture of the page: restored in a folder of its own, with the results beside it.

The files are those of ``kintsugi restore`` with the command that the page shows: ``cli/picture.py`` makes both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image

from ..cli import outputs, picture
from ..errors import InvalidArgument, InvalidFile
from ..files import atomic_path
from ..images import read_picture
from ..priors.latent import LatentPrior
from ..uncertainty import gold
from . import look, words
from .results import Mended, Work, spent
from .steps import Frames, Watched, as_image

RESULT = "restored.png"


def check_size(path: Path, megapixels: float, factor: int = 1) -> None:
    """Refuse, by its header alone, a picture that is too large as it is or as it will be.

    What is no picture at all is left to the reading. Errors: :class:`InvalidFile`.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
    except Exception:
        return
    pixels = width * height * factor**2
    if pixels > megapixels * 10**6:
        made = f" enlarged {factor} times" if factor > 1 else ""
        raise InvalidFile(
            path,
            f"{width} x {height} pixels{made} are {pixels / 10**6:.1f} megapixels; this page takes up to "
            f"{megapixels:g}. The command line has no such limit",
        )


def mend_picture(work: Work) -> Mended:
    """Restore the picture ``work.source`` into ``work.folder``.

    Errors: those of ``kintsugi restore``; :class:`Stopped` within a step of ``work.stopped()``.
    """
    asked, source, name, folder, report = work.asked, work.source, work.name, work.folder, work.report
    where = picture.find_device(work.device)
    report.stage = "reading the picture"
    check_size(source, work.limits.megapixels, asked.factor if asked.wrong == "small" else 1)
    found = _look(work)
    recipe = asked.recipe(work.mask, **found.options)
    output = folder / RESULT
    ready = picture.make_ready(source, output, recipe)
    method = picture.make_method(recipe)
    report.found, report.stage, report.total = found.words, "mending", recipe.steps
    _save(_enlarged(ready.prepared.picture.colour(), ready.prepared.size), folder / "before.png")
    frames = Frames(folder, ready.prepared, recipe.steps)

    def seen(d: torch.Tensor) -> None:
        frames(d)
        report.frames = frames.count

    model = work.model
    watched = model if isinstance(model, LatentPrior) else Watched(model, work.stopped, seen)
    result = picture.solve_ready(ready, recipe, watched, method, where, work.progress)
    report.stage = "writing"
    outputs.write(ready.files, ready.prepared, result, ready.missing)
    after = ready.prepared.finish(result.samples[0, 0])
    _save(after.colour(), folder / "after.png")
    shown = {"before": "before.png", "after": "after.png"}
    if recipe.samples > 1:
        _save(_gilded(ready.prepared, result), folder / "gold.png")
        shown["gold"] = "gold.png"
    animation = frames.animate(after.pixels)
    saved = {path.name: words.beside(name, path.stem) for path in ready.files.all}
    if work.mask is not None and recipe.mask is not None:
        saved[work.mask.name] = words.beside(name, "mask")
    if "gold" in shown:
        saved["gold.png"] = words.beside(name, "gold")
    if animation is not None:
        saved[animation.name] = words.beside(name, "steps").removesuffix(".png") + ".webp"
    return Mended(
        width=ready.prepared.size[1], height=ready.prepared.size[0],
        samples=tuple(path.name for path in ready.files.samples) or (RESULT,), files=saved, frames=frames.count,
        command=words.command(recipe, name), python=words.python(recipe, name), notes=(*ready.notes, *result.notes),
        cost=spent(result.cost.forwards, result.cost.seconds), found=found.words, shown=shown,
        size=f"{ready.prepared.size[1]} by {ready.prepared.size[0]} pixels",
    )  # fmt: skip


def _look(work: Work) -> look.Found:
    """What the visitor left to be found."""
    asked, model = work.asked, work.model
    blur = asked.wrong == "blur" and asked.kernel == "unknown"
    noise = asked.wrong == "noise" and asked.noise is None
    if not (blur or noise or asked.wrong == "unknown"):
        return look.Found()
    work.report.stage = "looking at what is wrong"
    seen = read_picture(work.source)
    free = model.shape is None or all(n is None for n in model.shape[1:])
    if isinstance(model, LatentPrior) or not free:
        raise InvalidArgument("wrong", asked.wrong, "the blur or noise as numbers: this model takes one size only")
    watched = Watched(model, work.stopped)
    if blur:
        return look.find_blur(seen, watched)
    return look.find_noise(seen, watched) if noise else look.find_wrong(work.source, seen, watched)


def _gilded(prepared: Any, result: Any) -> torch.Tensor:
    """The first sample with gold where it was invented (:mod:`kintsugi.uncertainty`)."""
    finished = torch.stack([prepared.finish(x).pixels for x in result.samples[0]])
    share = result.invented()[0].cpu().float()
    return gold(finished[0], share, finished.std(0))


def _enlarged(pixels: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    if tuple(pixels.shape[1:]) == size:
        return pixels
    return F.interpolate(pixels[None], size, mode="nearest")[0]


def _save(pixels: torch.Tensor, path: Path) -> None:
    with atomic_path(path) as temporary:
        as_image(pixels).save(temporary)
