"""Metrics of sets of pictures (FID, KID) in a run: computed when all rows of a set are there, and never again.

A set is all images of a prior, problem, sampler, number of steps and seed; of each row its first sample. The pictures
are those that the run keeps: PNGs of 8 bits, as FID is computed in the field, whose features see nothing finer (the
Inception network of FID takes whole grey levels); the truths are rounded in the same way. Rows that were refused or
failed have no picture, so a set may be smaller than the suite's list of images, and says how many it has.

sets/ID.parquet    a set: what it is of, its number of pictures, the metrics, and a digest of its rows and features

It is computed again only where that digest is another. Several processes divide the sets by their locks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidArgument, InvalidFile
from ..images import read_picture
from ..metrics import SetMetric
from ..work import Claims
from .measures import set_metrics
from .parquet import read_parquet, write_parquet
from .pictures import Pictures
from .suite import Row, Suite, rows

SAME = ("prior", "problem", "sampler", "settings", "steps", "seed", "samples")  # of the rows of a set
BATCH = 64


def finish_sets(
    suite: Suite, folder: Path, pictures: Pictures | None, *, device: str = "cpu", say: Callable[[str], None] = print
) -> int:
    """Compute the metrics of the sets of the run in ``folder`` whose rows are all there; the number of sets done here.

    A set that lacks rows is left to whoever computes the last of them.
    """
    if not suite.set_metrics or pictures is None:
        return 0
    metrics, truths, done = set_metrics(suite, device), _Truths(folder, device), 0
    claims = Claims(folder / "locks")
    (folder / "sets").mkdir(exist_ok=True)
    for members in sets_of(suite, pictures.digests):
        name, digest = _name(members[0]), _digest(suite, members)
        path = folder / "sets" / f"{name}.parquet"
        if not all((folder / "rows" / f"{row.id}.parquet").exists() for row in members):
            continue
        with claims.claim(f"set-{name}") as ours:
            if not ours or _is_there(path, digest):
                continue
            known = _compute(folder, members, metrics, truths)
            write_parquet(path, {**known, "of": digest})
            done += 1
            say(_line(members[0], known))
    return done


def sets_of(suite: Suite, images: Mapping[str, str]) -> Iterator[list[Row]]:
    """The rows of each set of a suite; ``images`` as for :func:`.suite.rows`."""
    groups: dict[str, list[Row]] = {}
    for row in rows(suite, dict(images)):
        groups.setdefault(_name(row), []).append(row)
    yield from groups.values()


def check_sets(suite: Suite, pictures: Pictures) -> None:
    """Errors: :class:`InvalidArgument` for pictures that are no set, or features that are not of pictures."""
    if not suite.set_metrics:
        return
    names = list(pictures.digests)
    if len(names) < 2:
        raise InvalidArgument("set_metrics", f"{len(names)} picture", "at least two pictures")
    shapes = {pictures.shape(name): name for name in names}
    if len(shapes) > 1:
        (one, first), (other, second) = list(shapes.items())[:2]
        raise InvalidArgument(
            "set_metrics", f"{first} {one}, {second} {other}", "pictures of one size: give images a crop or a size"
        )
    some = torch.stack([pictures.load(name) for name in names[:2]])
    for metric in set_metrics(suite).values():
        if metric.missing() is None:
            metric(some, some)


def read_sets(folder: Path) -> list[dict[str, Any]]:
    """The finished sets of a run. Errors: :class:`InvalidFile`."""
    found = []
    for path in sorted((folder / "sets").glob("[!.]*.parquet")):
        entry = _read(path)
        if missing := [name for name in (*SAME, "images") if name not in entry]:
            raise InvalidFile(path, f"the columns {', '.join(missing)} are missing")
        found.append(entry)
    return found


def with_sets(rows: Sequence[dict[str, Any]], sets: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of a report with the metrics of the set of each: ``set.NAME``, and ``set.images``; None without a set."""
    known = {_key(entry): entry for entry in sets}
    columns = sorted({name for entry in sets for name in entry if name.startswith("metric.")})
    out = []
    for row in rows:
        entry = known.get(_key(row), {})
        values = {f"set.{name[7:]}": entry.get(name) for name in columns}
        out.append({**row, **values, **({"set.images": entry.get("images")} if columns else {})})
    return out


def _key(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(entry[name] for name in SAME)


def _same(row: Row) -> dict[str, Any]:
    return {
        "prior": row.prior,
        "problem": row.problem,
        "sampler": row.sampler.shown,
        "settings": json.dumps(row.sampler.settings, sort_keys=True),
        "steps": row.steps,
        "seed": row.seed,
        "samples": row.samples,
    }


def _name(row: Row) -> str:
    return hashlib.sha256(json.dumps(_same(row), sort_keys=True).encode()).hexdigest()[:16]


def _digest(suite: Suite, members: Sequence[Row]) -> str:
    decides = [sorted(row.id for row in members), suite.features, suite.set_metrics]
    return hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:16]


def _is_there(path: Path, digest: str) -> bool:
    return path.exists() and _read(path).get("of") == digest


class _Truths:
    """Features of true pictures, kept for the sets that follow with the same."""

    def __init__(self, folder: Path, device: str) -> None:
        self._folder, self.device = folder, device
        self._last: tuple[tuple[str, ...], Tensor] | None = None

    def features(self, names: Sequence[str], metric: SetMetric) -> Tensor:
        if self._last is None or self._last[0] != tuple(names):
            paths = [self._folder / "images" / f"truth-{name}.png" for name in names]
            self._last = tuple(names), extract(paths, metric, self.device)
        return self._last[1]


def _compute(folder: Path, members: Sequence[Row], metrics: Mapping[str, SetMetric], truths: _Truths) -> dict[str, Any]:
    done = [row for row in members if _read(folder / "rows" / f"{row.id}.parquet")["status"] == "done"]
    values: dict[str, float | None] = dict.fromkeys((f"metric.{name}" for name in metrics), None)
    if len(done) >= 2:
        some = next(iter(metrics.values()))  # they share their features
        x = extract([folder / "images" / f"{row.id}.png" for row in done], some, truths.device)
        x0 = truths.features([row.image for row in done], some)
        values = {f"metric.{name}": metric.compare(x, x0) for name, metric in metrics.items()}
    return {**_same(members[0]), "images": len(done), **values}


def extract(paths: Sequence[Path], metric: SetMetric, device: str) -> Tensor:
    """The features (N, d) of pictures in files, a few pictures at a time, computed on ``device``."""
    parts = []
    for i in range(0, len(paths), BATCH):
        x = torch.stack([read_picture(path).colour() for path in paths[i : i + BATCH]])
        parts.append(metric.extract(x.to(device)).cpu())
    return torch.cat(parts)


def _line(row: Row, known: Mapping[str, Any]) -> str:
    numbers = [
        f"{name[7:]} {value:.4g}" for name, value in known.items() if name[:7] == "metric." and value is not None
    ]
    place = f"{row.prior} {row.problem}  {row.sampler.shown}  {row.steps} steps, seed {row.seed}"
    return f"{place}, {known['images']} pictures: " + (", ".join(numbers) or "too few pictures")


def _read(path: Path) -> dict[str, Any]:
    entries, _ = read_parquet(path)
    if not entries:
        raise InvalidFile(path, "cannot be read as Parquet (no row in it)")
    return entries[0]
