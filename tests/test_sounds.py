"""Restoring sounds, with priors that are known exactly: what is found in a sound, rates, passages, levels."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from kintsugi import Problem, restore
from kintsugi.errors import InvalidArgument, InvalidFile
from kintsugi.operators import Convolve, Decimate, Mask, StationaryCovariance
from kintsugi.priors import GaussianPrior, NetworkPrior, Prior, StationaryPrior, UNet, UNetConfig
from kintsugi.sounds import Sound, read_sound, resample, write_sound
from kintsugi.sounds.clipping import clip_levels
from kintsugi.sounds.gaps import find_gaps, read_gaps, runs
from kintsugi.sounds.hum import find_hum, remove_hum
from kintsugi.sounds.noise import estimate_noise, noise_level
from kintsugi.sounds.passages import around, cut, join
from kintsugi.sounds.restoring import restore_sound, spectrum_above
from kintsugi.sounds.simulating import gaps_text, random_gaps, simulate_sound
from kintsugi.sounds.spectrogram import decibels, spectrograms
from kintsugi.sounds.tasks import SOUND_TASKS, SoundSettings, prepare_sound

pytest.importorskip("soundfile")
RATE = 16_000


def low(radius: Tensor) -> Tensor:
    """Of noise that falls with frequency, of a variance of 0.02, alike over some 30 samples."""
    return torch.stack((3.2e-5 / (radius**2 + 0.005**2) + 1e-7,) * 2)


def high(radius: Tensor) -> Tensor:
    return torch.stack((0.04 * torch.exp(-(((radius - 0.25) / 0.05) ** 2)) + 1e-6,) * 2)


def prior(spectrum: object = low) -> Prior:
    made = StationaryPrior(StationaryCovariance(spectrum), 1)  # type: ignore[arg-type]
    made.shape = (1, None)
    return made


def drawn(seconds: float, rate: int = RATE, channels: int = 1, spectrum: object = low, seed: int = 0) -> Tensor:
    white = torch.randn(channels, 1, round(seconds * rate), generator=torch.Generator().manual_seed(seed))
    return StationaryCovariance(spectrum).root(white)[:, 0]  # type: ignore[arg-type]


def tone(frequency: float, seconds: float, rate: int = RATE, amplitude: float = 0.5) -> Tensor:
    t = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    return (amplitude * torch.sin(2 * math.pi * frequency * t + 0.3)).float()[None]


def ratio(x: Tensor, truth: Tensor) -> float:
    """Signal to distortion in dB."""
    return float(10 * (truth.square().sum() / (x - truth).square().sum()).log10())


def restored(
    task: str, sound: Sound, settings: SoundSettings | None = None, models: object = None, **more: object
) -> Tensor:
    prepared = prepare_sound(task, sound, settings)
    x, _, _ = restore_sound(prepared, models or prior(), **more)  # type: ignore[arg-type]
    sounds, _ = prepared.finish(x[0])
    return sounds[0].samples if len(sounds) == 1 else torch.stack([s.samples for s in sounds])


# --- what is found in a sound -----------------------------------------------------------------------------------------


def test_clip_levels_are_those_of_the_flat_tops() -> None:
    x = tone(440, 0.2)
    assert clip_levels(x.clamp(-0.3, 0.2)) == pytest.approx((-0.3, 0.2), rel=1e-3)
    one_side = clip_levels(x.clamp(-1, 0.25))
    assert one_side == (-math.inf, pytest.approx(0.25, rel=1e-3))
    with pytest.raises(InvalidArgument, match="level: expected a level: no side"):
        clip_levels(drawn(0.3))
    with pytest.raises(InvalidArgument, match="level"):
        clip_levels(torch.zeros(1, 100))


@pytest.mark.parametrize("sigma", [0.003, 0.03])
def test_white_noise_is_estimated_beneath_music(sigma: float) -> None:
    music = tone(440, 3) * torch.linspace(1, 0, 3 * RATE) + tone(1234, 3, amplitude=0.1)
    noise = sigma * torch.randn(2, 3 * RATE, generator=torch.Generator().manual_seed(0))
    assert estimate_noise(music + noise) == pytest.approx(sigma, rel=0.1)
    silence = torch.cat((music + noise, torch.zeros(2, RATE)), 1)  # digital silence says nothing
    assert estimate_noise(silence) == pytest.approx(sigma, rel=0.15)


@pytest.mark.parametrize(
    ("rate", "sigma"), [(22_050, 0.003), (44_100, 0.003), (44_100, 0.03), (48_000, 0.001), (44_100, 0.5)]
)
def test_noise_below_an_empty_band(rate: int, sigma: float) -> None:
    """A recording at 16 kHz that was saved at a higher rate has as much noise at each of its frequencies: white noise
    that had it at all of them would be stronger by the root of the ratio of the rates.
    """
    music = tone(440, 3) * torch.linspace(1, 0, 3 * RATE) + tone(1234, 3, amplitude=0.1)
    noisy = music + sigma * torch.randn(1, 3 * RATE, generator=torch.Generator().manual_seed(0))
    saved = resample(noisy, RATE, rate)
    rounded = (saved * 2**15).round() / 2**15
    expected = sigma * math.sqrt(rate / RATE)
    assert estimate_noise(saved) == pytest.approx(expected, rel=0.1)
    assert estimate_noise(rounded) == pytest.approx(expected, rel=0.1)


def test_music_that_ends_at_a_cliff_over_noise_is_no_noise() -> None:
    """Loud music without gaps that a filter has cut at 4 kHz, recorded with white noise at all frequencies."""
    generator = torch.Generator().manual_seed(0)
    music = resample(0.1 * torch.randn(1, 3 * 8000, generator=generator), 8000, 44_100)
    noisy = music + 0.001 * torch.randn(music.shape, generator=generator)
    assert estimate_noise(noisy) == pytest.approx(0.001, rel=0.1)


def test_music_that_ends_gradually_has_the_whole_band() -> None:
    """Forty partials, each fainter by 3 dB than the one before, rounded to 16 bits."""
    t = torch.arange(3 * 44_100) / 44_100
    music = sum(10 ** (-3 * k / 20) * torch.sin(2 * math.pi * 262 * k * t) for k in range(1, 41))
    music = (0.2 * music / music.abs().max() * torch.exp(-t))[None]
    rounded = (music * 2**15).round() / 2**15
    assert estimate_noise(rounded) == pytest.approx(2**-15 / math.sqrt(12), rel=0.2)


def test_noise_is_at_least_that_of_the_file() -> None:
    x = tone(440, 0.5)
    assert noise_level(x, "PCM_16", None) == pytest.approx(2**-15 / math.sqrt(12))
    assert noise_level(x, "FLOAT", None) == 0
    assert noise_level(x, "PCM_16", 0.1) == 0.1
    assert estimate_noise(torch.zeros(1, RATE)) == 0
    assert estimate_noise(x[:, :100]) == 0
    with pytest.raises(InvalidArgument, match="noise"):
        noise_level(x, "PCM_16", 2.0)


def test_gaps_by_text_file_and_sound(tmp_path: Path) -> None:
    missing = read_gaps("0.1:0.15, 0.5:0.501", 1000, 1000)
    assert runs(missing) == [(100, 150), (500, 501)]
    (tmp_path / "gaps.txt").write_text("# comment\n0.1:0.15\n\n0.5:0.501\n")
    assert torch.equal(read_gaps(str(tmp_path / "gaps.txt"), 1000, 1000), missing)
    write_sound(tmp_path / "gaps.wav", missing.float()[None] / 2, 1000)
    assert torch.equal(read_gaps(str(tmp_path / "gaps.wav"), 1000, 1000), missing)
    (tmp_path / "own.txt").write_text(gaps_text(missing, 1000))
    assert torch.equal(read_gaps(str(tmp_path / "own.txt"), 1000, 1000), missing)
    for text, match in (("0.9:1.1", "start < end <= 1"), ("a:b", "as in 1.25:1.27"), ("0.2:0.1", "start < end"),
                        ("nothing.txt", "start:end in seconds"), ("0:1", "samples around them")):  # fmt: skip
        with pytest.raises(InvalidArgument, match=match):
            read_gaps(text, 1000, 1000)
    with pytest.raises(InvalidFile, match="expected 999 at 1000 Hz"):
        read_gaps(str(tmp_path / "gaps.wav"), 1000, 999)


def test_runs_of_zeros_inside_a_sound_are_gaps() -> None:
    x = drawn(0.5, channels=2)
    x[:, :200] = 0
    x[:, 2000:2100] = 0
    x[:, 3000:3005] = 0  # a third of a millisecond
    x[0, 4000:4100] = 0  # in one channel alone
    assert runs(find_gaps(x, RATE)) == [(2000, 2100)]
    with pytest.raises(InvalidArgument, match="no run of zeros"):
        find_gaps(drawn(0.1), RATE)


@pytest.mark.parametrize("frequency", [49.87, 60.2])
def test_hum_is_found_and_taken_out(frequency: float) -> None:
    clean = drawn(5) * 0.2 + tone(333, 5, amplitude=0.1)
    hum = sum((tone(h * frequency, 5, amplitude=0.05 / h) for h in range(1, 11)), torch.zeros(1, 1))
    found = find_hum(clean + hum, RATE)
    assert found == pytest.approx(frequency, abs=0.021)
    left = remove_hum(clean + hum, RATE, frequency)
    assert ratio(left, clean) > ratio(clean + hum, clean) + 15
    assert float((remove_hum(hum, RATE, frequency)).abs().max()) < 1e-4
    with pytest.raises(InvalidArgument, match="none stands out"):
        find_hum(drawn(3, spectrum=high), RATE)


# --- passages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "longest", "overlap"), [(1000, 300, 40), (1000, 999, 40), (301, 300, 149), (77, 100, 7)]
)
def test_passages_cover_everything_and_add_up(length: int, longest: int, overlap: int) -> None:
    where = cut(length, longest, overlap)
    assert where[0][0] == 0
    assert where[-1][1] == length
    assert all(end - start <= longest for start, end in where)
    assert all(a[1] - b[0] >= overlap for a, b in pairwise(where))
    assert all(a[1] <= c[0] for a, c in zip(where, where[2:], strict=False))  # never three at a sample
    x = torch.randn(2, 3, length, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(join([x[..., a:b] for a, b in where], where), x, rtol=0, atol=1e-12)
    twice = x.repeat_interleave(2, -1)
    joined = join([twice[..., 2 * a : 2 * b] for a, b in where], where, 2)
    torch.testing.assert_close(joined, twice, rtol=0, atol=1e-12)


def test_a_fade_has_no_corner() -> None:
    """From a passage of zeros to one of ones: a rise without steps, as steep in the middle as a sine."""
    where = [(0, 200), (100, 300)]
    x = join([torch.zeros(200, dtype=torch.float64), torch.ones(200, dtype=torch.float64)], where)
    assert float(x.diff().abs().max()) <= math.pi / 2 / 100 + 1e-9
    assert float(x.diff().diff().abs().max()) < 1e-3
    with pytest.raises(InvalidArgument, match="overlap"):
        cut(100, 20, 10)


def test_only_what_surrounds_lost_samples_is_restored() -> None:
    lost = torch.zeros(1000, dtype=torch.bool)
    lost[[3, 500, 540, 700]] = True
    assert around(lost, 20) == [(0, 24), (480, 561), (680, 721)]
    assert around(lost, 2000) == [(0, 1000)]
    x, gaps = drawn(6), torch.zeros(6 * RATE, dtype=torch.bool)
    for start in (0, 3 * RATE):  # where it is loud, so that its neighbours say much
        loudest = start + RATE + int(x[0, start + RATE : start + 2 * RATE].abs().argmax())
        gaps[loudest - 4 : loudest + 4] = True
    prepared = prepare_sound("gap", Sound(x * ~gaps, RATE, "FLOAT"), SoundSettings(gaps=gaps))
    found, cost, _ = restore_sound(prepared, prior(), steps=3)
    assert cost.forwards == 6  # two regions of two seconds
    (out,), _ = prepared.finish(found[0])
    assert torch.equal(out.samples[:, ~gaps], x[:, ~gaps])
    assert ratio(out.samples[:, gaps], x[:, gaps]) > 3


@pytest.mark.parametrize("task", ["denoise", "gap"])
def test_a_sound_in_passages_is_that_in_one_piece(task: str) -> None:
    """Without random numbers only what lies beyond the borders of a passage differs, and it fades out."""
    x = drawn(3)
    noise = 0.02 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    gaps = random_gaps(x.shape[1], RATE, 0.1, longest=0.01)
    y, settings = (x + noise, SoundSettings(noise=0.02)) if task == "denoise" else (x, SoundSettings(gaps=gaps))
    sound = Sound(y * ~gaps if task == "gap" else y, RATE, "FLOAT")
    steady = {"temperature": 0.0, "steps": 8}
    whole = restored(task, sound, settings, **steady)
    pieces = restored(task, sound, settings, **steady, passage=0.8, overlap=0.15)
    assert ratio(whole, x) > ratio(sound.samples, x) + (0.5 if task == "denoise" else 0.3)
    assert ratio(pieces, whole) > 35
    assert abs(ratio(pieces, x) - ratio(whole, x)) < 0.1


def test_networks_see_long_signals_of_one_dimension_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = UNet(UNetConfig(channels=1, patch=1, widths=(4,), blocks=(1,), embedding=8, frame=16))
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model, seen = NetworkPrior(net).eval(), []
    whole = NetworkPrior.denoise
    monkeypatch.setattr(NetworkPrior, "denoise", lambda self, z, eta: seen.append(z.shape[-1]) or whole(self, z, eta))
    x = drawn(0.25)
    problem = Problem(x, Mask(torch.arange(x.shape[1]) % 7 != 0, tuple(x.shape)), 0.1)
    one = restore(problem, model, steps=2, tile=None).samples
    assert set(seen) == {4000}
    seen.clear()
    many = restore(problem, model, steps=2, tile=20).samples
    assert max(seen) < 1500
    torch.testing.assert_close(many, one, rtol=0, atol=2e-5)


# --- tasks, with an exact prior ---------------------------------------------------------------------------------------


def test_gaps_are_filled_as_the_posterior_mean_does() -> None:
    n = 300
    c = StationaryCovariance(low)(torch.eye(n, dtype=torch.float64).view(n, 1, n)).flatten(1)
    exact = GaussianPrior((1, n), 0.5 * (c + c.T))
    x = exact.sample(1, torch.Generator().manual_seed(2))[0]
    gaps = torch.zeros(n, dtype=torch.bool)
    gaps[100:112] = True
    operator = Mask(~gaps, (1, n))
    expected = exact.posterior(Problem(operator(x[None]), operator)).mean[0]
    got = restored(
        "gap", Sound((x * ~gaps).float(), RATE, "FLOAT"), SoundSettings(gaps=gaps), steps=20, temperature=0.0
    )
    assert torch.equal(got[:, ~gaps], x.float()[:, ~gaps])
    error, spread = (got - expected)[:, gaps].square().mean().sqrt(), (x - expected)[:, gaps].square().mean().sqrt()
    assert float(error) < 0.35 * float(spread)


def test_peaks_above_a_clip_come_back_and_all_else_is_kept() -> None:
    x = drawn(1)
    level = float(x.abs().quantile(0.9))
    y = x.clamp(-level, level)
    got = restored("declip", Sound(y, RATE, "FLOAT"), steps=10, eta=0.7)
    kept = y.abs() < 0.998 * level  # closer to it a sample counts as clipped
    assert torch.equal(got[kept], x[kept])
    assert bool((got[~kept].abs() >= level * 0.998).all())
    assert ratio(got, x) > ratio(y, x) + 2.5


GAPS = torch.zeros(3200, dtype=torch.bool)
GAPS[1000:1100] = True


@pytest.mark.parametrize(
    ("task", "settings"),
    [
        ("declip", SoundSettings(level=0.2)), ("gap", SoundSettings(gaps=GAPS)), ("mulaw", SoundSettings(bits=5)),
        ("dereverb", SoundSettings(response=torch.tensor([0.0, 2.0, -0.7, 0.4]))), ("quantise", SoundSettings(bits=5)),
    ],
)  # fmt: skip
def test_what_is_measured_of_a_sound_is_the_operator_of_it_in_the_units_of_the_problem(
    task: str, settings: SoundSettings
) -> None:
    """Silence comes before it, and the sound is ``scale`` times as loud."""
    x = drawn(0.2)
    prepared = prepare_sound(task, simulate_sound(task, Sound(x, RATE, "FLOAT"), settings), settings)
    problem = prepared.problem(0, 0, 3200, RATE)
    canvas = torch.zeros((1, *problem.operator.in_shape))
    places = torch.arange(canvas.numel(), dtype=torch.float64).view(canvas.shape)
    seen = prepared.back(problem.operator.visible(places), 0, 0, 3200, RATE).flatten().long()
    canvas.view(-1)[seen] = prepared.scale * x[0]
    torch.testing.assert_close(problem.operator(canvas)[0], problem.y, rtol=0, atol=2e-5)


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
@pytest.mark.parametrize("level", [0.3, 0.123456789, 1 / 3])
def test_a_stated_level_is_that_of_the_samples_whatever_rounding(level: float, subtype: str) -> None:
    """Found by the benchmark: no sample was at the level, by a rounding, and nothing was restored."""
    x = 0.5 * torch.sin(torch.arange(2000) / 9)[None]
    y = x.clamp(-level, level)
    if subtype == "PCM_16":
        y = torch.trunc(y * 32768) / 32768
    prepared = prepare_sound("declip", Sound(y, RATE, subtype), SoundSettings(level=level))
    assert prepared.lost is not None
    clipped = x.abs() > level
    assert torch.equal(prepared.lost, (y.abs() >= 0.999 * level))
    assert bool(prepared.lost[clipped].all())
    known = prepared.known
    for side, where in ((known.high, y >= 0.999 * level), (known.low, y <= -0.999 * level)):
        at = prepared.y[where]
        assert torch.equal(at, torch.full_like(at, side))


def test_noise_is_removed_as_by_a_wiener_filter() -> None:
    x = drawn(1)
    y = x + 0.05 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    wiener = StationaryCovariance(lambda r: low(r) / (low(r) + 0.05**2))(y[None])[0]
    got = restored(
        "denoise", Sound(y, RATE, "FLOAT"), SoundSettings(noise=0.05), prior(scaled(0.9 / float(y.abs().max())))
    )
    assert ratio(got, x) > ratio(wiener, x) - 0.3  # five levels of noise


def scaled(factor: float) -> object:
    """The prior of a sound that was made louder."""
    return lambda r: factor**2 * low(r)


def test_high_frequencies_above_the_models_band_are_denoised_too() -> None:
    """At 32 kHz: the model knows the lower half, the upper is filtered by the spectrum of the recording."""

    def wide(r: Tensor) -> Tensor:
        return torch.where(r < 0.25, 2 * low((2 * r).clamp_max(0.5)), 2e-4)

    x = drawn(1, spectrum=wide)
    y = x + 0.02 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    sound = Sound(y, 32_000, "FLOAT")
    got = restored("denoise", sound, SoundSettings(noise=0.02), prior(scaled(0.9 / float(y.abs().max()))))
    wiener = StationaryCovariance(lambda r: wide(r) / (wide(r) + 0.02**2))(y[None])[0]
    assert ratio(got, x) > ratio(wiener, x) - 0.5
    assert ratio(got, x) > ratio(y, x) + 2


def test_the_spectrum_above_is_that_of_the_sound_without_its_noise() -> None:
    sound = Sound(drawn(30, spectrum=high, seed=3), RATE, "FLOAT")
    prepared = replace(prepare_sound("gap", sound, SoundSettings(gaps=torch.arange(30 * RATE) == 9)), y=sound.samples)
    radius = torch.linspace(0.15, 0.35, 50).double()
    found = spectrum_above(prepared, 0, 0, 30 * RATE)(radius)
    torch.testing.assert_close(found, high(radius)[0], rtol=0.5, atol=1e-4)
    assert float((found / high(radius)[0]).mean()) == pytest.approx(1, abs=0.1)
    assert float(spectrum_above(replace(prepared, noise=1.0), 0, 0, RATE)(radius).max()) == pytest.approx(1e-10)


def test_bandwidth_keeps_the_low_band_and_has_the_new_rate() -> None:
    x = drawn(1)
    y = resample(x, 2, 1)
    got = restored("bandwidth", Sound(y, 8000, "FLOAT"), SoundSettings(factor=2), steps=10)
    assert got.shape == x.shape
    assert ratio(resample(got, 2, 1)[:, 200:-200], y[:, 200:-200]) > 40
    assert ratio(got, x) > ratio(resample(y, 1, 2), x) - 0.1
    slow = restored("bandwidth", Sound(resample(y, 2, 1), 4000, "FLOAT"), SoundSettings(factor=2), steps=3)
    assert slow.shape == y.shape  # from 4 to 8 kHz, through the model's 16
    with pytest.raises(InvalidArgument, match="input: expected a sound sampled at less than"):
        restored("bandwidth", Sound(x, RATE, "FLOAT"))


@pytest.mark.parametrize("rate", [16_000, 8_000])
def test_a_room_is_undone(rate: int) -> None:
    x = drawn(1, rate)
    response = torch.exp(-torch.arange(800.0) / 100) * torch.randn(800, generator=torch.Generator().manual_seed(4))
    response[0] = 2.0
    wet = simulate_sound("dereverb", Sound(x, rate, "FLOAT"), SoundSettings(response=response, noise=1e-3))
    got = restored("dereverb", wet, SoundSettings(response=response, noise=1e-3), steps=5)
    assert got.shape == x.shape
    assert ratio(got, x) > ratio(wet.samples / 2, x) + 10


def test_a_stated_hum_is_refined_where_it_stands_out_and_taken_as_it_is_elsewhere() -> None:
    x = drawn(4)
    hum = simulate_sound("hum", Sound(x, RATE, "FLOAT"), SoundSettings(level=0.3, frequency=50.2))
    assert prepare_sound("hum", hum, SoundSettings(frequency=50.0)).known.frequency == pytest.approx(50.2, abs=0.021)
    quiet = Sound(drawn(4, spectrum=high), RATE, "FLOAT")
    assert prepare_sound("hum", quiet, SoundSettings(frequency=123.0)).known.frequency == 123.0
    with pytest.raises(InvalidArgument, match="none stands out"):
        prepare_sound("hum", quiet)


def test_hum_is_replaced_by_what_the_prior_expects() -> None:
    x = drawn(4) + tone(333, 4, amplitude=0.1)
    loud = simulate_sound("hum", Sound(x, RATE, "FLOAT"), SoundSettings(level=0.3, frequency=50.0))
    got = restored("hum", loud)
    assert ratio(got, x) > ratio(loud.samples, x) + 15
    assert ratio(got, x) > 12


@pytest.mark.parametrize("task", ["mulaw", "quantise"])
def test_levels_are_undone_within_their_steps(task: str) -> None:
    x = drawn(1) * 2
    few = simulate_sound(task, Sound(x, RATE, "FLOAT"), SoundSettings(bits=4))
    got = restored(task, few, SoundSettings(bits=4), steps=10)
    assert ratio(got, x) > ratio(few.samples, x) + 0.3
    operator = SOUND_TASKS[task].operator(prepare_sound(task, few, SoundSettings(bits=4)).known, 0, 0, x.shape[1])
    assert float((operator(got[None])[0] == few.samples).float().mean()) > 0.97


def test_two_sources_are_separated() -> None:
    one, two = drawn(1, spectrum=low), drawn(1, spectrum=high, seed=1)
    mixed = simulate_sound("separate", Sound(one, RATE, "FLOAT"), second=Sound(two, RATE, "FLOAT"))
    got = restored("separate", mixed, models=[prior(low), prior(high)], steps=10)
    assert got.shape == (2, 1, RATE)
    c, d = (StationaryCovariance(s) for s in (low, high))
    share = StationaryCovariance(lambda r: c.spectrum(r) / (c.spectrum(r) + d.spectrum(r)))(mixed.samples[None])[0]
    for found, truth, wiener in zip(got, (one, two), (share, mixed.samples - share), strict=True):
        assert ratio(found, truth) > ratio(wiener, truth) - 1.5  # louder than the priors by a factor that is not theirs
        assert ratio(found, truth) > ratio(mixed.samples, truth) + 5
    torch.testing.assert_close(got.sum(0), mixed.samples, rtol=0, atol=1e-3)
    with pytest.raises(InvalidArgument, match="prior: expected 2 for the task 'separate'"):
        restored("separate", mixed)


# --- channels, rates and levels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000])
def test_any_rate_keeps_rate_length_and_what_was_measured(rate: int) -> None:
    x = 0.5 * drawn(0.4, rate, channels=2)
    gaps = torch.zeros(x.shape[1], dtype=torch.bool)
    gaps[rate // 10 : rate // 10 + rate // 1000] = True
    y = x * ~gaps
    got = restored("gap", Sound(y, rate, "FLOAT"), steps=3)
    assert got.shape == x.shape
    assert torch.equal(got[:, ~gaps], x[:, ~gaps])
    inside = got[:, gaps]
    assert ratio(inside, x[:, gaps]) > 3  # at the border of the gap it goes on where the sound is


def test_equal_channels_are_restored_once_and_alike() -> None:
    mono = drawn(0.3)
    sound = Sound(mono.expand(2, -1).contiguous(), RATE, "FLOAT")
    prepared = prepare_sound("denoise", sound, SoundSettings(noise=0.05))
    x, cost, _ = restore_sound(prepared, prior(), steps=3)
    assert x.shape == (1, 1, 2, mono.shape[1])
    assert torch.equal(x[0, 0, 0], x[0, 0, 1])
    assert cost.forwards == 3
    two = replace(sound, samples=torch.cat((mono, -mono)))
    assert restore_sound(prepare_sound("denoise", two, SoundSettings(noise=0.05)), prior(), steps=3)[1].forwards == 6


def test_peaks_beyond_full_scale_make_it_quieter_and_say_so() -> None:
    x = drawn(0.5)
    x = x / x.abs().max() * 2
    prepared = prepare_sound("declip", Sound(x.clamp(-1, 1), RATE, "PCM_16"))
    restorations, _, _ = restore_sound(prepared, prior(), steps=5)
    (out,), notes = prepared.finish(restorations[0])
    assert float(out.samples.abs().max()) == pytest.approx(1)
    assert len(notes) == 1
    assert "dB quieter, so that the restored peaks fit" in notes[0]


def test_what_was_read_is_written_to_the_bit(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    rng = np.random.default_rng(0)
    for subtype, bits, kind in (("PCM_16", 16, np.int16), ("PCM_24", 24, np.int32)):
        whole = rng.integers(-(2**15), 2**15, 1000).astype(kind)
        whole[:2] = (-(2**15), 2**15 - 1)
        stored = whole if bits == 16 else whole * 2**16
        soundfile.write(tmp_path / "a.wav", stored, RATE, subtype=subtype)
        sound = read_sound(tmp_path / "a.wav")
        write_sound(tmp_path / "b.wav", sound.samples, sound.rate, subtype)
        again, _ = soundfile.read(tmp_path / "b.wav", dtype="int16" if bits == 16 else "int32")
        assert np.array_equal(again, stored)


def test_settings_that_cannot_be_used() -> None:
    sound = Sound(drawn(0.2), RATE, "FLOAT")
    for task, settings, match in (
        ("sr", SoundSettings(), "task: expected for sounds one of"),
        ("gap", SoundSettings(), "mask"),
        ("gap", SoundSettings(gaps=torch.ones(3, dtype=torch.bool)), "mask"),
        ("declip", SoundSettings(level=3.0), "level: expected a level above 0 that the sound reaches"),
        ("dereverb", SoundSettings(), "kernel: expected a sound file"),
        ("dereverb", SoundSettings(response=torch.zeros(5)), "kernel"),
        ("hum", SoundSettings(frequency=5.0), "frequency"),
        ("mulaw", SoundSettings(bits=1), "bits"),
        ("bandwidth", SoundSettings(factor=1), "factor"),
        ("denoise", SoundSettings(noise=-1.0), "noise"),
    ):
        with pytest.raises(InvalidArgument, match=match):
            prepare_sound(task, sound, settings)
    with pytest.raises(InvalidArgument, match="prior: expected a model of sounds"):
        restore_sound(prepare_sound("denoise", sound), StationaryPrior(StationaryCovariance(low), 1))


# --- simulation and pictures ------------------------------------------------------------------------------------------


def test_simulated_degradations_are_the_operators() -> None:
    x = drawn(0.3)
    sound, response = Sound(x, RATE, "FLOAT"), torch.tensor([1.0, 0.0, 0.5])
    wet = simulate_sound("dereverb", sound, SoundSettings(response=response)).samples
    operator = Convolve((1, x.shape[1]), response, "unknown", causal=True)
    torch.testing.assert_close(wet[:, 2:], operator(operator.extend(x[None]))[0][:, 2:], rtol=0, atol=1e-6)
    half = simulate_sound("bandwidth", sound, SoundSettings(factor=2))
    assert half.rate == 8000
    inner = slice(20, -20)
    expected = Decimate((1, x.shape[1]), 2)(x[None])[0]
    torch.testing.assert_close(half.samples[:, inner], expected[:, inner], rtol=0, atol=1e-5)
    noisy = simulate_sound("denoise", sound, SoundSettings(noise=0.1)).samples
    assert float((noisy - x).std()) == pytest.approx(0.1, rel=0.05)
    assert float(simulate_sound("declip", sound, SoundSettings(level=0.1)).samples.abs().max()) == pytest.approx(0.1)
    gaps = random_gaps(RATE, RATE, 0.2, seed=3)
    assert 0.2 <= float(gaps.float().mean()) < 0.26
    for task, settings, match in (("gap", SoundSettings(), "mask"), ("denoise", SoundSettings(), "noise"),
                                  ("separate", SoundSettings(), "second"),
                                  ("bandwidth", SoundSettings(factor=7), "divides the rate")):  # fmt: skip
        with pytest.raises(InvalidArgument, match=match):
            simulate_sound(task, sound, settings)


def test_a_full_scale_sine_has_zero_decibels_at_its_frequency() -> None:
    level = decibels(Sound(tone(2000, 1, amplitude=1.0), RATE, "FLOAT"), columns=50, bins=161)
    row = 160 - 40  # 50 Hz a row
    assert level[:, 10:40].argmax(0).tolist() == [row] * 30
    assert float(level[row, 10:40].mean()) == pytest.approx(0, abs=0.01)
    assert float(level[20, 10:40].max()) < -60


def test_a_click_is_seen_however_long_the_sound_is() -> None:
    x = torch.zeros(1, 60 * RATE)
    x[:, 30 * RATE] = 1.0
    level = decibels(Sound(x, RATE, "FLOAT"), columns=100)
    column = int(level.mean(0).argmax())
    assert abs(column - 50) <= 1
    assert float(level[:, column].mean()) > float(level[:, 20].mean()) + 40


def test_panels_share_their_axes() -> None:
    narrow, wide = Sound(tone(1000, 1, 8000), 8000, "FLOAT"), Sound(tone(1000, 1), RATE, "FLOAT")
    picture = spectrograms([("input", narrow), ("restored", wide)])
    height = picture.height // 2
    top, bottom = (picture.pixels[:, k : k + height].sum(0)[:, 500] for k in (0, height))
    assert int(top[20:-20].argmax()) == int(bottom[20:-20].argmax())  # 1 kHz stands at the same height
