"""What ``kintsugi restore`` keeps of the original, and what it tells of the uncertainty: :mod:`kintsugi.control` and
:mod:`kintsugi.uncertainty` on a picture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..control import baseline, measure_grain, mix, noise_residual, surface
from ..control.grain import Grain, blur_known
from ..errors import InvalidArgument
from ..images import Picture, check_output, read_picture, write_picture
from ..images.noise import noise_level
from ..tasks import Prepared
from ..uncertainty import calibrated_std, find_calibration, gold
from ..uncertainty.calibration import notes_of
from . import options, outputs

if TYPE_CHECKING:
    from .. import Prior, Restoration
    from ..priors.calibration import Calibration
    from ..samplers import Sampler
    from .picture import Recipe

# What a denoiser of white noise is told of the grain: coarse grain looks less noisy than it is. Of grain of two pixels
# it then finds 50 to 70 %, of white noise 110 % (docs/control.md).
GENEROUS = 2.0
BESIDE_HOLES = 2  # pixels in which a denoiser mixes what is known with what was filled in


@dataclass(frozen=True, eq=False)
class Keep:
    """How much of the original stays: ``strength``, a number or a map (1, H, W); shares of fresh grain and of the
    original's surface. ``eta``: what the denoiser is told of its noise, in units of the data. ``missing``: holes."""

    strength: float | Tensor = 1.0
    grain: float = 0.0
    surface: float = 0.0
    eta: float = 0.0
    seed: int = 0
    missing: Tensor | None = None

    def apply(self, result: Restoration, prepared: Prepared, model: Prior) -> Restoration:
        """The restoration with what is kept; the same for every sample."""
        samples = result.samples[0]
        if not (isinstance(self.strength, float) and self.strength == 1):
            samples = mix(samples, self._original(prepared).to(samples), _to(self.strength, samples))
        notes: tuple[str, ...] = ()
        if self.grain or self.surface:
            added, notes = self._texture(samples, prepared.picture, model)
            samples = samples + added
        return replace(result, samples=samples[None], notes=(*result.notes, *notes))

    def _original(self, prepared: Prepared) -> Tensor:
        picture = prepared.picture
        if prepared.size == (picture.height, picture.width) and prepared.task != "colorize":
            return picture.colour()
        return baseline(prepared.problem)[0]

    def _texture(self, samples: Tensor, picture: Picture, model: Prior) -> tuple[Tensor, tuple[str, ...]]:
        """What is added to every sample (3, H, W), and a note on what was measured."""
        original, known = picture.colour().to(samples), None
        if self.missing is not None:
            missing = self.missing.to(samples.device)
            original, known = torch.where(missing, samples[0], original), blur_known(~missing, BESIDE_HOLES)
        residual = noise_residual(model, original, self.eta)
        measured = measure_grain(residual, known)
        notes = [f"the grain of the original: {255 / 2 * measured.level:.1f} of 255"]
        strength = _to(self.strength, samples)
        added = torch.zeros_like(samples[0])
        if self.surface:
            own = surface(residual, measured)
            if known is not None:
                own = own * known
            added = added + self.surface * strength * own
        if self.grain:
            lacking = measured.minus(self._left(samples[0] + added, known, model, measured))
            notes.append(f"fresh grain: {255 / 2 * self.grain * lacking.level:.1f} of 255")
            fresh = lacking.sample((samples.shape[-2], samples.shape[-1]), self.seed)
            added = added + self.grain * strength * fresh.to(samples)
        return added, ("; ".join(notes),)

    def _left(self, restored: Tensor, known: Tensor | None, model: Prior, measured: Grain) -> Grain:
        """The grain of the restoration: where it was filled in, if there were holes and they are large enough."""
        try:
            return measure_grain(noise_residual(model, restored, self.eta), None if known is None else ~known)
        except InvalidArgument:
            if known is None:
                raise
            return Grain(torch.zeros_like(measured.power))


def _to(strength: float | Tensor, like: Tensor) -> float | Tensor:
    return strength.to(like) if isinstance(strength, Tensor) else strength


