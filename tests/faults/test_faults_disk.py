"""A full disk, a folder that cannot be written, a file that vanishes: one line, exit code 2, and it goes on later."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState

pytest.importorskip("pyarrow")
pytest.importorskip("optuna")

sys.path.insert(0, str(Path(__file__).parents[1]))

from jobs import make_jobs
from killing import TEMPORARY, Job, check_file, compare

from kintsugi.training import material
from kintsugi.training.data import spectrum_crops
from test_cli import done, refused, run

# In KiB: what each writes in all is more, and the first file of each is less.
ROOM = {"restore": 48, "bench": 40, "tune": 16, "train": 64}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setattr(material, "spectrum_crops", partial(spectrum_crops, count=2, size=16))
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Job]:
    return make_jobs(tmp_path_factory.mktemp("jobs"), pictures=4, trials=3, steps=4)


@contextmanager
def file_system(folder: Path, options: str) -> Iterator[None]:
    """A small file system of its own at ``folder``, where this user may make one."""
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(words, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def whole(folder: Path) -> None:
    """Every file is whole, and there is none with a temporary name."""
    for path in folder.rglob("*"):
        if path.is_file() and "locks" not in path.parts:
            assert not TEMPORARY.fullmatch(path.name), path
            if path.suffix not in (".jsonl", ".journal"):  # these grow: a line that was cut is dropped
                check_file(path)


@pytest.mark.parametrize("name", ROOM)
def test_a_full_disk(name: str, jobs: dict[str, Job], tmp_path: Path) -> None:
    disk, job = tmp_path / "disk", jobs[name]
    with file_system(disk, f"size={ROOM[name]}k"):
        own = job.at(disk / f"out{job.out.suffix}")
        said = refused(*own.words)
        assert "No space left on device" in said
        whole(disk)
        assert "No space left on device" in refused(*own.words)  # and again
        subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
        done(*own.words)
        whole(disk)
        expected = job.at(tmp_path / f"expected{job.out.suffix}")
        done(*expected.words)
        compare(own, expected)


@pytest.mark.parametrize("name", ROOM)
def test_a_folder_that_cannot_be_written(name: str, jobs: dict[str, Job], tmp_path: Path) -> None:
    disk, job = tmp_path / "disk", jobs[name]
    with file_system(disk, "size=50m,ro"):
        said = refused(*job.at(disk / f"out{job.out.suffix}").words)
        assert "Read-only file system" in said
        assert str(disk) in said


def test_a_picture_that_vanishes_costs_that_picture(
    jobs: dict[str, Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kintsugi.cli import picture

    photos = tmp_path / "photos"
    shutil.copytree(jobs["restore"].words[1], photos)  # type: ignore[arg-type]
    words = ["restore", photos, "-o", tmp_path / "out", *jobs["restore"].words[4:]]
    make = picture.make_model

    def vanish(*given: object) -> object:
        (photos / "p1.png").unlink()
        return make(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(picture, "make_model", vanish)
    result = run(*words)
    assert result.exit_code == 1
    assert f"failed: p1.png: {photos / 'p1.png'}: no such file" in result.stderr
    assert "4 pictures, 3 restored, 0 already there, 1 failed" in result.stdout
    whole(tmp_path / "out")


@pytest.mark.parametrize("name", ["bench", "tune", "train"])
def test_what_vanishes_is_told_in_one_line(
    name: str, jobs: dict[str, Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first picture is gone when it is opened for the third time or later: at some moment in the middle."""
    from kintsugi.images import reading

    fresh = make_jobs(_made(tmp_path / "jobs"), pictures=4, trials=3, steps=4)[name]
    photos, opened, read = tmp_path / "jobs/photos", [0], reading.read_picture

    def vanish(path: Path, *more: object) -> object:
        if Path(path).name == "p0.png":
            opened[0] += 1
            if opened[0] == 3:
                Path(path).unlink()
        return read(path, *more)  # type: ignore[arg-type]

    for module in [m for m in list(sys.modules.values()) if getattr(m, "read_picture", None) is read]:
        monkeypatch.setattr(module, "read_picture", vanish)
    result = run(*fresh.words)
    if opened[0] < 3:
        (photos / "p0.png").unlink()
        result = run(*fresh.words)
    if result.exit_code:
        assert result.exit_code == 2, (result.stderr, result.exception)
        assert result.stderr.count("\n") == 1
        assert "p0.png" in result.stderr
    whole(tmp_path / "jobs")


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
