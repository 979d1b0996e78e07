"""Sounds restored by diffusion, and by what people use without one.

    python benchmarks/sound.py FOLDER -o sound.jsonl --prior MODEL        measures what the file does not have yet
    python benchmarks/sound.py FOLDER -o sound.jsonl --only-print         the tables, in Markdown

Each sound of FOLDER is made mono, brought to a peak of 0.9 and cut to ``--seconds`` from its loudest place on. The
degradations are those of ``kintsugi degrade`` with fixed seeds. Methods see the degraded sound and what the command
line would be told: the noise, the gaps, the clip level, the response. SI-SDR in dB (higher is better) and the
log-spectral distance in dB (lower) are means over files with the standard error of the mean; PESQ and STOI, where the
packages are installed and find speech, are over the files whose names contain "voice". Rooms are judged from the
length of their response on: before that Wiener's filter knows that silence preceded the recording, and others do not.

Baselines: gaps by least-squares autoregressive interpolation (``kintsugi.sounds.prediction``, order 512) and by a cubic
spline, as are clipped samples; noise by the Wiener gain and by spectral subtraction (Boll, 1979)
of known white noise in frames of 512; bandwidth by polyphase resampling; rooms by Wiener deconvolution with the sound's
average spectrum; hum by notch filters; few levels by nothing. A line is appended to the file as it is measured, so that
an interrupted run goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from common import table
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.signal import ShortTimeFFT, filtfilt, iirnotch
from scipy.signal.windows import hann
from torch import Tensor

from kintsugi import load_prior
from kintsugi.errors import KintsugiError
from kintsugi.metrics.sound import PESQ, SISDR, STOI, LogSpectralDistance
from kintsugi.sounds import Sound, find_sounds, read_sound, resample
from kintsugi.sounds.hum import HARMONICS
from kintsugi.sounds.prediction import predict_missing
from kintsugi.sounds.restoring import restore_sound
from kintsugi.sounds.simulating import simulate_sound
from kintsugi.sounds.tasks import SoundSettings, prepare_sound

RATE = 16_000
METHODS = ("kintsugi", "cpigdm", "ddnm", "reddiff")
STEPS = (5, 20)
Array = NDArray[np.float64]
Baseline = Callable[[Array, SoundSettings], Array]


def gaps_of(length: int, milliseconds: float, every: float = 0.25) -> Tensor:
    """A gap each quarter of a second."""
    missing, size = torch.zeros(length, dtype=torch.bool), round(milliseconds * RATE / 1000)
    for start in range(round(every * RATE / 2), length - size - 400, round(every * RATE)):
        missing[start : start + size] = True
    return missing


def room() -> Tensor:
    """The direct sound and exponentially decaying noise, 60 dB in 0.4 s, 5 ms after it and 6 dB weaker in energy."""
    t = torch.arange(round(0.4 * RATE)) / RATE
    tail = torch.randn(len(t), generator=torch.Generator().manual_seed(0)) * 10 ** (-3 * t / 0.4)
    tail[: round(0.005 * RATE)] = 0
    h = 0.5 * tail / tail.square().sum().sqrt()
    h[0] = 1.0
    return h


def tasks(x: Tensor) -> Iterator[tuple[str, str, SoundSettings, SoundSettings]]:
    """Name, task, and the settings with which ``x`` (1, T) is degraded and restored."""
    for ms in (10, 20, 50, 100):
        missing = gaps_of(x.shape[1], ms)
        if bool(missing.any()):
            yield f"gaps of {ms} ms", "gap", (given := SoundSettings(gaps=missing)), given
    for noise in (0.01, 0.05):
        yield f"noise {noise:g}", "denoise", (given := SoundSettings(noise=noise)), given
    for factor in (2, 4):
        yield f"bandwidth {factor}x", "bandwidth", (given := SoundSettings(factor=factor)), given
    level = float(x.abs().quantile(0.9))
    yield "clipped, 10 %", "declip", (given := SoundSettings(level=level)), given
    yield "room", "dereverb", (given := SoundSettings(response=room(), noise=0.001)), given
    yield "hum", "hum", SoundSettings(frequency=50.0, level=0.1), SoundSettings(frequency=50.0)
    yield "mu-law, 4 bits", "mulaw", (given := SoundSettings(bits=4)), given
    yield "6 bits", "quantise", (given := SoundSettings(bits=6)), given


# --- baselines --------------------------------------------------------------------------------------------------------


def autoregressive(y: Array, settings: SoundSettings) -> Array:
    """Missing or clipped samples by linear prediction; clipped ones lie beyond the level."""
    lost = _lost(y, settings)
    x, _ = predict_missing(y, lost, RATE)
    return x if settings.level is None else np.where(lost, np.sign(y) * np.maximum(np.abs(x), np.abs(y)), y)


def _lost(y: Array, settings: SoundSettings) -> NDArray[np.bool_]:
    return settings.gaps.numpy() if settings.gaps is not None else np.abs(y) >= (settings.level or 1) * (1 - 1e-6)


def spline(y: Array, settings: SoundSettings) -> Array:
    """Missing samples, or clipped ones, by a cubic spline through the others, near which it ends."""
    lost = _lost(y, settings)
    known = np.flatnonzero(~lost)
    out = y.copy()
    out[lost] = np.clip(CubicSpline(known, y[known])(np.flatnonzero(lost)), -1, 1)
    return out


def _gained(y: Array, gain: Callable[[Array], Array]) -> Array:
    window = hann(512, sym=False)
    transform = ShortTimeFFT(window, 128, RATE)
    z = transform.stft(y)
    power = np.abs(z) ** 2 / (window**2).sum()  # white noise of variance v has v
    out: Array = transform.istft(gain(power) * z, k1=len(y))
    return out


def wiener(y: Array, settings: SoundSettings) -> Array:
    variance = float(settings.noise or 0) ** 2
    return _gained(y, lambda power: np.maximum(1 - variance / np.maximum(power, 1e-12), 0.0))


def subtraction(y: Array, settings: SoundSettings) -> Array:
    variance = float(settings.noise or 0) ** 2
    return _gained(y, lambda power: np.sqrt(np.maximum(1 - 2 * variance / np.maximum(power, 1e-12), 0.01)))


def polyphase(y: Array, settings: SoundSettings) -> Array:
    return resample(torch.from_numpy(y)[None], 1, settings.factor)[0].double().numpy()


def deconvolution(y: Array, settings: SoundSettings) -> Array:
    assert settings.response is not None
    n = len(y) + len(settings.response)
    h, z = np.fft.rfft(settings.response.double().numpy(), n), np.fft.rfft(y, n)
    power = np.convolve(np.abs(z) ** 2 / n, np.ones(65) / 65, "same") / max(float((np.abs(h) ** 2).mean()), 1e-12)
    out: Array = np.fft.irfft(z * h.conj() * power / (np.abs(h) ** 2 * power + float(settings.noise or 0) ** 2), n)
    return out[: len(y)]


def notches(y: Array, settings: SoundSettings) -> Array:
    for h in range(1, HARMONICS + 1):
        b, a = iirnotch(50.0 * h, 50.0 * h / 4, RATE)
        y = filtfilt(b, a, y)
    return y


def unchanged(y: Array, settings: SoundSettings) -> Array:
    return y


BASELINES: dict[str, dict[str, Baseline]] = {
    "gap": {"autoregressive": autoregressive, "spline": spline},
    "denoise": {"Wiener": wiener, "spectral subtraction": subtraction},
    "bandwidth": {"polyphase": polyphase},
    "declip": {"autoregressive": autoregressive, "spline": spline},
    "dereverb": {"Wiener": deconvolution},
    "hum": {"notch filters": notches},
    "mulaw": {},
    "quantise": {},
}


# --- measuring --------------------------------------------------------------------------------------------------------


def load(path: Path, seconds: float) -> Tensor:
    sound = read_sound(path)
    x = resample(sound.samples.mean(0, keepdim=True), sound.rate, RATE)
    x = 0.9 * x / x.abs().max().clamp_min(1e-9)
    length = round(seconds * RATE)
    begin = max(0, min(int(x[0].abs().argmax()) - RATE // 20, x.shape[1] - length))
    return x[:, begin : begin + length - length % 8]


def scores(x: Tensor, truth: Tensor, speech: bool) -> dict[str, float]:
    x, truth = x[:, : truth.shape[1]].double(), truth[:, : x.shape[1]].double()
    found = {"SI-SDR": SISDR()(x[None], truth=truth), "LSD": LogSpectralDistance()(x[None], truth=truth)}
    for name, metric in (("PESQ", PESQ(rate=RATE)), ("STOI", STOI(rate=RATE))):
        if speech and metric.lack() is None:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    found[name] = metric(x[None], truth=truth)
            except KintsugiError:  # a vowel that is sung is no speech to every measure
                pass
    return {key: float(value) for key, value in found.items()}


def main(
    folder: Path,
    output: Annotated[Path, typer.Option("--output", "-o", help="Lines of JSON, appended to.")],
    prior: str = "sound",
    seconds: Annotated[float, typer.Option(help="Of each sound.")] = 2.0,
    files: Annotated[int | None, typer.Option(help="Only so many, evenly spread over the names.")] = None,
    only: Annotated[str | None, typer.Option(help="Only tasks whose names contain this.")] = None,
    methods: Annotated[str, typer.Option(help="Samplers, with commas between.")] = ",".join(METHODS),
    only_print: bool = False,
    threads: int = 1,
) -> None:
    """Measure what is missing, and print the tables."""
    torch.set_num_threads(threads)
    records = [json.loads(line) for line in output.read_text().splitlines()] if output.exists() else []
    if not only_print:
        paths = find_sounds(folder)
        paths = paths if files is None else paths[:: max(1, len(paths) // files)][:files]
        model = load_prior(prior)
        digest = hashlib.sha256(json.dumps(model.card, sort_keys=True, default=str).encode()).hexdigest()[:8]
        done = {tuple(r[k] for k in ("task", "method", "steps", "file", "model", "seconds")) for r in records}
        with output.open("a", encoding="utf-8") as log:
            for path in paths:
                truth = load(path, seconds)
                for name, task, damage, given in tasks(truth):
                    if only is not None and only not in name:
                        continue
                    degraded = simulate_sound(task, Sound(truth, RATE, "FLOAT"), damage, seed=1)
                    for method, steps, run in runs_of(task, degraded, given, model, methods.split(",")):
                        key = (name, method, steps, path.name, digest if steps else "", seconds)
                        if key in done:
                            continue
                        began = time.perf_counter()
                        try:
                            x = run()
                        except KintsugiError as error:
                            if "operator" not in str(error):  # methods for linear operators
                                print(f"{path.name}, {name}, {method}: {error}")
                            continue
                        record: dict[str, Any] = dict(
                            zip(("task", "method", "steps", "file", "model", "seconds"), key, strict=True)
                        )
                        heard = 0 if given.response is None else len(given.response)
                        record |= scores(x[:, heard:], truth[:, heard:], "voice" in path.name)
                        record["took"] = round(time.perf_counter() - began, 3)
                        records.append(record)
                        log.write(json.dumps(record) + "\n")
                        log.flush()
    tell(records)


def runs_of(
    task: str, degraded: Sound, given: SoundSettings, model: Any, methods: list[str]
) -> Iterator[tuple[str, int, Callable[[], Tensor]]]:
    """Name, steps (0 for those without a network) and the call of every method for a task."""
    y = degraded.samples[0].double().numpy()
    if task != "bandwidth":
        yield "degraded", 0, lambda: degraded.samples
    for name, baseline in BASELINES[task].items():
        yield name, 0, lambda baseline=baseline: torch.from_numpy(baseline(y, given).copy()).float()[None]  # type: ignore[misc]

    def restored(sampler: str, steps: int) -> Tensor:
        prepared = prepare_sound(task, degraded, given)
        x, _, _ = restore_sound(prepared, model, sampler, steps=steps)
        (out,), _ = prepared.finish(x[0])
        return out.samples

    for sampler in methods:
        for steps in STEPS:
            yield sampler, steps, lambda sampler=sampler, steps=steps: restored(sampler, steps)  # type: ignore[misc]


def tell(records: list[dict[str, Any]]) -> None:
    """A table for each task: means over the files, with the standard error of the mean of SI-SDR."""
    for task in dict.fromkeys(r["task"] for r in records):
        of_task = [r for r in records if r["task"] == task]
        rows = []
        for method, steps in dict.fromkeys((r["method"], r["steps"]) for r in of_task):
            own = [r for r in of_task if (r["method"], r["steps"]) == (method, steps)]
            sdr = np.array([r["SI-SDR"] for r in own])
            words = [f"{np.mean([r[key] for r in own if key in r]):.{digits}f}" if any(key in r for r in own) else ""
                     for key, digits in (("LSD", 2), ("PESQ", 2), ("STOI", 3))]  # fmt: skip
            error = sdr.std(ddof=1) / len(sdr) ** 0.5 if len(sdr) > 1 else 0.0
            name = f"{method}, {steps} steps" if steps else method
            seconds = np.mean([r["took"] for r in own])
            rows.append([name, f"{sdr.mean():.2f} ± {error:.2f}", *words, f"{seconds:.2f}", str(len(own))])
        print(f"\n**{task}**\n")
        print(table(["method", "SI-SDR (dB)", "LSD (dB)", "PESQ", "STOI", "seconds", "files"], rows))


if __name__ == "__main__":
    typer.run(main)
