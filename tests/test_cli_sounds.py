"""``kintsugi restore`` and ``kintsugi degrade`` of sounds, end to end with a tiny model with random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from kintsugi.sounds import read_sound, resample, write_sound
from kintsugi.sounds.restoring import restore_sound
from kintsugi.sounds.tasks import SoundSettings, prepare_sound
from test_cli import done, run

pytest.importorskip("soundfile")
RATE = 8000


def refused(*words: object) -> str:
    """The last line on stderr of a command that the user got wrong; before it there may be what was found."""
    result = run(*words)
    assert result.exit_code == 2, (result.exit_code, result.output, result.exception)
    *notes, error = result.stderr.splitlines()
    assert error.startswith("error: ")
    assert all(note.startswith("note: ") for note in notes)
    return error


@pytest.fixture(scope="session")
def model(sound_model: Path) -> Path:
    """Of sounds at 8 kHz."""
    return sound_model


@pytest.fixture
def song(tmp_path: Path) -> Path:
    """Half a second of stereo."""
    t = np.arange(RATE // 2) / RATE
    left = 0.5 * np.sin(2 * np.pi * 440 * t) * np.exp(-3 * t) + 0.2 * np.sin(2 * np.pi * 130 * t)
    samples = torch.from_numpy(np.stack((left, 0.5 * left[::-1]))).float()
    write_sound(tmp_path / "song.wav", samples, RATE)
    return tmp_path / "song.wav"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("task", "words", "rate"),
    [
        ("declip", ["--level", 0.3], RATE),
        ("gap", ["--mask", "0.1:0.12,0.3:0.31"], RATE),
        ("denoise", [], RATE),
        ("denoise", ["--noise", 0.05, "--texture", 1], RATE),
        ("bandwidth", [], 2 * RATE),
        ("hum", ["--frequency", 130, "--sampler", "ddnm"], RATE),
        ("mulaw", [], RATE),
        ("quantise", ["--bits", 5], RATE),
    ],
)
def test_restore(song: Path, model: Path, tmp_path: Path, task: str, words: list[object], rate: int) -> None:
    out, source = tmp_path / "out.wav", song
    if task == "bandwidth":
        source = tmp_path / "slow.wav"
        write_sound(source, resample(read_sound(song).samples, 2, 1), RATE // 2)
        rate = RATE
    said = done("restore", source, "-o", out, "--task", task, "--prior", model, "--steps", 2, *words)
    assert said.startswith(f"{out}: 4 forwards, 0 VJPs, ")  # two channels
    sound = read_sound(out)
    assert (sound.rate, sound.samples.shape, sound.subtype) == (rate, (2, RATE // 2), "PCM_16")
    assert {"song.wav", "out.wav"} <= names(tmp_path) <= {"song.wav", "out.wav", "slow.wav"}


@pytest.mark.parametrize(
    ("sampler", "settings"), [("kintsugi", {"eta": 0.4, "end": 0.01}), ("ddnm", {}), ("reddiff", {"lam": 2.0})]
)
def test_restore_equals_the_python_call(
    song: Path, model: Path, tmp_path: Path, sampler: str, settings: dict[str, Any]
) -> None:
    """Also where the settings follow the noise."""
    words = ["--noise", 0.1, "--prior", model, "--seed", 5, "--sampler", sampler]
    words += [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    done("restore", song, "-o", tmp_path / "a.wav", "-t", "denoise", *words)
    from kintsugi import load_prior

    prepared = prepare_sound("denoise", read_sound(song), SoundSettings(noise=0.1))
    x, _, _ = restore_sound(prepared, load_prior(model), sampler, seed=5, **settings)
    (expected,), _ = prepared.finish(x[0])
    write_sound(tmp_path / "b.wav", expected.samples, RATE)
    assert torch.equal(read_sound(tmp_path / "a.wav").samples, read_sound(tmp_path / "b.wav").samples)


def test_gaps_keep_every_other_sample_to_the_bit(song: Path, model: Path, tmp_path: Path) -> None:
    done("degrade", song, "-o", tmp_path / "holes.wav", "-t", "gap", "--missing", 0.1, "--seed", 3)
    assert (tmp_path / "holes-gaps.txt").read_text().count(":") >= 1
    holes = read_sound(tmp_path / "holes.wav").samples
    for words in (["--mask", tmp_path / "holes-gaps.txt"], []):  # as they were made, and as runs of zeros
        done("restore", tmp_path / "holes.wav", "-o", tmp_path / "out.wav", "-t", "gap", "--prior", model, *words)
        out = read_sound(tmp_path / "out.wav").samples
        heard = (holes != 0).any(0)
        assert torch.equal(out[:, heard], holes[:, heard])
        assert float((out[:, ~heard] != 0).float().mean()) > 0.9


def test_samples_the_mean_and_spectrograms(song: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.flac"
    words = ["--noise", 0.1, "--samples", 2, "--texture", 1, "--compare"]
    done("restore", song, "-o", out, "-t", "denoise", "--prior", model, *words)
    files = {"out.flac", "out-sample1.flac", "out-sample2.flac", "out-mean.flac", "out-compare.png"}
    assert names(tmp_path) == {"song.wav", *files}
    first, one, two, mean = (
        read_sound(tmp_path / f"out{word}.flac").samples for word in ("", "-sample1", "-sample2", "-mean")
    )
    assert torch.equal(first, one)
    assert not torch.equal(one, two)
    torch.testing.assert_close(mean, (one + two) / 2, rtol=0, atol=1e-4)
    with Image.open(tmp_path / "out-compare.png") as picture:
        assert picture.size[1] > 2 * 256
        colours = np.asarray(picture.convert("RGB"))[60:250, 60:1000]
    assert colours.max() > 200  # a loud tone, and silence beside it
    assert colours.min() < 20


def test_a_room_by_its_impulse_response(song: Path, model: Path, tmp_path: Path) -> None:
    """Recorded at another rate than the song."""
    response = torch.zeros(1, 1600)
    response[0, 40], response[0, 840] = 1.0, 0.4
    write_sound(tmp_path / "room.wav", response, 2 * RATE, "FLOAT")
    done("degrade", song, "-o", tmp_path / "wet.wav", "-t", "dereverb", "--kernel", tmp_path / "room.wav")
    clean, wet = read_sound(song).samples, read_sound(tmp_path / "wet.wav").samples
    expected = clean[:, 430:-20] + 0.4 * clean[:, 30:-420]
    torch.testing.assert_close(wet[:, 450:], expected, rtol=0, atol=0.005)
    words = ["--kernel", tmp_path / "room.wav", "--prior", model, "--noise", 0.001]
    done("restore", tmp_path / "wet.wav", "-o", tmp_path / "dry.wav", "-t", "dereverb", *words)
    dry = read_sound(tmp_path / "dry.wav").samples
    inner = slice(400, -400)
    assert float((dry - clean)[:, inner].square().mean()) < 0.05 * float((expected - clean[:, 430:-20]).square().mean())


def test_two_sources_make_two_files(song: Path, model: Path, tmp_path: Path) -> None:
    write_sound(
        tmp_path / "other.wav", 0.3 * torch.randn(1, RATE // 2, generator=torch.Generator().manual_seed(0)), RATE
    )
    done("degrade", song, "-o", tmp_path / "mix.wav", "-t", "separate", "--second", tmp_path / "other.wav")
    mix = read_sound(tmp_path / "mix.wav").samples
    out = tmp_path / "out.wav"
    done(
        "restore",
        tmp_path / "mix.wav",
        "-o",
        out,
        "-t",
        "separate",
        "--prior",
        model,
        "--second-prior",
        model,
        "--compare",
    )
    parts = [read_sound(tmp_path / name).samples for name in ("out.wav", "out-second.wav")]
    torch.testing.assert_close(parts[0] + parts[1], mix, rtol=0, atol=0.01)
    assert "out-compare.png" in names(tmp_path)
    assert "second-prior" in refused("restore", tmp_path / "mix.wav", "-o", out, "-t", "separate", "--prior", model)


def test_a_file_above_the_models_rate_says_what_happens_there(song: Path, model: Path, tmp_path: Path) -> None:
    high = resample(read_sound(song).samples, RATE, 22_050)
    write_sound(tmp_path / "high.wav", high, 22_050, "PCM_24")
    result = run("restore", tmp_path / "high.wav", "-o", tmp_path / "out.wav", "-t", "denoise", "--prior", model)
    assert result.exit_code == 0, result.stderr
    assert (
        "note: the model knows sounds up to 4 kHz; what lies above is denoised by its average spectrum" in result.stderr
    )
    out = read_sound(tmp_path / "out.wav")
    assert (out.rate, out.samples.shape, out.subtype) == (22_050, high.shape, "PCM_24")
    words = ["-o", tmp_path / "b.wav", "-t", "bandwidth", "--prior", model]
    assert "error: input: expected a sound sampled at less than" in refused("restore", tmp_path / "high.wav", *words)


def test_what_was_found_is_told(song: Path, model: Path, tmp_path: Path) -> None:
    done("degrade", song, "-o", tmp_path / "loud.wav", "-t", "declip", "--level", 0.25)
    result = run(
        "restore", tmp_path / "loud.wav", "-o", tmp_path / "out.wav", "-t", "declip", "--prior", model, "--json"
    )
    assert result.exit_code == 0, result.stderr
    assert "note: clipped at -0.25 and 0.2" in result.stderr
    told = json.loads(result.stdout)
    assert told["files"] == [str(tmp_path / "out.wav")]
    assert told["cost"]["forwards"] == 10
    assert told["notes"][0].startswith("clipped at")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-t", "sr"], "error: task: expected for sounds one of declip, gap, "),
        (["-t", "gap"], "error: mask: expected start:end in seconds, or a file: this sound has no run of zeros"),
        (["-t", "gap", "--mask", "0.1:9"], "error: mask: "),
        (["-t", "gap", "--mask", "missing.wav"], "error: missing.wav: "),
        (["-t", "declip"], "error: level: "),
        (["-t", "declip", "--level", 2], "error: level: "),
        (["-t", "dereverb"], "error: kernel: expected a sound file"),
        (["-t", "hum", "--frequency", 5], "error: frequency: "),
        (["-t", "mulaw", "--bits", 1], "error: bits: "),
        (["-t", "bandwidth", "--factor", 9], "error: factor: "),
        (["-t", "denoise", "--noise", 2], "error: noise: "),
        (["-t", "denoise", "--level", 0.5], "error: level: expected none: it is for --task declip"),
        (["-t", "denoise", "--blend", 0.5], "error: blend: expected none: this option is of pictures"),
        (["-t", "denoise", "--second-prior", "x"], "error: second-prior: "),
        (["-t", "denoise", "--show"], "error: show: "),
        (["-t", "denoise", "--sampler", "nothing"], "error: sampler: "),
        (["-t", "declip", "--level", 0.3, "--sampler", "ddrm"], "error: operator: "),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    song: Path, model: Path, tmp_path: Path, words: list[object], message: str
) -> None:
    said = refused("restore", song, "-o", tmp_path / "out.wav", "--prior", model, *words)
    assert message in said, said
    assert names(tmp_path) == {"song.wav"}


def test_outputs_that_cannot_be(song: Path, model: Path, tmp_path: Path) -> None:
    words = ["-t", "denoise", "--prior", model]
    for output, message in (
        ("out.png", "output: expected a file name that ends in one of .wav"),
        ("a/out.wav", "output"),
        ("song.wav", "another file than the input"),
    ):
        assert message in refused("restore", song, "-o", tmp_path / output, *words)
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    assert "broken.wav: not a readable sound" in refused(
        "restore", tmp_path / "broken.wav", "-o", tmp_path / "o.wav", *words
    )
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    said = refused("restore", tmp_path / "a.png", "-o", tmp_path / "b.png", "-t", "declip")
    assert "task: expected for pictures one of" in said
    said = refused("restore", tmp_path / "a.png", "-o", tmp_path / "b.png", "-t", "denoise", "--level", 0.5)
    assert "level: expected none: this option is of sounds" in said


def test_a_model_of_pictures_is_refused(song: Path, tmp_path: Path) -> None:
    said = refused("restore", song, "-o", tmp_path / "out.wav", "-t", "denoise", "--prior", "photo")
    assert "prior: expected a model of sounds of one channel" in said
    assert names(tmp_path) == {"song.wav"}


def test_a_folder_of_sounds(song: Path, model: Path, tmp_path: Path) -> None:
    """Each keeps its name; one that cannot be restored stops no other; what is done is not done again."""
    folder, out = tmp_path / "in", tmp_path / "out"
    (folder / "more").mkdir(parents=True)
    clip = read_sound(song).samples
    write_sound(folder / "a.wav", clip, RATE)
    write_sound(folder / "more" / "b.flac", clip[:1], RATE)
    (folder / "broken.wav").write_bytes(b"RIFF")
    words = ["restore", folder, "-o", out, "-t", "denoise", "--noise", 0.05, "--prior", model, "--steps", 2]
    result = run(*words)
    assert result.exit_code == 1
    assert "3 sounds, 2 restored, 0 already there, 1 failed" in result.stdout
    assert "failed: broken.wav: " in result.stderr
    assert names(out) == {".kintsugi", "a.wav", "more"}
    assert read_sound(out / "more" / "b.flac").samples.shape == (1, RATE // 2)
    (folder / "broken.wav").unlink()
    assert "2 sounds, 0 restored, 2 already there, 0 failed" in done(*words)
    assert "noise was '0.05', not '0.1'" in refused(*[0.1 if word == 0.05 else word for word in words])
    assert "engine: expected processes: sounds are not restored on Ray" in refused(*words, "--engine", "ray")


def test_info(song: Path, tmp_path: Path) -> None:
    done("degrade", song, "-o", tmp_path / "loud.wav", "-t", "declip", "--level", 0.25)
    told = json.loads(done("info", tmp_path / "loud.wav", "--json"))
    assert told["kind"] == "sound"
    assert (told["length"], told["sampling rate"], told["channels"]) == ("0.500 s", "8000 Hz", "2")
    assert told["peak"] == "0.2500 of full scale"
    assert told["clipped at"].startswith("-0.2500 and 0.2")
    assert "clipped at" not in json.loads(done("info", song, "--json"))


def test_degrade(song: Path, tmp_path: Path) -> None:
    clean, out = read_sound(song).samples, tmp_path / "out.wav"
    for task, words in (("denoise", ["--noise", 0.05]), ("hum", ["--level", 0.1]), ("mulaw", ["--bits", 4]),
                        ("quantise", ["--bits", 4]), ("bandwidth", [])):  # fmt: skip
        done("degrade", song, "-o", out, "-t", task, *words)
        made = read_sound(out)
        if task == "bandwidth":
            assert (made.rate, made.samples.shape[1]) == (RATE // 2, RATE // 4)
            continue
        change = float((made.samples - clean).square().mean().sqrt())
        assert 0.01 < change < 0.12
    assert "mask" in refused("degrade", song, "-o", out, "-t", "gap")
    assert "noise" in refused("degrade", song, "-o", out, "-t", "denoise")
    assert "second" in refused("degrade", song, "-o", out, "-t", "separate")
