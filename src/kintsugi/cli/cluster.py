"""``kintsugi restore`` of a folder on Ray: the pictures go to the workers, and their files come back.

The workers need nothing but the package: pictures, masks, the kernel and the files of the model go to them through Ray.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import InvalidArgument, InvalidFile, KintsugiError
from ..files import atomic_path
from ..memory import wall
from ..priors import Prior
from ..priors.carried import Carried, carry
from ..training.data import image_size
from ..work import Cluster, make_units, run_on_ray, target_cost
from ..work.on_ray import reason_of
from .folder import FILES, FULL, Wanted, for_entry
from .manifest import Entry, Manifest, read_input, stamp
from .options import input_path
from .picture import Recipe, find_device, make_method, make_model, make_ready, restore_ready, told
from .progress import Teller

GUESS = 16  # workers of a cluster whose size is not known: only the size of units follows from it
MOST = 8  # pictures in a unit, all of which are in memory at once


def restore_on_cluster(left: Sequence[Entry], manifest: Manifest, wanted: Wanted, teller: Teller) -> None:
    """Restore the pictures ``left``. Errors: :class:`InvalidArgument` for the device and the cluster."""
    if wanted.device not in ("auto", "cpu", "cuda"):
        raise InvalidArgument("device", wanted.device, "auto, cpu or cuda: Ray decides which GPU a worker has")
    cluster = wanted.cluster or Cluster()
    make_model(wanted.recipe)  # one that cannot be read is found here, and not by every worker
    device = "cuda" if wanted.device == "cuda" or (wanted.device == "auto" and cluster.gpus) else "cpu"
    costs = {entry.name: _pixels(entry.source) for entry in left}
    target = target_cost(sum(costs.values()), cluster.workers or GUESS, float("inf"))
    units = make_units(left, key=lambda entry: ("",), cost=lambda entry: costs[entry.name], target=target, most=MOST)
    with PicturesJob(manifest, wanted.recipe, device, teller) as job:
        run_on_ray(units, job, cluster)


def _pixels(path: Path) -> float:
    """What a picture costs; nothing if it cannot be read, which is told when it is its turn."""
    try:
        width, height = image_size(path)
    except (KintsugiError, OSError):
        return 0.0
    return float(width * height)


@dataclass(frozen=True)
class Shared:
    """What every picture needs. ``files``: names and contents of options that are files."""

    recipe: Recipe
    model: Carried
    files: Mapping[str, tuple[str, bytes]]
    device: str


@dataclass(frozen=True)
class Given:
    """What one picture needs: names and contents of its file and of its mask."""

    source: tuple[str, bytes]
    mask: tuple[str, bytes] | None
    inputs: Sequence[Mapping[str, Any]]


class PicturesJob:
    """Pictures as the work of a cluster."""

    def __init__(self, manifest: Manifest, recipe: Recipe, device: str, teller: Teller) -> None:
        self._manifest, self._recipe, self._device, self._teller = manifest, recipe, device, teller
        self._claims: dict[str, ExitStack] = {}
        self._inputs: dict[str, Sequence[Mapping[str, Any]]] = {}

    def __enter__(self) -> PicturesJob:
        return self

    def __exit__(self, *error: object) -> None:
        for claim in self._claims.values():
            claim.close()

    @property
    def function(self) -> Callable[[Any, Any, Entry], Any]:
        return restore_there

    def shared(self) -> Shared:
        recipe, files = self._recipe, {}
        for option in FILES:
            given = getattr(recipe, option)
            if given is not None and input_path(given).is_file():
                files[option] = _content(input_path(given))
        return Shared(recipe, carry(recipe.prior), files, self._device)

    def take(self, items: Sequence[Entry]) -> tuple[list[Entry], dict[str, Given]]:
        """The pictures that nobody else is at, and what their files hold."""
        given: dict[str, Given] = {}
        for entry in items:
            with ExitStack() as claim:
                if not claim.enter_context(self._manifest.claim(entry)):
                    continue
                try:
                    contents = [_content(path) for path in entry.inputs]
                    pairs = zip(entry.inputs, contents, strict=True)
                    inputs = [stamp(path, content) for path, (_, content) in pairs]
                except InvalidFile as error:
                    self._claims[entry.name] = claim.pop_all()
                    self.failed(entry, reason_of(error), "")
                    continue
                given[entry.name] = Given(contents[0], contents[1] if len(contents) > 1 else None, inputs)
                self._claims[entry.name] = claim.pop_all()
                self._inputs[entry.name] = inputs
        return [entry for entry in items if entry.name in given], given

    def done(self, item: Entry, result: Any) -> None:
        files, notes, cost = result
        self._teller.note(*notes)
        try:
            item.files.first.parent.mkdir(parents=True, exist_ok=True)
            for path in item.files.all:
                with atomic_path(path) as temporary:
                    temporary.write_bytes(files[path.name])
        except OSError as error:
            if error.errno in FULL:
                raise
            self.failed(item, reason_of(error), "")
            return
        self._manifest.write_done(item, self._inputs.pop(item.name), asdict(cost))
        self._claims.pop(item.name).close()
        self._teller.done(f"{item.name}: {told(cost, self._device)}")

    def failed(self, item: Entry, reason: str, trace: str) -> None:
        self._manifest.write_failed(item, reason, trace)
        self._inputs.pop(item.name, None)
        self._claims.pop(item.name).close()
        self._teller.failed(f"{item.name}: {reason}")


def restore_there(shared: Shared, given: Mapping[str, Given], entry: Entry) -> tuple[dict[str, bytes], Any, Any]:
    """A picture, on a worker: the contents of its files by name, notes, and the cost."""
    own = given[entry.name]
    with tempfile.TemporaryDirectory(prefix="kintsugi-") as folder:
        files = {"source": own.source, **shared.files, **({"mask": own.mask} if own.mask else {})}
        places = {option: _write(Path(folder, option), *file) for option, file in files.items()}
        source, target = places.pop("source"), Path(folder, "out", entry.files.first.name)
        target.parent.mkdir()
        here: dict[str, Any] = {option: str(place) for option, place in places.items()}
        recipe = replace(shared.recipe, **here)
        # What is told names the files that the user knows.
        known = {str(source): str(entry.source), str(target): str(entry.files.first)}
        known |= {str(place): getattr(for_entry(shared.recipe, entry), option) for option, place in places.items()}
        try:
            method, device = make_method(recipe), find_device(shared.device)
            model = _model(shared.model, shared.recipe)
            with wall(recipe.max_memory, device):
                ready = make_ready(source, target, recipe)
                cost, more = restore_ready(ready, recipe, model, method, device)
        except KintsugiError as error:
            raise KintsugiError(_renamed(str(error), known)) from error
        notes = [*(_renamed(note, known) for note in ready.notes), *(f"{entry.name}: {note}" for note in more)]
        return {path.name: path.read_bytes() for path in target.parent.iterdir()}, notes, cost


def _renamed(text: str, known: Mapping[str, str]) -> str:
    for here, there in known.items():
        text = text.replace(here, there)
    return text


@lru_cache(maxsize=1)
def _model(carried: Carried, recipe: Recipe) -> Prior:
    """The model, kept by the worker for the pictures that follow."""
    with carried.here() as name:
        return make_model(recipe, name)


def _write(folder: Path, name: str, content: bytes) -> Path:
    folder.mkdir()
    (folder / name).write_bytes(content)
    return folder / name


def _content(path: Path) -> tuple[str, bytes]:
    return path.name, read_input(path)
