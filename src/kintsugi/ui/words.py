"""The command line and the Python that do what the page did, and errors in plain words."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from ..errors import InvalidArgument, InvalidFile, KintsugiError, one_line

if TYPE_CHECKING:
    from ..cli.picture import Recipe

LONGEST = 400  # characters of a message
# Arguments as the page calls them.
NAMES = {
    "wrong": "what is wrong", "factor": "the enlargement", "kernel": "the blur", "width": "the width of the blur",
    "angle": "the angle of the blur", "noise": "the strength of the noise", "quality": "the JPEG quality",
    "texture": "the texture dial", "samples": "the number of samples", "steps": "the number of steps",
    "seed": "the seed", "prior": "the model", "mask": "the mask", "input": "the picture", "output": "the result",
    "operator": "the size of the picture",
}  # fmt: skip
BROKEN = "Something broke on the server, which should not happen. Its log says more; other pictures may still work."


def file_name(given: str | None, standard: str = "picture.png") -> str:
    """The name of an upload as it may be shown and put into a command: no folder, no sign that a shell would read."""
    name = re.split(r"[/\\]", given or "")[-1]
    name = re.sub(r"[^\w.\- ]", "_", name).lstrip(".- ").strip()[-80:]
    return name if re.search(r"\.\w{1,5}$", name) else standard


def beside(name: str, word: str) -> str:
    """``photo.png`` and ``mask`` to ``photo-mask.png``; an example keeps its name."""
    stem = name.removeprefix("example:")
    return f"{re.sub(r'[.][^.]*$', '', stem)}-{word}.png"


def changed(recipe: Recipe) -> dict[str, Any]:
    """The options of a recipe that are not the command's defaults, the task aside."""
    return {
        f.name: getattr(recipe, f.name)
        for f in fields(recipe)
        if f.name != "task" and getattr(recipe, f.name) != f.default
    }


def command(recipe: Recipe, name: str) -> str:
    """The command line for the picture ``name``; its mask lies beside it."""
    words = ["kintsugi", "restore", name, "-o", beside(name, "restored"), "--task", recipe.task]
    for option, value in changed(recipe).items():
        words += ["--" + option.replace("_", "-"), beside(name, "mask") if option == "mask" else str(value)]
    return shlex.join(words)


def python(recipe: Recipe, name: str) -> str:
    """The same as a program."""
    given = changed(recipe)
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
    if "texture" in given:
        drawn.append(f"texture={recipe.texture}")
    example = name.startswith("example:")
    source = f"kintsugi.data_path({name.removeprefix('example:')!r})" if example else repr(name)
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
            f"source = {source}",
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


def plain(error: BaseException, files: Mapping[str, str]) -> str:
    """What the visitor is told. ``files``: paths of the server, and what the visitor knows them as.

    An error that is not the visitor's says nothing of itself.
    """
    if isinstance(error, InvalidFile):
        text = f"{error.path}: {error.problem}"
    elif isinstance(error, InvalidArgument):
        if error.name == "mask" and error.got is None:
            return "Paint over the holes first, or choose a mask file."
        if error.name == "quality" and error.got is None:
            return "Only a JPEG file states how it was compressed. Give the quality: 75 is usual, 30 is strong."
        text = f"{NAMES.get(error.name, error.name)}: expected {error.expected}, got {error.got}"
    elif isinstance(error, MemoryError):
        return "The picture is too large for the memory of this machine. Try a smaller one."
    elif isinstance(error, KintsugiError | FloatingPointError):
        text = str(error)
    else:
        return BROKEN
    for path in sorted(files, key=len, reverse=True):
        text = text.replace(path, files[path])
    text = one_line(text, LONGEST)
    return text[:1].upper() + text[1:]
