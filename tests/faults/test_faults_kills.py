"""``restore`` of a folder, ``bench``, ``tune`` and ``train``: killed at random moments, interrupted, and resumed."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("pyarrow")
pytest.importorskip("optuna")

from jobs import make_jobs
from killing import Broken, Job, Warm, check_file, compare, run_killed, run_whole

JOBS = ("restore", "bench", "tune", "train", "restore by two", "bench by two")


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    with Warm() as process:
        yield process


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Job]:
    return make_jobs(tmp_path_factory.mktemp("jobs"), pictures=4, trials=3, steps=6)


@pytest.fixture(scope="module")
def wholes() -> dict[str, tuple[Job, float]]:
    """Jobs that were run without interruption, and their seconds."""
    return {}


def campaign(
    warm: Warm, job: Job, wholes: dict[str, tuple[Job, float]], folder: Path, seed: int, sign: int, enough: int
) -> int:
    """How often the job was killed until it ended, with the same result as without."""
    if job.name not in wholes:
        whole = job.at(job.out.with_name(f"{job.name} whole{job.out.suffix}"))
        wholes[job.name] = whole, run_whole(warm, whole, folder)
    whole, seconds = wholes[job.name]
    own = job.at(folder / f"out{job.out.suffix}")
    tally = run_killed(warm, own, folder, random.Random(seed), seconds / 3, enough, sign)
    assert tally.looks >= 2
    compare(own, whole)
    return tally.kills


@pytest.mark.parametrize("name", JOBS[:4])
def test_killed_at_random_moments(
    name: str, warm: Warm, jobs: dict[str, Job], wholes: dict[str, tuple[Job, float]], tmp_path: Path
) -> None:
    assert campaign(warm, jobs[name], wholes, tmp_path, 1, signal.SIGKILL, 4) <= 4


@pytest.mark.parametrize("name", JOBS[:4])
def test_ctrl_c_at_random_moments(
    name: str, warm: Warm, jobs: dict[str, Job], wholes: dict[str, tuple[Job, float]], tmp_path: Path
) -> None:
    assert campaign(warm, jobs[name], wholes, tmp_path, 2, signal.SIGINT, 3) <= 3


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize("name", JOBS)
def test_killed_often(
    name: str, sign: int, warm: Warm, jobs: dict[str, Job], wholes: dict[str, tuple[Job, float]], tmp_path: Path
) -> None:
    kills = 0
    for seed in range(100):
        folder = tmp_path / str(seed)
        folder.mkdir()
        kills += campaign(warm, jobs[name], wholes, folder, seed, sign, 40)
        if kills >= 20:
            return
    pytest.fail(f"{kills} kills in 100 runs")


def test_the_judge_sees_what_is_broken(jobs: dict[str, Job], tmp_path: Path) -> None:
    """Half of a file is seen, another value, and a temporary file that was left."""
    good = {name: (next(jobs["restore"].out.parent.rglob(name))).read_bytes() for name in ("p0.png", "suite.yaml")}
    good["model.safetensors"] = (jobs["restore"].out.parent / "model.safetensors").read_bytes()
    good |= {"a.json": b'{"a": [1, 2, 3]}', "a.jsonl": b'{"a": 1}\n{"b": 22}\n'}
    for name, content in good.items():
        path = tmp_path / name
        path.write_bytes(content)
        check_file(path)
        path.write_bytes(content[: len(content) * 2 // 3])
        if name != "suite.yaml":  # half a YAML file may be a YAML file
            with pytest.raises(Exception, match=r".*"):
                check_file(path)
    a, b = (Job("x", (), tmp_path / name, lambda out: {"v": (out / "v").read_text()}) for name in "ab")
    for job in (a, b):
        job.out.mkdir()
        (job.out / "v").write_text("1")
    compare(a, b)
    (a.out / ".v.abcdefgh.png").touch()
    with pytest.raises(Broken, match="left"):
        compare(a, b)
    (a.out / ".v.abcdefgh.png").unlink()
    (a.out / "v").write_text("2")
    with pytest.raises(Broken, match="1 differ"):
        compare(a, b)
