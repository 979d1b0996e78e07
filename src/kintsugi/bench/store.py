"""The folder of a run: one Parquet file a row, written whole or not at all, and locks that two workers respect.

suite.json            the suite, checked
rows/ID.parquet       a row; what is there is finished
locks/ID              held by the worker that computes it; the system lets go of it when a worker dies, however
images/ID.png         on request, with truth-IMAGE.png and y-PROBLEM-IMAGE.png
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import InvalidFile
from ..files import atomic_path, remove_half_written
from ..work import Claims
from .parquet import write_parquet


class Store:
    """The run in ``folder``, which is made. Errors: :class:`InvalidFile` where it holds the run of another suite."""

    def __init__(self, folder: Path, suite: Mapping[str, Any]) -> None:
        self.folder = folder
        for name in ("rows", "images"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self.claims = Claims(folder / "locks")
        stated = folder / "suite.json"
        text = json.dumps(suite, indent=1, sort_keys=True, default=str)
        with self.claims.alone("suite"):
            if not stated.exists():
                remove_half_written(stated)
                with atomic_path(stated) as temporary:
                    temporary.write_text(text)
        if stated.read_bytes() != text.encode():
            raise InvalidFile(folder, "it holds the run of another suite, or of this one before it was changed")

    def finished(self) -> set[str]:
        """The ids of the rows that are there."""
        return {path.stem for path in row_files(self.folder)}

    def holds(self, id: str) -> bool:
        """Whether the row is finished."""
        return (self.folder / "rows" / f"{id}.parquet").exists()

    @contextmanager
    def claim(self, id: str) -> Iterator[bool]:
        """Whether this row is ours to compute: nobody is at it, and it is not finished."""
        with self.claims.claim(id) as ours:
            yield ours and not self.holds(id)

    def write(self, row: Mapping[str, Any]) -> None:
        """A finished row, by its ``id``."""
        write_parquet(self.folder / "rows" / f"{row['id']}.parquet", row)

    def image(self, name: str) -> Path:
        """Where the picture ``name`` is kept."""
        return self.folder / "images" / f"{name}.png"


def row_files(folder: Path) -> list[Path]:
    """The finished rows of a run; what a killed worker was writing has another name."""
    return sorted((folder / "rows").glob("[!.]*.parquet"))
