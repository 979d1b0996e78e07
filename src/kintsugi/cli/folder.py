"""``kintsugi restore`` of a folder: every picture or sound in it, whatever happens to one of them.

What is finished is not done again, unless the picture has changed; what failed is, when the command is run again.
Processes divide the pictures by their locks, and Ray's workers are sent them (:mod:`.cluster`).
"""

from __future__ import annotations

import errno
import os
import sys
import time
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ..errors import InvalidArgument, InvalidFile, Unfinished, one_line
from ..interrupt import interrupted
from ..memory import wall
from ..priors.carried import model_digest, model_files
from ..samplers import Sampler
from ..work import Cluster, launched, run_processes, worker_device
from ..work.on_ray import reason_of
from . import options
from .crafts import Craft, craft_of
from .manifest import STATE, Entry, Manifest, stamp
from .picture import Recipe, find_device, told
from .progress import LONGEST, Teller

FULL = {errno.ENOSPC, errno.EROFS, errno.EDQUOT}  # every picture that follows would fail in the same way
FILES = ("mask", "kernel", "preset", "strength", "second_prior")  # options that may be files
SHOWN = 20  # failures that are told one by one at the end


@dataclass(frozen=True)
class Wanted:
    """A folder to restore: where to, how, and by whom. ``suffix``: of the results, None for that of each picture."""

    source: Path
    output: Path
    recipe: Recipe
    suffix: str | None = None
    device: str = "auto"
    workers: int = 1
    cluster: Cluster | None = None

    @cached_property
    def craft(self) -> Craft:
        """What is done to its files."""
        return craft_of(self.source, self.recipe.task)

    def arguments(self, worker: int) -> list[str]:
        """The command of the ``worker``-th process."""
        suffix = [] if self.suffix is None else [f"--suffix={self.suffix}"]
        device = f"--device={worker_device(self.device, worker)}"
        own = [f"--output={self.output}", *suffix, device, "--as-worker", *self.recipe.arguments()]
        return ["restore", *own, "--", str(self.source)]


def restore_folder(wanted: Wanted, as_worker: bool = False) -> int:
    """Restore what is not finished; how many pictures failed. What the command line prints is printed.

    ``as_worker``: be one of the processes that divide the pictures: what failed is not tried again here.

    Errors, before any picture is touched: :class:`InvalidArgument` and :class:`InvalidFile` for what is wrong whatever
    the picture is.
    """
    entries, craft = find_entries(wanted), wanted.craft
    if wanted.cluster is not None and not craft.on_ray:
        raise InvalidArgument("engine", "ray", f"processes: {craft.what} are not restored on Ray")
    craft.rehearse(wanted.recipe)
    method = craft.make_method(wanted.recipe)
    device = find_device(wanted.device if wanted.cluster is None else "cpu")  # Ray's workers have their own
    manifest = Manifest(wanted.output, _settings(wanted))
    if not as_worker:
        manifest.forget_failures()
    own = None if as_worker or wanted.cluster is not None else launched(wanted.device)
    left = [entry for entry in entries if not manifest.finished(entry)]
    manifest.claims.forget({entry.id for entry in entries} - {entry.id for entry in left})
    left.sort(key=lambda entry: manifest.claims.died(entry.id))
    with Teller(len(entries), len(entries) - len(left), alone=not as_worker and own is None) as teller:
        if not left:
            pass
        elif wanted.cluster is not None:
            from .cluster import restore_on_cluster

            restore_on_cluster(left, manifest, wanted, teller)
        elif own is not None:
            _restore_here(left, manifest, wanted, method, find_device(own), teller, stay=True)
        elif wanted.workers > 1:
            _restore_by_workers(left, manifest, wanted, teller)
        else:
            _restore_here(left, manifest, wanted, method, device, teller)
    if as_worker:
        return 0
    return _tell_end(entries, len(entries) - len(left), manifest, wanted.output, craft.what)


