"""Restoring one sound file: what ``kintsugi restore`` does to each. As :mod:`.picture` for pictures."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..errors import InvalidArgument
from ..images import check_output, write_picture
from ..samplers import Sampler
from ..sounds.defaults import sound_defaults
from ..sounds.gaps import read_gaps
from ..sounds.reading import Sound, read_sound
from ..sounds.restoring import finish_all, restore_sound
from ..sounds.spectrogram import spectrograms
from ..sounds.tasks import SOUND_TASKS, PreparedSound, SoundSettings, prepare_sound
from ..sounds.writing import check_sound_output, stored_as, write_sound
from . import options
from .picture import Recipe, make_model
from .picture import make_method as make_any_method

if TYPE_CHECKING:
    from .. import Cost, Prior

# Options that mean nothing for sounds; given all the same they are refused.
OF_PICTURES = (
    "boundary", "quality", "gain", "fade", "preset", "label", "prompt", "guidance", "windows", "uncertainty",
    "invented", "calibrated", "strength", "blend", "keep_grain", "keep_surface",
)  # fmt: skip


@dataclass(frozen=True)
class Files:
    """Where each result goes: ``first``, of separated sources ``second`` too; ``samples`` of the first source."""

    first: Path
    second: Path | None = None
    samples: tuple[Path, ...] = ()
    mean: Path | None = None
    compare: Path | None = None

    @property
    def all(self) -> tuple[Path, ...]:
        return (self.first, *self.samples, *(p for p in (self.second, self.mean, self.compare) if p is not None))


@dataclass(frozen=True, eq=False)
class Ready:
    """A sound that was read, checked and made problems of, before any network runs. ``notes`` are for the user."""

    files: Files
    prepared: PreparedSound
    notes: tuple[str, ...]


def name_files(output: Path, recipe: Recipe) -> Files:
    """The names of the files that a recipe writes, unchecked."""

    def beside(word: str, suffix: str = output.suffix) -> Path:
        return output.with_name(f"{output.stem}-{word}{suffix}")

    several = recipe.samples > 1
    return Files(
        first=output,
        second=beside("second") if recipe.task == "separate" else None,
        samples=tuple(beside(f"sample{i + 1}") for i in range(recipe.samples)) if several else (),
        mean=beside("mean") if several else None,
        compare=beside("compare", ".png") if recipe.compare else None,
    )


def check_recipe(recipe: Recipe) -> None:
    """Find what is wrong with a recipe whatever the sound is. Errors: :class:`InvalidArgument`."""
    defaults = Recipe(task=recipe.task)
    for name in OF_PICTURES:
        if getattr(recipe, name) != getattr(defaults, name):
            raise InvalidArgument(name.replace("_", "-"), getattr(recipe, name), "none: this option is of pictures")
    if recipe.task not in SOUND_TASKS:
        raise InvalidArgument("task", recipe.task, f"for sounds one of {', '.join(SOUND_TASKS)}")
    if recipe.task == "separate" and recipe.second_prior is None:
        raise InvalidArgument("second-prior", None, "a model of the second source, beside --prior of the first")
    if recipe.task != "separate" and recipe.second_prior is not None:
        raise InvalidArgument("second-prior", recipe.second_prior, "none: it is for --task separate")
    for name, of in (("mask", "gap"), ("kernel", "dereverb"), ("level", "declip"), ("frequency", "hum")):
        if getattr(recipe, name) is not None and recipe.task != of:
            raise InvalidArgument(name, getattr(recipe, name), f"none: it is for --task {of}")


def make_ready(source: Path, output: Path, recipe: Recipe) -> Ready:
    """Read the sound ``source`` and find everything about it that can be wrong.

    Errors: :class:`InvalidFile` for the sound, the mask or the response, :class:`InvalidArgument` for the rest.
    """
    check_recipe(recipe)
    files = name_files(check_sound_output(output), recipe)
    if files.compare is not None:
        check_output(files.compare)
    inputs = [source, recipe.mask, recipe.kernel, recipe.prior, recipe.second_prior]
    options.refuse_overwriting(inputs, files.all)
    sound = read_sound(source)
    prepared = prepare_sound(recipe.task, sound, sound_settings(recipe, sound))
    return Ready(files, prepared, prepared.notes)


def sound_settings(recipe: Recipe, sound: Sound) -> SoundSettings:
    """The words of the command line as :class:`SoundSettings`, for ``sound``."""
    length = sound.samples.shape[-1]
    return SoundSettings(
        factor=recipe.factor,
        gaps=None if recipe.mask is None else read_gaps(recipe.mask, sound.rate, length),
        response=None if recipe.kernel is None else read_response(recipe.kernel, sound.rate),
        noise=options.parse_noise(recipe.noise),
        level=recipe.level,
        frequency=recipe.frequency,
        bits=8 if recipe.bits is None else recipe.bits,
    )


def read_response(text: str, rate: int) -> torch.Tensor:
    """The impulse response (C, L) of a sound file, at ``rate`` hertz and with the gain that it has there.

    It is silent before and after what the file holds. (:func:`resample` would take it to go on.)
    """
    from scipy.signal import resample_poly

    sound = read_sound(text)
    if sound.rate == rate:
        return sound.samples
    divisor = math.gcd(sound.rate, rate)
    h = resample_poly(sound.samples.double().numpy(), rate // divisor, sound.rate // divisor, axis=-1)
    return torch.from_numpy(h * (sound.rate / rate)).float()


def make_method(recipe: Recipe, noise: float = 0.0) -> Sampler:
    """The sampler, with the settings for sounds, and for their ``noise``, where the recipe says nothing."""
    return make_any_method(recipe, sound_defaults(recipe.sampler, recipe.steps, recipe.task, noise))


def make_models(recipe: Recipe, prior: str | Path | None = None) -> list[Prior]:
    """The model of each source; ``prior``: where the first is here, if not where the recipe says."""
    first = make_model(recipe, prior)
    return [first] if recipe.second_prior is None else [first, make_model(recipe, recipe.second_prior)]


def restore_ready(
    ready: Ready,
    recipe: Recipe,
    models: list[Prior],
    method: Sampler,
    device: torch.device,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Cost, tuple[str, ...]]:
    """Restore it, write its files, and say what that cost, with remarks for the user."""
    chosen = make_method(recipe, ready.prepared.noise) if ready.prepared.noise else method
    x, cost, notes = restore_sound(
        ready.prepared, models, chosen, steps=recipe.steps, samples=recipe.samples, seed=recipe.seed, device=device,
        max_memory=recipe.max_memory, progress=progress,
    )  # fmt: skip
    done, more = finish_all(ready.prepared, x)
    files, first = ready.files, done[0]
    subtype = stored_as(first[0].subtype)
    write_sound(files.first, first[0].samples, first[0].rate, subtype)
    if files.second is not None:
        write_sound(files.second, first[1].samples, first[1].rate, subtype)
    for sounds, path in zip(done, files.samples, strict=False):
        write_sound(path, sounds[0].samples, sounds[0].rate, subtype)
    if files.mean is not None:
        mean = torch.stack([sounds[0].samples for sounds in done]).mean(0)
        write_sound(files.mean, mean, first[0].rate, subtype)
    if files.compare is not None:
        titles = ["restored"] if files.second is None else ["first source", "second source"]
        panels = [("input", ready.prepared.sound), *zip(titles, first, strict=True)]
        write_picture(spectrograms(panels), files.compare)
    return cost, notes + more
