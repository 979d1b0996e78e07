"""What a visitor asks for, as it comes from the page: a dictionary that may hold anything.

Nothing in it is ever taken for the name of a file: models and examples are chosen among those that the server offers,
kernels are numbers, masks are uploaded.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import InvalidArgument, is_whole
from .limits import Limits

if TYPE_CHECKING:
    from ..cli.picture import Recipe

WrongName = Literal["unknown", "small", "holes", "blur", "noise", "jpeg", "colour", "grey"]
KernelName = Literal["unknown", "gaussian", "motion"]


@dataclass(frozen=True)
class Wrong:
    """One thing that may be wrong with a picture: how the page calls it, and the task that mends it."""

    label: str
    task: str | None
    hint: str


WRONG: Mapping[str, Wrong] = {
    "small": Wrong("Too small", "sr", "Enlarges by a whole factor."),
    "holes": Wrong("Holes, scratches", "inpaint", "Paint over what is missing. The rest stays as it is, to the bit."),
    "blur": Wrong("Blurred", "deblur", "A soft or shaken picture. The width can be found from the picture itself."),
    "noise": Wrong("Noise, grain", "denoise", "The strength can be found from the picture itself."),
    "jpeg": Wrong("JPEG blocks", "jpeg", "A JPEG file states how strongly it was compressed."),
    "colour": Wrong("Faded colour", "fade", "Brings back contrast and colours, as far as the picture has kept them."),
    "grey": Wrong("Black and white", "colorize", "Keeps the brightness of the picture and invents colours."),
    "unknown": Wrong("I don't know", None, "Looks for compression, blur and noise, and says what it found."),
}
KERNELS = ("unknown", "gaussian", "motion")


@dataclass(frozen=True)
class Asked:
    """A restoration as a visitor wants it.

    wrong: a key of ``WRONG``. factor: how much larger. kernel: of a blur, with its width (the standard deviation of a
    Gaussian, the length of a motion) in pixels and the angle of a motion in degrees. noise: the standard deviation in
    [0, 1] units; None for none (``denoise`` then finds it). quality: of a JPEG, None for what the file states.
    texture, samples, steps, seed, prior: as of the command line.
    """

    wrong: WrongName = "unknown"
    factor: int = 2
    kernel: KernelName = "unknown"
    width: float = 2.0
    angle: float = 0.0
    noise: float | None = None
    quality: int | None = None
    texture: float = 0.0
    samples: int = 1
    steps: int = 5
    seed: int = 0
    prior: str = "photo"

    @classmethod
    def parse(cls, given: object, limits: Limits, priors: Collection[str]) -> Asked:
        """From what the page sent. Errors: :class:`InvalidArgument` for the first field that cannot be used."""
        if not isinstance(given, Mapping):
            raise InvalidArgument("asked", type(given).__name__, "an object with the fields of the form")
        known = {field.name for field in fields(cls)}
        for name in given:
            if name not in known:
                raise InvalidArgument("asked", name, f"fields among {', '.join(sorted(known))}")
        values = {name: _plain(name, value) for name, value in given.items()}
        asked = cls(**values)
        asked._check(limits, priors)
        return asked

    def _check(self, limits: Limits, priors: Collection[str]) -> None:
        for name, offered in (("wrong", WRONG), ("kernel", KERNELS), ("prior", priors)):
            if getattr(self, name) not in offered:
                raise InvalidArgument(name, getattr(self, name), f"one of {', '.join(offered)}")
        wholes: tuple[tuple[str, int, float], ...] = (
            ("factor", 2, 8), ("samples", 1, limits.samples), ("steps", 1, limits.steps), ("seed", 0, 2**31 - 1),
        )  # fmt: skip
        for name, least, most in wholes:
            if not is_whole(getattr(self, name), least, most):
                raise InvalidArgument(name, getattr(self, name), f"a whole number from {least} to {most:g}")
        if self.quality is not None and not is_whole(self.quality, 1, 100):
            raise InvalidArgument("quality", self.quality, "a whole number from 1 to 100, or none")
        ranges: tuple[tuple[str, float, float], ...] = (
            ("texture", 0, 1), ("width", 0.2, 60), ("angle", -360, 360), ("noise", 0, 0.5),
        )  # fmt: skip
        for name, low, high in ranges:
            value = getattr(self, name)
            if value is None and name == "noise":
                continue
            if isinstance(value, str | bool | None) or not low <= value <= high:
                raise InvalidArgument(name, value, f"a number from {low:g} to {high:g}")

    def kernel_words(self) -> str:
        """The blur as the command line says it."""
        if self.kernel == "motion":
            return f"motion:{max(self.width, 1):g}:{self.angle:g}"
        return f"gaussian:{self.width:g}"

    def recipe(self, mask: Path | None, **found: Any) -> Recipe:
        """The same as options of the command line; ``found`` replaces what was looked for."""
        from ..cli.picture import Recipe

        task = WRONG[self.wrong].task
        options: dict[str, Any] = {
            "task": task, "texture": self.texture or None, "samples": self.samples, "steps": self.steps,
            "seed": self.seed, "prior": self.prior,
        }  # fmt: skip
        if self.noise:
            options["noise"] = f"{self.noise:g}"
        if task == "sr":
            options["factor"] = self.factor
        elif task == "inpaint":
            options["mask"] = None if mask is None else str(mask)
        elif task == "deblur":
            options["kernel"] = self.kernel_words()
        elif task == "jpeg":
            options["quality"] = self.quality
        return Recipe(**{**options, **found})


def _plain(name: str, value: object) -> Any:
    """A value of JSON that a field may have; sliders send whole numbers as 2.0."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidArgument(name, value, "a finite number")
        return int(value) if value.is_integer() else value
    if isinstance(value, str | int | None):
        return value
    raise InvalidArgument(name, type(value).__name__, "a number or a word")
