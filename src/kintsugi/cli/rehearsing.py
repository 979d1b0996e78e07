"""What is wrong with a recipe whatever the picture is, found before a folder is touched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from ..images import Picture, read_mask
from ..memory import bytes_of
from ..tasks import prepare
from . import options
from .picture import Recipe, find_match, refuse_options_of_sounds


def rehearse(recipe: Recipe) -> None:
    """Find what is wrong with a recipe whatever the picture is, on a grey one that is made for it."""
    refuse_options_of_sounds(recipe)
    if recipe.max_memory is not None:
        bytes_of(recipe.max_memory)
    kernel = None if recipe.kernel is None else options.parse_kernel(recipe.kernel)
    sides = (64, 64) if kernel is None else tuple(max(64, side) for side in kernel.shape)
    size = (sides[0], sides[1])
    if recipe.task == "jpeg" and recipe.quality is None:
        return  # each file states its own
    words = replace(recipe, mask=None).words(size)
    if recipe.task == "inpaint" and recipe.mask is not None:
        hole = torch.zeros((1, *size), dtype=torch.bool)
        hole[:, :32] = True
        words = replace(words, mask=hole)
    noise = 0.1 * torch.randn((3, *size), generator=torch.Generator().manual_seed(0))
    prepared = prepare(recipe.task, Picture(noise), words)
    find_match(recipe, words, prepared.problem.noise)
    if recipe.mask is not None and not Path(recipe.mask).is_dir():
        read_mask(options.input_path(recipe.mask))
