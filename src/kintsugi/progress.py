"""Progress where there is no terminal: plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

EVERY = 5.0  # seconds between the lines of a log


def step_lines(
    every: float, clock: Callable[[], float] = time.monotonic, word: str = "restoring"
) -> Callable[[int, int], None]:
    """``(done, total)`` as a plain line on stderr, when ``every`` seconds have passed since the last.

    Runs that are shorter leave no line.
    """
    began = last = clock()

    def report(done: int, total: int) -> None:
        nonlocal last
        now = clock()
        if now - last < every:
            return
        last = now
        left = (now - began) * (total - done) / done if done else 0.0
        words = f"{word}: {done} of {total} steps, {now - began:.0f} s, about {left:.0f} s left"
        print(words, file=sys.stderr, flush=True)

    return report
