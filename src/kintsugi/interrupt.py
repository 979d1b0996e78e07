"""Ctrl-C that no library can swallow.

Code of other languages that calls Python may make another exception of a ``KeyboardInterrupt``, or an error of reading
of it: safetensors and pydantic do. So the handler remembers that it was asked.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class CtrlC:
    """Python's own handler of SIGINT, and whether it was called."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        raise KeyboardInterrupt


@contextmanager
def remembered() -> Iterator[CtrlC]:
    """In the block Ctrl-C is remembered. Where it does something else already, or in another thread, it stays so."""
    handler, before = CtrlC(), signal.getsignal(signal.SIGINT)
    ours = before is signal.default_int_handler and threading.current_thread() is threading.main_thread()
    if ours:
        signal.signal(signal.SIGINT, handler)
    try:
        yield handler
    finally:
        if ours:
            signal.signal(signal.SIGINT, before)


def interrupted() -> bool:
    """Whether there was a Ctrl-C in the block of :func:`remembered` that this is called from."""
    handler = signal.getsignal(signal.SIGINT)
    return isinstance(handler, CtrlC) and handler.asked
