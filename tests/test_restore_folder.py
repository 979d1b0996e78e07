"""``kintsugi restore`` of a folder: names, what is done again and what is not, failures, kills, and workers."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conftest import draw_picture
from kintsugi.cli import cluster, folder, picture
from kintsugi.cli.folder import Wanted, find_entries, restore_folder
from kintsugi.cli.picture import Recipe
from kintsugi.errors import InvalidArgument, Unfinished
from kintsugi.work import Claims, Cluster
from test_cli import done, model, names, pixels, refused, run

__all__ = ["model"]  # a fixture
WORDS: tuple[object, ...] = ("-t", "denoise", "--noise", 0.1, "--steps", 2, "--device", "cpu")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Five pictures, one of them in a subfolder, and what is none."""
    source = tmp_path / "photos"
    (source / "trip/day 1").mkdir(parents=True)
    for number, name in enumerate(("a.png", "b.jpg", "c.webp", "d.tif", "trip/day 1/e.png")):
        draw_picture((20 + number, 16), number).save(source / name)
    (source / ".hidden.png").write_bytes(b"")
    (source / "notes.txt").write_text("not a picture")
    np.save(source / "array.npy", np.zeros((3, 8, 8), np.float32))
    return source


def restore(source: Path, output: Path, model: Path, *more: object, code: int = 0) -> Any:
    result = run("restore", source, "-o", output, "--prior", model, *WORDS, *more)
    assert result.exit_code == code, (result.output, result.exception)
    return result


