"""Restoring one picture file: what ``kintsugi restore`` does to each, wherever it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .. import load_prior
from .. import restore as run
from ..errors import InvalidArgument
from ..images import losses, read_picture
from ..presets import Match, Place, load_preset
from ..samplers import Sampler, available_samplers, make_sampler
from ..samplers.space import as_objects
from ..tasks import Prepared, Settings, prepare
from . import keeping, options, outputs

if TYPE_CHECKING:
    from .. import Cost, Prior, Restoration


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a restoration but the picture: the options of the command as they were given.

    All are numbers and text, so that a recipe can be compared, kept in a file and sent to another machine.
    """

    task: options.TaskName
    mask: str | None = None
    factor: int = 4
    kernel: str | None = None
    noise: str | None = None
    boundary: options.BoundaryName = "unknown"
    quality: int | None = None
    bits: int | None = None
    gain: float = 2.0
    sampler: str = "kintsugi"
    preset: str | None = None
    steps: int = 5
    texture: float | None = None
    settings: tuple[str, ...] = ()
    samples: int = 1
    seed: int = 0
    prior: str = "photo"
    prior_settings: tuple[str, ...] = ()
    label: int | None = None
    prompt: str | None = None
    guidance: float | None = None
    windows: bool = False
    compare: bool = False
    max_memory: str | None = None
    uncertainty: str | None = None
    invented: str | None = None
    calibrated: bool = False
    strength: str | None = None
    blend: float = 0.0
    keep_grain: float = 0.0
    keep_surface: float = 0.0
    level: float | None = None
    frequency: float | None = None
    second_prior: str | None = None
    fade: float | None = None

    def arguments(self) -> list[str]:
        """The recipe as options of the command line."""
        renamed = {"settings": "set", "prior_settings": "prior-set"}
        found = []
        for each in fields(self):
            value, option = getattr(self, each.name), "--" + renamed.get(each.name, each.name.replace("_", "-"))
            if isinstance(value, tuple):
                found += [f"{option}={part}" for part in value]
            elif value is True:
                found.append(option)
            elif value is not None and value is not False:
                found.append(f"{option}={value}")
        return found

    def words(self, size: tuple[int, int], compressed: Path | None = None) -> Settings:
        """What the task needs to know of a picture of ``size`` (height, width), a JPEG file if ``compressed``."""
        return options.task_settings(
            size=size, factor=self.factor, mask=self.mask, kernel=self.kernel, noise=self.noise,
            boundary=self.boundary, quality=self.quality, bits=self.bits, gain=self.gain, fade=self.fade,
            compressed=compressed,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Ready:
    """A picture that was read, checked and made a problem of, before any network runs. ``notes`` are for the user.

    ``match``: what the preset of the recipe has for it. ``keep``: what stays of the original.
    """

    files: outputs.Files
    prepared: Prepared
    missing: torch.Tensor | None
    notes: tuple[str, ...]
    match: Match | None = None
    keep: keeping.Keep = field(default_factory=keeping.Keep)


def make_ready(source: Path, output: Path, recipe: Recipe) -> Ready:
    """Read the picture ``source`` and find everything about it that can be wrong.

    Errors: :class:`InvalidFile` for the picture, the mask or the kernel, :class:`InvalidArgument` for the rest.
    """
    refuse_options_of_sounds(recipe)
    files = keeping.plan_maps(outputs.plan(output, recipe.samples, recipe.compare), recipe)
    options.refuse_overwriting([source, recipe.mask, recipe.kernel, recipe.prior, recipe.strength], files.all)
    picture = read_picture(source)
    words = recipe.words((picture.height, picture.width), source if recipe.task == "jpeg" else None)
    prepared = prepare(recipe.task, picture, words)
    files.check(picture.bits, prepared.size)
    match, note = find_match(recipe, words, prepared.problem.noise)
    keep = keeping.make_keep(recipe, prepared, words.mask)
    return Ready(
        files, prepared, words.mask, (*picture.notes, *losses(picture, output), *prepared.notes, *note), match, keep
    )


def refuse_options_of_sounds(recipe: Recipe) -> None:
    """Raise :class:`InvalidArgument` for an option that means nothing for pictures."""
    for name in ("level", "frequency", "second_prior"):
        if getattr(recipe, name) is not None:
            raise InvalidArgument(name.replace("_", "-"), getattr(recipe, name), "none: this option is of sounds")


def find_match(recipe: Recipe, words: Settings, noise: float) -> tuple[Match | None, tuple[str, ...]]:
    """What the preset of the recipe has for a problem, and a note. Errors: :class:`InvalidArgument` if nothing."""
    if recipe.preset is None:
        return None, ()
    preset = load_preset(recipe.preset)
    match = preset.find(recipe.sampler, Place.of_task(recipe.task, words, noise), recipe.steps)
    other = "" if Path(recipe.prior).name == preset.prior else f"; tuned with the prior {preset.prior}"
    return match, (match.note + other,)


def restore_ready(
    ready: Ready,
    recipe: Recipe,
    model: Prior,
    method: Sampler,
    device: torch.device,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Cost, tuple[str, ...]]:
    """Restore it, write its files, and say what that cost, with remarks for the user."""
    chosen = method if ready.match is None else make_method(recipe, ready.match.entry.settings)
    known = keeping.calibration_for(recipe, model, chosen, ready.prepared)
    result = solve_ready(ready, recipe, model, method, device, progress)
    keeping.write_maps(ready.files, ready.prepared, result, known)
    kept = ready.keep.apply(result, ready.prepared, model)
    outputs.write(ready.files, ready.prepared, kept, ready.missing)
    return kept.cost, kept.notes + keeping.notes_on(recipe, chosen, known)


def solve_ready(
    ready: Ready,
    recipe: Recipe,
    model: Prior,
    method: Sampler,
    device: torch.device,
    progress: Callable[[int, int], None] | None = None,
) -> Restoration:
    """Its samples, not yet written. A preset's settings for it replace those of ``method``."""
    if ready.match is not None:
        method = make_method(recipe, ready.match.entry.settings)
    problem = ready.prepared.problem.with_rows(ready.prepared.problem.y.to(device))
    return run(
        problem, model, method, steps=recipe.steps, samples=recipe.samples, seed=recipe.seed, progress=progress,
        max_memory=recipe.max_memory,
    )  # fmt: skip


def told(cost: Cost | Mapping[str, float], device: object) -> str:
    """A cost in words."""
    known = cost if isinstance(cost, Mapping) else {f.name: getattr(cost, f.name) for f in fields(cost)}
    return "{forwards:g} forwards, {vjps:g} VJPs, {seconds:.1f} s on ".format(**known) + str(device)


def make_model(recipe: Recipe, prior: str | Path | None = None) -> Prior:
    """The model of a recipe; ``prior``: where it is here, if not where the recipe says."""
    given = options.parse_assignments(recipe.prior_settings, "prior-set")
    model: Any = load_prior(prior or recipe.prior, windows=recipe.windows, **given)
    if recipe.label is not None or recipe.prompt is not None or recipe.guidance is not None:
        model = model.with_condition(label=recipe.label, prompt=recipe.prompt, guidance_scale=recipe.guidance)
    return model


def make_method(recipe: Recipe, tuned: Mapping[str, Any] | None = None) -> Sampler:
    """The sampler with ``--texture`` and ``--set``, which go before the ``tuned`` settings of a preset.

    Errors: :class:`InvalidArgument` for a setting it does not have.
    """
    settings = {**(tuned or {}), **options.parse_assignments(recipe.settings)}
    if recipe.texture is not None:
        cls = available_samplers().get(recipe.sampler)
        if cls is not None and "texture" not in {f.name for f in fields(cls)}:  # type: ignore[arg-type]
            expected = f"no such setting: the sampler {recipe.sampler!r} has no texture dial"
            raise InvalidArgument("texture", recipe.texture, expected)
        settings["texture"] = recipe.texture
    try:
        return make_sampler(recipe.sampler, **as_objects(settings))
    except TypeError as error:  # a word where a number belongs, which no comparison accepts
        expected = f"values that {recipe.sampler} can use ({error})"
        raise InvalidArgument("set", " ".join(recipe.settings), expected) from error


def find_device(name: str) -> torch.device:
    """A torch device that is there. Errors: :class:`InvalidArgument` for ``device``."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InvalidArgument("device", name, "a device of this machine: auto, cpu, cuda, cuda:1, mps") from error
    return device
