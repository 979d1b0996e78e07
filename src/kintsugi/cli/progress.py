"""How far a command on many pictures is: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
from typing import Any, Self

from ..errors import one_line

LONGEST = 1000  # characters of a line: names of files may hold anything, which a terminal would obey


class Teller:
    """Tells of ``total`` pictures as they are done; to be used as a context.

    On a terminal that is a bar on stderr, elsewhere a line of stdout each. Failures and notes are lines of stderr.
    ``alone``: no other process tells of the same pictures; else there is neither a bar nor a count.
    """

    def __init__(self, total: int, before: int = 0, alone: bool = True) -> None:
        self._total, self._count, self._alone = total, before, alone
        self._progress = _bar(alone)
        self.shows_bar = not self._progress.disable

    def __enter__(self) -> Self:
        self._progress.start()
        self._bar = self._progress.add_task("restoring", total=self._total, completed=self._count)
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def done(self, line: str) -> None:
        """One more is done."""
        line = one_line(line, LONGEST)
        self.at(self._count + 1)
        if not self.shows_bar:
            print(f"{self._count}/{self._total} {line}" if self._alone else line, flush=True)

    def failed(self, line: str) -> None:
        """One more was tried in vain."""
        self.at(self._count + 1)
        self._say(f"failed: {line}")

    def note(self, *lines: str) -> None:
        """Remarks."""
        for line in lines:
            self._say(f"note: {line}")

    def at(self, count: int) -> None:
        """So many are done, whoever did them."""
        self._count = count
        self._progress.update(self._bar, completed=count)

    def _say(self, line: str) -> None:
        line = one_line(line, LONGEST)
        if self.shows_bar:  # above the bar
            self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, file=sys.stderr, flush=True)


def _bar(wanted: bool = True) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    # Elsewhere than on a terminal a bar would leave an empty line, also before an error.
    return Progress(*columns, console=console, transient=True, disable=not (wanted and console.is_terminal))
