"""Restoring a sound: its channels one by one, in passages that overlap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..driver import restore
from ..errors import InvalidArgument
from ..priors import AtRate, Prior, Together
from ..problem import Problem
from ..restoration import Cost
from ..samplers import Sampler, make_sampler
from .defaults import sound_defaults
from .passages import around, cut, join
from .prediction import predict_missing
from .reading import Sound
from .resampling import resample
from .tasks import PreparedSound

MODEL_RATE = 16_000  # Hz: of a model that does not say its own
PASSAGE, OVERLAP = 30.0, 1.5  # seconds
CONTEXT = 1.0  # seconds around lost samples that are restored with them
LEAST = 1e-10  # variance: the noise of 16 bits is 8e-11
BINS = 256  # few, so that averages are long: what an average leaves of noise is heard as whistling


def model_rate(model: Prior) -> int:
    """The sampling rate in Hz that ``model`` was trained at, as its card says; 16 kHz if it does not."""
    card = getattr(model, "card", None) or {}
    return int(dict(card.get("training") or {}).get("rate", MODEL_RATE))


def restore_sound(
    prepared: PreparedSound,
    models: Prior | Sequence[Prior],
    sampler: Sampler | str = "kintsugi",
    *,
    steps: int = 5,
    samples: int = 1,
    seed: int = 0,
    device: str | torch.device = "cpu",
    max_memory: int | str | None = None,
    progress: Callable[[int, int], None] | None = None,
    passage: float = PASSAGE,
    overlap: float = OVERLAP,
    **settings: Any,
) -> tuple[Tensor, Cost, tuple[str, ...]]:
    """``samples`` restorations (samples, sources, C, T'), their cost, and remarks.

    models: one of sounds of one channel, or for the task "separate" one of each source. passage, overlap: seconds that
    are restored at a time, and that neighbours share and fade over. Channels are restored with the same random
    numbers, so that what they have in common stays in common; channels that are equal are restored once. A sampler by
    its name has the settings of ``defaults.py`` where ``settings`` say nothing. The rest is as in
    :func:`kintsugi.restore`.

    Errors: :class:`InvalidArgument` before any network runs.
    """
    if isinstance(sampler, str):
        known = sound_defaults(sampler, steps, prepared.task, prepared.noise)
        sampler, settings = make_sampler(sampler, **{**known, **settings}), {}
    parts = [models] if isinstance(models, Prior) else list(models)
    if len(parts) != prepared.entry.sources:
        expected = f"{prepared.entry.sources} for the task {prepared.task!r}: a model of each source"
        raise InvalidArgument("prior", f"{len(parts)} models", expected)
    rates = {model_rate(model) for model in parts}
    for model in parts:
        if model.shape is None or len(model.shape) != 2 or model.shape[0] not in (None, 1):
            raise InvalidArgument("prior", model.shape, "a model of sounds of one channel, (1, samples)")
    rate = max(rates)
    y = prepared.y
    k, own = prepared.multiple(rate), prepared.sound.rate
    notes = _band_note(prepared, min(rates), k)
    reach = 0 if prepared.known.response is None else prepared.known.response.shape[-1] / own
    overlap = max(overlap, reach)
    same = len(y) > 1 and bool((y == y[:1]).all())
    channels = range(1 if same else len(y))
    longest, shared = max(1, round(own * max(passage, 4 * overlap))), round(own * overlap)
    lost, factor = prepared.lost, prepared.known.factor
    regions = [(0, y.shape[-1])] if lost is None else around(lost.any(0), max(1, round(own * CONTEXT)))
    parts_of = [[(a + i, b + i) for a, b in cut(end - i, longest, shared)] for i, end in regions]
    total, done_before = len(channels) * sum(map(len, parts_of)), 0
    cost, outs = Cost(0, 0, 0), []
    for channel in channels:
        guess = predicted(prepared, channel)
        line = y[channel].expand(samples, prepared.entry.sources, -1).repeat_interleave(factor, -1)
        for (first, last), where in zip(regions, parts_of, strict=True):
            pieces = []
            for start, end in where:
                problem = prepared.problem(channel, start, end, rate)
                if guess is not None:
                    problem = _guessed(problem, guess[0][start:end], guess[1][start:end], k)
                above = spectrum_above(prepared, channel, start, end) if k == 1 else _silent
                result = restore(
                    problem.with_rows(problem.y.to(device)), _at_rate(parts, k * own, above), sampler, steps=steps,
                    samples=samples, seed=seed + 1_000_003 * (done_before % (total // len(channels))),
                    max_memory=max_memory, progress=_shifted(progress, done_before, total), **settings,
                )  # fmt: skip
                done_before += 1
                spent = result.cost
                cost = Cost(cost.forwards + spent.forwards, cost.vjps + spent.vjps, cost.seconds + spent.seconds)
                notes += tuple(note for note in result.notes if note not in notes)
                pieces.append(prepared.back(result.samples[0].cpu(), channel, start, end, rate))
            inside = [(start - first, end - first) for start, end in where]
            line[..., factor * first : factor * last] = join(pieces, inside, factor)
        outs.append(line)
    stacked = torch.stack(outs * (len(y) if same else 1), -2)
    return stacked, cost, notes


def _shifted(progress: Callable[[int, int], None] | None, before: int, parts: int) -> Callable[[int, int], None] | None:
    """Progress of all ``parts``, from that of one after ``before`` others."""
    return None if progress is None else lambda done, total: progress(before * total + done, parts * total)


def finish_all(prepared: PreparedSound, x: Tensor) -> tuple[list[list[Sound]], tuple[str, ...]]:
    """Each restoration of ``x`` (samples, sources, C, T') as a list of sounds, one a source, and remarks."""
    done = [prepared.finish(each) for each in x]
    return [sounds for sounds, _ in done], done[0][1]


def _at_rate(models: Sequence[Prior], rate: int, above: Callable[[Tensor], Tensor]) -> Prior:
    """The prior of all sources at ``rate`` hertz."""
    seen = [m if model_rate(m) == rate else AtRate(m, rate / model_rate(m), above) for m in models]
    return seen[0] if len(seen) == 1 else Together(seen)


def predicted(prepared: PreparedSound, channel: int) -> tuple[Tensor, Tensor] | None:
    """A channel (T,) whose gaps linear prediction has filled, and its error; None of problems without gaps."""
    missing = prepared.known.missing
    if missing is None:
        return None
    y = prepared.y[channel]
    found = predict_missing(y.double().cpu().numpy(), missing.cpu().numpy(), prepared.sound.rate)
    x, error = (torch.from_numpy(values).to(y) for values in found)
    return x, error


def _guessed(problem: Problem, x: Tensor, error: Tensor, k: int) -> Problem:
    """``problem`` with the guess ``x`` (T,), at k times its rate; a signal may be larger than what is seen of it."""
    guess, lost = resample(x[None], 1, k)[None], error[error > 0]
    if tuple(guess.shape[1:]) != tuple(problem.operator.in_shape):
        guess = problem.operator.extend(guess)
    return replace(problem, guess=guess, guess_error=float(lost.square().mean().sqrt()) if lost.numel() else None)


def spectrum_above(prepared: PreparedSound, channel: int, start: int, end: int) -> Callable[[Tensor], Tensor]:
    """The average spectrum of what was measured from ``start`` to ``end``, without its noise, shared by the sources.

    A function of frequencies in cycles per sample: the variance, which of white noise of variance v is v at each, at
    least ``LEAST``.
    """
    from scipy.signal import welch

    y = prepared.y[channel, start:end].double().cpu().numpy()
    freqs, density = welch(y, nperseg=min(BINS, len(y)))  # one-sided: white noise of variance v has 2 v
    power = density / 2
    if prepared.known.missing is not None:
        power = power / max(float((~prepared.known.missing[start:end]).double().mean()), 0.01)
    power = np.maximum((power - prepared.noise**2) / prepared.entry.sources, LEAST)

    def above(radius: Tensor) -> Tensor:
        values = np.interp(radius.detach().double().cpu().numpy(), freqs, np.log(power))
        return torch.from_numpy(np.exp(values)).to(radius)

    return above


def _silent(radius: Tensor) -> Tensor:
    return torch.full_like(radius, LEAST)


def _band_note(prepared: PreparedSound, rate: int, k: int) -> tuple[str, ...]:
    if k > 1 or prepared.sound.rate <= rate or not prepared.entry.above:
        return ()
    return (f"the model knows sounds up to {rate / 2000:g} kHz; what lies above {prepared.entry.above}",)
