"""Ray, with two workers on this machine: lost workers, stragglers, and runs that equal those in the process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import draw_picture
from ray_toys import DEADLY, LOST, SLOW, TAKEN, WRONG
from test_bench import bench, pictures, read, same, write
from test_bench import row_files as finished_rows
from test_cli import model, refused, run
from test_restore_folder import WORDS, files

pytest.importorskip("ray")

__all__ = ["model"]  # a fixture
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",  # as Ray sets it for a worker of one CPU
    "PYTHONPATH": str(Path(__file__).parent),
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",  # a Ray of this machine and this test alone
}
HEAD = """
import sys, ray
ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def head() -> Iterator[tuple[str, int]]:
    """The address of a Ray with room for two workers, and the process that it belongs to."""
    process = subprocess.Popen(
        [sys.executable, "-c", HEAD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True, env=ENVIRONMENT,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip(), process.pid
    finally:
        process.stdin.close()
        process.wait(timeout=60)
        process.stdout.close()


def start(*words: object, stdout: Any = subprocess.DEVNULL) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "kintsugi", *map(str, words)]
    return subprocess.Popen(command, stdout=stdout, stderr=subprocess.STDOUT, env=ENVIRONMENT, text=True)


def busy_workers(parent: int) -> list[int]:
    """Processes below ``parent`` that are at a task of ours."""
    parents, busy = {}, []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if (folder / "cmdline").read_bytes().startswith(b"ray::kintsugi"):
                busy.append(int(folder.name))
        except OSError:
            continue  # it ended meanwhile

    def below(process: int) -> bool:
        while process in parents and process != parent:
            process = parents[process]
        return process == parent

    return [process for process in busy if below(process)]


def test_a_worker_has_its_own_copies_of_files(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row there, where none of the suite's files are, is the row here."""
    from kintsugi.bench.cluster import RowsJob, compute_there
    from kintsugi.bench.pictures import Pictures
    from kintsugi.bench.store import Store

    shutil.copy(model, tmp_path / "own.safetensors")
    np.savez(tmp_path / "masks.npz", some=np.random.default_rng(0).integers(0, 2, (5, 32, 32), dtype=np.uint8))
    (tmp_path / "labels.txt").write_text("parrots 0\nlighthouse 1\n")
    torch.jit.save(torch.jit.script(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 2))),
                   tmp_path / "classifier.pt")  # fmt: skip
    holes = {"name": "holes", "operator": "mask", "file": str(tmp_path / "masks.npz"), "key": "some", "noise": 0.1}
    named = {"classifier": str(tmp_path / "classifier.pt"), "labels": str(tmp_path / "labels.txt")}
    given = pictures(tmp_path / "own.safetensors", problems=[holes], metrics=["psnr", "top1"], **named)
    suite = bench.load_suite(write(tmp_path, given))
    held = Pictures(suite.images)
    rows = list(bench.rows(suite, held.digests))
    store = Store(tmp_path / "run", suite.model_dump(mode="json"))
    expected = [bench.compute(row, suite, held)[0] for row in rows]
    job = RowsJob(suite, store, held, "cpu", print)
    with job:
        shared, (ours, needed) = job.shared(), job.take(rows)
        for name in ("own.safetensors", "masks.npz", "labels.txt", "classifier.pt"):
            (tmp_path / name).unlink()
        _forget()
        found = [compute_there(shared, needed, row)[0] for row in ours]
    same({row["id"]: row for row in found}, {row["id"]: row for row in expected})
    assert {row["metric.top1"] for row in found} <= {0.0, 1.0}


def _forget() -> None:
    """What readers of files keep, as in another process."""
    from kintsugi.bench import maskfiles, measures
    from kintsugi.bench.compute import model as kept
    from kintsugi.metrics.functions import load_function

    for cached in (maskfiles._masks, measures.read_labels, kept, load_function):
        cached.cache_clear()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the worker to be killed in /proc")
def test_a_benchmark_with_a_lost_worker_equals_one_in_the_process(
    model: Path, tmp_path: Path, head: tuple[str, int]
) -> None:
    address, parent = head
    np.savez(tmp_path / "masks.npz", some=np.random.default_rng(0).integers(0, 2, (5, 32, 32), dtype=np.uint8))
    problems = [
        {"name": "sr", "operator": "bicubic", "factor": 4},
        {"name": "holes", "operator": "mask", "file": str(tmp_path / "masks.npz"), "key": "some", "noise": 0.1},
    ]
    path = write(tmp_path, pictures(model, problems=problems, steps=[2, 40], seeds=[0, 1, 2], keep_images=True))
    alone = start("bench", path, "-o", tmp_path / "alone")
    there = start("bench", path, "-o", tmp_path / "run", "--engine", "ray", "--workers", 2, "--address", address)
    while there.poll() is None and not finished_rows(tmp_path / "run"):
        time.sleep(0.01)
    killed = []
    while there.poll() is None and not killed:
        for process in busy_workers(parent)[:1]:
            os.kill(process, signal.SIGKILL)
            killed.append(process)
    assert killed
    assert len(finished_rows(tmp_path / "run")) < 48
    assert there.wait() == 0
    assert alone.wait() == 0
    found = read(tmp_path / "run")
    assert len(found) == 48
    same(found, read(tmp_path / "alone"))
    assert files(tmp_path / "run/images") == files(tmp_path / "alone/images")
    # A run on a cluster is one like any other: the same command without it has nothing left to do.
    assert bench.plan(bench.load_suite(path), tmp_path / "run").left == 0


