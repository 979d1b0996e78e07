"""The bundled example sounds: what they are, and that every door takes them as it takes the example pictures."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import torch

from kintsugi import InvalidArgument, data_path, load_prior
from kintsugi.sounds import read_sound
from kintsugi.sounds.gaps import find_gaps, runs
from kintsugi.sounds.noise import noise_level
from kintsugi.sounds.tasks import SOUND_TASKS
from kintsugi.ui.asked import WRONG, Asked
from kintsugi.ui.examples import EXAMPLES, buttons
from kintsugi.ui.limits import Limits
from kintsugi.ui.mend import Report, Work, mend
from test_cli import done, refused
from test_ui_job import check_agreement

soundfile = pytest.importorskip("soundfile", reason="needs the extra [audio]")
ROOT = Path(__file__).parents[1]
# Sampling rate in Hz, seconds.
SOUNDS = {"piano": (8000, 3.0), "guitar": (16_000, 2.5), "voice": (16_000, 2.5)}


# --- the files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SOUNDS)
def test_rate_length_and_credit(name: str) -> None:
    rate, seconds = SOUNDS[name]
    with soundfile.SoundFile(data_path(name)) as file:
        assert (file.format, file.subtype, file.channels) == ("FLAC", "PCM_16", 1)
        assert (file.samplerate, len(file)) == (rate, round(seconds * rate))
        for word in ("Salamander Grand Piano by Alexander Holm", "Berklee"):
            assert word in file.artist
        assert file.license.startswith("CC BY 3.0")
        assert file.comment.startswith("Changed: ")
    assert float(read_sound(data_path(name)).samples.abs().max()) == pytest.approx(0.9, abs=0.01)


def test_what_is_wrong_with_them() -> None:
    """As docs/sound.md says: it is what the tasks find by themselves."""
    guitar, voice = read_sound(data_path("guitar")), read_sound(data_path("voice"))
    gaps = runs(find_gaps(guitar.samples, guitar.rate))
    assert len(gaps) == 8
    assert all(end - start == pytest.approx(0.02 * guitar.rate, abs=2) for start, end in gaps)
    assert noise_level(voice.samples, voice.subtype, "auto") == pytest.approx(0.02, rel=0.25)


def test_together_they_are_small() -> None:
    assert sum(data_path(name).stat().st_size for name in SOUNDS) < 250_000


def test_the_package_takes_all_of_its_data_along() -> None:
    targets = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    for target in ("wheel", "sdist"):
        assert "src/kintsugi/data/*" in targets[target]["artifacts"]


@pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="docs/ is not part of a source distribution")
def test_the_page_of_sounds_says_what_they_are() -> None:
    text = (ROOT / "docs" / "sound.md").read_text()
    rows = re.findall(r"^\| `example:(\w+)` \| .* \| ([\d.]+) s at (\d+) kHz \|$", text, re.MULTILINE)
    assert {name: (1000 * int(rate), float(seconds)) for name, seconds, rate in rows} == SOUNDS


def test_unknown_names_list_all_that_there_are() -> None:
    with pytest.raises(InvalidArgument) as caught:
        data_path("violin")
    for file in ("guitar.flac", "piano.flac", "voice.flac", "parrots.png", "lighthouse.png"):
        assert file in caught.value.expected
    assert data_path("parrots").name == "parrots.png"
    assert data_path("piano") == data_path("piano.flac")


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "name", "words"),
    [
        ("bandwidth", "piano", ["--prior", "sound", "--steps", 1]),  # the tiny model knows no more than the piano has
        ("gap", "guitar", []),
        ("denoise", "voice", []),
        ("declip", "piano", ["--level", 0.8]),
        ("hum", "piano", ["--frequency", 50]),
        ("mulaw", "piano", []),
        ("quantise", "piano", ["--bits", 6]),
        ("dereverb", "piano", ["--kernel", "room.wav"]),
        ("separate", "piano", ["--second-prior", "tiny"]),
    ],
)
def test_every_task_restores_them(
    task: str, name: str, words: list[object], sound_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    soundfile.write("room.wav", torch.eye(1, 80)[0].numpy(), 8000)
    words = [sound_model if word == "tiny" else word for word in words]
    done("restore", f"example:{name}", "-o", "out.wav", "-t", task, "--prior", sound_model, "--steps", 2, *words)
    rate, seconds = SOUNDS[name]
    made = read_sound("out.wav")
    made_rate = 2 * rate if task == "bandwidth" else rate
    assert (made.rate, made.samples.shape) == (made_rate, (1, round(seconds * made_rate)))
    if task == "gap":
        before = read_sound(data_path("guitar"))
        kept = ~find_gaps(before.samples, before.rate)
        assert torch.equal(made.samples[:, kept], before.samples[:, kept])


def test_no_task_is_forgotten() -> None:
    mark = next(mark for mark in test_every_task_restores_them.pytestmark if mark.name == "parametrize")  # type: ignore[attr-defined]
    assert {task for task, *_ in mark.args[1]} == set(SOUND_TASKS)


def test_degrade_and_info_take_them(tmp_path: Path) -> None:
    out = tmp_path / "out.wav"
    done("degrade", "example:piano", "-o", out, "-t", "declip", "--level", 0.3)
    piano = read_sound(data_path("piano"))
    torch.testing.assert_close(read_sound(out).samples, piano.samples.clamp(-0.3, 0.3), rtol=0, atol=2**-15)
    done("degrade", "example:piano", "-o", tmp_path / "mix.wav", "-t", "separate", "--second", "example:voice")
    added = read_sound(tmp_path / "mix.wav").samples - piano.samples[:, : round(2.5 * piano.rate)]
    assert 0.1 < float(added.std()) < 0.3  # the voices
    assert "3.000 s" in done("info", "example:piano")
    assert "pixels" in done("info", "example:lighthouse")


def test_what_the_command_line_refuses(sound_model: Path, tmp_path: Path) -> None:
    words = ["-o", tmp_path / "out.wav", "-t", "denoise", "--noise", 0.1]
    for command in ("restore", "degrade"):
        said = refused(command, "example:violin", *words)
        assert said.startswith("error: example: expected one of ")
        assert "guitar.flac" in said
        assert "parrots.png" in said
    assert "for pictures one of" in refused("restore", "example:parrots", "-o", tmp_path / "out.png", "-t", "declip")
    assert "for sounds one of" in refused("restore", "example:piano", "-o", tmp_path / "out.wav", "-t", "sr")
    assert list(tmp_path.iterdir()) == []


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_offers_what_is_there() -> None:
    html = buttons(EXAMPLES)
    for name, example in EXAMPLES.items():
        assert data_path(name).name == example.file
        assert WRONG[example.wrong].craft == ("sounds" if name in SOUNDS else "pictures")
        assert f'data-example="{name}" data-file="{example.file}" data-craft="{example.craft}"' in html
        assert example.mask is None or data_path(example.mask).is_file()


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name in SOUNDS])
def test_the_page_the_command_and_the_program_agree_to_the_bit(name: str, sound_model: Path, tmp_path: Path) -> None:
    asked = Asked.parse(
        {"wrong": EXAMPLES[name].wrong, "prior": str(sound_model), "steps": 2}, Limits(), {str(sound_model): "sounds"}
    )
    folder, here = tmp_path / "job", tmp_path / "here"
    folder.mkdir()
    here.mkdir()
    result = mend(
        Work(
            asked, data_path(name), None, f"example:{name}", folder, load_prior(sound_model), Limits(), Report()
        )
    )  # fmt: skip
    assert result.command.startswith(f"kintsugi restore example:{name} -o {name}-restored.wav --task ")
    assert f"read_sound(data_path('{name}'))" in result.python
    check_agreement(result, folder, list(result.files), here)
