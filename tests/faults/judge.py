"""What every door must do with whatever comes through it, and the measuring of one case.

A *door* is a function of the library or a command that takes what others made: a file, arguments, tensors. For each
*case* it must end in one of two ways: a correct result, or a :class:`kintsugi.errors.KintsugiError` with one clear
line. It has a second of processor time and 200 MiB beyond the size of the input (of a picture: its pixels, decoded).
Anything else is :class:`Broken`: another exception, a hang, a warning, a NaN, a file where none should be.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy

from kintsugi.errors import KintsugiError

SECONDS = 1.0  # of processor time a case
HANGS = 60.0  # seconds by the clock after which a case hangs, on a machine that does other things too
BYTES = 200 * 2**20
# Examples of one door in the test run; benchmarks/faults.py does more.
EXAMPLES = int(os.environ.get("KINTSUGI_FAULT_EXAMPLES", "25"))


class Broken(AssertionError):
    """A case that ended in neither of the two ways."""


@dataclass(frozen=True, repr=False)
class Door:
    """``cases`` makes hostile input; ``act`` gives it to the library, in a folder of its own, and checks the result.

    ``act`` returns nothing, or the bytes that a correct result may take beyond ``BYTES``. ``good`` is a case that ends
    in a result: it is tried first, so that the imports are done. ``refusals``: errors of the library that are no
    :class:`KintsugiError` and are documented, as ``FloatingPointError`` of samplers that diverge is.

    For a fuzzer that makes bytes: ``files()`` are good files to begin with, ``from_bytes`` the case that bytes become.
    """

    name: str
    cases: SearchStrategy[Any]
    act: Callable[[Any, Path], int | None]
    good: Any
    seconds: float = SECONDS
    refusals: tuple[type[Exception], ...] = field(default=())
    files: Callable[[], list[bytes]] = field(default=list)
    from_bytes: Callable[[bytes], Any] | None = None


@dataclass(frozen=True)
class Verdict:
    """How a case ended: "result" or the name of the error; processor seconds; bytes beyond its allowance."""

    outcome: str
    seconds: float
    bytes: int


def judge(door: Door, case: Any) -> Verdict:
    """One case through a door. Raises :class:`Broken`, and keeps the folder of its files."""
    with tempfile.TemporaryDirectory(prefix="kintsugi-fault-") as name:
        folder = Path(name).resolve()
        try:
            return _measured(door, case, folder)
        except Broken as error:
            kept = Path(tempfile.gettempdir(), "kintsugi-faults", f"{door.name}-{folder.name[-8:]}")
            shutil.copytree(folder, kept, symlinks=True, ignore_dangling_symlinks=True)
            raise Broken(f"{door.name}: {error}\nits files are kept in {kept}\nthe case: {shown(case)}") from error


def _measured(door: Door, case: Any, folder: Path) -> Verdict:
    gc.collect(0)
    before, began = _start_of_memory(), time.process_time()
    allowed = 0
    try:
        with _alarm(HANGS), warnings.catch_warnings():
            warnings.simplefilter("error")
            for harmless in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
                warnings.simplefilter("ignore", harmless)  # of other packages, as in pyproject.toml
            allowed = door.act(case, folder) or 0
        outcome = "result"
    except (KintsugiError, *door.refusals) as error:
        outcome = type(error).__name__
        check_line(str(error))
    except (Broken, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise Broken(f"{type(error).__name__}: {error}") from error
    seconds, used = time.process_time() - began, _peak_of_memory() - before
    if seconds > door.seconds:
        raise Broken(f"{outcome} after {seconds:.2f} s of the processor; at most {door.seconds} s")
    if used > BYTES + allowed:
        raise Broken(f"{outcome} with {used / 2**20:.0f} MiB; at most {(BYTES + allowed) / 2**20:.0f}")
    return Verdict(outcome, seconds, max(used - allowed, 0))


def check_line(text: str) -> None:
    """A message is one line that can be read: no control characters, not endless, not empty."""
    if not text.strip() or len(text) > 2000 or "Traceback" in text or not text.isprintable():
        raise Broken(f"not a clear message: {text[:500]!r}")


def passes(door: Door, examples: int = EXAMPLES) -> Callable[[], None]:
    """The test of a door: ``test_x = passes(DOOR)``."""

    @settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )
    @given(case=door.cases)
    def cases(case: Any) -> None:
        judge(door, case)

    def test() -> None:
        warm(door)
        cases()

    test.__doc__ = f"{examples} generated cases of {door.name}, each judged."
    return test


def warm(door: Door) -> None:
    """The good case, unmeasured: it must end in a result."""
    with tempfile.TemporaryDirectory(prefix="kintsugi-fault-") as name:
        door.act(door.good, Path(name).resolve())


def shown(case: Any, limit: int = 1500) -> str:
    """The case in words, not endless."""
    text = repr(case)
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Break into a case that hangs (in the main thread, on Unix)."""

    def hangs(*_: object) -> None:
        raise Broken(f"hangs: no end after {seconds:.0f} s")

    old = signal.signal(signal.SIGALRM, hangs)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def _start_of_memory() -> int:
    """Resident bytes now, from which the peak is counted anew; 0 where the system does not tell."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return 0
    return _status("VmRSS")


def _peak_of_memory() -> int:
    return _status("VmHWM") if os.access("/proc/self/clear_refs", os.W_OK) else 0


def _status(word: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(word + ":"):
            return int(line.split()[1]) * 1024
    return 0
