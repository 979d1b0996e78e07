"""Sounds as files, and training on them."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from kintsugi.errors import InvalidArgument, InvalidFile
from kintsugi.priors.network import load_model
from kintsugi.priors.unet import UNetConfig
from kintsugi.sounds import find_sounds, read_sound, resample, sound_length, write_sound
from kintsugi.training.config import TrainConfig
from kintsugi.training.loop import train
from kintsugi.training.sounds import SoundCrops, split_sounds, validation_sounds
from kintsugi.training.spectrum import measure_spectrum

pytest.importorskip("soundfile")
NET = UNetConfig(channels=1, widths=(8, 16), blocks=(1, 1), embedding=8, frame=32)
CONFIG = TrainConfig.for_sounds(NET, rate=1000, crop=432, steps=3, batch=2, warmup=1, validation_crops=4)


def tone(frequency: float, seconds: float, rate: int, channels: int = 1) -> Tensor:
    t = torch.arange(round(seconds * rate)) / rate
    return (0.5 * torch.sin(2 * math.pi * frequency * t)).expand(channels, -1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sounds")
    for i, frequency in enumerate((50, 80, 110, 170, 230)):
        write_sound(folder / f"{i}.wav", tone(frequency, 1.5, 2000, channels=2), 2000)
    return folder


@pytest.mark.parametrize(("suffix", "tolerance"), [(".wav", 1e-4), (".flac", 1e-4), (".ogg", 0.05), (".mp3", 0.05)])
def test_what_was_written_is_read(tmp_path: Path, suffix: str, tolerance: float) -> None:
    x = tone(440, 0.5, 16_000, channels=2)
    write_sound(tmp_path / f"a{suffix}", x, 16_000)
    sound = read_sound(tmp_path / f"a{suffix}")
    assert sound.rate == 16_000
    assert sound.samples.shape[0] == 2
    assert float((sound.samples[:, 1000:7000] - x[:, 1000:7000]).abs().max()) < tolerance
    assert sound_length(tmp_path / f"a{suffix}") == pytest.approx(0.5, abs=0.1)
    assert [p.name for p in tmp_path.iterdir()] == [f"a{suffix}"]


def test_how_samples_are_stored_is_kept(tmp_path: Path) -> None:
    x = torch.full((1, 100), 1e-6)
    for subtype, kept in (("PCM_16", False), ("FLOAT", True)):
        write_sound(tmp_path / "a.wav", x, 8000, subtype)
        assert read_sound(tmp_path / "a.wav").subtype == subtype
        assert bool((read_sound(tmp_path / "a.wav").samples == 1e-6).all()) == kept


def test_files_that_are_no_sounds_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF nothing")
    for read in (read_sound, sound_length):
        with pytest.raises(InvalidFile, match=r"a\.wav: not a readable sound"):
            read(tmp_path / "a.wav")
    soundfile = pytest.importorskip("soundfile")
    soundfile.write(tmp_path / "b.wav", np.array([0.0, np.nan]), 8000, subtype="FLOAT")
    with pytest.raises(InvalidFile, match="NaN"):
        read_sound(tmp_path / "b.wav")
    soundfile.write(tmp_path / "c.wav", np.zeros(0), 8000)
    with pytest.raises(InvalidFile, match="without samples"):
        read_sound(tmp_path / "c.wav")
    with pytest.raises(InvalidFile, match="no sounds"):
        (tmp_path / "empty").mkdir()
        find_sounds(tmp_path / "empty")
    with pytest.raises(InvalidArgument, match="output"):
        write_sound(tmp_path / "a.txt", torch.zeros(1, 5), 8000)


@pytest.mark.parametrize(("rate", "new"), [(44_100, 16_000), (16_000, 48_000), (16_000, 16_000)])
def test_resampling_keeps_a_tone(rate: int, new: int) -> None:
    out = resample(tone(440, 0.5, rate), rate, new)
    expected = tone(440, 0.5, new)
    assert out.shape == expected.shape
    inner = (..., slice(new // 20, -new // 20))
    assert float((out[inner] - expected[inner]).abs().max()) < 2e-3


def test_resampling_removes_what_the_lower_rate_cannot_hold() -> None:
    out = resample(tone(700, 1.0, 4000), 4000, 1000)[..., 50:-50]
    assert float(out.abs().max()) < 0.01


def test_pieces_depend_on_seed_and_index_alone(folder: Path) -> None:
    crops, again = (SoundCrops(find_sounds(folder), CONFIG) for _ in range(2))
    pieces = [crops[i] for i in range(40)]
    assert all(piece.shape == (1, 432) and float(piece.abs().max()) <= 1 for piece in pieces)
    assert all(torch.equal(piece, again[i]) for i, piece in enumerate(pieces))
    assert not torch.equal(pieces[0], pieces[1])


def test_pitches_and_loudness_are_those_asked_for(folder: Path, tmp_path: Path) -> None:
    """Of one tone of 100 Hz, up to three semitones away: from 84 to 119 Hz, half of them untouched."""
    write_sound(tmp_path / "a.wav", tone(100, 3, 1000), 1000)
    crops = SoundCrops([tmp_path / "a.wav"], replace(CONFIG, mixed=0.0, crop=944, quietest=0.2))
    pieces = torch.cat([crops[i] for i in range(80)])
    peaks = torch.fft.rfft(pieces * torch.hann_window(944), n=8000).abs().argmax(1) / 8
    assert float(peaks.min()) > 83
    assert float(peaks.max()) < 120
    assert 30 <= int(((peaks - 100).abs() < 0.5).sum()) <= 60
    loud = pieces.abs().amax(1)
    assert float(loud.min()) > 0.5 * 0.2 * 0.9
    assert float(loud.max()) <= 0.51
    signs = torch.stack([SoundCrops([tmp_path / "a.wav"], replace(CONFIG, mixed=1.0))[i] for i in range(4)])
    assert float(signs.abs().max()) <= 1


def test_held_out_sounds_are_not_trained_on(folder: Path) -> None:
    files = find_sounds(folder)
    kept, held = split_sounds(files, 0.3)
    assert len(held) == 2
    assert set(kept) | set(held) == set(files)
    assert not set(kept) & set(held)
    assert validation_sounds(held, CONFIG).shape == (4, 1, 432)
    assert split_sounds(files[:1], 0.1) == (files[:1], files[:1])


def test_a_run_trains_a_model_of_sounds(folder: Path, tmp_path: Path) -> None:
    prior = train(folder, tmp_path, CONFIG)
    assert prior.shape == (1, None)
    again = load_model(tmp_path / "model.safetensors")
    assert again.net.config == NET
    assert again.spectrum is not None
    assert float(again.spectrum.freqs.max()) <= 0.5
    assert "0.05" in again.card["validation"]


def test_the_spectrum_of_an_error_along_one_axis() -> None:
    """A denoiser that returns 0: the error is the signal, here white noise of variance 0.04."""

    class Nothing(torch.nn.Module):
        def denoise(self, z: Tensor, eta: Tensor) -> Tensor:
            return torch.zeros_like(z)

    x = 0.2 * torch.randn(32, 1, 512, generator=torch.Generator().manual_seed(0))
    spectrum = measure_spectrum(Nothing(), x, levels=1, low=1.0, high=1.0)  # type: ignore[arg-type]
    wide = spectrum.freqs > 0.05
    torch.testing.assert_close(
        spectrum.values[0, wide, 0], torch.full_like(spectrum.freqs[wide], 0.04), rtol=0.2, atol=0
    )


@pytest.mark.parametrize(
    ("name", "value"), [("crop", 100), ("pitch", 20.0), ("quietest", 0.0), ("mixed", 2.0), ("rate", 0)]
)
def test_impossible_settings_are_named(name: str, value: float) -> None:
    with pytest.raises(InvalidArgument, match=name):
        replace(CONFIG, **{name: value})
