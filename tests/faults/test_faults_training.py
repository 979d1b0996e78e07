"""Hostile files of training: pictures and arrays to train on, logs to be drawn, operators that were learned."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import samples
import test_faults_arrays as arrays
import test_faults_images as pictures
import test_faults_models as models
import torch
from corrupt import any_of, damaged
from hypothesis import strategies as st
from judge import Broken, Door, judge, passes

from kintsugi.blind.learn import Convolutional, _network
from kintsugi.cli.train import read_log
from kintsugi.errors import InvalidFile
from kintsugi.training.data import image_size, read_signal, to_signal

SIGNAL = arrays.npy(np.linspace(-1, 1, 96, dtype=np.float32).reshape(2, 6, 8))
SIGNALS = [
    SIGNAL, arrays.npy(np.zeros((2, 6, 8), np.float16)), arrays.npy(np.full((1, 2, 2), 1e308)), *arrays.ARRAYS[-8:],
    arrays.npy(np.full((1, 2, 2), np.nan)), arrays.npy(np.zeros((1, 2, 2), np.longdouble)), arrays.GOOD_MASKS,
    arrays.npy(np.zeros((0, 2, 2))), arrays.npy(np.zeros((2, 2, 2), ">f4")),
]  # fmt: skip
FILES = st.one_of(
    st.tuples(pictures.FILES, pictures.NAMES),
    st.tuples(st.one_of(any_of(SIGNALS), st.sampled_from(arrays.CLAIMS)), st.sampled_from(("a.npy", "-a.NPY"))),
)


def read(case: tuple[bytes, str], folder: Path) -> int:
    """What is trained on has the size that was told, and is within [-1, 1]."""
    path = pictures.put(case, folder)
    width, height = image_size(path)
    signal = read_signal(path)
    x = torch.from_numpy(signal) if isinstance(signal, np.ndarray) else to_signal(np.asarray(signal))
    if tuple(x.shape[1:]) != (height, width) or not bool((x.abs() <= 1).all()):
        raise Broken(f"a signal {tuple(x.shape)} of a file of {width} x {height}, or beyond [-1, 1]")
    return x.numel() * 16


LOG = "".join(
    json.dumps({"step": n, "loss": 0.5 / n} | ({"validation": {"0.1": 20.0 + n}} if n % 2 else {})) + "\n"
    for n in range(1, 6)
).encode()
ODD: tuple[Any, ...] = (None, True, 0, -1, 1.5, 10**400, float("nan"), float("inf"), 1e308, "a", [], [1], {}, {"a": 1},
                        {"0.1": None}, {"0.1": "x"}, {"0.1": 10**400})  # fmt: skip


@st.composite
def logs(draw: st.DrawFn) -> bytes:
    if draw(st.booleans()):
        return draw(
            st.one_of(damaged(LOG), st.sampled_from((b"", b"\n", b"[" * 100_000, b"9" * 5000, b'"a step"', b"1")))
        )
    lines = [json.loads(line) for line in LOG.splitlines()]
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.integers(0, len(lines) - 1))
        if draw(st.integers(0, 4)) == 0:
            lines[at] = draw(st.sampled_from(ODD))
        elif isinstance(lines[at], dict):
            lines[at][draw(st.sampled_from(("step", "loss", "validation", "new")))] = draw(st.sampled_from(ODD))
    return "\n".join(json.dumps(line) for line in lines).encode()


def log(content: bytes, folder: Path) -> None:
    """What is to be drawn are numbers."""
    path = folder / "log.jsonl"
    path.write_bytes(content)
    for record in read_log(path):
        numbers = [record["step"], record.get("loss", 0), *record.get("validation", {}).values()]
        if not all(isinstance(float(n), float) for n in numbers):
            raise Broken(f"a record that cannot be drawn: {record}")


@cache
def learned() -> bytes:
    import tempfile

    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        operator = Convolutional(_network(3, width=4, depth=2), (3, 8, 8), {"width": 4, "depth": 2})
        operator.save(Path(folder, "a.safetensors"))
        return Path(folder, "a.safetensors").read_bytes()


@st.composite
def operators(draw: st.DrawFn) -> bytes:
    """A learned operator with another header."""
    header, content = models.split(learned())
    said = json.loads(header["__metadata__"]["kintsugi"])
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.sampled_from((said, said["config"]))) if isinstance(said.get("config"), dict) else said
        place[draw(st.sampled_from((*place, "new")))] = draw(
            st.sampled_from((*models.ODD, [3, 8, 8], [10**9, 8, 8], [3, 10**9, 10**9], 1024, 64))
        )
    header["__metadata__"] = {"kintsugi": json.dumps(said)}
    return models.join(header, content)


def operator(content: bytes, folder: Path) -> None:
    path = folder / "a.safetensors"
    path.write_bytes(content)
    found = Convolutional.load(path).on((3, 8, 8))
    out = found(torch.zeros(1, 3, 8, 8))
    if tuple(out.shape) != (1, 3, 8, 8) or not bool(torch.isfinite(out).all()):
        raise Broken(f"a measurement {tuple(out.shape)}, or not finite")


TRAINED = Door("training files", FILES, read, (SIGNAL, "a.npy"),
               files=lambda: [*samples.other_goods(), *SIGNALS],
               from_bytes=lambda data: (data, "a.npy" if data.startswith(b"\x93N") else "a.png"))  # fmt: skip
LOGS = Door("training logs", logs(), log, LOG, files=lambda: [LOG], from_bytes=bytes)
LEARNED = Door("learned operators", st.one_of(operators(), any_of([learned()])), operator, learned(),
               files=lambda: [learned()], from_bytes=bytes)  # fmt: skip
DOORS = (TRAINED, LOGS, LEARNED)

test_training_files = passes(TRAINED)
test_training_logs = passes(LOGS)
test_learned_operators = passes(LEARNED)


def test_no_other_program_is_run_for_a_picture(tmp_path: Path) -> None:
    """An EPS file under another name: Pillow would give it to Ghostscript."""
    from kintsugi.training.data import read_rgb

    for number, content in enumerate(samples.foreign()):
        path = tmp_path / f"{number}.png"
        path.write_bytes(content)
        for reader in (read_rgb, image_size):
            with pytest.raises(InvalidFile, match="not a picture that can be read"):
                reader(path)


def test_a_picture_of_one_pixel_warns_of_nothing() -> None:
    one = samples.saved(samples.Image.fromarray(samples.pixels(1, 1, 3)), "PNG")
    assert judge(TRAINED, (one, "a.png")).outcome == "result"