def files(folder: Path) -> dict[str, bytes]:
    """What is in a folder but its state."""
    found = (path for path in folder.rglob("*") if path.is_file() and ".kintsugi" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def times(folder: Path) -> dict[str, int]:
    return {name: (folder / name).stat().st_mtime_ns for name in files(folder)}


# --- what is written --------------------------------------------------------------------------------------------------


def test_every_picture_is_restored_as_if_alone(photos: Path, model: Path, tmp_path: Path) -> None:
    before = files(photos)
    said = restore(photos, tmp_path / "out", model, "--samples", 2, "--seed", 3).stdout
    assert said.endswith(f"{tmp_path / 'out'}: 5 pictures, 5 restored, 0 already there, 0 failed\n")
    assert "5/5 trip/day 1/e.png: 2 forwards, 0 VJPs, " in said
    for name in ("a.png", "b.jpg", "c.webp", "d.tif", "trip/day 1/e.png"):
        (tmp_path / "alone" / name).parent.mkdir(parents=True, exist_ok=True)
        done("restore", photos / name, "-o", tmp_path / "alone" / name, "--prior", model, *WORDS,
             "--samples", 2, "--seed", 3)  # fmt: skip
    found = files(tmp_path / "out")
    assert found == files(tmp_path / "alone")
    assert len(found) == 5 * 5  # the first, two samples, mean and std
    assert files(photos) == before


def test_a_suffix_for_all(photos: Path, model: Path, tmp_path: Path) -> None:
    restore(photos, tmp_path / "out", model, "--suffix", ".png")
    assert set(files(tmp_path / "out")) == {"a.png", "b.png", "c.png", "d.png", "trip/day 1/e.png"}
    done("restore", photos / "b.jpg", "-o", tmp_path / "b.png", "--prior", model, *WORDS)
    assert (tmp_path / "out/b.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_one_mask_or_one_each(photos: Path, model: Path, tmp_path: Path) -> None:
    words = ("-t", "inpaint", "--noise", 0, "--prior", model, "--steps", 2)
    masks = tmp_path / "masks"
    (masks / "trip/day 1").mkdir(parents=True)
    for number, name in enumerate(("a.png", "b.png", "c.png", "trip/day 1/e.png")):  # of b.jpg too; none of d.tif
        hole = np.zeros((16, 20 + number + (name[0] == "t")), dtype=np.uint8)
        hole[4:8, 2 + number : 7 + number] = 255
        Image.fromarray(hole).save(masks / name)
    result = run("restore", photos, "-o", tmp_path / "each", "--mask", masks, *words)
    assert result.exit_code == 1
    assert f"failed: d.tif: {masks / 'd.tif'}: no such file" in result.stderr
    for name, mask in (("a.png", "a.png"), ("trip/day 1/e.png", "trip/day 1/e.png")):
        known = pixels(masks / mask) == 0
        assert np.array_equal(pixels(tmp_path / "each" / name)[known], pixels(photos / name)[known])
        assert not np.array_equal(pixels(tmp_path / "each" / name), pixels(photos / name))
    result = run("restore", photos, "-o", tmp_path / "one", "--mask", masks / "a.png", *words)
    assert result.exit_code == 1  # it fits one of the five sizes
    assert set(files(tmp_path / "one")) == {"a.png"}
    assert (tmp_path / "one/a.png").read_bytes() == (tmp_path / "each/a.png").read_bytes()
    # Another mask: only its picture is done again.
    before = times(tmp_path / "each")
    shutil.copy(masks / "a.png", tmp_path / "other.png")
    Image.fromarray(255 - pixels(masks / "b.png")).save(masks / "b.png")
    assert "1 restored, 3 already there, 1 failed" in run(
        "restore", photos, "-o", tmp_path / "each", "--mask", masks, *words
    ).stdout  # fmt: skip
    after = times(tmp_path / "each")
    assert {name for name in before if before[name] != after[name]} == {"b.jpg"}


# --- what is done again -----------------------------------------------------------------------------------------------


def test_what_is_done_is_not_done_again_unless_it_changed(photos: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    restore(photos, out, model)
    before = times(out)
    os.utime(photos / "a.png", ns=(1, 1))  # another time, but the same picture
    assert "0 restored, 5 already there, 0 failed" in restore(photos, out, model).stdout
    assert times(out) == before
    draw_picture((21, 16), 77).save(photos / "b.jpg")
    (out / "c.webp").unlink()
    assert "2 restored, 3 already there, 0 failed" in restore(photos, out, model).stdout
    after = times(out)
    assert {name for name in before if before[name] != after[name]} == {"b.jpg", "c.webp"}
    done("restore", photos / "b.jpg", "-o", tmp_path / "b.jpg", "--prior", model, *WORDS)
    assert (out / "b.jpg").read_bytes() == (tmp_path / "b.jpg").read_bytes()
    # A picture more, and one that is gone: its result stays.
    (photos / "a.png").rename(photos / "z.png")
    assert "5 pictures, 1 restored, 4 already there, 0 failed" in restore(photos, out, model).stdout
    assert (out / "a.png").exists()


def test_other_settings_are_refused(photos: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    restore(photos, out, model)
    before = times(out)
    words = ("restore", photos, "-o", out, "--prior", model, *WORDS)
    assert "(steps was 2, not 3)" in refused(*words, "--steps", 3)
    assert "(seed was 0, not 1)" in refused(*words, "--seed", 1)
    assert "(suffix was None, not '.png')" in refused(*words, "--suffix", ".png")
    other = tmp_path / "other.safetensors"
    shutil.copy(model, other)
    restore(photos, out, other)  # the same model under another name
    other.write_bytes(model.read_bytes()[:-1] + b"\x07")
    assert "(prior was 'a file, " in refused(*words, "--prior", other)
    assert times(out) == before


# --- what fails -------------------------------------------------------------------------------------------------------


def test_failures_are_told_and_tried_again(photos: Path, model: Path, tmp_path: Path) -> None:
    out, whole = tmp_path / "out", (photos / "b.jpg").read_bytes()
    (photos / "b.jpg").write_bytes(whole[: len(whole) // 2])
    (photos / "zero.png").write_bytes(b"")
    for _ in range(2):
        result = restore(photos, out, model, code=1)
        assert "2 failed" in result.stdout
        assert f"failed: zero.png: {photos / 'zero.png'}: is empty (0 bytes)\n" in result.stderr
        assert f"failed: b.jpg: {photos / 'b.jpg'}: corrupt or cut short" in result.stderr
        assert set(files(out)) == {"a.png", "c.webp", "d.tif", "trip/day 1/e.png"}
    (photos / "b.jpg").write_bytes(whole)
    (photos / "zero.png").unlink()
    result = restore(photos, out, model)
    assert "5 pictures, 1 restored, 4 already there, 0 failed" in result.stdout
    assert result.stderr == ""


def test_what_nobody_expects_costs_one_picture(
    photos: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = picture.prepare

    def fail(task: str, given: Any, words: Any) -> Any:
        if given.width == 21:
            raise ZeroDivisionError("a bug")
        return prepare(task, given, words)

    monkeypatch.setattr(picture, "prepare", fail)
    result = restore(photos, tmp_path / "out", model, code=1)
    assert "failed: b.jpg: ZeroDivisionError: a bug" in result.stderr
    assert "4 restored" in result.stdout
    (record,) = (tmp_path / "out/.kintsugi/failed").iterdir()
    assert any("in fail" in line for line in json.loads(record.read_text())["traceback"])


def test_a_full_disk_stops_everything(
    photos: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(picture.outputs, "write", full)
    assert refused("restore", photos, "-o", tmp_path / "out", "--prior", model, *WORDS) == (
        "error: No space left on device\n"
    )
    assert not files(tmp_path / "out")
    monkeypatch.undo()
    assert "5 restored" in restore(photos, tmp_path / "out", model).stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-o", "{photos}"], "output: expected a folder apart from"),
        (["-o", "{photos}/out"], "output: expected a folder apart from"),
        (["-o", "{folder}"], "output: expected a folder apart from"),
        (["-o", "{photos}/a.png"], "output: expected a folder apart from"),
        (["-o", "{folder}/file"], "output: expected a folder, as the input is one"),
        (["--suffix", ".xyz"], "suffix: expected one of .png"),
        (["--suffix", ".png", "-t", "sr", "--factor", 40], "factor: expected a whole number"),
        (["-t", "inpaint"], "mask: expected"),
        (["-t", "inpaint", "--mask", "none.png"], "none.png: no such file"),
        (["-t", "deblur", "--kernel", "gaussian:x"], "kernel: expected"),
        (["--sampler", "magic"], "sampler: expected"),
        (["--set", "zeta=1"], "zeta"),
        (["--preset", "magic"], "magic: no such preset"),
        (["--device", "toaster"], "device: expected"),
        (["--address", "auto"], "address: expected none without --engine ray"),
        (["--workers", 0], "'--workers'"),
    ],
)
def test_mistakes_are_found_before_anything_is_done(
    photos: Path, model: Path, tmp_path: Path, words: list[object], message: str
) -> None:
    (tmp_path / "file").write_text("")
    before = files(tmp_path)
    given = [str(word).format(photos=photos, folder=tmp_path) for word in words]
    assert message in refused("restore", photos, "-o", tmp_path / "out", "--prior", model, *WORDS, *given)
    assert files(tmp_path) == before
    assert not (tmp_path / "out").exists()


def test_a_model_that_cannot_be_read_stops_at_once(photos: Path, tmp_path: Path) -> None:
    assert "prior: expected one of" in refused("restore", photos, "-o", tmp_path / "out", "--prior", "none", *WORDS)
    assert not files(tmp_path / "out")
    assert not list((tmp_path / "out/.kintsugi/failed").iterdir())


def test_two_pictures_of_one_result(photos: Path, model: Path, tmp_path: Path) -> None:
    words = ("restore", photos, "-o", tmp_path / "out", "--prior", model, *WORDS)
    draw_picture((8, 8), 0).save(photos / "a-mean.png")
    said = refused(*words, "--samples", 2)
    assert "another result for a-mean.png than for a.png" in said
    draw_picture((8, 8), 0).save(photos / "b.png")
    assert "another result for b.jpg than for b.png" in refused(*words, "--suffix", ".png")
    assert not (tmp_path / "out").exists()
    empty = tmp_path / "empty"
    empty.mkdir()
    assert f"{empty}: no images in it" in refused("restore", empty, "-o", tmp_path / "out", *WORDS)


def test_what_is_only_for_folders(photos: Path, model: Path, tmp_path: Path) -> None:
    words = ("restore", photos / "a.png", "-o", tmp_path / "out.png", "--prior", model, *WORDS)
    for option, value in (("workers", 2), ("suffix", ".png"), ("engine", "ray")):
        assert f"{option}: expected none for a single file" in refused(*words, f"--{option}", value)
    assert names(tmp_path) == {"photos"}


# --- killed, and shared -----------------------------------------------------------------------------------------------


def start(source: Path, output: Path, model: Path, *more: object) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "kintsugi", "restore", source, "-o", output, "--prior", model, *WORDS, *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([str(word) for word in words], stdout=subprocess.DEVNULL, env=environment)


@pytest.fixture
def many(tmp_path: Path) -> Path:
    (tmp_path / "many").mkdir()
    for number in range(24):
        draw_picture((64 + number, 64), number).save(tmp_path / f"many/{number:02}.png")
    return tmp_path / "many"


def test_killed_at_any_moment_it_goes_on(many: Path, model: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert start(many, whole, model, "--samples", 2, "--workers", 2).wait() == 0  # by two workers
    expected = files(whole)
    assert len(expected) == 24 * 5
    process = start(many, out, model, "--samples", 2)
    while process.poll() is None and len(list(out.glob(".kintsugi/done/[!.]*"))) < 7:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    records = [json.loads(path.read_text()) for path in out.glob(".kintsugi/done/[!.]*")]
    for name in (name for record in records for name in record["files"]):
        assert (out / name).read_bytes() == expected[name]  # whole, and equal to those of two workers
    before = {path: path.stat().st_mtime_ns for path in out.glob(".kintsugi/done/[!.]*")}
    assert 7 <= len(before) < 24
    # As if it had been killed while it wrote the first file of its last picture.
    entry = find_entries(Wanted(many, out, Recipe("denoise")))[-1]
    (out / f".kintsugi/locks/{entry.id}.at").touch()
    (out / f".{entry.files.first.stem}.abcd_123.png").write_bytes(b"half")
    assert start(many, out, model, "--samples", 2).wait() == 0
    assert files(out) == expected
    assert {path: path.stat().st_mtime_ns for path in before} == before  # nothing was done twice


def test_a_picture_that_kills_its_processes_is_told(
    photos: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = Wanted(photos, tmp_path / "out", Recipe("denoise", noise="0.1", prior=str(model)), None, "cpu", 2)

    def killed(*args: object, **more: object) -> None:
        claims = tmp_path / "out/.kintsugi/locks"
        for entry in find_entries(wanted):
            (claims / f"{entry.id}.at").touch()
        raise Unfinished("2 of 2 workers ended with an error, with 5 items left")

    monkeypatch.setattr(folder, "run_processes", killed)
    assert restore_folder(wanted) == 5
    assert "failed: 5 pictures, a.png the first: every process that was at it died" in capsys.readouterr().err


def test_a_process_of_accelerate_launch_stays_until_all_is_done(
    photos: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = Wanted(photos, tmp_path / "out", Recipe("denoise", noise="0.1", steps=2, prior=str(model)), None, "cpu")
    lock = Claims(tmp_path / "out/.kintsugi/locks").take(find_entries(wanted)[2].id)
    assert lock is not None
    assert restore_folder(wanted) == 0
    assert "5 pictures, 4 restored, 0 already there, 0 failed, 1 left to others" in capsys.readouterr().out
    monkeypatch.setattr(folder, "launched", lambda device: device)
    waits = []

    def wait(seconds: float) -> None:  # and meanwhile the other process is lost
        waits.append(seconds)
        lock.lock.release()

    monkeypatch.setattr(folder.time, "sleep", wait)
    assert restore_folder(wanted) == 0
    assert len(waits) == 1
    assert "5 pictures, 1 restored, 4 already there, 0 failed\n" in capsys.readouterr().out


def test_workers_are_given_the_whole_command(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each option of the command line, other than its default, comes back from :meth:`Recipe.arguments`."""
    recipe = Recipe(
        task="deblur", mask="m.png", factor=3, kernel="gaussian:2", noise="-0.5", boundary="circular", quality=40,
        bits=3, gain=1.5, sampler="cpigdm", preset="p", steps=7, texture=0.25, settings=("w=3.0", "tau=-1"), samples=2,
        seed=9, prior="a b", prior_settings=("size=64",), label=3, prompt="a -- b", guidance=2.5, windows=True,
        compare=True, max_memory="9GiB", strength="s.png", blend=0.5, keep_grain=0.25, keep_surface=0.75,
        level=0.5, frequency=50.0, second_prior="c", fade=0.5,
    )  # fmt: skip
    of_one_picture = {"uncertainty", "invented", "calibrated"}
    assert all(getattr(recipe, f.name) != f.default for f in fields(Recipe) if f.name not in of_one_picture)
    wanted = Wanted(photos, tmp_path / "-out", recipe, ".png", "cpu", 2)
    found = []
    monkeypatch.setattr(folder, "restore_folder", lambda *given: found.append(given) or 0)
    done(*wanted.arguments(1))
    ((other, as_worker),) = found
    assert as_worker is True
    assert other == Wanted(photos, tmp_path / "-out", recipe, ".png", "cpu", 1)


def test_a_device_for_ray_is_a_kind(photos: Path, model: Path, tmp_path: Path) -> None:
    wanted = Wanted(photos, tmp_path / "out", Recipe("denoise", prior=str(model)), None, "cuda:1", 1, Cluster())
    with pytest.raises(InvalidArgument, match="Ray decides"):
        cluster.restore_on_cluster([], folder.Manifest(wanted.output, {}), wanted, None)  # type: ignore[arg-type]


def test_the_mark_of_a_finished_picture_goes(
    photos: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C between the last write and the release of a picture leaves its mark; nobody takes the picture again."""
    wanted = Wanted(photos, tmp_path / "out", Recipe("denoise", noise="0.1", steps=2, prior=str(model)), None, "cpu")
    assert restore_folder(wanted) == 0
    mark = tmp_path / "out/.kintsugi/locks" / f"{find_entries(wanted)[2].id}.at"
    mark.touch()
    assert restore_folder(wanted) == 0
    assert not mark.exists()
