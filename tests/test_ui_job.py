"""The page without its server: what may be asked, what is mended, who is next. No browser, no gradio."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from typer.testing import CliRunner

import kintsugi
from conftest import draw_picture
from kintsugi.cli import app
from kintsugi.errors import InvalidArgument, InvalidFile
from kintsugi.images import read_picture
from kintsugi.priors import Prior, load_prior
from kintsugi.ui import look
from kintsugi.ui.asked import WRONG, Asked, Craft
from kintsugi.ui.limits import Limits
from kintsugi.ui.mend import Mended, Report, Work, mend
from kintsugi.ui.steps import Stopped
from kintsugi.ui.words import BROKEN, file_name, plain
from kintsugi.ui.workshop import Full, Job, Workshop, status

LIMITS = Limits()
OFFERED: dict[str, Craft] = {"photo": "pictures"}


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    draw_picture((40, 36), 1).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    array = np.zeros((36, 40), dtype=np.uint8)
    array[10:18, 5:25] = 255
    Image.fromarray(array).save(tmp_path / "photo-mask.png")
    return tmp_path / "photo-mask.png"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "job").mkdir()
    return tmp_path / "job"


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def done(
    photo: Path, folder: Path, model: Path, mask: Path | None = None, report: Report | None = None, **asked: object
) -> Mended:
    given = Asked.parse({"prior": str(model), "steps": 2, **asked}, LIMITS, {str(model): "pictures"})
    return mend(Work(given, photo, mask, photo.name, folder, load_prior(model), LIMITS, report or Report()))


# --- what may be asked ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ([], "asked"),
        ({"mask": "/etc/passwd"}, "asked"),
        ({"wrong": "everything"}, "wrong"),
        ({"wrong": ["small"]}, "wrong"),
        ({"wrong": "small", "factor": 9}, "factor"),
        ({"wrong": "small", "factor": 2.5}, "factor"),
        ({"factor": True}, "factor"),
        ({"kernel": "/etc/passwd"}, "kernel"),
        ({"width": float("nan")}, "width"),
        ({"width": 1e9}, "width"),
        ({"noise": "auto"}, "noise"),
        ({"noise": -0.1}, "noise"),
        ({"quality": 0}, "quality"),
        ({"texture": 1.01}, "texture"),
        ({"samples": 9}, "samples"),
        ({"samples": 10**30}, "samples"),
        ({"steps": 0}, "steps"),
        ({"seed": -1}, "seed"),
        ({"prior": "../secret.safetensors"}, "prior"),
    ],
)
def test_what_cannot_be_asked(given: object, name: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Asked.parse(given, LIMITS, OFFERED)
    assert caught.value.name == name


def test_numbers_of_the_page_become_options() -> None:
    asked = Asked.parse({"wrong": "small", "factor": 3.0, "texture": 0.5, "noise": 0.02}, LIMITS, OFFERED)
    recipe = asked.recipe(None)
    assert (recipe.task, recipe.factor, recipe.texture, recipe.noise) == ("sr", 3, 0.5, "0.02")
    assert type(recipe.factor) is int
    motion = Asked.parse({"wrong": "blur", "kernel": "motion", "width": 9, "angle": 30}, LIMITS, OFFERED)
    assert motion.recipe(None).kernel == "motion:9:30"
    assert {wrong.task for wrong in WRONG.values() if wrong.craft == "pictures"} - {None} <= set(kintsugi.tasks.TASKS)


# --- the page equals the command line ---------------------------------------------------------------------------------

CASES: list[dict[str, object]] = [
    {"wrong": "small", "factor": 2},
    {"wrong": "small", "factor": 3, "noise": 0.02, "texture": 0.5, "samples": 2, "seed": 4},
    {"wrong": "holes"},
    {"wrong": "holes", "noise": 0.03, "samples": 3, "texture": 1},
    {"wrong": "blur", "kernel": "gaussian", "width": 1.2},
    {"wrong": "blur", "kernel": "motion", "width": 5, "angle": 30},
    {"wrong": "noise", "noise": 0.1},
    {"wrong": "jpeg", "quality": 30},
    {"wrong": "colour"},
    {"wrong": "grey"},
]


def check_agreement(result: Mended, folder: Path, made: list[str], here: Path) -> None:
    """The command that the page shows makes the files ``made`` of it, and the program the samples, to the bit."""
    content = {name: (folder / name).read_bytes() for name in made}
    with contextlib.chdir(here):
        said = CliRunner().invoke(app, shlex.split(result.command)[1:])
        assert said.exit_code == 0, said.output
        for name in made:
            assert Path(result.files[name]).read_bytes() == content[name], name
            Path(result.files[name]).unlink()
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(result.python, "page", "exec"), {})
        for sample in result.samples:
            assert Path(result.files[sample]).read_bytes() == content[sample], sample


@pytest.mark.parametrize("asked", CASES, ids=[str(i) for i in range(len(CASES))])
def test_the_page_the_command_and_the_program_agree_to_the_bit(
    photo: Path, mask: Path, folder: Path, model: Path, tmp_path: Path, asked: dict[str, object]
) -> None:
    report = Report()
    result = done(photo, folder, model, mask if asked["wrong"] == "holes" else None, report, **asked)
    assert (report.done, report.frames, result.frames) == (2, 2, 2)
    made = [name for name in result.files if name.startswith("restored")]
    assert made
    check_agreement(result, folder, made, tmp_path)


def test_an_example_keeps_its_name(folder: Path, model: Path) -> None:
    asked = Asked(wrong="small", steps=1, prior=str(model))
    source = kintsugi.data_path("lighthouse")
    result = mend(Work(asked, source, None, "example:lighthouse", folder, load_prior(model), LIMITS, Report()))
    words = (
        f"kintsugi restore example:lighthouse -o lighthouse-restored.png --task sr --factor 2 --steps 1 --prior {model}"
    )
    assert result.command == words
    assert "data_path('lighthouse')" in result.python


def test_names_are_safe_in_a_shell_and_in_a_program(photo: Path, folder: Path, model: Path) -> None:
    name = file_name("../../a b'; rm -rf $(x) \n.png")
    assert name == "a b__ rm -rf __x_ _.png"
    result = mend(
        Work(
            Asked(wrong="small", steps=1, prior=str(model)),
            photo,
            None,
            name,
            folder,
            load_prior(model),
            LIMITS,
            Report(),
        )
    )
    assert shlex.split(result.command)[2] == name
    compile(result.python, "page", "exec")
    assert [file_name(each) for each in (None, "", "..", "x", "C:\\a\\b.jpg", "-o.png", "n" * 300 + ".tif")] == [
        "picture.png", "picture.png", "picture.png", "picture.png", "b.jpg", "o.png", "n" * 76 + ".tif"
    ]  # fmt: skip


# --- what the visitor sees --------------------------------------------------------------------------------------------


def test_pictures_to_look_at(photo: Path, mask: Path, folder: Path, model: Path) -> None:
    result = done(photo, folder, model, mask, wrong="holes", samples=2, texture=1)
    seen = {name: pixels(folder / file) for name, file in result.shown.items()}
    assert np.array_equal(seen["before"], pixels(photo))
    assert np.array_equal(seen["after"], pixels(folder / "restored-sample1.png"))
    missing = pixels(mask) > 127
    changed = (seen["gold"] != seen["after"]).any(axis=2)
    assert not changed[~missing].any()  # no gold where the picture was kept
    assert changed[missing].mean() > 0.9
    with Image.open(folder / "steps.webp") as steps:
        assert steps.n_frames == 3  # two estimates and the result
    assert result.files[mask.name] == "photo-mask.png"


def test_a_grey_picture_of_16_bits(tmp_path: Path, folder: Path, model: Path) -> None:
    Image.fromarray(np.arange(36 * 40, dtype=np.uint16).reshape(36, 40) * 40).save(tmp_path / "deep.png")
    result = done(tmp_path / "deep.png", folder, model, wrong="small")
    assert read_picture(folder / "restored.png").bits == 16
    assert pixels(folder / "before.png").shape == (72, 80, 3)
    assert (result.width, result.height) == (80, 72)


# --- errors -----------------------------------------------------------------------------------------------------------


def test_plain_words_without_paths(photo: Path, folder: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(photo.read_bytes()[:300])
    with pytest.raises(InvalidFile) as caught:
        done(photo, folder, model, wrong="small")
    told = plain(caught.value, {str(photo): "photo.png"})
    assert told.startswith("Photo.png: corrupt or cut short")
    assert str(tmp_path) not in told
    assert plain(InvalidArgument("mask", None, "x"), {}) == "Paint over the holes first, or choose a mask file."
    assert plain(RuntimeError(f"secret of {tmp_path}"), {}) == BROKEN
    assert plain(MemoryError(), {}).startswith("The picture is too large")


def test_too_many_pixels_before_they_are_read(tmp_path: Path, folder: Path, model: Path) -> None:
    Image.new("RGB", (2100, 2000)).save(tmp_path / "large.png")
    with pytest.raises(InvalidFile, match=r"2100 x 2000 pixels are 4\.2 megapixels; this page takes up to 4"):
        done(tmp_path / "large.png", folder, model, wrong="noise", noise=0.1)
    Image.new("RGB", (600, 600)).save(tmp_path / "small.png")
    with pytest.raises(InvalidFile, match="enlarged 4 times"):
        done(tmp_path / "small.png", folder, model, wrong="small", factor=4)
    assert not any(folder.iterdir())


# --- what is wrong with it --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prior() -> Prior:
    return load_prior("photo")


def lighthouse() -> Image.Image:
    with Image.open(kintsugi.data_path("lighthouse")) as image:
        return image.convert("RGB").crop((40, 10, 168, 122))


def test_a_blur_is_found(tmp_path: Path, prior: Prior) -> None:
    noisy = np.asarray(lighthouse().filter(ImageFilter.GaussianBlur(1.5)), dtype=np.float64)
    noisy += np.random.default_rng(0).normal(0, 2.5, noisy.shape)
    Image.fromarray(np.clip(noisy.round(), 0, 255).astype(np.uint8)).save(tmp_path / "soft.png")
    found = look.find_wrong(tmp_path / "soft.png", read_picture(tmp_path / "soft.png"), prior)
    kind, width = found.options["kernel"].split(":")
    # Pillow's blur is three boxes, about a Gaussian; the estimator's stated accuracy is 5 % where there is detail.
    assert (found.options["task"], kind) == ("deblur", "gaussian")
    assert float(width) == pytest.approx(1.5, rel=0.15)
    assert 255 * float(found.options["noise"]) == pytest.approx(2.5, rel=0.15)


def test_noise_is_found(tmp_path: Path, prior: Prior) -> None:
    noisy = np.asarray(lighthouse(), dtype=np.float64) + np.random.default_rng(0).normal(0, 20, (112, 128, 3))
    Image.fromarray(np.clip(noisy.round(), 0, 255).astype(np.uint8)).save(tmp_path / "grain.png")
    found = look.find_wrong(tmp_path / "grain.png", read_picture(tmp_path / "grain.png"), prior)
    assert found.options["task"] == "denoise"
    assert 255 * float(found.options["noise"]) == pytest.approx(20, rel=0.08)


def test_compression_is_found_in_the_file(tmp_path: Path, prior: Prior) -> None:
    lighthouse().save(tmp_path / "blocks.jpg", quality=30)
    found = look.find_wrong(tmp_path / "blocks.jpg", read_picture(tmp_path / "blocks.jpg"), prior)
    assert found.options == {"task": "jpeg"}
    lighthouse().save(tmp_path / "fine.jpg", quality=95)
    with pytest.raises(InvalidArgument, match="choose what is wrong"):
        look.find_wrong(tmp_path / "fine.jpg", read_picture(tmp_path / "fine.jpg"), prior)


def test_what_was_found_is_in_the_command(tmp_path: Path, folder: Path, prior: Prior) -> None:
    lighthouse().filter(ImageFilter.GaussianBlur(1.5)).save(tmp_path / "soft.png")
    asked = Asked(wrong="blur", steps=1)
    report = Report()
    result = mend(Work(asked, tmp_path / "soft.png", None, "soft.png", folder, prior, LIMITS, report))
    assert "--kernel gaussian:1." in result.command
    assert result.found.startswith("A blur of about 1.")
    assert result.found == report.found


# --- the stop button --------------------------------------------------------------------------------------------------


class Slow(Prior):
    """A denoiser that counts its calls, and waits at each until it is let through."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.gate = threading.Semaphore(0)

    def denoise(self, z: torch.Tensor, eta: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        assert self.gate.acquire(timeout=30)
        return z * 0.5


def test_stop_within_a_step(photo: Path, folder: Path) -> None:
    slow, stop = Slow(), threading.Event()
    slow.gate.release(3)
    asked = Asked(wrong="noise", noise=0.1, steps=10)

    def stopped() -> bool:
        if slow.calls == 3:
            stop.set()
        return stop.is_set()

    with pytest.raises(Stopped):
        mend(Work(asked, photo, None, "photo.png", folder, slow, LIMITS, Report(), stopped))
    assert slow.calls == 3
    assert not (folder / "restored.png").exists()


# --- the workshop -----------------------------------------------------------------------------------------------------


class Bench:
    """A workshop whose work is done when it is told to."""

    def __init__(self, limits: Limits) -> None:
        self.order: list[str] = []
        self.began, self.go = threading.Semaphore(0), threading.Semaphore(0)
        self.fail: BaseException | None = None
        self.shop = Workshop(self.work, limits)

    def work(self, job: Job) -> Mended:
        self.order.append(job.name)
        self.began.release()
        while not self.go.acquire(timeout=0.01):
            if job.stop.is_set():
                raise Stopped
        if self.fail is not None:
            raise self.fail
        (job.folder / "restored.png").write_bytes(b"x")
        return Mended(1, 1, ("restored.png",), {"restored.png": "a.png"}, 0, "", "", (str(job.source),), "")

    def add(self, client: str, name: str) -> Job:
        folder = self.shop.new_folder()
        job = Job(client, Asked(), folder, folder / "input.png", None, name)
        self.shop.submit(job)
        return job


@pytest.fixture
def bench() -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(**limits: float) -> Bench:
        made.append(Bench(Limits(**limits)))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.shop.close()
        assert not each.shop.root.exists()


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_clients_take_turns(bench: Callable[..., Bench]) -> None:
    b = bench(each=9)
    first = b.add("a", "a0")
    assert b.began.acquire(timeout=30)
    jobs = [
        b.add(client, name)
        for client, name in (("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1"), ("c", "c1"), ("b", "b2"))
    ]
    assert [b.shop.place(job) for job in jobs] == [1, 4, 6, 2, 3, 5]
    assert b.shop.place(first) == 0
    b.go.release(7)
    until(lambda: all(job.state == "done" for job in jobs))
    assert b.order == ["a0", "a1", "b1", "c1", "a2", "b2", "a3"]


def test_the_queue_is_bounded(bench: Callable[..., Bench]) -> None:
    b = bench(queue=3, each=2)
    b.add("a", "a0")
    assert b.began.acquire(timeout=30)
    b.add("a", "a1")
    with pytest.raises(Full, match="You already have files waiting") as mine:
        b.add("a", "a2")
    assert mine.value.alone
    for client in ("b", "c"):
        b.add(client, f"{client}1")
    with pytest.raises(Full, match="the queue is full") as all_of_us:
        b.add("d", "d1")
    assert not all_of_us.value.alone
    assert len(list(b.shop.root.iterdir())) == 4  # nothing is left of those that were refused


def test_a_stopped_job_never_begins_and_a_running_one_ends(bench: Callable[..., Bench]) -> None:
    b = bench()
    running = b.add("a", "a0")
    assert b.began.acquire(timeout=30)
    waiting, other = b.add("a", "a1"), b.add("b", "b1")
    b.shop.cancel(waiting)
    assert waiting.state == "stopped"
    assert b.shop.place(other) == 1
    b.shop.cancel(running)
    until(lambda: running.state == "stopped")
    b.go.release()
    until(lambda: other.state == "done")
    assert b.order == ["a0", "b1"]


def test_nobody_sees_the_job_of_another(bench: Callable[..., Bench]) -> None:
    b = bench()
    job = b.add("a", "a0")
    assert b.shop.find("a", job.id) is job
    for client, id in (("b", job.id), ("", job.id), ("a", "x"), ("a", job.id[:-1])):
        with pytest.raises(KeyError):
            b.shop.find(client, id)


def test_errors_end_one_job_only(bench: Callable[..., Bench], capsys: pytest.CaptureFixture[str]) -> None:
    b = bench()
    b.fail = RuntimeError("a secret")
    broken = b.add("a", "a0")
    b.go.release()
    until(lambda: broken.state == "failed")
    assert broken.message == BROKEN
    assert "a secret" in capsys.readouterr().err  # the owner of the server reads it
    wrong = b.add("a", "x.png")
    until(lambda: wrong.state == "running")
    b.fail = InvalidFile(wrong.source, "no picture")
    b.go.release()
    until(lambda: wrong.state == "failed")
    assert wrong.message == "X.png: no picture"
    b.fail = None
    good = b.add("a", "a2")
    b.go.release()
    until(lambda: good.state == "done")
    told = status(good, 0)
    assert str(b.shop.root) not in repr(told)
    assert told["result"]["notes"] == ["A2"]  # a note that names the file


def test_files_are_removed(bench: Callable[..., Bench]) -> None:
    b = bench(kept=2, keep=0.3)
    jobs = []
    for i in range(4):
        jobs.append(b.add("a", f"a{i}"))
        b.go.release()
        until(lambda: jobs[-1].state == "done")
    until(lambda: [job.folder.exists() for job in jobs] == [False, False, True, True])
    b.shop.forget(jobs[2])
    assert not jobs[2].folder.exists()
    time.sleep(0.35)
    b.shop.sweep()
    assert not jobs[3].folder.exists()
    with pytest.raises(KeyError):
        b.shop.find("a", jobs[3].id)
    late = b.add("b", "b")  # forgotten while it runs: its thread removes the folder
    until(lambda: late.state == "running")
    b.shop.forget(late)
    until(lambda: not late.folder.exists())
    assert os.listdir(b.shop.root) == []
