"""What is done to the files of a folder, pictures or sounds: how they are found, checked, restored and named."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InvalidArgument, InvalidFile
from ..samplers import Sampler
from ..sounds.reading import SUFFIXES as SOUND_SUFFIXES
from .manifest import Results
from .picture import Recipe


@dataclass(frozen=True)
class Craft:
    """``what`` it works on. ``factor``, ``prior``: the defaults of these options.

    ``suffixes``: of the files it reads; ``formats``: of those it writes. ``find(folder)``: all files that it may read.
    ``rehearse(recipe)``: finds what is wrong with a recipe whatever the file is.
    ``make_ready(source, output, recipe)``: reads and checks a file, and
    ``restore_ready(ready, recipe, model, method, device, progress)`` restores it and writes the files of
    ``name_files(output, recipe)``.
    """

    what: str
    factor: int
    prior: str
    suffixes: Collection[str]
    formats: Collection[str]
    find: Callable[[Path], Sequence[Path]]
    rehearse: Callable[[Recipe], None]
    name_files: Callable[[Path, Recipe], Results]
    make_model: Callable[[Recipe], Any]
    make_method: Callable[[Recipe], Sampler]
    make_ready: Callable[[Path, Path, Recipe], Any]
    restore_ready: Callable[..., Any]
    on_ray: bool = False


def craft_of(source: Path, task: str) -> Craft:
    """That of a file by its name, of a folder by the task, and where both have it by what the folder holds.

    Errors: :class:`InvalidArgument` for ``task`` where it is none of the file's kind.
    """
    from ..tasks import TASKS

    sounds = source.suffix.lower() in SOUND_SUFFIXES
    if source.is_dir():
        sounds = task not in TASKS or (task == "denoise" and _only_sounds(source))
    craft = _sounds() if sounds else _pictures()
    if not sounds and task not in TASKS:
        raise InvalidArgument("task", task, f"for pictures one of {', '.join(TASKS)}; {task} is for sounds")
    return craft


def _only_sounds(folder: Path) -> bool:
    from ..sounds.reading import find_sounds
    from ..training.data import find_images

    return _finds(find_sounds, folder) and not _finds(find_images, folder)


def _finds(find: Callable[[Path], Sequence[Path]], folder: Path) -> bool:
    try:
        return bool(find(folder))
    except InvalidFile:
        return False


def _pictures() -> Craft:
    from ..images.writing import FORMATS
    from ..training.data import SUFFIXES, find_images
    from . import outputs, picture
    from .rehearsing import rehearse

    def name_files(target: Path, recipe: Recipe) -> outputs.Files:
        return outputs.name_files(target, recipe.samples, recipe.compare)

    return Craft(
        "pictures", 4, "photo", SUFFIXES, FORMATS, find_images, rehearse, name_files, picture.make_model,
        picture.make_method, picture.make_ready, picture.restore_ready, on_ray=True,
    )  # fmt: skip


def _sounds() -> Craft:
    from ..sounds.reading import find_sounds
    from ..sounds.writing import FORMATS
    from . import sound

    return Craft(
        "sounds", 2, "sound", SOUND_SUFFIXES, FORMATS, find_sounds, sound.check_recipe, sound.name_files,
        sound.make_models, sound.make_method, sound.make_ready, sound.restore_ready,
    )  # fmt: skip