def _restore_here(
    left: Sequence[Entry],
    manifest: Manifest,
    wanted: Wanted,
    method: Sampler,
    device: torch.device,
    teller: Teller,
    stay: bool = False,
) -> None:
    """``stay``: until all are done, also those that others are at, in case they are lost."""
    model: Any = None
    while left:
        for entry in left:
            with manifest.claim(entry) as ours:
                if ours:
                    model = model or wanted.craft.make_model(wanted.recipe)
                    _restore_entry(entry, manifest, wanted, model, method, device, teller)
        left = [e for e in left if not (manifest.failed(e) or manifest.finished(e))] if stay else []
        if left:
            time.sleep(1)


def _restore_entry(
    entry: Entry,
    manifest: Manifest,
    wanted: Wanted,
    model: Any,
    method: Sampler,
    device: torch.device,
    teller: Teller,
) -> None:
    try:
        inputs = [stamp(path) for path in entry.inputs]
        entry.files.first.parent.mkdir(parents=True, exist_ok=True)
        craft, recipe = wanted.craft, for_entry(wanted.recipe, entry)
        with wall(recipe.max_memory, device):
            ready = craft.make_ready(entry.source, entry.files.first, recipe)
            teller.note(*ready.notes)
            cost, notes = craft.restore_ready(ready, recipe, model, method, device, None)
        teller.note(*(f"{entry.name}: {note}" for note in notes))
    except Exception as error:  # the others are not to be lost for it, whatever it is
        if isinstance(error, OSError) and error.errno in FULL:
            raise
        if interrupted():
            raise KeyboardInterrupt from error
        reason = reason_of(error)
        manifest.write_failed(entry, reason, traceback.format_exc())
        teller.failed(f"{entry.name}: {reason}")
        return
    manifest.write_done(entry, inputs, asdict(cost))
    teller.done(f"{entry.name}: {told(cost, device)}")


def _restore_by_workers(left: Sequence[Entry], manifest: Manifest, wanted: Wanted, teller: Teller) -> None:
    looked, already = time.monotonic(), manifest.count()
    before = already - sum(manifest.finished(entry) or manifest.failed(entry) for entry in left)

    def watch() -> None:
        nonlocal looked
        if time.monotonic() - looked > 1:  # to count files takes a moment where there are many
            looked = time.monotonic()
            teller.at(manifest.count() - before)

    def count_left() -> int:
        return sum(not (manifest.failed(entry) or manifest.finished(entry)) for entry in left)

    try:
        run_processes(wanted.arguments, wanted.workers, left=count_left, watch=watch, silent=teller.shows_bar)
    except Unfinished:
        lost = [entry for entry in left if not (manifest.failed(entry) or manifest.finished(entry))]
        if not all(manifest.claims.died(entry.id) for entry in lost):
            raise
        for entry in lost:
            manifest.write_failed(entry, "every process that was at it died, perhaps for lack of memory")


