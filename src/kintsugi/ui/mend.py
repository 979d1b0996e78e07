"""One restoration of the page, of whatever kind."""

from __future__ import annotations

from .pictures import mend_picture
from .results import Mended, Report, Work
from .sounds import mend_sound

__all__ = ["Mended", "Report", "Work", "mend"]


def mend(work: Work) -> Mended:
    """Do it. Errors: those of ``kintsugi restore``; :class:`~.steps.Stopped` within a step of ``work.stopped()``."""
    return mend_sound(work) if work.asked.craft == "sounds" else mend_picture(work)
