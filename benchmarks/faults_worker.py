"""One process of ``benchmarks/faults.py``: cases of one door, each judged and counted, until they are done or it dies.

    python benchmarks/faults_worker.py generate MODULE DOOR CASES SEED   # by hypothesis
    python benchmarks/faults_worker.py fuzz MODULE DOOR SECONDS SEED     # by atheris, guided by coverage of Python code

MODULE is the file of tests/faults that has the door: only what it needs is imported.
It works in the current folder: ``verdicts.jsonl`` gets a line a case, ``case.pickle`` is the case that it is at, so
that one that kills the process is known, and ``failures/`` keeps those that were judged broken.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import inspect
import json
import pickle
import re
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
FAULTS = HERE.parent / "tests" / "faults"
ADDRESSES = 16 * 2**30  # bytes of address space: a case that asks for more gets MemoryError, and the machine lives
# What atheris follows. The decoders in C behind them it cannot see: there it only tries what reaches new Python code.
FOLLOWED = ["kintsugi", "PIL", "tifffile", "yaml"]
# Of packages that take minutes to be followed whole.
FOLLOWED_MODULES = ("numpy.lib._format_impl", "zipfile", "torch._weights_only_unpickler", "json.decoder")


def modules() -> dict[str, str]:
    """The files of tests/faults by the doors in them, without importing what those test."""
    found = {}
    for path in sorted(FAULTS.glob("test_faults_*.py")):
        for statement in ast.parse(path.read_text(encoding="utf-8")).body:
            call = getattr(statement, "value", None)
            if isinstance(call, ast.Call) and getattr(call.func, "id", None) in ("Door", "door"):
                found[str(getattr(call.args[0], "value", None))] = path.stem
    return found


def doors(module: str) -> dict[str, Any]:
    """The doors of one of them by their names."""
    if str(FAULTS) not in sys.path:
        sys.path.insert(0, str(FAULTS))
    return {door.name: door for door in importlib.import_module(module).DOORS}


class Tally:
    """Judges cases and writes down how they ended."""

    def __init__(self, door: Any) -> None:
        import judge

        self.door, self._judge, self._broken = door, judge.judge, judge.Broken
        Path("failures").mkdir(exist_ok=True)
        self._lines = Path("verdicts.jsonl").open("a", buffering=1)  # noqa: SIM115 (as long as the process)
        self._seen: set[str] = set()

    def take(self, case: Any) -> None:
        """Judge one case."""
        content = pickled(case)
        Path("case.pickle").write_bytes(content)
        try:
            verdict = self._judge(self.door, case)
            row = {"outcome": verdict.outcome, "seconds": round(verdict.seconds, 4), "bytes": verdict.bytes}
        except self._broken as error:
            text = str(error)
            row = {"broken": text.splitlines()[0][:400]}
            kind = re.sub(r"[0-9a-f]{8,}|\d+", "#", row["broken"])
            if kind not in self._seen:  # one case of each kind is enough to mend it
                self._seen.add(kind)
                name = hashlib.sha256(text.encode(errors="replace")).hexdigest()[:12]
                Path("failures", f"{name}.pickle").write_bytes(content)
                Path("failures", f"{name}.txt").write_text(text, errors="replace")
        print(json.dumps(row), file=self._lines)


def pickled(case: Any) -> bytes:
    """The case, or what it looks like where it cannot be kept."""
    try:
        return pickle.dumps(case)
    except Exception:
        return pickle.dumps(repr(case)[:100_000])


def generate(door: Any, cases: int, seed: int) -> None:
    """``cases`` cases by hypothesis, which goes on behind one that broke."""
    import hypothesis
    from judge import warm

    tally = Tally(door)

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=cases,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=door.cases)
    def each(case: Any) -> None:
        tally.take(case)

    warm(door)
    each()


def fuzz(module: str, name: str, seconds: float, seed: int) -> None:
    """Cases by atheris for ``seconds``: bytes where the door has a way from them, else hypothesis's own bytes."""
    import atheris
    import pydantic  # noqa: F401 (with what follows: imported before, and so not followed)
    import scipy.ndimage  # noqa: F401
    import torch._weights_only_unpickler
    import torch.utils.data  # noqa: F401

    with atheris.instrument_imports(include=FOLLOWED):
        door = doors(module)[name]
    for followed in map(importlib.import_module, FOLLOWED_MODULES):
        for thing in vars(followed).values():
            if inspect.isfunction(thing) and thing.__module__ == followed.__name__:
                atheris.instrument_func(thing)
    from judge import warm

    tally, corpus = Tally(door), Path("corpus")
    corpus.mkdir(exist_ok=True)
    if door.from_bytes is None:
        one = _by_hypothesis(door, tally)
    else:
        for number, content in enumerate(door.files()):
            (corpus / f"seed-{number}").write_bytes(content)
        one = lambda data: tally.take(door.from_bytes(data))  # noqa: E731
    warm(door)
    end = time.monotonic() + seconds

    def each(data: bytes) -> None:
        if time.monotonic() > end:
            # The only way out that leaves our lines whole: libFuzzer ends the process by itself.
            sys.stdout.flush()
            import os

            os._exit(0)
        one(data)

    # The judge has the alarm for hangs, and the parent kills what hangs below Python.
    options = [
        "-timeout=0",
        "-rss_limit_mb=0",
        f"-seed={seed}",
        "-max_len=65536",
        "-verbosity=0",
        "-print_final_stats=0",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], each)
    atheris.Fuzz()


def _by_hypothesis(door: Any, tally: Tally) -> Callable[[bytes], Any]:
    import hypothesis

    @hypothesis.settings(database=None, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(case=door.cases)
    def each(case: Any) -> None:
        tally.take(case)

    return each.hypothesis.fuzz_one_input  # type: ignore[attr-defined]


def main() -> None:
    what, module, name, amount, seed = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    if what == "fuzz":
        fuzz(module, name, float(amount), int(seed))
    else:
        generate(doors(module)[name], int(amount), int(seed))


if __name__ == "__main__":
    main()
