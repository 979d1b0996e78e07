"""Sounds in the page, without its server: what may be asked, and that the command and the program give the same."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kintsugi.errors import InvalidArgument, InvalidFile
from kintsugi.priors import Prior, load_prior
from kintsugi.sounds import read_sound, resample, write_sound
from kintsugi.sounds.tasks import SOUND_TASKS
from kintsugi.ui import serve
from kintsugi.ui.asked import WRONG, Asked, Craft
from kintsugi.ui.limits import Limits
from kintsugi.ui.mend import Mended, Report, Work, mend
from kintsugi.ui.serve import craft_of, models
from kintsugi.ui.steps import Stopped
from kintsugi.ui.words import plain
from test_ui_job import check_agreement

pytest.importorskip("soundfile", reason="needs the extra [audio]")
RATE = 8000
LIMITS = Limits(seconds=1.0)
BOTH: dict[str, Craft] = {"photo": "pictures", "tiny": "sounds"}


@pytest.fixture
def song(tmp_path: Path) -> Path:
    """Half a second of stereo, clipped at 0.5, with a gap in its middle and a little noise, in 24 bits."""
    t = np.arange(RATE // 2) / RATE
    left = 0.7 * np.sin(2 * np.pi * 440 * t) * np.exp(-3 * t) + 0.2 * np.sin(2 * np.pi * 50 * t)
    samples = np.stack((left, 0.9 * left[::-1])) + np.random.default_rng(0).normal(0, 0.002, (2, len(t)))
    samples = samples.clip(-0.5, 0.5)
    samples[:, 1000:1100] = 0
    write_sound(tmp_path / "song.wav", torch.from_numpy(samples).float(), RATE, "PCM_24")
    return tmp_path / "song.wav"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "job").mkdir()
    return tmp_path / "job"


def done(source: Path, folder: Path, model: Path, report: Report | None = None, **asked: object) -> Mended:
    given = Asked.parse({"prior": str(model), "steps": 2, **asked}, LIMITS, {str(model): "sounds"})
    return mend(Work(given, source, None, source.name, folder, load_prior(model), LIMITS, report or Report()))


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"wrong": "gaps", "gaps": "/etc/passwd"}, "gaps"),
        ({"wrong": "gaps", "gaps": "0.1:0.2:0.3"}, "gaps"),
        ({"wrong": "gaps", "gaps": "0.1:0.2\n../a.wav"}, "gaps"),
        ({"wrong": "gaps", "gaps": ",".join(["0.1:0.2"] * 201)}, "gaps"),
        ({"wrong": "gaps", "gaps": 7}, "gaps"),
        ({"wrong": "clipped", "level": 1.1}, "level"),
        ({"wrong": "clipped", "level": "auto"}, "level"),
        ({"wrong": "hum", "frequency": 5}, "frequency"),
        ({"wrong": "mulaw", "bits": 17}, "bits"),
        ({"wrong": "mulaw", "bits": 7.5}, "bits"),
        ({"wrong": "hiss", "prior": "photo"}, "prior"),
        ({"wrong": "small", "prior": "tiny"}, "prior"),
    ],
)
def test_what_cannot_be_asked(given: dict[str, object], name: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Asked.parse({"prior": "tiny", **given}, LIMITS, BOTH)
    assert caught.value.name == name


def test_only_what_there_is_a_model_for_is_on_offer() -> None:
    for wrong, craft in (("hiss", "pictures"), ("noise", "sounds"), ("unknown", "sounds")):
        offered = {name: of for name, of in BOTH.items() if of == craft}
        with pytest.raises(InvalidArgument) as caught:
            Asked.parse({"wrong": wrong, "prior": next(iter(offered))}, LIMITS, offered)
        assert caught.value.name == "wrong"
    assert {wrong.task for wrong in WRONG.values() if wrong.craft == "sounds"} <= set(SOUND_TASKS)


def test_what_a_model_is_of(model: Path, sound_model: Path, tmp_path: Path) -> None:
    crafts = {name: craft_of(prior) for name, prior in models([str(model), str(sound_model)]).items()}
    assert crafts == {"tiny.safetensors": "pictures", "tiny-sound.safetensors": "sounds"}


CASES: list[dict[str, object]] = [
    {"wrong": "hiss"},
    {"wrong": "hiss", "noise": 0.05, "texture": 0.5, "samples": 2, "seed": 4},
    {"wrong": "clipped"},
    {"wrong": "clipped", "level": 0.4},
    {"wrong": "gaps"},
    {"wrong": "gaps", "gaps": "0.1:0.12 , 0.3:0.31"},
    {"wrong": "hum", "frequency": 50},
    {"wrong": "dull", "factor": 4},
    {"wrong": "mulaw", "bits": 6},
    {"wrong": "rounded", "bits": 5},
]


@pytest.mark.parametrize("asked", CASES, ids=[str(i) for i in range(len(CASES))])
def test_the_page_the_command_and_the_program_agree_to_the_bit(
    song: Path, folder: Path, sound_model: Path, tmp_path: Path, asked: dict[str, object]
) -> None:
    if asked["wrong"] == "dull":
        write_sound(song, resample(read_sound(song).samples, 4, 1), RATE // 4, "PCM_24")
    report = Report()
    result = done(song, folder, sound_model, report, **asked)
    assert report.done == report.total > 0
    assert report.total % 2 == 0  # two steps for each channel, or for each passage around what was lost
    assert "restored-compare.png" in result.files
    check_agreement(result, folder, list(result.files), tmp_path)
    assert read_sound(folder / "restored.wav").subtype == "PCM_24"


def test_what_is_seen_and_heard(song: Path, folder: Path, sound_model: Path) -> None:
    result = done(song, folder, sound_model, wrong="hiss", noise=0.05, samples=2, texture=1)
    assert set(result.heard) == {"before", "sample1", "sample2"}
    for name, of in (("before", song), ("sample1", folder / "restored-sample1.wav")):
        played = read_sound(folder / result.heard[name])
        assert (played.subtype, played.rate) == ("PCM_16", RATE)  # which every browser plays
        torch.testing.assert_close(played.samples, read_sound(of).samples, rtol=0, atol=2**-16)
    sizes = set()
    for name in (result.shown["before"], *result.looks):
        with Image.open(folder / name) as image:
            sizes.add(image.size)
            colours = np.asarray(image)
        assert colours.max() > 200  # the tone is bright
    assert sizes == {(result.width, result.height)}
    assert result.looks[0] == result.shown["after"]
    assert {*result.files, *result.looks, *result.heard.values()} <= result.open
    assert song.name not in result.open


def test_too_long_before_it_is_read(tmp_path: Path, folder: Path, sound_model: Path) -> None:
    cases = (
        (torch.zeros(1, 9000), RATE, "hiss", r"1\.12 seconds; this page takes up to 1\."),
        (torch.zeros(3, 100), RATE, "hiss", "3 channels; this page takes one or two"),
        (
            torch.zeros(2, 90_000),
            192_000,
            "hiss",
            "180000 samples of 2 channels at 192000 Hz; this page takes up to 96",
        ),
        (torch.zeros(2, 7_000), RATE, "dull", "112000 samples of 2 channels at 64000 Hz"),
    )
    for samples, rate, wrong, message in cases:
        write_sound(tmp_path / "long.flac", samples, rate)
        with pytest.raises(InvalidFile, match=message):
            done(tmp_path / "long.flac", folder, sound_model, wrong=wrong, factor=8)
    assert not any(folder.iterdir())


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"wrong": "gaps"},
            "This sound is nowhere exactly silent for a millisecond. Say where it is missing: 1.25:1.27.",
        ),
        ({"wrong": "gaps", "gaps": "0.4:9"}, "Where it is missing: expected start:end in seconds, 0 <= start < end"),
        ({"wrong": "clipped"}, "This sound has no flat tops from which to find the level. Give it."),
        ({"wrong": "hum"}, "No hum stands out in this sound. Give its frequency: 50 or 60 Hz."),
        ({"wrong": "dull"}, "The file: expected a sound sampled at less than the model's 8000 Hz"),
    ],
)
def test_errors_in_plain_words(
    tmp_path: Path, folder: Path, sound_model: Path, asked: dict[str, object], message: str
) -> None:
    noise = 0.1 * torch.randn(1, RATE // 2, generator=torch.Generator().manual_seed(1))
    write_sound(tmp_path / "noise.wav", noise, RATE)
    with pytest.raises(InvalidArgument) as caught:
        done(tmp_path / "noise.wav", folder, sound_model, **asked)
    assert plain(caught.value, {}, "sounds").startswith(message)
    assert not any(folder.iterdir())


class Slow(Prior):
    """A denoiser of sounds that counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.shape = (1, None)
        self.calls = 0

    def denoise(self, z: torch.Tensor, eta: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return z * 0.5


def test_stop_within_a_step(song: Path, folder: Path) -> None:
    slow, stop = Slow(), threading.Event()

    def stopped() -> bool:
        if slow.calls == 3:
            stop.set()
        return stop.is_set()

    asked = Asked(wrong="hiss", noise=0.1, steps=10)
    with pytest.raises(Stopped):
        mend(Work(asked, song, None, "song.wav", folder, slow, LIMITS, Report(), stopped))
    assert slow.calls == 3
    assert not any(folder.iterdir())


@pytest.mark.parametrize(("embedded", "library", "expected"), [
    ({"photo", "sound"}, True, ["photo", "sound"]), ({"photo", "sound"}, False, ["photo"]),
    ({"photo"}, True, ["photo"]),
])  # fmt: skip
def test_what_is_on_offer_unless_said(
    monkeypatch: pytest.MonkeyPatch, embedded: set[str], library: bool, expected: list[str]
) -> None:
    monkeypatch.setattr(serve, "available_priors", lambda: dict.fromkeys(embedded))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if library else None)
    assert serve.standard() == expected
