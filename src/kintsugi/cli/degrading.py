"""``kintsugi degrade`` of a sound."""

from __future__ import annotations

from pathlib import Path

from ..errors import InvalidArgument
from ..files import atomic_path
from ..sounds.gaps import read_gaps
from ..sounds.reading import read_sound
from ..sounds.simulating import gaps_text, random_gaps, simulate_sound
from ..sounds.tasks import SoundSettings
from ..sounds.writing import check_sound_output, stored_as, write_sound
from . import options
from .sound import read_response


def degrade_sound(
    source: Path,
    output: Path,
    task: str,
    *,
    mask: str | None,
    missing: float | None,
    mask_out: Path | None,
    kernel: str | None,
    noise: str | None,
    level: float | None,
    frequency: float | None,
    factor: int | None,
    bits: int | None,
    second: str | None,
    seed: int,
) -> None:
    """Read, degrade and write a sound, and the list of gaps that were made at random."""
    output = check_sound_output(output)
    makes = task == "gap" and mask is None
    if task == "gap" and (mask is None) == (missing is None):
        raise InvalidArgument("mask", "none or several of them", "one of --mask and --missing SHARE")
    gaps_file = (mask_out or output.with_name(f"{output.stem}-gaps.txt")) if makes else None
    outputs = [output] if gaps_file is None else [output, gaps_file]
    options.refuse_overwriting([source, mask, kernel, second], outputs)
    sound = read_sound(source)
    length = sound.samples.shape[-1]
    gaps = None
    if mask is not None:
        gaps = read_gaps(mask, sound.rate, length)
    elif task == "gap" and missing is not None:
        gaps = random_gaps(length, sound.rate, missing, seed + 1_000_003)
    words = SoundSettings(
        factor=2 if factor is None else factor,
        gaps=gaps,
        response=None if kernel is None else read_response(kernel, sound.rate),
        noise=options.parse_noise(noise),
        level=level,
        frequency=frequency,
        bits=8 if bits is None else bits,
    )
    degraded = simulate_sound(task, sound, words, seed, None if second is None else read_sound(second))
    if gaps_file is not None and gaps is not None:
        with atomic_path(gaps_file) as temporary:
            temporary.write_text(gaps_text(gaps, sound.rate), encoding="utf-8")
        print(f"{gaps_file}: the gaps, start:end in seconds")
    peak = float(degraded.samples.abs().max())
    if peak > 1:
        options.say(f"{output}: peaks of {peak:.3g} are clipped at full scale")
    write_sound(output, degraded.samples, degraded.rate, stored_as(degraded.subtype))
    print(f"{output}: {degraded.samples.shape[-1] / degraded.rate:.2f} s at {degraded.rate} Hz")
