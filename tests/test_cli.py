"""The command line, end to end on tiny pictures and a tiny model with random weights."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

import kintsugi
from kintsugi.cli import app, options, outputs
from kintsugi.cli.train import read_log
from kintsugi.errors import InvalidFile
from kintsugi.images import Picture, read_picture, write_picture
from kintsugi.priors import load_prior
from kintsugi.priors.network import NetworkPrior, save_model
from kintsugi.priors.unet import UNet, UNetConfig
from kintsugi.samplers import available_samplers
from kintsugi.sounds.tasks import SOUND_TASKS
from kintsugi.tasks import TASKS

SIZE = (24, 20)  # height, width


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def done(*words: object) -> str:
    result = run(*words)
    assert result.exit_code == 0, result.stderr + str(result.exception)
    return result.stdout


def refused(*words: object) -> str:
    """The one line on stderr of a command that the user got wrong."""
    result = run(*words)
    assert result.exit_code == 2, (result.exit_code, result.output, result.exception)
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    net = UNet(UNetConfig(widths=(8, 8), blocks=(1, 1), embedding=16))
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(NetworkPrior(net, card={"name": "tiny", "validation": {"0.1": 31.5}}), path)
    return path


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    array = np.stack((x * 8 + 40, y * 7 + 30, 255 - x * 6 - y * 3), axis=-1).astype(np.uint8)
    Image.fromarray(array).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# --- restore ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "words", "size"),
    [
        ("sr", ["--factor", 2], (48, 40)),
        ("deblur", ["--kernel", "gaussian:0.8"], SIZE),
        ("deblur", ["--kernel", "motion:4:30", "--boundary", "circular"], SIZE),
        ("denoise", ["--noise", "auto"], SIZE),
        ("denoise", ["--noise", 0.05, "--texture", 1], SIZE),
        ("colorize", [], SIZE),
        ("jpeg", ["--quality", 30], SIZE),
        ("dequantize", ["--bits", 3], SIZE),
        ("hdr", ["--gain", 2], SIZE),
        ("fade", ["--fade", 0.3], SIZE),
    ],
)
def test_restore(
    photo: Path, model: Path, tmp_path: Path, task: str, words: list[object], size: tuple[int, int]
) -> None:
    out = tmp_path / "out.png"
    said = done("restore", photo, "-o", out, "--task", task, "--prior", model, "--steps", 2, *words)
    assert said.startswith(f"{out}: 2 forwards, 0 VJPs, ")
    assert said.count("\n") == 1
    assert pixels(out).shape == (*size, 3)
    assert names(tmp_path) == {"photo.png", "out.png"}


def test_restore_equals_the_python_call(photo: Path, model: Path, tmp_path: Path) -> None:
    done("restore", photo, "-o", tmp_path / "a.png", "-t", "denoise", "--noise", 0.1, "--prior", model, "--seed", 5)
    y = read_picture(photo).pixels
    problem = kintsugi.Problem(y, kintsugi.operators.Identity(tuple(y.shape)), noise=0.2)
    x = kintsugi.restore(problem, str(model), seed=5).samples[0, 0]
    expected = np.rint((x.clamp(-1, 1).numpy() + 1) / 2 * 255).transpose(1, 2, 0)
    assert np.array_equal(pixels(tmp_path / "a.png"), expected)


def test_inpaint_keeps_the_known_pixels(photo: Path, model: Path, tmp_path: Path) -> None:
    hole = np.zeros(SIZE, dtype=np.uint8)
    hole[8:14, 5:11] = 255
    Image.fromarray(hole).save(tmp_path / "mask.png")
    out = tmp_path / "out.png"
    done("restore", photo, "-o", out, "-t", "inpaint", "--mask", tmp_path / "mask.png", "--prior", model, "--compare")
    assert np.array_equal(pixels(out)[hole == 0], pixels(photo)[hole == 0])
    assert not np.array_equal(pixels(out), pixels(photo))
    compare = pixels(tmp_path / "out-compare.png")
    assert compare.shape == (SIZE[0] + outputs.LABEL, 2 * SIZE[1] + 4, 3)
    panels = compare[outputs.LABEL :]
    gold = np.rint(np.array(outputs.GOLD) * 255)
    assert (panels[:, : SIZE[1]][hole > 0] == gold).all()
    assert np.array_equal(panels[:, : SIZE[1]][hole == 0], pixels(photo)[hole == 0])
    assert np.array_equal(panels[:, SIZE[1] + 4 :], pixels(out))


def test_several_samples(photo: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.webp"
    words = ("-t", "denoise", "--noise", 0.2, "--prior", model, "--texture", 1)
    done("restore", photo, "-o", out, *words, "--samples", 3)
    several = [f"out-sample{i}.webp" for i in (1, 2, 3)]
    assert names(tmp_path) == {"photo.png", "out.webp", "out-mean.webp", "out-std.png", *several}
    samples = [pixels(tmp_path / name).astype(float) for name in several]
    assert np.array_equal(samples[0], pixels(out))
    assert not np.array_equal(samples[0], samples[1])
    assert np.abs(np.mean(samples, axis=0) - pixels(tmp_path / "out-mean.webp")).max() <= 1
    std = np.sqrt(np.var(samples, axis=0, ddof=1).mean(axis=-1)) / 255
    shown = pixels(tmp_path / "out-std.png") / 255 * outputs.STD_WHITE
    assert np.abs(np.minimum(std, outputs.STD_WHITE) - shown).max() < 0.004


def test_grey_alpha_and_16_bit(model: Path, tmp_path: Path) -> None:
    source = Picture(torch.zeros(1, 16, 12), alpha=torch.rand(1, 16, 12), bits=16)
    write_picture(source, tmp_path / "in.png")
    done("restore", tmp_path / "in.png", "-o", tmp_path / "out.tif", "-t", "sr", "--factor", 2, "--prior", model)
    result = read_picture(tmp_path / "out.tif")
    assert result.grey
    assert result.bits == 16
    assert result.pixels.shape == (1, 32, 24)
    assert result.alpha is not None
    said = run("restore", tmp_path / "in.png", "-o", tmp_path / "out.jpg", "-t", "sr", "--factor", 2, "--prior", model)
    assert "no transparency" in said.stderr
    assert "16 bits a channel are written as 8" in said.stderr


def test_sampler_settings(photo: Path, model: Path, tmp_path: Path) -> None:
    words = ("restore", photo, "-o", tmp_path / "out.png", "-t", "denoise", "--noise", 0.2, "--prior", model)
    said = done(*words, "--sampler", "cpigdm", "--set", "w=4", "--steps", 2)
    assert "2 forwards, 2 VJPs" in said
    (tmp_path / "out.png").unlink()
    assert "'wrong'" not in refused(*words, "--sampler", "wrong")
    assert not (tmp_path / "out.png").exists()
    assert "colour" in refused(*words, "--set", "colour=3")
    assert "error: texture: " in refused(*words, "--sampler", "cpigdm", "--texture", 0.5)
    assert "error: texture: " in refused(*words, "--texture", 3)
    assert "error: set: " in refused(*words, "--set", "texture")
    assert "error: texture: " in refused(*words, "--set", "texture=much")
    assert names(tmp_path) == {"photo.png"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-t", "sr", "--factor", 0], "error: factor: "),
        (["-t", "sr", "--factor", 1000], "error: factor: "),
        (["-t", "sr", "--factor", "two"], "'--factor'"),
        (["-t", "unblur"], "'--task'"),
        (["-t", "inpaint"], "error: mask: "),
        (["-t", "inpaint", "--mask", "none.png"], "error: none.png: no such file"),
        (["-t", "inpaint", "--mask", "{small}"], "error: mask: expected a mask of the picture's size, 20 x 24"),
        (["-t", "deblur"], "error: kernel: "),
        (["-t", "deblur", "--kernel", "gaussian:9"], "error: kernel: expected a kernel no larger than the picture"),
        (["-t", "deblur", "--kernel", "gaussian:x"], "error: kernel: "),
        (["-t", "denoise", "--noise", "-0.1"], "error: noise: "),
        (["-t", "denoise", "--noise", "nan"], "error: noise: "),
        (["-t", "denoise", "--noise", "loud"], "error: noise: "),
        (["-t", "denoise", "--steps", 0], "'--steps'"),
        (["-t", "denoise", "--samples", 0], "'--samples'"),
        (["-t", "denoise", "--seed", -1], "'--seed'"),
        (["-t", "denoise", "--sampler", "magic"], "error: sampler: "),
        (["-t", "denoise", "--prior", "magic"], "error: prior: "),
        (["-t", "denoise", "--prior", "none.safetensors"], "error: none.safetensors: no such model file"),
        (["-t", "denoise", "--prior", "{small}"], "small.png: not a model"),
        (["-t", "denoise", "--device", "toaster"], "error: device: "),
        (["-t", "denoise", "-o", "{folder}/none/a.png"], "error: output: "),
        (["-t", "denoise", "-o", "{folder}/a.xyz"], "error: output: "),
        (["-t", "denoise", "-o", "{folder}/photo.png"], "error: output: expected another file than the input"),
        ([], "'--task'"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    photo: Path, model: Path, tmp_path: Path, words: list[object], message: str
) -> None:
    Image.new("L", (4, 4), 255).save(tmp_path / "small.png")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    places = {"small": str(tmp_path / "small.png"), "folder": str(tmp_path)}
    given = [str(word).format(**places) for word in words]
    assert message in refused("restore", photo, "-o", tmp_path / "out.png", "--prior", model, *given)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_broken_inputs(photo: Path, model: Path, tmp_path: Path) -> None:
    whole = photo.read_bytes()
    for name, data in (("zero.png", b""), ("cut.png", whole[: len(whole) // 2]), ("text.png", b"words, not pixels")):
        (tmp_path / name).write_bytes(data)
        said = refused("restore", tmp_path / name, "-o", tmp_path / "out.png", "-t", "denoise", "--prior", model)
        assert name in said
        assert not (tmp_path / "out.png").exists()
    (tmp_path / "cut.safetensors").write_bytes(model.read_bytes()[:-100])
    (tmp_path / "pickle.safetensors").write_bytes(b"\x80\x04\x95\x10\x00\x00\x00")
    for name in ("cut.safetensors", "pickle.safetensors"):
        said = refused("restore", photo, "-o", tmp_path / "out.png", "-t", "denoise", "--prior", tmp_path / name)
        assert name in said
        assert not (tmp_path / "out.png").exists()


def test_an_interrupt_leaves_nothing(photo: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(NetworkPrior, "denoise", interrupt)
    result = run("restore", photo, "-o", tmp_path / "out.png", "-t", "denoise", "--prior", model)
    assert result.exit_code == 130
    assert result.stderr == "interrupted; the same command again goes on\n"
    assert names(tmp_path) == {"photo.png"}


def test_what_nobody_expects_keeps_its_traceback(
    photo: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(NetworkPrior, "denoise", fail)
    result = run("restore", photo, "-o", tmp_path / "out.png", "-t", "denoise", "--prior", model)
    assert isinstance(result.exception, RuntimeError)
    assert names(tmp_path) == {"photo.png"}


# --- degrade ----------------------------------------------------------------------------------------------------------


def test_degrade_and_restore(photo: Path, model: Path, tmp_path: Path) -> None:
    small, back = tmp_path / "small.png", tmp_path / "back.png"
    assert "5 x 6" in done("degrade", photo, "-o", small, "-t", "sr", "--factor", 4)
    assert pixels(small).shape == (6, 5, 3)
    done("restore", small, "-o", back, "-t", "sr", "--factor", 4, "--prior", model)
    assert pixels(back).shape == (*SIZE, 3)
    done("degrade", photo, "-o", tmp_path / "grey.png", "-t", "colorize")
    assert np.abs(pixels(tmp_path / "grey.png") - pixels(photo).mean(-1)).max() <= 0.51


@pytest.mark.parametrize(
    ("task", "words"), [("jpeg", ["--quality", 20]), ("dequantize", ["--bits", 2]), ("hdr", ["--gain", 1.5])]
)
def test_degrade_what_is_not_linear(photo: Path, tmp_path: Path, task: str, words: list[object]) -> None:
    done("degrade", photo, "-o", tmp_path / "out.png", "-t", task, *words)
    made, clean = pixels(tmp_path / "out.png").astype(float), pixels(photo)
    if task == "jpeg":
        Image.fromarray(clean).save(tmp_path / "out.jpg", quality=20, subsampling="4:2:0")
        assert np.array_equal(made, pixels(tmp_path / "out.jpg"))
    elif task == "dequantize":
        assert np.array_equal(made, np.rint(clean / 85) * 85)
    else:
        assert np.abs(made - (1.5 * (clean - 127.5) + 127.5).clip(0, 255)).max() <= 0.5


def test_a_jpeg_is_restored_by_its_own_tables(photo: Path, model: Path, tmp_path: Path) -> None:
    Image.fromarray(pixels(photo)).save(tmp_path / "in.jpg", quality=25)
    done("restore", tmp_path / "in.jpg", "-o", tmp_path / "a.png", "-t", "jpeg", "--prior", model)
    done("restore", tmp_path / "in.jpg", "-o", tmp_path / "b.png", "-t", "jpeg", "--prior", model, "--quality", 25)
    assert np.array_equal(pixels(tmp_path / "a.png"), pixels(tmp_path / "b.png"))
    assert "error: quality: expected" in refused("restore", photo, "-o", tmp_path / "c.png", "-t", "jpeg")


def test_degrade_makes_a_mask(photo: Path, tmp_path: Path) -> None:
    said = done("degrade", photo, "-o", tmp_path / "a.png", "-t", "inpaint", "--box", 6)
    assert str(tmp_path / "a-mask.png") in said
    mask = pixels(tmp_path / "a-mask.png")
    assert (mask > 0).sum() == 36
    assert (mask[9:15, 7:13] == 255).all()
    assert np.array_equal(pixels(tmp_path / "a.png")[mask == 0], pixels(photo)[mask == 0])
    assert (pixels(tmp_path / "a.png")[mask > 0] == 128).all()
    done(
        "degrade", photo, "-o", tmp_path / "b.png", "-t", "inpaint", "--missing", 0.7, "--mask-out", tmp_path / "m.bmp"
    )
    assert 0.6 < (pixels(tmp_path / "m.bmp") > 0).mean() < 0.8
    done("degrade", photo, "-o", tmp_path / "c.png", "-t", "inpaint", "--mask", tmp_path / "m.bmp")
    assert np.array_equal(pixels(tmp_path / "b.png"), pixels(tmp_path / "c.png"))


def test_degrade_adds_noise_of_a_seed(photo: Path, tmp_path: Path) -> None:
    for name, seed in (("a.png", 1), ("b.png", 1), ("c.png", 2)):
        done("degrade", photo, "-o", tmp_path / name, "-t", "denoise", "--noise", 0.05, "--seed", seed)
    error = pixels(tmp_path / "a.png").astype(float) - pixels(photo)
    assert 0.8 * 12.75 < error.std() < 1.1 * 12.75
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert not np.array_equal(pixels(tmp_path / "a.png"), pixels(tmp_path / "c.png"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-t", "inpaint"], "one of --mask FILE"),
        (["-t", "inpaint", "--box", 3, "--missing", 0.5], "one of --mask FILE"),
        (["-t", "inpaint", "--box", 100], "error: box: "),
        (["-t", "inpaint", "--missing", 1.5], "error: missing: "),
        (["-t", "inpaint", "--box", 3, "--mask-out", "{out}"], "error: mask-out: "),
        (["-t", "inpaint", "--box", 3, "--mask-out", "{photo}"], "error: output: expected another file"),
        (["-t", "sr", "--factor", 30], "error: factor: "),
        (["-t", "denoise", "--noise", "auto"], "error: noise: "),
    ],
)
def test_degrade_mistakes(photo: Path, tmp_path: Path, words: list[object], message: str) -> None:
    given = [str(word).format(out=tmp_path / "out.png", photo=photo) for word in words]
    assert message in refused("degrade", photo, "-o", tmp_path / "out.png", *given)
    assert names(tmp_path) == {"photo.png"}


# --- what there is ----------------------------------------------------------------------------------------------------


def test_lists_and_help() -> None:
    said = done("samplers")
    assert all(name in said for name in available_samplers())
    assert "texture" in said
    assert all(name in done("priors") for name in kintsugi.available_priors())
    assert "restore" in done()
    assert "restore" in done("--help")
    assert "--texture" in done("restore", "-h")
    assert done("--version").startswith("kintsugi")


def test_the_tasks_of_the_command_line_are_those_of_the_library() -> None:
    assert get_args(options.TaskName) == (*TASKS, *(task for task in SOUND_TASKS if task not in TASKS))


def test_info(photo: Path, model: Path) -> None:
    assert all(word in done("info", photo) for word in ("20 x 24 pixels", "RGB", "8 bits", "none"))
    said = done("info", model)
    assert "any" in said
    assert "tiny" in said
    assert "31.5 dB" in said
    assert "widths" in said
    assert "no such file" in refused("info", "none.png")


def test_bundled_examples(photo: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kintsugi, "data_path", lambda name: photo.parent / name, raising=False)
    done("degrade", "example:photo.png", "-o", tmp_path / "out.png", "-t", "denoise")
    assert np.array_equal(pixels(tmp_path / "out.png"), pixels(photo))


def test_the_first_words_are_quick() -> None:
    """--help needs neither torch nor a picture library."""
    code = "import sys; import kintsugi.cli; sys.exit(any(m in sys.modules for m in ('torch', 'PIL', 'skimage')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- training ---------------------------------------------------------------------------------------------------------


def test_train_resume_and_plot(photo: Path, tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    run_folder = tmp_path / "run"
    words = ["--batch", 1, "--crop", 16, "--widths", "4,4", "--blocks", "1,1", "--save-every", 1]
    words += ["--validate-every", 2, "--set", "validation_levels=(0.1,)", "--set", "validation_crops=1"]
    said = done("train", tmp_path, "-o", run_folder, "--steps", 2, *words)
    assert said.startswith("starting")
    assert "2 steps, " in said
    assert "1 to train on, each seen 2 times, and 1 held out" in said
    assert "step 2  PSNR in dB  eta 0.1: " in said
    assert "going on with" in done("train", tmp_path, "-o", run_folder, "--steps", 3, *words)
    assert "trained for 3 steps" in done("train", tmp_path, "-o", run_folder, "--steps", 1, *words)  # ends where it is
    assert [r["step"] for r in read_log(run_folder / "log.jsonl") if "loss" in r] == [1, 2, 3]
    assert "widths" in done("info", run_folder / "model.safetensors")
    pytest.importorskip("matplotlib")
    assert "3 log lines, 2 validations" in done("plot-log", run_folder, "-o", tmp_path / "log.png")
    assert pixels(tmp_path / "log.png").shape[1] == 1200


def test_train_a_flow_of_whole_pictures(photo: Path, tmp_path: Path) -> None:
    """What the options say is what the model's file says."""
    pytest.importorskip("accelerate")
    words = ["--steps", 1, "--batch", 1, "--size", 16, "--widths", "4,4", "--blocks", "1,1", "--attention", "1"]
    words += ["--no-norm", "--dropout", 0.1, "--objective", "flow", "--augment", 0.5, "--orientations", "mirrored"]
    words += ["--cooldown", 0, "--set", "validation_levels=(0.1,)", "--set", "angle=3.0"]
    done("train", tmp_path, "-o", tmp_path / "run", *words)
    prior = load_prior(tmp_path / "run" / "model.safetensors")
    assert isinstance(prior, NetworkPrior)
    assert prior.prediction == "velocity"
    assert "the velocity of a flow" in done("info", tmp_path / "run" / "model.safetensors")
    assert prior.shape == (3, 16, 16)
    net = prior.net.config
    assert (net.attention, net.dropout, net.labels, net.norm) == ((1,), 0.1, 7, False)
    told = prior.card["training"]
    assert (told["augment"], told["orientations"], told["cooldown"], told["angle"]) == (0.5, "mirrored", 0, 3.0)


