"""A stand-in for a random generator."""

from __future__ import annotations


class Scripted:
    """A generator that answers with what the test wants."""

    def __init__(self, *random: float) -> None:
        self.answers = list(random)

    def random(self) -> float:
        return self.answers.pop(0)

    def integers(self, low: int, high: int) -> int:
        return high - 1

    def uniform(self, low: float, high: float) -> float:
        return low