def test_a_folder_equals_one_restored_in_the_process(model: Path, tmp_path: Path, head: tuple[str, int]) -> None:
    source, masks = tmp_path / "photos", tmp_path / "masks"
    for folder in (source / "sub", masks / "sub"):
        folder.mkdir(parents=True)
    for number, name in enumerate(("a.png", "b.jpg", "sub/c.png", "d.png", "e.png")):
        draw_picture((30 + number, 20), number).save(source / name)
        hole = draw_picture((30 + number, 20), number).convert("L").point(lambda value: 255 * (value > 128))
        hole.save((masks / name).with_suffix(".png"))
    (masks / "d.png").unlink()
    (source / "e.png").write_bytes((source / "e.png").read_bytes()[:200])
    shutil.copytree(source, tmp_path / "before")
    words = ["restore", source, *WORDS[4:], "-t", "inpaint", "--mask", masks, "--prior", model, "--compare"]
    alone = start(*words, "-o", tmp_path / "alone", stdout=subprocess.PIPE)
    there = start(*words, "-o", tmp_path / "run", "--engine", "ray", "--address", head[0], stdout=subprocess.PIPE)
    told = [process.communicate()[0] for process in (alone, there)]
    assert [alone.returncode, there.returncode] == [1, 1], told
    found = files(tmp_path / "run")
    assert len(found) == 6
    assert found == files(tmp_path / "alone")
    for said in told:
        assert "5 pictures, 3 restored, 0 already there, 2 failed" in said
        assert f"failed: d.png: {masks / 'd.png'}: no such file" in said
        assert f"failed: e.png: {source / 'e.png'}: corrupt or cut short" in said  # by the name that the user knows
    assert files(source) == files(tmp_path / "before")
    # It goes on in the process, with what was missing.
    draw_picture((33, 20), 3).convert("L").point(lambda value: 255 * (value > 128)).save(masks / "d.png")
    said = run(*words, "-o", tmp_path / "run").stdout
    assert "5 pictures, 1 restored, 3 already there, 1 failed" in said


def test_what_happens_to_one_item_does_not_happen_to_others(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, Path(__file__).parent / "ray_toys.py", tmp_path], env=ENVIRONMENT, stdout=subprocess.PIPE,
        check=True, text=True, timeout=240,
    )  # fmt: skip
    found = json.loads(done.stdout.splitlines()[-1])
    results = dict(found["results"])
    assert len(results) == len(found["results"])  # each once, though some were computed twice
    assert results.keys() == set(range(24)) - {WRONG, DEADLY, TAKEN}
    assert all(value == item * item + 1000 for item, (value, _, _) in results.items())
    tries = Counter(path.name.partition("-")[0] for path in tmp_path.iterdir())
    assert tries[str(LOST)] == 2
    assert tries[str(SLOW)] == 2
    assert found["seconds"] < 200  # it did not wait for the first of them
    failures = {item: (reason, trace) for item, reason, trace in found["failures"]}
    assert failures.keys() == {WRONG, DEADLY}
    assert failures[WRONG][0] == "ValueError: no five"
    assert "in square" in failures[WRONG][1]
    assert failures[DEADLY][0].startswith("WorkerCrashedError: ")
    assert tries[str(DEADLY)] == 4  # with the other of its unit, and then alone, each time with one retry
    assert all(loaded == 1 for _, _, loaded in results.values())  # processes are kept, and what they loaded
    assert len({process for _, process, _ in results.values()}) <= 2 + 5  # two, and one for each that was killed
    assert found["most"] <= 6  # two units of two, and the one that is cut: what waits has not been read
    assert found["left"] is False  # nor does Ray go on


def test_a_ray_that_is_not_there(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_picture((16, 16), 0).save(tmp_path / "a.png")
    (tmp_path / "in").mkdir()
    (tmp_path / "a.png").rename(tmp_path / "in/a.png")
    words = ("restore", tmp_path / "in", "-o", tmp_path / "out", "--prior", model, *WORDS, "--engine", "ray")
    monkeypatch.setitem(sys.modules, "ray", None)
    assert "the engine ray needs ray: pip install 'kintsugi-diffusion[ray]'" in refused(*words)
    assert not files(tmp_path / "out")