def test_train_begins_with_the_network_of_a_model(photo: Path, tmp_path: Path) -> None:
    """Whatever its depth, norm, size and data variance; options change them."""
    pytest.importorskip("accelerate")
    short = ["--steps", 1, "--batch", 1, "--crop", 16, "--set", "validation_levels=(0.1,)", "--lr", 1e-12]
    net = UNet(UNetConfig(widths=(4, 6), blocks=(2, 3), embedding=8))
    torch.nn.init.normal_(net.head.weight)
    save_model(NetworkPrior(net, data_variance=0.1), tmp_path / "known.safetensors")
    done("train", tmp_path, "-o", tmp_path / "a", *short, "--start-from", tmp_path / "known.safetensors")
    begun = load_prior(tmp_path / "a" / "model.safetensors")
    assert isinstance(begun, NetworkPrior)
    assert (begun.net.config, begun.data_variance) == (net.config, 0.1)
    torch.testing.assert_close(begun.net.head.weight, net.head.weight, rtol=1e-3, atol=1e-3)
    words = [*short, "--start-from", tmp_path / "known.safetensors", "--blocks", "3,3"]
    done("train", tmp_path, "-o", tmp_path / "b", *words)
    deeper = load_prior(tmp_path / "b" / "model.safetensors")
    assert isinstance(deeper, NetworkPrior)
    assert (deeper.net.config.widths, deeper.net.config.blocks) == ((4, 6), (3, 3))
    save_model(
        NetworkPrior(UNet(UNetConfig(widths=(4, 6), blocks=(1, 1), size=16, attention=(1,)))),
        tmp_path / "w.safetensors",
    )
    done("train", tmp_path, "-o", tmp_path / "c", *short, "--start-from", tmp_path / "w.safetensors")
    whole = load_prior(tmp_path / "c" / "model.safetensors")
    assert isinstance(whole, NetworkPrior)
    assert (whole.net.config.size, whole.net.config.attention, whole.net.config.norm) == (16, (1,), True)