def make_keep(recipe: Recipe, prepared: Prepared, missing: Tensor | None) -> Keep:
    """What the recipe says of it. Errors: :class:`InvalidArgument`, before any network runs."""
    for name in ("blend", "keep_grain", "keep_surface"):
        if not 0 <= getattr(recipe, name) <= 1:
            raise InvalidArgument(name, getattr(recipe, name), "a share from 0 to 1")
    strength = read_strength(recipe.strength, prepared)
    strength = strength * (1 - recipe.blend)
    if not recipe.keep_grain and not recipe.keep_surface:
        return Keep(strength)
    picture = prepared.picture
    same = prepared.size == (picture.height, picture.width)
    if recipe.keep_surface and not same:
        raise InvalidArgument("keep_surface", recipe.keep_surface, "0 where the size changes; --keep-grain adapts")
    # Whether there is room to measure it.
    measure_grain(picture.colour(), None if missing is None else blur_known(~missing, BESIDE_HOLES))
    noise = options.parse_noise(recipe.noise)
    eta = 2 * noise_level(picture, "auto" if noise is None else noise, missing=missing)
    return Keep(strength, recipe.keep_grain, recipe.keep_surface, GENEROUS * max(eta, 1e-3), recipe.seed, missing)


def read_strength(text: str | None, prepared: Prepared) -> float | Tensor:
    """A number, or the map (1, H, W) of a picture file: black 0, white 1; of the input's size or the output's."""
    if text is None:
        return 1.0
    try:
        number = float(text)
    except ValueError:
        pass
    else:
        if not 0 <= number <= 1:
            raise InvalidArgument("strength", text, "a number from 0 to 1, or a picture")
        return number
    map_ = (read_picture(options.input_path(text)).pixels.mean(0, keepdim=True) + 1) / 2
    given, size = (int(map_.shape[1]), int(map_.shape[2])), prepared.size
    if given not in (size, (prepared.picture.height, prepared.picture.width)):
        expected = f"a number, or a picture of the input's size or the output's, {size[1]} x {size[0]}"
        raise InvalidArgument("strength", f"{text} of {given[1]} x {given[0]}", expected)
    if given != size:
        map_ = torch.nn.functional.interpolate(map_[None], size, mode="bilinear", align_corners=False)[0]
    return map_.clamp(0, 1)


def plan_maps(files: outputs.Files, recipe: Recipe) -> outputs.Files:
    """``files`` with those of the maps. Errors: :class:`InvalidArgument` for one sample, or a bad name."""
    if recipe.calibrated and recipe.uncertainty is None:
        raise InvalidArgument("calibrated", True, "--uncertainty MAP.png, which it scales")
    for name, asked in (("uncertainty", recipe.uncertainty), ("invented", recipe.invented)):
        if asked is not None and recipe.samples < 2:
            raise InvalidArgument("samples", recipe.samples, f"at least 2 for --{name}; 8 or more are better")
    uncertainty, invented = (
        None if asked is None else check_output(asked, name=name)
        for name, asked in (("uncertainty", recipe.uncertainty), ("invented", recipe.invented))
    )
    files = replace(files, uncertainty=uncertainty, invented=invented)
    if len(set(files.all)) < len(files.all):
        raise InvalidArgument("output", files.first, "files of different names")
    return files


def calibration_for(recipe: Recipe, model: Prior, method: Sampler, prepared: Prepared) -> Calibration | None:
    """What ``--calibrated`` asks for. Errors: :class:`InvalidArgument` where the model's file has none."""
    if not recipe.calibrated:
        return None
    return find_calibration(model.calibrations, method, recipe.steps, prepared.problem)


def write_maps(files: outputs.Files, prepared: Prepared, result: Restoration, known: Calibration | None) -> None:
    """The maps of the samples as they were drawn; pixels that are kept exactly are certain."""
    if files.uncertainty is None and files.invented is None:
        return
    std = result.std[0] if known is None else calibrated_std(result.samples, known)[0]
    certain = None if prepared.known is None else prepared.known.to(std.device)
    if files.uncertainty is not None:
        shown = std if certain is None else torch.where(certain, 0.0, std)
        write_picture(outputs.spread(shown), files.uncertainty)
    if files.invented is not None:
        share = result.invented()[0]
        share = share if certain is None else torch.where(certain, 0.0, share)
        picture = prepared.finish(result.samples[0, 0])
        gilded = gold(picture.colour(), share.float().cpu(), result.std[0].float().cpu())
        plain = replace(picture, pixels=gilded, bits=8, notes=(), icc=picture.icc if not picture.grey else None)
        write_picture(plain, files.invented)


def notes_on(recipe: Recipe, method: Sampler, known: Calibration | None) -> tuple[str, ...]:
    """What a reader of the maps should know."""
    if recipe.uncertainty is None and recipe.invented is None:
        return ()
    if known is not None:
        return notes_of(known, recipe.samples)
    if getattr(method, "texture", 1.0) < 1:
        return ("these samples are likeliest pictures and hardly differ; for uncertainty add --texture 1",)
    return ()
