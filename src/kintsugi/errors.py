"""The errors a user can cause. Each names the argument, what came and what was expected."""

from __future__ import annotations

import math
from collections.abc import Sequence


class KintsugiError(Exception):
    """Base of every error that Kintsugi raises on purpose; the command line prints it as one line."""


class InvalidArgument(KintsugiError, ValueError):
    """An argument that cannot be used.

    >>> raise InvalidArgument("factor", 0, "an integer of at least 1")
    Traceback (most recent call last):
    kintsugi.errors.InvalidArgument: factor: expected an integer of at least 1, got 0
    """

    def __init__(self, name: str, got: object, expected: str) -> None:
        self.name, self.got, self.expected = name, got, expected
        # What is expected may name what a file holds: one line of characters that can be printed, whatever that is.
        super().__init__(one_line(f"{name}: expected {expected}, got {_short(got)}", 1500))


class InvalidFile(KintsugiError, ValueError):
    """A file that cannot be read as what it should be."""

    def __init__(self, path: object, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"{_short(str(path), 300)}: {_short(problem, 600)}")


class NotConverged(KintsugiError, RuntimeError):
    """An iterative solver stopped before it reached its tolerance."""


class Diverged(KintsugiError, FloatingPointError):
    """A sampler whose state grew far beyond the prior's range, or became NaN or infinite.

    ``sampler``: its name. ``step``: in which it was seen. ``rows``: (image, sample) of those that diverged. ``advice``:
    the settings to change, as the message has them.
    """

    def __init__(
        self, message: str, *, sampler: str, step: int, rows: Sequence[tuple[int, int]], advice: str = ""
    ) -> None:
        self.sampler, self.step, self.rows, self.advice = sampler, step, tuple(rows), advice
        super().__init__(f"{message}; try {advice}" if advice else message)


class Unfinished(KintsugiError, RuntimeError):
    """Some of the work could not be done, and the rest is kept: the same command tries again what is left."""


class MissingPackage(KintsugiError, ImportError):
    """A package that only this part of the library needs, and that is not installed."""


def is_whole(value: object, least: int, most: float = math.inf) -> bool:
    """Whether ``value`` is an integer (True and False are none) from ``least`` to ``most``."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def one_line(text: str, limit: int) -> str:
    """``text`` in a line of at most ``limit`` characters.

    Control characters, as names of files may have them, would be obeyed by a terminal: they are written out.
    """
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(text[: 20 * limit].split()))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _short(value: object, limit: int = 120) -> str:
    return one_line(repr(value) if not isinstance(value, str) else value, limit)
