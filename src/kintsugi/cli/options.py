"""Options that several commands share, and what their words mean."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..errors import InvalidArgument, one_line
from .complete import preset_names

if TYPE_CHECKING:
    from torch import Tensor

    from ..tasks import Settings
    from ..work import Cluster

# The names in tasks.TASKS, and then those in sounds.tasks.SOUND_TASKS that are not among them.
TaskName = Literal[
    "sr", "inpaint", "deblur", "denoise", "colorize", "jpeg", "dequantize", "hdr", "fade",
    "declip", "gap", "bandwidth", "dereverb", "hum", "mulaw", "quantise", "separate",
]  # fmt: skip
BoundaryName = Literal["unknown", "circular"]

Input = Annotated[
    str, typer.Argument(metavar="IN", help="A picture or sound: a file, or example:NAME for a bundled one.")
]
Output = Annotated[
    Path, typer.Option("--output", "-o", help="The file to write: .png, .jpg, .webp, .tif or .bmp.", show_default=False)
]
TaskOption = Annotated[TaskName, typer.Option("--task", "-t", help="What happened to the picture or sound.")]
Factor = Annotated[
    int | None,
    typer.Option(
        help="sr: how many times smaller the picture is, 2 to 32 [default: 4]; bandwidth: how many times higher the "
        "sampling rate becomes, 2 to 8 [default: 2]."
    ),
]
Mask = Annotated[
    str | None,
    typer.Option(
        help="inpaint: a picture of the same size, white where pixels are missing. gap: START:END in seconds, several "
        "with commas between; a file of such lines; or a sound, not zero where samples are missing [default: runs of "
        "zeros]."
    ),
]
Kernel = Annotated[
    str | None,
    typer.Option(
        help="deblur: gaussian:SIGMA, uniform:SIZE, motion:LENGTH:ANGLE, or a picture file. dereverb: a sound file, "
        "the impulse response."
    ),
]
Level = Annotated[
    float | None, typer.Option(help="declip: at which samples were clipped, of a full scale of 1 [default: estimated].")
]
Frequency = Annotated[
    float | None, typer.Option(help="hum: of the mains, in hertz [default: looked for near 50 and 60].")
]
Boundary = Annotated[
    BoundaryName, typer.Option(help="sr, deblur: what lies beyond the border (circular: as in benchmarks).")
]
Quality = Annotated[
    int | None, typer.Option(help="jpeg: of the compression, 1 to 100 [default: what the JPEG file itself states].")
]
Bits = Annotated[
    int | None, typer.Option(help="dequantize: of each channel, 1 to 8; mulaw, quantise: 2 to 16 [default: 8].")
]
Gain = Annotated[float, typer.Option(help="hdr: how much the contrast was raised before it was clipped.")]
Fade = Annotated[
    float | None,
    typer.Option(help="fade: the share of the contrast that is lost, 0 to 0.98 [default: estimated, by channel]."),
]
Workers = Annotated[
    int | None,
    typer.Option(help="Processes that divide the work [default: 1; ray: as many as the cluster has room for].", min=1),
]
Engine = Annotated[
    Literal["process", "ray"], typer.Option(help="Processes on this machine, or Ray: one machine or many.")
]
Address = Annotated[
    str | None,
    typer.Option(help="ray: HOST:PORT, or auto [default: RAY_ADDRESS, else a Ray of its own on this machine]."),
]
Cpus = Annotated[int, typer.Option(help="ray: CPUs, and threads, of a worker.", min=1)]
Gpus = Annotated[float | None, typer.Option(help="ray: GPUs of a worker [default: 1 with --device cuda, else 0].")]
# Of the processes that --workers starts: nothing is checked, told or tried again that the first one sees to.
AsWorker = Annotated[bool, typer.Option("--as-worker", hidden=True)]
Preset = Annotated[
    str | None,
    typer.Option(
        help="Settings of the sampler for this task: a name of 'kintsugi presets', or a file.",
        autocompletion=preset_names,
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.", min=0)]

_UNCERTAINTY, _CONTROL = "Uncertainty", "What is kept of the original"
Uncertainty = Annotated[
    str | None,
    typer.Option(
        metavar="MAP.png",
        help="Write the standard deviation of the samples: white at a quarter of the range from black to white.",
        rich_help_panel=_UNCERTAINTY,
    ),
]
Invented = Annotated[
    str | None,
    typer.Option(
        metavar="GOLD.png",
        help="Write the result with white gold where no measurement supports it.",
        rich_help_panel=_UNCERTAINTY,
    ),
]
Calibrated = Annotated[
    bool,
    typer.Option(
        "--calibrated",
        help="Scale --uncertainty by what the model's file knows of held-out pictures; see 'kintsugi calibrate'.",
        rich_help_panel=_UNCERTAINTY,
    ),
]
Strength = Annotated[
    str | None,
    typer.Option(
        metavar="NUMBER|MASK",
        help="How strongly to restore: 0 to 1, or a picture, black where the input stays, white where it is mended.",
        rich_help_panel=_CONTROL,
    ),
]
Blend = Annotated[float, typer.Option(help="The share of the input in the result, 0 to 1.", rich_help_panel=_CONTROL)]
KeepGrain = Annotated[
    float,
    typer.Option(help="Add fresh grain up to this share of the original's, 0 to 1.", rich_help_panel=_CONTROL),
]
KeepSurface = Annotated[
    float,
    typer.Option(
        help="Keep this share of the original's own surface, 0 to 1: film grain, canvas, paper.",
        rich_help_panel=_CONTROL,
    ),
]


def input_path(text: str) -> Path:
    """The file that ``text`` names; ``example:NAME`` is a bundled one."""
    if text.startswith("example:"):
        from .. import data_path

        return Path(data_path(text.removeprefix("example:")))
    return Path(text)


def task_settings(
    *,
    size: tuple[int, int],
    factor: int,
    mask: str | None,
    kernel: str | None,
    noise: str | None,
    boundary: BoundaryName,
    quality: int | None,
    bits: int | None,
    gain: float,
    fade: float | None = None,
    compressed: Path | None = None,
) -> Settings:
    """The words of the command line as :class:`Settings`; ``size`` (height, width) is what a mask must have.

    ``compressed``: the file whose own header states how it was compressed, where no quality is given.
    """
    from ..images import Fading, read_compression, read_mask
    from ..tasks import Settings

    return Settings(
        factor=factor,
        mask=None if mask is None else read_mask(input_path(mask), size),
        kernel=None if kernel is None else parse_kernel(kernel),
        noise=parse_noise(noise),
        boundary=boundary,
        quality=quality,
        compression=None if compressed is None or quality is not None else read_compression(compressed),
        bits=bits,
        gain=gain,
        fading=None if fade is None else Fading.by(fade),
    )


def parse_kernel(text: str) -> Tensor:
    """A kernel from ``gaussian:SIGMA``, ``uniform:SIZE``, ``motion:LENGTH[:ANGLE]`` or a picture or .npy file.

    Lengths are in pixels (at most 500, a sigma 125), the angle in degrees: 0 horizontal, 90 upwards. Errors:
    :class:`InvalidArgument` for ``kernel``, :class:`InvalidFile` for a file.
    """
    from ..operators import gaussian_kernel, load_kernel, motion_kernel, uniform_kernel

    kinds: dict[str, tuple[Callable[..., Tensor], tuple[int, ...]]] = {
        "gaussian": (gaussian_kernel, (1,)),
        "uniform": (lambda size: uniform_kernel(int(size)), (1,)),
        "motion": (motion_kernel, (1, 2)),
    }
    kind, *words = text.split(":")
    if kind not in kinds:
        return load_kernel(input_path(text))
    make, counts = kinds[kind]
    expected = "gaussian:SIGMA up to 125, uniform:SIZE, motion:LENGTH[:ANGLE] up to 500, or a picture file"
    try:
        numbers = [float(word) for word in words]
        whole = kind != "uniform" or all(number.is_integer() for number in numbers)
        longest = 125 if kind == "gaussian" else 500  # a Gaussian of 125 is cut at 500 pixels on both sides
        if len(numbers) not in counts or not 0 < numbers[0] <= longest or not whole:
            raise InvalidArgument("kernel", text, expected)
        return make(*numbers)
    except ValueError as error:  # not numbers, or numbers the kernel refuses
        raise InvalidArgument("kernel", text, expected) from error


def parse_noise(text: str | None) -> float | Literal["auto"] | None:
    """A number, ``auto`` or nothing."""
    if text is None or text == "auto":
        return None if text is None else "auto"
    try:
        return float(text)
    except ValueError:
        raise InvalidArgument("noise", text, "a number from 0 to 1, or auto") from None


def parse_assignments(pairs: Sequence[str], option: str = "set") -> dict[str, Any]:
    """``key=value`` words of ``option`` as a dictionary; values are Python literals where they can be, else text."""
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise InvalidArgument(option, pair, "NAME=VALUE")
        try:
            settings[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            settings[key] = {"true": True, "false": False}.get(value.lower(), value)
    return settings


def cluster(
    engine: str, workers: int | None, address: str | None, cpus: int, gpus: float | None, device: str
) -> Cluster | None:
    """The cluster of the options, None for processes. Errors: :class:`InvalidArgument`."""
    if engine != "ray":
        if address is not None:
            raise InvalidArgument("address", address, "none without --engine ray")
        return None
    from ..work import Cluster

    if gpus is None:
        gpus = 1.0 if device.startswith("cuda") else 0.0
    return Cluster(workers=workers, address=address, cpus=cpus, gpus=gpus)


def refuse_overwriting(inputs: Iterable[Path | str | None], outputs: Iterable[Path]) -> None:
    """An output that is one of the inputs would destroy it: :class:`InvalidArgument` for ``output``."""
    existing = [Path(path) for path in inputs if path is not None and Path(path).exists()]
    for output in outputs:
        if output.exists() and any(output.samefile(path) for path in existing):
            raise InvalidArgument("output", output, "another file than the input")


def say(*lines: str) -> None:
    """Remarks on stderr, so that stdout holds only results."""
    import sys

    for line in lines:
        print("note:", one_line(line, 1000), file=sys.stderr)