def find_entries(wanted: Wanted) -> list[Entry]:
    """The pictures below the folder, by name, with the files that each becomes.

    Errors: :class:`InvalidArgument` for folders that hold one another, for a suffix that cannot be written, and for two
    pictures that would become one file; :class:`InvalidFile` where there is no picture.
    """
    source, output, recipe, suffix = wanted.source, wanted.output, wanted.recipe, wanted.suffix
    inside, outside = _real(source), _real(output)
    if inside in (outside, *outside.parents) or outside in inside.parents:
        raise InvalidArgument("output", output, f"a folder apart from {source}, neither in it nor around it")
    if output.exists() and not output.is_dir():
        raise InvalidArgument("output", output, "a folder, as the input is one")
    craft = wanted.craft
    if suffix is not None and suffix.lower() not in craft.formats:
        raise InvalidArgument("suffix", suffix, f"one of {', '.join(craft.formats)}")
    paths = [path for path in craft.find(source) if path.suffix.lower() in craft.suffixes]
    if not paths:
        raise InvalidFile(source, f"no {craft.what} in it ({', '.join(sorted(craft.suffixes))})")
    masks = _masks(recipe.mask)
    entries, owners = [], dict[Path, str]()
    for path in paths:
        relative = path.relative_to(source)
        target = output / (relative if suffix is None else relative.with_suffix(suffix))
        mask = None if masks is None else _mask(masks, relative, craft.suffixes)
        entry = Entry(relative.as_posix(), path, mask, craft.name_files(target, recipe))
        for file in {entry.files.first, *entry.files.all}:
            other = owners.setdefault(file, entry.name)
            if other != entry.name:
                raise InvalidArgument("output", file, f"another result for {other} than for {entry.name}")
        entries.append(entry)
    state = [output / STATE, *(output / STATE / name for name in ("done", "failed", "locks"))]
    for folder in sorted({*state, *(file.parent for file in owners)}):
        if outside not in (_real(folder), *_real(folder).parents):
            raise InvalidFile(folder, f"leads out of {output} by a symbolic link: nothing is written there")
    return entries


def _real(path: Path) -> Path:
    """Where it is behind all symbolic links, which may form a ring."""
    return Path(os.path.realpath(path))


def for_entry(recipe: Recipe, entry: Entry) -> Recipe:
    """The recipe with the picture's own mask, if it has one."""
    return recipe if entry.mask is None else replace(recipe, mask=str(entry.mask))


def _masks(mask: str | None) -> Path | None:
    """The folder of masks, if it is one."""
    return Path(mask) if mask is not None and Path(mask).is_dir() else None


def _mask(folder: Path, relative: Path, suffixes: Iterable[str]) -> Path:
    """The mask of a file: of its name, or of its name with another suffix. One that is not there is found later."""
    names = [relative, *(relative.with_suffix(suffix) for suffix in (*sorted(suffixes), ".txt"))]
    return next((folder / name for name in names if (folder / name).is_file()), folder / relative)


def _settings(wanted: Wanted) -> dict[str, Any]:
    """Everything that decides the results but the pictures; files by what they hold, wherever they are."""
    recipe = wanted.recipe
    settings: dict[str, Any] = {**asdict(recipe), "suffix": wanted.suffix}
    del settings["max_memory"]  # in smaller parts it is the same picture
    if model_files(recipe.prior):
        settings["prior"] = f"a file, {model_digest(recipe.prior)}"
    for name in FILES:
        given = getattr(recipe, name)
        if given is not None and options.input_path(given).is_dir():
            settings[name] = "a folder"
        elif given is not None and options.input_path(given).is_file():
            settings[name] = f"a file, {stamp(options.input_path(given))['sha256'][:16]}"
    return settings


def _tell_end(entries: Sequence[Entry], before: int, manifest: Manifest, output: Path, what: str) -> int:
    """The last lines, and how many pictures failed."""
    failures = manifest.failures()
    finished = sum(manifest.finished(entry) for entry in entries)
    others = len(entries) - finished - len(failures)
    words = [f"{len(entries)} {what}", f"{finished - before} restored", f"{before} already there"]
    print(f"{output}: {', '.join(words)}, {len(failures)} failed" + (f", {others} left to others" if others else ""))
    by_reason: dict[str, list[str]] = {}
    for name, reason in failures.items():
        by_reason.setdefault(reason, []).append(name)
    for reason, names in list(by_reason.items())[:SHOWN]:
        which = names[0] if len(names) == 1 else f"{len(names)} {what}, {names[0]} the first"
        print(one_line(f"failed: {which}: {reason}", LONGEST), file=sys.stderr)
    if len(by_reason) > SHOWN:
        print(f"failed: {len(by_reason) - SHOWN} reasons more, in {output / STATE / 'failed'}", file=sys.stderr)
    return len(failures)
