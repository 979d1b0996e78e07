"""The command line and the Python that do what the page did, and errors in plain words."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InvalidArgument, InvalidFile, KintsugiError, one_line

if TYPE_CHECKING:
    from ..cli.picture import Recipe
    from .asked import Craft

LONGEST = 400  # characters of a message
# Arguments as the page calls them: of both, and where those of sounds have other names.
NAMES = {
    "wrong": "what is wrong", "factor": "the enlargement", "kernel": "the blur", "width": "the width of the blur",
    "angle": "the angle of the blur", "noise": "the strength of the noise", "quality": "the JPEG quality",
    "texture": "the texture dial", "samples": "the number of samples", "steps": "the number of steps",
    "seed": "the seed", "prior": "the model", "mask": "the mask", "input": "the file", "output": "the result",
    "operator": "the size of the picture", "level": "the level", "frequency": "the frequency", "bits": "the bits",
}  # fmt: skip
SOUND_NAMES = {"factor": "the factor", "mask": "where it is missing", "gaps": "where it is missing"}
THINGS: Mapping[Craft, str] = {"pictures": "picture", "sounds": "sound"}
# What is said where nothing was given and nothing found.
NOTHING: Mapping[tuple[Craft, str], str] = {
    ("pictures", "mask"): "Paint over the holes first, or choose a mask file.",
    ("pictures", "quality"):
        "Only a JPEG file states how it was compressed. Give the quality: 75 is usual, 30 is strong.",
    ("sounds", "mask"): "This sound is nowhere exactly silent for a millisecond. Say where it is missing: 1.25:1.27.",
    ("sounds", "level"): "This sound has no flat tops from which to find the level. Give it.",
    ("sounds", "frequency"): "No hum stands out in this sound. Give its frequency: 50 or 60 Hz.",
}  # fmt: skip
BROKEN = "Something broke on the server, which should not happen. Its log says more; other files may still work."


def file_name(given: str | None, standard: str = "picture.png") -> str:
    """The name of an upload as it may be shown and put into a command: no folder, no sign that a shell would read."""
    name = re.split(r"[/\\]", given or "")[-1]
    name = re.sub(r"[^\w.\- ]", "_", name).lstrip(".- ").strip()[-80:]
    return name if re.search(r"\.\w{1,5}$", name) else standard


def beside(name: str, word: str, suffix: str = ".png") -> str:
    """``photo.png`` and ``mask`` to ``photo-mask.png``; an example keeps its name."""
    stem = name.removeprefix("example:")
    return f"{re.sub(r'[.][^.]*$', '', stem)}-{word}{suffix}"


def file_in_python(name: str, data_path: str) -> str:
    """The file ``name`` in a program; of an example it is found by ``data_path``."""
    example = name.removeprefix("example:")
    return repr(name) if example == name else f"{data_path}({example!r})"


def command(recipe: Recipe, name: str, suffix: str = ".png") -> str:
    """The command line for the file ``name``; the mask of a picture lies beside it. ``suffix``: of the result."""
    from ..cli.crafts import craft_of

    out = beside(name, "restored", suffix)
    words = ["kintsugi", "restore", name, "-o", out, "--task", recipe.task]
    craft = craft_of(Path(out), recipe.task)
    defaults: dict[str, Any] = {f.name: f.default for f in fields(recipe)}
    defaults |= {"task": recipe.task, "factor": craft.factor, "prior": craft.prior}
    for option, standard in defaults.items():
        value = getattr(recipe, option)
        if value == standard:
            continue
        words.append("--" + option.replace("_", "-"))
        if value is not True:
            words.append(beside(name, "mask") if option == "mask" and craft.what == "pictures" else str(value))
    return shlex.join(words)


def python(recipe: Recipe, name: str) -> str:
    """The same as a program."""
    settings = [f"factor={recipe.factor}"] if recipe.task == "sr" else []
    imports = ["read_picture", "write_picture"]
    if recipe.mask is not None:
        settings.append(f"mask=read_mask({beside(name, 'mask')!r}, (picture.height, picture.width))")
        imports.append("read_mask")
    if recipe.kernel is not None:
        settings.append(f"kernel={_kernel(recipe.kernel)}")
    if recipe.noise is not None:
        settings.append(f"noise={recipe.noise if recipe.noise != 'auto' else repr('auto')}")
    if recipe.task == "jpeg":
        if recipe.quality is None:
            imports.append("read_compression")
        settings.append(
            "compression=read_compression(source)" if recipe.quality is None else f"quality={recipe.quality}"
        )
    drawn = [f"steps={recipe.steps}", f"samples={recipe.samples}", f"seed={recipe.seed}"]
    if recipe.texture is not None:
        drawn.append(f"texture={recipe.texture}")
    kernel = [f"from kintsugi.operators import {_kernel(recipe.kernel).split('(')[0]}"] if recipe.kernel else []
    out = beside(name, "restored")
    tail = [f"write_picture(prepared.finish(result.samples[0, 0]), {out!r})"]
    if recipe.samples > 1:
        each = out.removesuffix(".png") + "-sample{i}.png"
        tail = ["for i, x in enumerate(result.samples[0], 1):", f'    write_picture(prepared.finish(x), f"{each}")']
    return "\n".join(
        [
            "import kintsugi",
            f"from kintsugi.images import {', '.join(sorted(imports))}",
            *kernel,
            "from kintsugi.tasks import Settings, prepare",
            "",
            f"source = {file_in_python(name, 'kintsugi.data_path')}",
            "picture = read_picture(source)",
            f"prepared = prepare({recipe.task!r}, picture, Settings({', '.join(settings)}))",
            f"result = kintsugi.restore(prepared.problem, {recipe.prior!r}, {', '.join(drawn)})",
            *tail,
            "",
        ]
    )


def _kernel(text: str) -> str:
    kind, *numbers = text.split(":")
    return f"{kind}_kernel({', '.join(numbers)})"


def sound_python(recipe: Recipe, name: str) -> str:
    """The same as a program, of a sound."""
    settings = []
    if recipe.task == "bandwidth":
        settings.append(f"factor={recipe.factor}")
    if recipe.mask is not None:
        settings.append(f"gaps=read_gaps({recipe.mask!r}, sound.rate, sound.samples.shape[-1])")
    given = [recipe.noise and f"noise={recipe.noise}", recipe.bits and f"bits={recipe.bits}"]
    given += [f"{key}={value}" for key in ("level", "frequency") if (value := getattr(recipe, key)) is not None]
    settings += [each for each in given if each]
    drawn = [f"steps={recipe.steps}", f"samples={recipe.samples}", f"seed={recipe.seed}"]
    if recipe.texture is not None:
        drawn.append(f"texture={recipe.texture}")
    out = beside(name, "restored", ".wav")
    write = "write_sound({}, restored.samples, restored.rate, stored_as(sound.subtype))"
    tail = ["(restored,), _ = prepared.finish(x[0])", write.format(repr(out))]
    if recipe.samples > 1:
        each = out.removesuffix(".wav") + "-sample{i}.wav"
        tail = ["for i, each in enumerate(x, 1):", "    (restored,), _ = prepared.finish(each)"]
        tail.append("    " + write.format(f'f"{each}"'))
    return "\n".join(
        [
            f"from kintsugi import {'data_path, ' if name.startswith('example:') else ''}load_prior",
            "from kintsugi.sounds import read_sound, write_sound",
            *(["from kintsugi.sounds.gaps import read_gaps"] if recipe.mask is not None else []),
            "from kintsugi.sounds.restoring import restore_sound",
            "from kintsugi.sounds.tasks import SoundSettings, prepare_sound",
            "from kintsugi.sounds.writing import stored_as",
            "",
            f"sound = read_sound({file_in_python(name, 'data_path')})",
            f"prepared = prepare_sound({recipe.task!r}, sound, SoundSettings({', '.join(settings)}))",
            f"x, cost, notes = restore_sound(prepared, load_prior({recipe.prior!r}), {', '.join(drawn)})",
            *tail,
            "",
        ]
    )


def plain(error: BaseException, files: Mapping[str, str], craft: Craft = "pictures") -> str:
    """What the visitor is told. ``files``: paths of the server, and what the visitor knows them as.

    An error that is not the visitor's says nothing of itself.
    """
    if isinstance(error, InvalidFile):
        text = f"{error.path}: {error.problem}"
    elif isinstance(error, InvalidArgument):
        if error.got is None and (craft, error.name) in NOTHING:
            return NOTHING[craft, error.name]
        names = {**NAMES, **(SOUND_NAMES if craft == "sounds" else {})}
        text = f"{names.get(error.name, error.name)}: expected {error.expected}, got {error.got}"
    elif isinstance(error, MemoryError):
        return f"The {THINGS[craft]} is too large for the memory of this machine. Try a smaller one."
    elif isinstance(error, KintsugiError | FloatingPointError):
        text = str(error)
    else:
        return BROKEN
    for path in sorted(files, key=len, reverse=True):
        text = text.replace(path, files[path])
    text = one_line(text, LONGEST)
    return text[:1].upper() + text[1:]
