"""Metrics of sounds against their formulas and independent code."""

import math

import numpy as np
import pytest
import torch
from scipy import signal
from torch import Tensor

from kintsugi.errors import InvalidArgument, MissingPackage
from kintsugi.metrics import available_metrics, make_metric, sound

pytest.importorskip("torchmetrics")
RATE = 16_000


def white(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def voice(seconds: float = 1.5) -> Tensor:
    """Pulses through three resonances with pauses: speech enough for those that measure it. (1, T)"""
    t = np.arange(round(seconds * RATE))
    pulses = (np.diff(np.floor(t * (120 + 10 * np.sin(t / 9000)) / RATE), prepend=-1) > 0).astype(float)
    for frequency, width in ((600, 80), (1200, 100), (2600, 160)):
        r = np.exp(-np.pi * width / RATE)
        pulses = signal.lfilter([1 - r], [1, -2 * r * np.cos(2 * np.pi * frequency / RATE), r * r], pulses)
    pulses *= np.sin(2 * np.pi * t / RATE * 3) > -0.5
    return torch.from_numpy(0.5 * pulses / np.abs(pulses).max())[None]


def test_si_sdr_is_its_formula_and_knows_no_loudness() -> None:
    truth, x = white(2, 500), white(3, 2, 500, seed=1)
    expected = []
    for row in x:
        for a, b in zip(row.numpy(), truth.numpy(), strict=True):
            target = (a @ b) / (b @ b) * b
            expected.append(10 * np.log10((target @ target) / ((target - a) @ (target - a))))
    metric = make_metric("si_sdr")
    assert metric(x, truth) == pytest.approx(np.mean(expected), rel=1e-6)
    assert metric(5 * x, truth) == pytest.approx(np.mean(expected), rel=1e-6)
    noisy = truth + 0.1 * white(2, 500, seed=2)
    assert metric(noisy[None], truth) == pytest.approx(20, abs=0.7)
    assert metric(truth[None], truth) > 100


def test_log_spectral_distance_is_its_formula() -> None:
    truth, x = 0.1 * white(1, 4000), 0.1 * white(2, 1, 4000, seed=1)
    floor = (2 / 2**16) ** 2 / 12

    def power(z: Tensor) -> np.ndarray:
        window = signal.get_window("hann", 512)
        frames = np.lib.stride_tricks.sliding_window_view(z.numpy(), 512)[::128]
        return np.abs(np.fft.rfft(frames * window)) ** 2 / np.sum(window**2) + floor

    ratios = [10 * np.log10(power(row[0]) / power(truth[0])) for row in x]
    expected = np.mean([np.sqrt((ratio**2).mean(1)).mean() for ratio in ratios])
    assert make_metric("lsd")(x, truth) == pytest.approx(expected, rel=1e-9)
    assert make_metric("lsd")(truth[None], truth) == 0
    loud = make_metric("lsd", frame=256)((10**0.5 * truth)[None], truth)
    assert loud == pytest.approx(10, abs=1e-3)  # ten times the power in every bin


def test_silence_weighs_nothing_in_it() -> None:
    silence = torch.zeros(1, 2000, dtype=torch.float64)
    assert make_metric("lsd")(1e-7 * white(1, 1, 2000), silence) < 0.01
    assert make_metric("lsd")(1e-2 * white(1, 1, 2000), silence) > 20


@pytest.mark.parametrize("name", ["pesq", "stoi"])
def test_speech_metrics_fall_with_noise_and_are_their_packages(name: str) -> None:
    pytest.importorskip({"pesq": "pesq", "stoi": "pystoi"}[name])
    metric, truth = make_metric(name), voice()
    noise = white(1, truth.shape[1], seed=1) * float(truth.square().mean().sqrt())
    clean, better, worse = (metric((truth + scale * noise)[None], truth) for scale in (0.0, 0.1, 1.0))
    best = {"pesq": 4.64, "stoi": 1.0}[name]
    assert clean == pytest.approx(best, abs=0.05)
    assert worse < better < clean
    both = metric(torch.stack((truth + 0.1 * noise, truth + noise)), truth)
    assert both == pytest.approx((better + worse) / 2, rel=1e-9)
    x, x0 = (z[0].numpy() for z in (truth + noise, truth))
    if name == "pesq":
        from pesq import pesq

        assert worse == pytest.approx(pesq(RATE, x0.astype("float32"), x.astype("float32"), "wb"), rel=1e-6)
    else:
        from pystoi import stoi

        assert worse == pytest.approx(stoi(x0, x, RATE), rel=1e-9)


@pytest.mark.parametrize("name", ["pesq", "stoi"])
def test_what_is_no_speech_is_refused(name: str) -> None:
    pytest.importorskip({"pesq": "pesq", "stoi": "pystoi"}[name])
    silence = torch.zeros(1, RATE, dtype=torch.float64)
    with pytest.raises(InvalidArgument, match="truth"):
        make_metric(name)(silence[None], silence)
    with pytest.raises(InvalidArgument, match="samples"):
        make_metric(name)(silence[None, :, :100], silence[:, :100])


@pytest.mark.parametrize("name", ["si_sdr", "lsd"])
def test_pictures_are_refused(name: str) -> None:
    with pytest.raises(InvalidArgument, match=r"sounds \(n, C, T\)"):
        make_metric(name)(white(1, 1, 20, 20), white(1, 20, 20))


def test_settings_are_checked() -> None:
    for name, setting in (("lsd", {"frame": 510}), ("pesq", {"rate": 44_100}), ("stoi", {"rate": 4000})):
        with pytest.raises(InvalidArgument, match=next(iter(setting))):
            make_metric(name, **setting)
    with pytest.raises(InvalidArgument, match="frame"):
        make_metric("lsd")(white(1, 1, 300), white(1, 300))
    assert {"si_sdr", "lsd", "pesq", "stoi"} <= set(available_metrics())
    assert math.isfinite(make_metric("lsd", frame=64)(white(1, 1, 300), white(1, 300, seed=1)))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sound, "package_lack", lambda name, metric: MissingPackage("missing", name=name))
    for name in ("pesq", "stoi"):
        assert "kintsugi-diffusion[speech]" in (make_metric(name).missing() or "")
        with pytest.raises(MissingPackage, match="speech"):
            make_metric(name)(white(1, 1, RATE), white(1, RATE))
