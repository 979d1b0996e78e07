"""Work for Ray's workers, in a module that they can import, and the script that runs it (``tests/test_ray.py``)."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kintsugi.work import Cluster, make_units, run_on_ray

LOST, WRONG, DEADLY, SLOW, TAKEN = 3, 5, 7, 22, 9
LOADED: list[int] = []


def square(shared: str, given: int, item: int) -> tuple[int, int, int]:
    """The item's square and ``given``, the process, and how often that process had loaded what it needs."""
    folder = Path(shared)
    if not LOADED:
        LOADED.append(os.getpid())
    (folder / f"{item}-{time.time_ns()}").touch()
    first = len(list(folder.glob(f"{item}-*"))) == 1
    if item == DEADLY or (item == LOST and first):
        os.kill(os.getpid(), signal.SIGKILL)
    if item == WRONG:
        raise ValueError("no five")
    if item == SLOW and first:
        time.sleep(300)
    time.sleep(0.1)
    return item * item + given, os.getpid(), len(LOADED)


class Squares:
    """Squares as a job; item ``TAKEN`` is with somebody else."""

    function = staticmethod(square)

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.results: list[tuple[int, Any]] = []
        self.failures: list[tuple[int, str, str]] = []
        self.most = 0
        self._out = 0

    def shared(self) -> str:
        return self.folder

    def take(self, items: Sequence[int]) -> tuple[list[int], int]:
        ours = [item for item in items if item != TAKEN]
        self._out += len(ours)
        self.most = max(self.most, self._out)
        return ours, 1000

    def done(self, item: int, result: Any) -> None:
        self._out -= 1
        self.results.append((item, result))

    def failed(self, item: int, reason: str, trace: str) -> None:
        self._out -= 1
        self.failures.append((item, reason, trace))


def main() -> None:
    """Run the toys in the folder that is named, on a Ray of our own, and print what came of them."""
    job = Squares(sys.argv[1])
    units = make_units(range(24), key=lambda item: ("",), cost=lambda item: 1.0, target=2.0)
    began = time.monotonic()
    run_on_ray(units, job, Cluster(workers=2, retries=1))
    import ray

    found = {"results": job.results, "failures": job.failures, "most": job.most, "seconds": time.monotonic() - began}
    print(json.dumps({**found, "left": ray.is_initialized()}))


if __name__ == "__main__":
    main()
