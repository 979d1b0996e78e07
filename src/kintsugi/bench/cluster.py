"""A run on a cluster: rows are computed by Ray's workers, and kept by the one process that started them.

The workers need nothing but the package: the suite, the pixels of the pictures and the files of models go to them
through Ray. The folder is the same as that of a run in the process, row for row.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..errors import InvalidArgument, Unfinished
from ..metrics.functions import load_function
from ..priors import Prior, load_prior
from ..priors.carried import Carried, carry
from ..work import Cluster, make_units, run_on_ray, target_cost
from .compute import compute
from .measures import read_labels
from .pictures import Held, Pictures
from .run import Say, checked, evaluations, keep, line
from .sets import finish_sets
from .store import Store
from .suite import Row, Suite, rows

GUESS = 16  # workers of a cluster whose size is not known: only the size of units follows from it


def run_on_cluster(
    suite: Suite, folder: Path, cluster: Cluster, *, device: str = "cpu", seconds: float | None = None, say: Say = print
) -> int:
    """Compute what is missing in ``folder`` on Ray; the number of rows that were computed.

    ``seconds``: about how long that takes in one process, if it is known; then no unit of work takes much more than
    ``work.units.LONGEST``.

    Errors: as :func:`.run.run`; :class:`InvalidArgument` for a ``device`` that is one of several, since Ray decides
    which GPU a worker has; :class:`Unfinished` if rows have no result because of anything that is no row of its own.
    """
    if device not in ("cpu", "cuda"):
        raise InvalidArgument("device", device, "cpu or cuda: Ray decides which GPU a worker has")
    pictures = checked(suite)
    store = Store(folder, suite.model_dump(mode="json"))
    finished = store.finished()
    left = [row for row in rows(suite, pictures.digests if pictures else {}) if row.id not in finished]
    if not left:
        finish_sets(suite, folder, pictures, say=say)
        return 0
    total = sum(evaluations(row) for row in left)
    scale = 1.0 if seconds is None else seconds / total
    units = make_units(
        left,
        key=lambda row: (row.prior, row.image, row.problem),
        cost=lambda row: evaluations(row) * scale,
        target=target_cost(total * scale, cluster.workers or GUESS, *([] if seconds else [float("inf")])),
    )
    job = RowsJob(suite, store, pictures, device, say)
    with job:
        run_on_ray(units, job, cluster)
    if job.lost:
        row, reason = next(iter(job.lost.items()))
        raise Unfinished(f"{len(job.lost)} rows have no result; {row}: {reason}")
    finish_sets(suite, folder, pictures, say=say)
    return job.count


@dataclass(frozen=True)
class Shared:
    """What every row needs. ``measures``: the classifier and the labels of its metrics, where it has them."""

    suite: Suite
    models: Mapping[str, Carried]
    measures: Mapping[str, Carried]
    device: str


@dataclass(frozen=True)
class Given:
    """What the rows of a unit need: pictures by name, and masks that stand in files, by problem and picture."""

    pictures: Mapping[str, Tensor]
    masks: Mapping[tuple[str, str], Tensor]


class RowsJob:
    """Rows as the work of a cluster. ``count``: of those that are done; ``lost``: rows and why they are not."""

    def __init__(self, suite: Suite, store: Store, pictures: Pictures | None, device: str, say: Say) -> None:
        self._suite, self._store, self._pictures, self._device, self._say = suite, store, pictures, device, say
        self._claims: dict[str, ExitStack] = {}
        self.count = 0
        self.lost: dict[str, str] = {}

    def __enter__(self) -> None:
        """Claims are held in the block."""

    def __exit__(self, *error: object) -> None:
        for claim in self._claims.values():
            claim.close()

    @property
    def function(self) -> Callable[[Any, Any, Row], Any]:
        return compute_there

    def shared(self) -> Shared:
        suite = self._suite
        models = {name: carry(name) for name in suite.priors} if suite.problems else {}
        words = {"classifier": suite.classifier, "labels": suite.labels}
        measures = {name: carry(str(word)) for name, word in words.items() if word is not None}
        return Shared(suite, models, measures, self._device)

    def take(self, items: Sequence[Row]) -> tuple[list[Row], Given]:
        """The rows that nobody else is at, and their pictures and masks."""
        ours = []
        for row in items:
            with ExitStack() as claim:
                if claim.enter_context(self._store.claim(row.id)):
                    ours.append(row)
                    self._claims[row.id] = claim.pop_all()
        if self._pictures is None:
            return ours, Given({}, {})
        pictures = {row.image: self._pictures.load(row.image) for row in ours}
        specs = {problem.name: problem for problem in self._suite.problems if problem.file is not None}
        masks = {
            (row.problem, row.image): specs[row.problem].missing(self._pictures.shape(row.image), row.image)
            for row in ours
            if row.problem in specs
        }
        return ours, Given(pictures, masks)

    def done(self, item: Row, result: Any) -> None:
        known, images = result
        keep(self._store, known, images)
        self._claims.pop(item.id).close()
        self.count += 1
        self._say(line(item, known))

    def failed(self, item: Row, reason: str, trace: str) -> None:
        self._claims.pop(item.id).close()
        name = f"{item.image} {item.problem} {item.sampler.shown}, {item.steps} steps".strip()
        self.lost[name] = reason
        self._say(f"{name}: {reason}\n{trace}")


def compute_there(shared: Shared, given: Given, row: Row) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A row, on a worker."""

    def load(name: str, device: str) -> Prior:
        return _model(shared.models[name], device)

    suite = shared.suite.model_copy(update=_measures(**shared.measures))
    pictures = Held(given.pictures) if given.pictures else None
    with tempfile.TemporaryDirectory(prefix="kintsugi-") as folder:
        mask = given.masks.get((row.problem, row.image))
        here = row if mask is None else _with_mask(row, mask, Path(folder, "mask.npz"))
        return compute(here, suite, pictures, shared.device, load)


@dataclass(frozen=True)
class _Moved(Row):
    """A row whose files are elsewhere on this machine: it is the same row."""

    same_as: str

    @property
    def id(self) -> str:
        return self.same_as


def _with_mask(row: Row, mask: Tensor, path: Path) -> Row:
    """The row with its mask in the file ``path``, which is written."""
    np.savez(path, mask=mask.numpy().astype(np.uint8))
    problem = {**row.spec["problem"], "file": str(path), "key": "mask", "index": 0}
    moved = {f.name: getattr(row, f.name) for f in fields(row)} | {"spec": {**row.spec, "problem": problem}}
    return _Moved(**moved, same_as=row.id)


@lru_cache(maxsize=1)
def _model(carried: Carried, device: str) -> Prior:
    """The model, kept by the worker for the rows that follow with the same."""
    with carried.here() as name:
        return load_prior(name, device=device)


@lru_cache(maxsize=1)
def _measures(classifier: Carried | None = None, labels: Carried | None = None) -> dict[str, Any]:
    """The suite's words for what its metrics look through, on this worker: read now, and kept by their readers."""
    words: dict[str, Any] = {}
    if classifier is not None:
        with classifier.here() as word:
            load_function(word)
            words["classifier"] = word
    if labels is not None:
        with labels.here() as word:
            read_labels(Path(word))
            words["labels"] = Path(word)
    return words
