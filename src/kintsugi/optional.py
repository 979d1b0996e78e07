"""Packages that only some parts need: imported where they are used, named with their extra where they are missing.

>>> optional("math", "images", "rounding").floor(1.5)
1
"""

from __future__ import annotations

import importlib
from typing import Any

from .errors import MissingPackage


def optional(name: str, extra: str, purpose: str = "this operator") -> Any:
    """The package ``name``. Errors: :class:`MissingPackage`, with the ``extra`` that brings it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        message = f"{purpose} needs {name}: pip install 'kintsugi-diffusion[{extra}]'"
        if getattr(error, "name", None) not in (None, name):
            message += f" ({error})"
        raise MissingPackage(message, name=name) from error
