"""One process of ``benchmarks/faults.py``: cases of one door, each judged and counted, until they are done or it dies.

    python benchmarks/faults_worker.py generate DOOR CASES SEED          # by hypothesis
    python benchmarks/faults_worker.py fuzz DOOR,DOOR,... SECONDS SEED   # by atheris, guided by coverage of Python code
It works in the current folder: ``verdicts.jsonl`` gets a line a case, ``case.pickle`` is the case that it is at, so
that one that kills the process is known, and ``failures/`` keeps those that were judged broken.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import inspect
import json
import os
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
FOLLOWED = (
    "kintsugi.images.reading", "kintsugi.images.deep", "kintsugi.images.jpegfile", "kintsugi.operators.kernels",
    "kintsugi.bench.maskfiles", "kintsugi.bench.suite", "kintsugi.bench.problems", "kintsugi.yamlfile",
    "kintsugi.presets", "kintsugi.presets.place", "kintsugi.tune.plan", "kintsugi.priors.loading",
    "kintsugi.priors.checkpoint", "kintsugi.priors.network", "kintsugi.priors.unet", "kintsugi.blind.learn",
    "kintsugi.cli.train", "kintsugi.training.data", "PIL.Image", "PIL.ImageFile", "PIL.PngImagePlugin",
    "PIL.JpegImagePlugin", "PIL.WebPImagePlugin", "PIL.TiffImagePlugin", "PIL.BmpImagePlugin", "PIL.GifImagePlugin",
    "PIL.ImageOps", "tifffile.tifffile", "yaml.reader", "yaml.scanner", "yaml.parser", "yaml.composer",
    "yaml.resolver", "yaml.constructor", "numpy.lib._format_impl", "zipfile", "torch._weights_only_unpickler",
    "json.decoder",
)  # fmt: skip


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
        print(json.dumps({"door": self.door.name, **row}), file=self._lines)


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


def fuzz(names: list[str], seconds: float, seed: int) -> None:
    """Cases by atheris for ``seconds``. The first byte says which of the doors, the others are the file."""
    import atheris
    from judge import warm

    known, tallies = modules(), []
    for name in names:
        door = doors(known[name])[name]
        if door.from_bytes is None:
            raise SystemExit(f"{name}: a door that takes no bytes; run it with generate")
        warm(door)
        tallies.append(Tally(door))
    for module in FOLLOWED:
        if module in sys.modules:
            _follow(sys.modules[module], atheris.instrument_func)
    corpus = Path("corpus")
    corpus.mkdir(exist_ok=True)
    for number, tally in enumerate(tallies):
        for at, content in enumerate(tally.door.files()):
            (corpus / f"{number}-{at}").write_bytes(bytes([number]) + content)
    end = time.monotonic() + seconds

    def each(data: bytes) -> None:
        if time.monotonic() > end:
            os._exit(0)  # libFuzzer would end the process by itself, and take lines that are not written yet along
        if data:
            tally = tallies[data[0] % len(tallies)]
            tally.take(tally.door.from_bytes(data[1:]))

    # The judge has the alarm for hangs, and the parent kills what hangs below Python.
    options = ["-timeout=0", "-rss_limit_mb=0", f"-seed={seed}", "-max_len=65536", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], each)
    atheris.Fuzz()


def _follow(module: Any, instrument: Callable[[Any], Any]) -> None:
    """Instrument the functions and methods of a module."""
    things = list(vars(module).values())
    things += [method for thing in things if inspect.isclass(thing) for method in vars(thing).values()]
    for thing in things:
        if inspect.isfunction(thing) and thing.__module__ == module.__name__:
            instrument(thing)


def main() -> None:
    what, names, amount, seed = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    sys.path.insert(0, str(FAULTS))
    if what == "fuzz":
        fuzz(names.split(","), float(amount), int(seed))
    else:
        generate(doors(modules()[names])[names], int(amount), int(seed))


if __name__ == "__main__":
    main()
