"""A process that has everything imported and forks a child for each command, so that a command starts at once.

Lines of JSON on stdin, answers on stdout: ``{"words": [...], "log": PATH}`` forks a child that runs ``kintsugi
WORDS...`` with its output in the log, and answers its process id; ``{"wait": PID}`` answers how it ended, as
:func:`os.waitstatus_to_exitcode` has it; ``{"poll": PID}`` the same, or null while it runs. The parent never computes,
so that its children find no threads that were lost in the fork.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

PARTS = ("bench", "tune", "training.loop", "cli.restore", "cli.folder", "cli.train", "cli.tune", "cli.bench", "metrics")
OTHERS = (
    "accelerate", "accelerate.utils", "optuna", "optuna.storages.journal", "pyarrow.parquet", "torch.optim.swa_utils",
    "torch._dynamo", "torchmetrics", "PIL.PngImagePlugin", "scipy.optimize",
)  # fmt: skip


def run(words: list[str], log: str, patience: float, started: int) -> None:
    """The child: the command line, and out. It writes to the pipe ``started`` when it can be interrupted."""
    from kintsugi.cli import main

    signal.setitimer(signal.ITIMER_REAL, patience)  # nothing outlives its parent for long
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number in (1, 2):
        os.dup2(handle, number)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["kintsugi", *words]
    code: Any = 1
    try:
        os.write(started, b"!")
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main() -> None:
    for name in (*(f"kintsugi.{part}" for part in PARTS), *OTHERS):
        try:
            importlib.import_module(name)
        except ImportError:  # of an extra that is not there
            continue
    from kintsugi.training import material
    from kintsugi.training.data import spectrum_crops

    # The measurement at the end of a training run would take most of the time.
    material.spectrum_crops = partial(spectrum_crops, count=2, size=16)  # type: ignore[attr-defined]
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if "words" in asked:
            told, started = os.pipe()
            pid = os.fork()
            if pid == 0:
                run(asked["words"], asked["log"], asked.get("patience", 300), started)
            os.close(started)
            os.read(told, 1)
            os.close(told)
            answer: Any = pid
        elif "wait" in asked:
            answer = os.waitstatus_to_exitcode(os.waitpid(asked["wait"], 0)[1])
        else:
            pid, status = os.waitpid(asked["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2] / "src"))
    main()
