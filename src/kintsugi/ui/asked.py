"""What a visitor asks for, as it comes from the page: a dictionary that may hold anything.

Nothing in it is ever taken for the name of a file: models and examples are chosen among those that the server offers,
kernels and gaps are numbers, masks are uploaded.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import InvalidArgument, is_whole
from .limits import Limits

if TYPE_CHECKING:
    from ..cli.picture import Recipe

WrongName = Literal[
    "unknown", "small", "holes", "blur", "noise", "jpeg", "colour", "grey",
    "hiss", "clipped", "gaps", "hum", "dull", "mulaw", "rounded",
]  # fmt: skip
Craft = Literal["pictures", "sounds"]
KernelName = Literal["unknown", "gaussian", "motion"]


@dataclass(frozen=True)
class Wrong:
    """One thing that may be wrong with a picture or sound: how the page calls it, and the task that mends it."""

    label: str
    task: str | None
    hint: str
    craft: Craft = "pictures"


WRONG: Mapping[str, Wrong] = {
    "small": Wrong("Too small", "sr", "Enlarges by a whole factor."),
    "holes": Wrong("Holes, scratches", "inpaint", "Paint over what is missing. The rest stays as it is, to the bit."),
    "blur": Wrong("Blurred", "deblur", "A soft or shaken picture. The width can be found from the picture itself."),
    "noise": Wrong("Noise, grain", "denoise", "The strength can be found from the picture itself."),
    "jpeg": Wrong("JPEG blocks", "jpeg", "A JPEG file states how strongly it was compressed."),
    "colour": Wrong("Faded colour", "fade", "Brings back contrast and colours, as far as the picture has kept them."),
    "grey": Wrong("Black and white", "colorize", "Keeps the brightness of the picture and invents colours."),
    "unknown": Wrong("I don't know", None, "Looks for compression, blur and noise, and says what it found."),
    "hiss": Wrong("Noise, hiss", "denoise", "The strength can be found from the sound itself.", "sounds"),
    "clipped": Wrong(
        "Clipped", "declip", "Recorded too loud: tops are cut off. Only what was cut off changes.", "sounds"
    ),
    "gaps": Wrong("Gaps, drop-outs", "gap", "Fills what is missing. The rest stays as it is, to the bit.", "sounds"),
    "hum": Wrong("Hum", "hum", "The hum of the mains and its multiples.", "sounds"),
    "dull": Wrong("Dull, telephone", "bandwidth", "Of a low sampling rate: gives it high frequencies.", "sounds"),
    "mulaw": Wrong("Mu-law", "mulaw", "The coding of telephone lines, of 8 bits or fewer.", "sounds"),
    "rounded": Wrong("Few bits", "quantise", "Rounded to steps that can be heard, as in old games.", "sounds"),
}
# At most 200 stretches in seconds, as in "1.25:1.27, 3.4:3.41".
_PAIR = r"\s*\d{1,5}(\.\d{1,6})?:\d{1,5}(\.\d{1,6})?\s*"
GAPS = re.compile(f"{_PAIR}(,{_PAIR}){{0,199}}", re.ASCII)
KERNELS = ("unknown", "gaussian", "motion")


@dataclass(frozen=True)
class Asked:
    """A restoration as a visitor wants it.

    wrong: a key of ``WRONG``. factor: how much larger. kernel: of a blur, with its width (the standard deviation of a
    Gaussian, the length of a motion) in pixels and the angle of a motion in degrees. noise: the standard deviation in
    [0, 1] units, of a sound of a full scale of 1; None for none (``denoise`` then finds it). quality: of a JPEG, None
    for what the file states. gaps: of a sound, start:end in seconds with commas between; level: at which it was
    clipped; frequency: of its hum in hertz; None of these for what is found in it. bits: of its rounding.
    texture, samples, steps, seed, prior: as of the command line.
    """

    wrong: WrongName = "unknown"
    factor: int = 2
    kernel: KernelName = "unknown"
    width: float = 2.0
    angle: float = 0.0
    noise: float | None = None
    quality: int | None = None
    gaps: str | None = None
    level: float | None = None
    frequency: float | None = None
    bits: int = 8
    texture: float = 0.0
    samples: int = 1
    steps: int = 5
    seed: int = 0
    prior: str = "photo"

    @property
    def craft(self) -> Craft:
        """Of what it is a restoration."""
        return WRONG[self.wrong].craft

    @classmethod
    def parse(cls, given: object, limits: Limits, priors: Mapping[str, Craft]) -> Asked:
        """From what the page sent. ``priors``: the models on offer, and of what they are.

        Errors: :class:`InvalidArgument` for the first field that cannot be used.
        """
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

    def _check(self, limits: Limits, priors: Mapping[str, Craft]) -> None:
        wrongs = [name for name, each in WRONG.items() if each.craft in priors.values()]
        own = [name for name, craft in priors.items() if self.wrong in wrongs and craft == self.craft]
        choices: tuple[tuple[str, Sequence[str]], ...] = (("wrong", wrongs), ("kernel", KERNELS), ("prior", own))
        for name, offered in choices:
            if getattr(self, name) not in offered:
                raise InvalidArgument(name, getattr(self, name), f"one of {', '.join(offered)}")
        wholes: tuple[tuple[str, int, float], ...] = (
            ("factor", 2, 8), ("bits", 2, 16), ("samples", 1, limits.samples), ("steps", 1, limits.steps),
            ("seed", 0, 2**31 - 1),
        )  # fmt: skip
        for name, least, most in wholes:
            if not is_whole(getattr(self, name), least, most):
                raise InvalidArgument(name, getattr(self, name), f"a whole number from {least} to {most:g}")
        if self.quality is not None and not is_whole(self.quality, 1, 100):
            raise InvalidArgument("quality", self.quality, "a whole number from 1 to 100, or none")
        ranges: tuple[tuple[str, float, float], ...] = (
            ("texture", 0, 1), ("width", 0.2, 60), ("angle", -360, 360), ("noise", 0, 0.5), ("level", 0, 1),
            ("frequency", 10, 1000),
        )  # fmt: skip
        for name, low, high in ranges:
            value = getattr(self, name)
            if value is None and name in ("noise", "level", "frequency"):
                continue
            if isinstance(value, str | bool | None) or not low <= value <= high:
                raise InvalidArgument(name, value, f"a number from {low:g} to {high:g}")
        if self.gaps is not None and not (isinstance(self.gaps, str) and GAPS.fullmatch(self.gaps)):
            expected = "at most 200 times start:end in seconds with commas between, as in 1.25:1.27, 3.4:3.41"
            raise InvalidArgument("gaps", self.gaps, expected)

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
        elif task == "gap" and self.gaps is not None:
            options["mask"] = re.sub(r"\s", "", self.gaps)
        elif task == "declip":
            options["level"] = self.level
        elif task == "hum":
            options["frequency"] = self.frequency
        elif task in ("mulaw", "quantise"):
            options["bits"] = self.bits
        if self.craft == "sounds":
            options.update(factor=self.factor, compare=True)
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
