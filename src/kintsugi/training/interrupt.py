"""Ctrl-C at a moment of our choosing."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class Interrupt:
    """While alive, the first Ctrl-C is remembered in ``asked`` instead of breaking into a half-taken step.

    A second one breaks in. In a thread other than the main one, where Python allows no handlers, it does nothing.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._remember)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            self.restore()
            raise KeyboardInterrupt
        self.asked = True

    def restore(self) -> None:
        """Put the handler back that stood here before."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._before)

    def give_way(self) -> None:
        """Do what Ctrl-C asked for, now that it is safe."""
        self.restore()
        raise KeyboardInterrupt
