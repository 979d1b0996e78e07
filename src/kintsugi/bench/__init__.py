"""Benchmarks: suites of comparisons, run row by row, that go on where they were (``kintsugi bench``)."""

from __future__ import annotations

from ..optional import optional

for _package in ("pydantic", "yaml", "pyarrow"):
    optional(_package, "bench", "a benchmark")

from .cluster import run_on_cluster  # noqa: E402
from .compute import compute  # noqa: E402
from .run import Plan, count_left, plan, run  # noqa: E402
from .suite import Row, Suite, available_suites, load_suite, rows  # noqa: E402

__all__ = [
    "Plan",
    "Row",
    "Suite",
    "available_suites",
    "compute",
    "count_left",
    "load_suite",
    "plan",
    "rows",
    "run",
    "run_on_cluster",
]
