"""Commands that are killed at random moments, started again until they end, and compared with one that was not.

While a command runs, every file that has its final name is opened as what it is: none may be half-written. What was
killed may leave temporary files; when the command has ended none is left, unless the uninterrupted run has it too.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pyarrow.parquet
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

# As kintsugi.files.atomic_path names it, and safetensors its own.
TEMPORARY = re.compile(r"\..*\.[a-z0-9_]{8}\.?[\w]*|\.tmp[A-Za-z0-9]{6}")
LOOSE = {"seconds", "peak_mib", "versions"}  # of a row: what depends on the machine
ATTEMPTS = 500


class Broken(AssertionError):
    """A promise that was not kept."""


@dataclass(frozen=True)
class Job:
    """``words``: a command that writes into or at ``out``; ``content``: what it wrote, to be compared.

    ``processes``: so many of the same command at once, each of which may be the one that is killed.
    """

    name: str
    words: Sequence[object]
    out: Path
    content: Callable[[Path], dict[str, Any]]
    processes: int = 1

    def at(self, out: Path) -> Job:
        """The same job at another place."""
        words = [out if word == self.out else word for word in self.words]
        return Job(self.name, words, out, self.content, self.processes)


@dataclass
class Tally:
    """What was done: kills, files that were opened while it ran, and seconds."""

    kills: int = 0
    looks: int = 0
    seconds: float = 0.0
    seen: dict[Path, tuple[int, int, int]] = field(default_factory=dict)


class Warm:
    """The process of :mod:`warm`, as a context."""

    def __enter__(self) -> Self:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "PYTHONUNBUFFERED": "1"}
        words = [sys.executable, str(Path(__file__).with_name("warm.py"))]
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self._answer()
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def start(self, words: Sequence[object], log: Path) -> int:
        return int(self._ask({"words": [str(word) for word in words], "log": str(log)}))

    def wait(self, pid: int) -> int:
        return int(self._ask({"wait": pid}))

    def poll(self, pid: int) -> int | None:
        answer = self._ask({"poll": pid})
        return None if answer is None else int(answer)

    def _ask(self, question: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        print(json.dumps(question), file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise Broken("the warm process has ended")
        return json.loads(line)


def run_whole(warm: Warm, job: Job, folder: Path) -> float:
    """The job without interruption; its seconds."""
    began = time.monotonic()
    code = warm.wait(warm.start(job.words, folder / "log"))
    if code != 0:
        raise Broken(f"{job.name}: ended with {code}: {(folder / 'log').read_text()[-2000:]}")
    return time.monotonic() - began


def run_killed(
    warm: Warm,
    job: Job,
    folder: Path,
    choose: random.Random,
    mean: float,
    enough: int | None = None,
    sign: int = signal.SIGKILL,
) -> Tally:
    """The job, killed after random times with this ``mean`` and started again until it ends. ``enough``: kills.

    ``sign``: SIGKILL, or SIGINT, which is Ctrl-C: the command must then end with 130 and one line.
    """
    tally, began = Tally(), time.monotonic()
    logs = [folder / f"log{number}" for number in range(job.processes)]
    running: dict[int, Path] = {}
    left = set(logs)
    for _ in range(ATTEMPTS):
        for log in logs:
            if log in left and log not in running.values():
                running[warm.start(job.words, log)] = log
        until = time.monotonic() + choose.expovariate(1 / mean)
        spared = enough is not None and tally.kills >= enough
        while running and (spared or time.monotonic() < until):
            _look(job.out, tally)
            for pid in list(running):
                code = warm.poll(pid)
                if code is not None:
                    log = running.pop(pid)
                    if code != 0:
                        raise Broken(f"{job.name}: ended with {code}: {log.read_text()[-2000:]}")
                    left.discard(log)
            time.sleep(0.003)
        if not left:
            tally.seconds = time.monotonic() - began
            return tally
        if running:
            pid = choose.choice(list(running))
            os.kill(pid, sign)
            log = running.pop(pid)
            code = warm.wait(pid)
            if sign == signal.SIGINT:
                _check_interrupted(job, code, log.read_text())
            if code == 0:  # it had ended just before
                left.discard(log)
            tally.kills += code != 0
            _look(job.out, tally, appended=job.processes == 1)
    raise Broken(f"{job.name}: no end after {ATTEMPTS} attempts")


def _check_interrupted(job: Job, code: int, text: str) -> None:
    lines = text.splitlines()
    # Both streams go into one log: the end of a line of the other may come after it.
    told = [line for line in lines if line.endswith("interrupted; the same command again goes on")]
    if code not in (0, 130) or len(told) != (code == 130) or "Traceback" in text or "Exception ignored" in text:
        raise Broken(f"{job.name}: interrupted, it ended with {code}: {text[-2000:]}")


def compare(job: Job, expected: Job) -> None:
    """What both wrote is the same, and the names of their files are."""
    found, wanted = _names(job.out), _names(expected.out)
    if found != wanted:
        raise Broken(f"{job.name}: left {sorted(found - wanted)[:5]}, missing {sorted(wanted - found)[:5]}")
    a, b = job.content(job.out), expected.content(expected.out)
    different = [key for key in sorted({*a, *b}) if not _same(a.get(key), b.get(key))]
    if different:
        key = different[0]
        raise Broken(
            f"{job.name}: {len(different)} differ, {key}: {str(a.get(key))[:500]} is not {str(b.get(key))[:500]}"
        )


def check_file(path: Path, appended: bool = True) -> None:
    """Open a file as what it is. ``appended``: also those that grow, whose last line must be whole."""
    kind = path.suffix.lower()
    if kind in (".png", ".jpg", ".webp", ".tif"):
        with Image.open(path) as image:
            image.load()
    elif kind == ".json":
        json.loads(path.read_text())
    elif kind in (".jsonl", ".journal"):
        if appended:
            text = path.read_text()
            for line in text.splitlines():
                json.loads(line)
            if text and not text.endswith("\n"):
                raise ValueError("a line that is cut short")
    elif kind == ".parquet":
        pyarrow.parquet.read_table(path)
    elif kind == ".pt":
        torch.load(path, map_location="cpu", weights_only=True)
    elif kind == ".safetensors":
        load_file(path)
    elif kind == ".yaml":
        if not isinstance(yaml.safe_load(path.read_text()), dict):
            raise ValueError("not a whole document")
    else:
        raise ValueError("a file of no known kind")


def _look(out: Path, tally: Tally, appended: bool = False) -> None:
    """Open what has changed since the last look. Files that grow are looked at when nobody writes them."""
    for path in _files(out):
        try:
            status = path.stat()
            now = (status.st_ino, status.st_size, status.st_mtime_ns)
            grows = path.suffix in (".jsonl", ".journal")
            if (tally.seen.get(path) == now and not (grows and appended)) or (grows and not appended):
                continue
            check_file(path, appended)
        except FileNotFoundError:
            continue
        except Exception as error:
            raise Broken(f"{path} is not whole: {type(error).__name__}: {error}") from error
        tally.seen[path] = now
        tally.looks += 1


def _files(out: Path) -> list[Path]:
    """Files with their final names; a file's own temporary files, locks and marks are none. ``out``: a folder or a file
    with a folder beside it."""
    places = [out] if out.suffix == "" else [out, out.with_suffix(".trials")]
    found: list[Path] = []
    for place in places:
        for folder, _, names in os.walk(place):
            if Path(folder).name != "locks":
                found += [Path(folder, name) for name in names if not TEMPORARY.fullmatch(name)]
        if place.is_file():
            found.append(place)
    return found


def _names(out: Path) -> set[str]:
    """Names of all files, temporary ones too, but for locks."""
    places = [out] if out.suffix == "" else [out.with_suffix(".trials")]
    found = {path.relative_to(place).as_posix() for place in places for path in place.rglob("*") if path.is_file()}
    beside = {path.name for path in out.parent.iterdir() if path.name.startswith(f".{out.stem}.")}
    return {name for name in found | beside if "locks/" not in name or name.endswith(".at")}


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    return bool(a == b)


# --- what commands write ----------------------------------------------------------------------------------------------


def content_of_folder(out: Path) -> dict[str, Any]:
    """Restored pictures, byte by byte, and their records."""
    found: dict[str, Any] = {}
    for path in sorted(out.rglob("*")):
        if path.is_file() and ".kintsugi" not in path.parts:
            found[path.relative_to(out).as_posix()] = path.read_bytes()
    for path in (out / ".kintsugi/done").glob("[!.]*.json"):
        record = json.loads(path.read_text())
        record["cost"].pop("seconds")
        found[f"record {path.name}"] = record
    found["failed"] = [path.name for path in (out / ".kintsugi/failed").iterdir()]
    return found


def content_of_run(out: Path) -> dict[str, Any]:
    """Rows of a benchmark, without what depends on the machine, and kept pictures."""
    found: dict[str, Any] = {path.name: path.read_bytes() for path in (out / "images").glob("*.png")}
    for path in (out / "rows").glob("*.parquet"):
        (row,) = pyarrow.parquet.read_table(path).to_pylist()
        found[path.name] = {key: value for key, value in row.items() if key not in LOOSE}
    return found


def content_of_preset(out: Path) -> dict[str, Any]:
    """A preset, and the values of all trials that count."""
    found = yaml.safe_load(out.read_text())
    found.pop("date")
    for path in (out.with_suffix(".trials") / "measured").glob("*.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        found[path.name] = {row["key"]: row for row in rows}
        found[f"{path.name} twice"] = len(rows) - len(found[path.name])
    return dict(found)


def content_of_training(out: Path) -> dict[str, Any]:
    """All tensors of a training run, and its log."""
    found: dict[str, Any] = {}
    for name in ("model", "best"):
        found |= {f"{name} {key}": value for key, value in load_file(out / f"{name}.safetensors").items()}
    state = torch.load(out / "checkpoint.pt", map_location="cpu", weights_only=True)
    found |= {f"checkpoint {key}": value for key, value in _flat(state)}
    records = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    found["log"] = [{key: value for key, value in record.items() if key != "seconds"} for record in records]
    return found


def _flat(value: Any, name: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [pair for key, each in value.items() for pair in _flat(each, f"{name}/{key}")]
    if isinstance(value, list | tuple):
        return [pair for key, each in enumerate(value) for pair in _flat(each, f"{name}/{key}")]
    return [(name, value)]
