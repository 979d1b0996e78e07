"""Parquet files of a run: written whole or not at all, and read back with clear errors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import InvalidFile
from ..files import atomic_path, remove_half_written
from ..optional import optional


def write_parquet(path: Path, entry: Mapping[str, Any]) -> None:
    """A file of one row. What a process that was killed while it wrote the same file left is removed."""
    arrow = optional("pyarrow", "bench", "a benchmark")
    parquet = optional("pyarrow.parquet", "bench", "a benchmark")
    remove_half_written(path)
    with atomic_path(path) as temporary:
        parquet.write_table(arrow.Table.from_pylist([dict(entry)]), temporary)


def read_parquet(path: Path) -> tuple[list[dict[str, Any]], set[str]]:
    """The rows of a file, and its columns. Errors: :class:`InvalidFile`."""
    arrow = optional("pyarrow", "bench", "a benchmark")
    parquet = optional("pyarrow.parquet", "bench", "a benchmark")
    try:
        with parquet.ParquetFile(path) as file:
            rows: list[dict[str, Any]] = file.read(use_threads=False).to_pylist()
            columns = set(file.schema_arrow.names)
    except (OSError, ValueError, OverflowError, arrow.ArrowException) as error:  # among them texts that are not UTF-8
        raise InvalidFile(path, f"cannot be read as Parquet ({' '.join(str(error).split())[:200]})") from error
    return rows, columns
