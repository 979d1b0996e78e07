"""Packages that only some operators need."""

from __future__ import annotations

import importlib
from typing import Any


def optional(name: str, extra: str) -> Any:
    """The package ``name``; where it is not installed, an error that names the extra that brings it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        message = f"this operator needs {name}: pip install 'kintsugi-diffusion[{extra}]'"
        raise ImportError(message, name=name) from error
