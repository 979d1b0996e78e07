"""The state of a folder of restored pictures: what is done, with which settings, and what failed.

OUT/.kintsugi/settings.json     everything that decides the restorations but the pictures
OUT/.kintsugi/done/ID.json      a finished picture: a digest of what it was made of, its files, its cost
OUT/.kintsugi/failed/ID.json    a picture that could not be restored, and why
OUT/.kintsugi/locks/ID          held by the process that is at it

A picture's record is written after its files, so what has a record is whole.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from ..errors import InvalidArgument, InvalidFile
from ..files import atomic_path, remove_half_written
from ..work import Claims

STATE = ".kintsugi"


class Results(Protocol):
    """Where the results of a file go."""

    @property
    def first(self) -> Path: ...
    @property
    def all(self) -> tuple[Path, ...]: ...


@dataclass(frozen=True)
class Entry:
    """A picture or sound of the folder: its path below it, its file, its mask if it has one, and the files to write."""

    name: str
    source: Path
    mask: Path | None
    files: Results

    @cached_property
    def id(self) -> str:
        return hashlib.sha256(os.fsencode(self.name)).hexdigest()[:16]

    @property
    def inputs(self) -> list[Path]:
        return [self.source] if self.mask is None else [self.source, self.mask]


class Manifest:
    """The state of ``folder``, which is made.

    Errors: :class:`InvalidArgument` for ``output`` where it holds restorations with other ``settings``.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder, self._state = folder, folder / STATE
        stated = self._state / "settings.json"
        now = json.loads(json.dumps(settings))
        if stated.exists():
            _refuse_others(folder, _read_settings(stated), now)
        for name in ("done", "failed"):
            (self._state / name).mkdir(parents=True, exist_ok=True)
        self.claims = Claims(self._state / "locks")
        with self.claims.alone("settings"):
            if not stated.exists():
                remove_half_written(stated)
                with atomic_path(stated) as temporary:
                    temporary.write_text(json.dumps(now, indent=1, sort_keys=True))
        _refuse_others(folder, _read_settings(stated), now)

    def finished(self, entry: Entry) -> bool:
        """Whether it was restored from the files as they are now, and the results are still there.

        A file of the same size and time of change as in the record is not read again.
        """
        try:
            record = json.loads(self._record("done", entry).read_text())
            before = record["inputs"]
            same = len(before) == len(entry.inputs) and all(map(_unchanged, before, entry.inputs))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return False
        return same and all(path.exists() for path in entry.files.all)

    def failed(self, entry: Entry) -> bool:
        """Whether it was tried in vain since :meth:`forget_failures`."""
        return self._record("failed", entry).exists()

    @contextmanager
    def claim(self, entry: Entry) -> Iterator[bool]:
        """Whether this picture is ours to restore: nobody is at it, it is not finished, and was not tried in vain."""
        claim = self.claims.take(entry.id)
        try:
            if claim is not None and claim.again:
                for path in entry.files.all:
                    remove_half_written(path)
            yield claim is not None and not self.failed(entry) and not self.finished(entry)
        finally:
            if claim is not None:
                claim.release()

    def write_done(self, entry: Entry, inputs: Sequence[Mapping[str, Any]], cost: Mapping[str, float]) -> None:
        """Its files are there; ``inputs``: what :func:`stamp` said of what they were made of."""
        files = [path.relative_to(self.folder).as_posix() for path in entry.files.all]
        self._write("done", entry, {"name": entry.name, "inputs": list(inputs), "files": files, "cost": dict(cost)})
        self._record("failed", entry).unlink(missing_ok=True)

    def write_failed(self, entry: Entry, reason: str, trace: str = "") -> None:
        """It could not be restored."""
        self._write("failed", entry, {"name": entry.name, "reason": reason, "traceback": trace.splitlines()})

    def forget_failures(self) -> None:
        """Let all that failed be tried again."""
        for path in (self._state / "failed").glob("*.json"):
            path.unlink(missing_ok=True)

    def failures(self) -> dict[str, str]:
        """Names of pictures that were tried in vain, and why."""
        found = {}
        for path in (self._state / "failed").glob("[!.]*.json"):
            try:
                record = json.loads(path.read_text(encoding="utf-8"))
                found[str(record["name"])] = str(record["reason"])
            except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
                found[path.name] = f"a record that cannot be read ({error})"
        return dict(sorted(found.items()))

    def count(self) -> int:
        """How many records there are, of either kind."""
        return sum(1 for kind in ("done", "failed") for _ in (self._state / kind).glob("[!.]*.json"))

    def _record(self, kind: str, entry: Entry) -> Path:
        return self._state / kind / f"{entry.id}.json"

    def _write(self, kind: str, entry: Entry, record: Mapping[str, Any]) -> None:
        path = self._record(kind, entry)
        remove_half_written(path)
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(record, indent=1))


def _read_settings(path: Path) -> dict[str, Any]:
    """What :class:`Manifest` wrote of its settings. Errors: :class:`InvalidFile`."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidFile(path, f"the settings of a folder of restorations cannot be read ({error})") from error
    if not isinstance(found, dict):
        raise InvalidFile(path, "no settings of a folder of restorations; expected names and values")
    return found


def stamp(path: Path, content: bytes | None = None) -> dict[str, Any]:
    """Size, time of change and SHA-256 of a file, of ``content`` if that is known. Errors: :class:`InvalidFile`."""
    try:
        status = path.stat()
        digest = hashlib.sha256(path.read_bytes() if content is None else content).hexdigest()
    except OSError as error:
        raise InvalidFile(path, _why(error)) from error
    return {"size": status.st_size, "changed": status.st_mtime_ns, "sha256": digest}


def read_input(path: Path) -> bytes:
    """What is in a file. Errors: :class:`InvalidFile`."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidFile(path, _why(error)) from error


def _why(error: OSError) -> str:
    return "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror or error})"


def _unchanged(before: Mapping[str, Any], path: Path) -> bool:
    status = path.stat()
    if status.st_size != before["size"]:
        return False
    return bool(status.st_mtime_ns == before["changed"]) or stamp(path)["sha256"] == before["sha256"]


def _refuse_others(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            expected = f"a new folder, or the settings of what it holds ({name} was {before.get(name)!r}"
            raise InvalidArgument("output", str(folder), f"{expected}, not {now.get(name)!r})")