def test_train_mistakes(photo: Path, tmp_path: Path) -> None:
    words = ("train", tmp_path, "-o", tmp_path / "run")
    assert "error: crop: " in refused(*words, "--crop", 17)
    assert "error: set: " in refused(*words, "--set", "hue=1")
    assert "error: set: " in refused(*words, "--set", "ema=high")
    assert "error: widths: " in refused(*words, "--widths", "4,x")
    assert "error: widths: " in refused(*words, "--widths", "4,4,4", "--blocks", "1")
    assert "error: size: " in refused(*words, "--size", 20)
    assert "error: attention: " in refused(*words, "--attention", "1")
    assert "error: attention: " in refused(*words, "--size", 64, "--attention", "-1")
    assert "error: attention: " in refused(*words, "--size", 64, "--attention", "4")
    assert "error: dropout: " in refused(*words, "--dropout", 1)
    assert "error: augment: " in refused(*words, "--augment", 0.5)
    assert "error: cooldown: " in refused(*words, "--cooldown", -1)
    assert "no such folder" in refused("train", tmp_path / "none", "-o", tmp_path / "run2")
    (tmp_path / "log.jsonl").write_text(json.dumps({"loss": 1}))
    with pytest.raises(InvalidFile):
        read_log(tmp_path / "log.jsonl")
    assert "not a readable training log" in refused("plot-log", tmp_path, "-o", tmp_path / "a.png")


def test_every_sampler_runs_from_the_command_line(photo: Path, model: Path, tmp_path: Path) -> None:
    for name, cls in available_samplers().items():
        assert fields(cls)  # type: ignore[arg-type]
        done("restore", photo, "-o", tmp_path / f"{name}.png", "-t", "sr", "--factor", 2, "--sampler", name,
             "--prior", model, "--steps", 2)  # fmt: skip
