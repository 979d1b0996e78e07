"""The rows and the suite of a run, read back and checked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import InvalidFile
from .parquet import read_parquet
from .store import row_files

Row = dict[str, Any]
TEXT = ("id", "prior", "image", "problem", "sampler", "settings", "status", "message", "versions")
WHOLE = ("steps", "seed", "samples")
REAL = ("noise", "forwards", "vjps", "seconds", "peak_mib")
STATUSES = ("done", "refused", "failed")


def read_rows(run: Path) -> list[Row]:
    """The rows of a run, each id once (done before refused and failed, else the last by file name), with equal keys.

    Errors: :class:`InvalidFile` for a folder without rows, a file that is not Parquet, a column that is missing or
    holds something else.
    """
    run = Path(run)
    found: dict[str, Row] = {}
    for path in files_of(run):
        for row in _read(path):
            known = found.get(row["id"])
            if known is None or STATUSES.index(row["status"]) <= STATUSES.index(known["status"]):
                found[row["id"]] = row
    if not found:
        raise InvalidFile(run / "rows", "no rows yet; has the benchmark run?")
    metrics = sorted({name for row in found.values() for name in row if name.startswith("metric.")})
    names = [*TEXT, *WHOLE, *REAL, *metrics]
    return [{name: row.get(name) for name in names} for row in found.values()]


def read_suite(run: Path) -> dict[str, Any]:
    """What the run is of. Errors: :class:`InvalidFile`."""
    if not run.is_dir():
        raise InvalidFile(run, "no such folder")
    path = run / "suite.json"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise InvalidFile(path, f"cannot be read ({error}); is {run} the folder of a benchmark's run?") from error
    return _mapping(path, text)


def distinct(rows: Sequence[Row]) -> list[Row]:
    """Rows whose names tell apart what must not be averaged.

    A problem's name gets the prior and the noise, a sampler's the number of samples and its settings, where one image
    and seed was restored with several.
    """
    priors = {row["prior"] for row in rows}
    noises: dict[str, set[float | None]] = {}
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        noises.setdefault(row["problem"], set()).add(row["noise"])
        key = (row["prior"], row["image"], row["problem"], row["noise"], row["sampler"], row["steps"], row["seed"])
        groups.setdefault(key, []).append(row)
    varied: dict[str, set[str]] = {}
    for members in groups.values():
        several = [options_of(row) for row in members]
        for name in {name for options in several for name in options}:
            if len({json.dumps(options.get(name), sort_keys=True) for options in several}) > 1:
                varied.setdefault(members[0]["sampler"], set()).add(name)
    named = []
    for row in rows:
        options, names = options_of(row), varied.get(row["sampler"], set())
        problem = [row["problem"]]
        if len(priors) > 1:
            problem.append(row["prior"])
        if len(noises[row["problem"]]) > 1:
            problem.append(f"noise {row['noise']:g}" if row["noise"] is not None else "noise unknown")
        words = ", ".join(f"{name}={options[name]}" for name in sorted(names & options.keys()))
        sampler = f"{row['sampler']} ({words})" if words else row["sampler"]
        named.append({**row, "problem": ", ".join(problem), "sampler": sampler})
    return named


def options_of(row: Row) -> dict[str, Any]:
    """The settings of a row's sampler, and the number of samples."""
    return {**json.loads(row["settings"]), "samples": row["samples"]}


def files_of(run: Path) -> list[Path]:
    """Its Parquet files, without those that are being written."""
    if not run.is_dir():
        raise InvalidFile(run, "no such folder")
    return row_files(run)


def _read(path: Path) -> list[Row]:
    rows, columns = read_parquet(path)
    missing = [name for name in (*TEXT, *WHOLE, *REAL) if name not in columns]
    if missing:
        raise InvalidFile(path, f"the columns {', '.join(missing)} are missing")
    for row in rows:
        row["message"] = row["message"] or ""
        _check(path, row)
    return rows


def _check(path: Path, row: Row) -> None:
    for name, value in row.items():
        if name in TEXT:
            right = isinstance(value, str)
        elif name in WHOLE:
            right = isinstance(value, int) and not isinstance(value, bool)
        elif name in REAL or name.startswith("metric."):
            right = value is None or (isinstance(value, int | float) and not isinstance(value, bool))
        else:
            continue
        if not right:
            kind = "a text" if name in TEXT else "an integer" if name in WHOLE else "a number"
            raise InvalidFile(path, f"{name}: expected {kind}, got {value!r}")
    if row["status"] not in STATUSES:
        raise InvalidFile(path, f"status: expected one of {', '.join(STATUSES)}, got {row['status']!r}")
    for name in ("settings", "versions"):
        _mapping(path, row[name], f"{name}: ")


def _mapping(path: Path, text: str, where: str = "") -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidFile(path, f"{where}not JSON ({error})") from error
    if not isinstance(value, dict):
        raise InvalidFile(path, f"{where}expected a JSON object, got {text[:80]}")
    return value
