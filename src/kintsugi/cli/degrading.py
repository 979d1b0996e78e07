"""``kintsugi degrade`` of a sound."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..errors import InvalidArgument
from ..files import atomic_path
from ..sounds.reading import read_sound
from ..sounds.simulating import gaps_text, random_gaps, simulate_sound
from ..sounds.writing import check_sound_output, stored_as, write_sound
from . import options
from .picture import Recipe
from .sound import sound_settings


def degrade_sound(
    source: Path, output: Path, recipe: Recipe, *, missing: float | None, mask_out: Path | None, second: str | None
) -> None:
    """Read, degrade and write a sound, and the list of gaps that were made at random."""
    output = check_sound_output(output)
    makes = recipe.task == "gap" and recipe.mask is None
    if recipe.task == "gap" and (recipe.mask is None) == (missing is None):
        raise InvalidArgument("mask", "none or several of them", "one of --mask and --missing SHARE")
    gaps_file = (mask_out or output.with_name(f"{output.stem}-gaps.txt")) if makes else None
    outputs = [output] if gaps_file is None else [output, gaps_file]
    added = None if second is None else options.input_path(second)
    options.refuse_overwriting([source, recipe.mask, recipe.kernel, added], outputs)
    sound = read_sound(source)
    words = sound_settings(recipe, sound)
    if makes and missing is not None:
        words = replace(words, gaps=random_gaps(sound.samples.shape[-1], sound.rate, missing, recipe.seed + 1_000_003))
    degraded = simulate_sound(recipe.task, sound, words, recipe.seed, None if added is None else read_sound(added))
    if gaps_file is not None and words.gaps is not None:
        with atomic_path(gaps_file) as temporary:
            temporary.write_text(gaps_text(words.gaps, sound.rate), encoding="utf-8")
        print(f"{gaps_file}: the gaps, start:end in seconds")
    peak = float(degraded.samples.abs().max())
    if peak > 1:
        options.say(f"{output}: peaks of {peak:.3g} are clipped at full scale")
    write_sound(output, degraded.samples, degraded.rate, stored_as(degraded.subtype))
    print(f"{output}: {degraded.samples.shape[-1] / degraded.rate:.2f} s at {degraded.rate} Hz")
