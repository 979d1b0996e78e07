"""Progress of a run of steps: a bar where somebody sees it, plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[int, int], None]  # steps done, steps in all

EVERY = 5.0  # seconds between the lines of a log


@contextmanager
def shown(progress: Progress | bool | None, word: str = "restoring") -> Iterator[Progress]:
    """What a run calls after each step: the caller's own callback as it is, nothing for False or None.

    True: a bar in a terminal or a notebook, lines in a log, both of which begin with ``word``.
    """
    if callable(progress):
        yield progress
        return
    if not progress:
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress as RichProgress

    console = Console(stderr=True)
    if not (console.is_terminal or console.is_jupyter):
        yield step_lines(EVERY, word=word)
        return
    with RichProgress(console=console, transient=True) as bar:
        task = bar.add_task(word, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def step_lines(every: float, clock: Callable[[], float] = time.monotonic, word: str = "restoring") -> Progress:
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
