"""One restoration of the page, of whatever kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..priors.base import Prior
from .asked import Asked
from .limits import Limits
from .pictures import mend_picture
from .results import Mended, Report
from .sounds import mend_sound

__all__ = ["Mended", "Report", "mend"]


def mend(
    asked: Asked,
    source: Path,
    mask: Path | None,
    name: str,
    folder: Path,
    model: Prior,
    limits: Limits,
    report: Report,
    stopped: Callable[[], bool] = lambda: False,
    device: str = "cpu",
) -> Mended:
    """Restore the file ``source``, which the visitor knows as ``name``, into ``folder``.

    Errors: those of ``kintsugi restore``; :class:`Stopped` within a step of ``stopped()``.
    """
    if asked.craft == "sounds":
        return mend_sound(asked, source, name, folder, model, limits, report, stopped, device)
    return mend_picture(asked, source, mask, name, folder, model, limits, report, stopped, device)
