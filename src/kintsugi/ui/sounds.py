"""A sound of the page: restored in a folder of its own, with the results beside it.

The files are those of ``kintsugi restore`` with the command that the page shows: ``cli/sound.py`` makes both.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from ..cli import picture, sound
from ..errors import InvalidFile
from ..files import atomic_path
from ..priors.base import Prior
from ..sounds.reading import Sound, read_sound, sound_header
from ..sounds.spectrogram import HEIGHT, WIDTH, highest, plots
from ..sounds.writing import write_sound
from . import words
from .results import Mended, Work, spent
from .steps import Watched

RESULT = "restored.wav"
CHANNELS, RATE = 2, 48_000  # what the limit of seconds is meant for


def check_length(path: Path, seconds: float, factor: int = 1) -> None:
    """Refuse, by its header alone, a sound that is too long as it is or as it will be. Errors: :class:`InvalidFile`."""
    channels, length, rate = sound_header(path)
    if channels > CHANNELS:
        raise InvalidFile(path, f"{channels} channels; this page takes one or two. The command line has no such limit")
    if length > seconds * rate:
        raise InvalidFile(
            path, f"{length / rate:.3g} seconds; this page takes up to {seconds:g}. The command line has no such limit"
        )
    most = round(CHANNELS * RATE * seconds)
    if length * channels * factor > most:
        raise InvalidFile(
            path,
            f"{length * channels * factor} samples of {channels} channels at {rate * factor} Hz; this page takes up to "
            f"{most}. The command line has no such limit",
        )


def mend_sound(work: Work) -> Mended:
    """Restore the sound ``work.source`` into ``work.folder``.

    Errors: those of ``kintsugi restore``; :class:`Stopped` within a step of ``work.stopped()``.
    """
    asked, source, name, folder, report = work.asked, work.source, work.name, work.folder, work.report
    where = picture.find_device(work.device)
    report.stage = "reading the sound"
    check_length(source, work.limits.seconds, asked.factor if asked.wrong == "dull" else 1)
    recipe = asked.recipe(None)
    ready = sound.make_ready(source, folder / RESULT, recipe)
    method = sound.make_method(recipe)
    report.stage, report.total = "mending", recipe.steps

    watched: list[Prior] = [Watched(work.model, work.stopped)]
    cost, notes = sound.restore_ready(ready, recipe, watched, method, where, work.progress)
    report.stage = "writing"
    before = ready.prepared.sound
    samples = ready.files.samples or (ready.files.first,)
    after = [read_sound(path) for path in samples]
    pictures = _draw([before, *after], folder)
    heard = {"before": _play(before, folder / "before.wav")}
    for i, each in enumerate(after, 1):
        heard[f"sample{i}"] = _play(each, folder / f"played{i}.wav")
    saved = {path.name: words.beside(name, path.stem, path.suffix) for path in ready.files.all}
    seconds = before.samples.shape[-1] / before.rate
    top = highest([before, *after]) / 1000
    return Mended(
        width=WIDTH, height=HEIGHT, samples=tuple(path.name for path in samples), files=saved, frames=0,
        command=words.command(recipe, name, ".wav"), python=words.sound_python(recipe, name),
        notes=(*ready.notes, *notes), cost=spent(cost.forwards, cost.seconds),
        shown={"before": pictures[0], "after": pictures[1]}, looks=tuple(pictures[1:]), heard=heard,
        size=f"{seconds:.1f} seconds at {after[0].rate} Hz",
        says=f"Before and after, on either side of the line: {seconds:.3g} seconds from left to right, "
        f"0 to {top:.3g} kHz upwards, loud is bright.",
    )  # fmt: skip


def _draw(sounds: list[Sound], folder: Path) -> list[str]:
    """Their spectrograms, of one range, as ``spectrum0.png``, ``spectrum1.png``, ..."""
    names = []
    for i, plot in enumerate(plots(sounds)):
        names.append(f"spectrum{i}.png")
        with atomic_path(folder / names[-1]) as temporary:
            Image.fromarray(plot).save(temporary)
    return names


def _play(sound: Sound, path: Path) -> str:
    """A copy that every browser plays, whatever the file's own format and depth are."""
    write_sound(path, sound.samples, sound.rate, "PCM_16")
    return path.name
