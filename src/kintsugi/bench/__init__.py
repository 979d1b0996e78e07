"""Benchmarks: suites of comparisons, run row by row, that go on where they were (``kintsugi bench``)."""

from __future__ import annotations

from ..optional import optional

for _package in ("pydantic", "yaml", "pyarrow"):
    optional(_package, "bench", "a benchmark")

from .compute import compute  # noqa: E402
from .run import Plan, plan, run, run_workers  # noqa: E402
from .suite import Row, Suite, load_suite, rows  # noqa: E402

__all__ = ["Plan", "Row", "Suite", "compute", "load_suite", "plan", "rows", "run", "run_workers"]
