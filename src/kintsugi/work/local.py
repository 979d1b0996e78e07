"""Processes of the same command on one machine, and those of ``accelerate launch``.

They need no messages: each goes through all items and claims one at a time (:mod:`.claims`).
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from ..errors import Unfinished
from ..optional import optional

POLL = 0.2  # seconds between two looks at the processes


def run_processes(
    command: Callable[[int], Sequence[str]],
    workers: int,
    *,
    left: Callable[[], int],
    watch: Callable[[], None] = lambda: None,
    silent: bool = False,
) -> None:
    """``workers`` processes, the k-th of ``kintsugi *command(k)``, until nothing is left that they can do.

    ``left``: how many items are not finished. If a process is lost, killed say, the others go on, and what it leaves is
    given to new ones, as long as each round finishes something. ``watch`` is called now and then meanwhile, ``silent``
    hides what they print on stdout. Each has its share of the cores, unless ``OMP_NUM_THREADS`` says otherwise.

    Errors: :class:`Unfinished` if processes end with an error and what they leave cannot be done.
    """
    environment = {"OMP_NUM_THREADS": str(max((os.cpu_count() or 1) // workers, 1)), **os.environ}
    while (before := left()) > 0:
        count = min(workers, before)
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "kintsugi", *command(k)],
                env=environment,
                stdout=subprocess.DEVNULL if silent else None,
            )
            for k in range(count)
        ]
        try:
            while any(process.poll() is None for process in processes):
                watch()
                time.sleep(POLL)
        except BaseException:
            for process in processes:
                process.terminate()
            raise
        watch()
        wrong = sum(process.returncode != 0 for process in processes)
        if not wrong:
            return  # what is left now, if anything, is with others
        if 0 < left() >= before:
            raise Unfinished(f"{wrong} of {count} workers ended with an error, with {before} items left")
        print(f"note: {wrong} of {count} workers ended with an error; {left()} items left", file=sys.stderr)


def worker_device(device: str, worker: int) -> str:
    """The device of the ``worker``-th process: ``cuda``, or ``auto`` where there is one, is one of the GPUs in turn."""
    if device not in ("auto", "cuda"):
        return device
    import torch

    count = torch.cuda.device_count()
    return f"cuda:{worker % count}" if count else device


def launched(device: str) -> str | None:
    """The device of this process under ``accelerate launch`` with several; None elsewhere.

    The processes need no process group beyond this, and a worker that dies must not break the others' one.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or "LOCAL_RANK" not in os.environ:
        return None
    state = optional("accelerate", "train", "accelerate launch").PartialState(cpu=device == "cpu")
    try:
        return "cpu" if state.device.type == "cpu" else str(state.device)
    finally:
        state.destroy_process_group()
