"""Packages that only some parts need: imported where they are used, named with their extra where they are missing.

>>> optional("math", "images", "rounding").floor(1.5)
1

Some of them report to their makers that they are used. What Kintsugi imports is told not to, before it is imported;
whoever wants it sets the variable of the environment himself.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

from .errors import MissingPackage

NO_TELEMETRY = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}


def no_telemetry() -> None:
    """Set the variables by which packages are told not to report their use, unless they are set."""
    for variable, value in NO_TELEMETRY.items():
        os.environ.setdefault(variable, value)


def optional(name: str, extra: str, purpose: str = "this operator") -> Any:
    """The package ``name``. Errors: :class:`MissingPackage`, with the ``extra`` that brings it."""
    no_telemetry()
    try:
        return importlib.import_module(name)
    except ImportError as error:
        message = f"{purpose} needs {name}: pip install 'kintsugi-diffusion[{extra}]'"
        if getattr(error, "name", None) not in (None, name):
            message += f" ({error})"
        raise MissingPackage(message, name=name) from error
