"""``--json``: one JSON object on stdout, and everything else on stderr."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

JsonOption = Annotated[
    bool, typer.Option("--json", help="One JSON object on stdout, for programs; messages go to stderr.")
]


def emit(value: Mapping[str, Any]) -> None:
    """Print ``value`` as one line of JSON. What JSON has no word for: paths become text, NaN and infinity null."""
    print(json.dumps(_plain(value), ensure_ascii=False, allow_nan=False, default=str))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


@contextlib.contextmanager
def messages_aside(wanted: bool) -> Iterator[None]:
    """While in it, what this process and those that it starts print goes to stderr, if ``wanted``."""
    if not wanted:
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)  # started processes inherit it
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
