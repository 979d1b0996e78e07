"""The driver: checks, seeds, batches, progress, cost."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .budget import fit_into
from .errors import InvalidArgument, is_whole
from .memory import bytes_of, in_words
from .noise import RowNoise
from .operators.latent import Decoded
from .operators.realview import to_complex
from .priors import load_prior
from .priors.base import Prior
from .priors.fitting import Fit, Fitting, in_halves
from .priors.latent import LatentPrior
from .priors.wrappers import Counted, Counter
from .problem import Problem
from .progress import Progress, shown
from .restoration import Cost, Restoration
from .samplers import Sampler, available_samplers, make_sampler
from .samplers.watch import Watch


def restore(
    problem: Problem,
    prior: Prior | str | os.PathLike[str] = "photo",
    sampler: Sampler | str = "kintsugi",
    *,
    steps: int = 5,
    samples: int = 1,
    seed: int = 0,
    batch: int | None = None,
    tile: int | None = 1024,
    max_memory: int | str | None = None,
    progress: Progress | bool | None = None,
    **settings: Any,
) -> Restoration:
    """Draw ``samples`` samples of ``x`` for each measurement in ``problem``.

    Parameters
    ----------
    problem: what was measured and how; ``problem.y`` decides device and dtype (of half precision: computed
        in single, and rounded at the end). Complex signals are to the prior twice
        as many real channels; noise that is not white and Gaussian is whitened, and ``notes`` says so.
    prior: a model, or the name or file of one (:func:`kintsugi.load_prior`). One of latents is measured through its
        decoder, and its samples are decoded.
    sampler: a method, or the name of one; ``settings`` replace its defaults.
    steps: noise levels visited; one network evaluation each.
    seed: sample j of image i depends on (seed, i, j) alone, not on what stands beside it in a batch.
    batch: rows at a time; None takes them one by one for large signals and up to 16 together for small ones.
    tile: networks see images in tiles of this many pixels a side, with an exact overlap; None for the whole image.
        Signals of one dimension are seen in pieces of as many samples as such a tile has, ``tile`` squared.
    max_memory: bytes, or words such as "4GiB", for which ``batch`` and ``tile`` are chosen beforehand, by estimate
        (:mod:`kintsugi.budget`): of the whole process on a CPU, of tensors on a GPU.
    progress: True for a bar, in logs lines; or ``progress(done, total)`` in steps over all batches.

    Where memory runs out, fewer rows go through the network at a time, then smaller tiles, then smaller batches: the
    samples are the same, and ``notes`` says so. :class:`~kintsugi.memory.OutOfMemory` where nothing smaller is left.

    Errors: :class:`InvalidArgument` before any network runs; :class:`Diverged` where a sample has
    left the prior's range, instead of all samples; it names the settings to change.
    """
    for name, value, least in (("steps", steps, 1), ("samples", samples, 1), ("seed", seed, 0)):
        if not is_whole(value, least):
            raise InvalidArgument(name, value, f"an integer of at least {least}")
    for name, most in (("batch", batch), ("tile", tile)):
        if most is not None and not is_whole(most, 1):
            raise InvalidArgument(name, most, "an integer of at least 1, or None")
    limit = None if max_memory is None else bytes_of(max_memory)
    if not (progress is None or isinstance(progress, bool) or callable(progress)):
        raise InvalidArgument("progress", progress, "True, False, None or a function (done, total)")
    if not isinstance(problem, Problem):
        raise InvalidArgument("problem", type(problem).__name__, "a Problem")
    if not isinstance(sampler, str | Sampler):
        raise InvalidArgument("sampler", type(sampler).__name__, "a sampler or the name of one")
    if not isinstance(prior, str | os.PathLike | Prior):
        raise InvalidArgument("prior", type(prior).__name__, "a prior, or the name or file of one")
    method = make_sampler(sampler, **settings) if isinstance(sampler, str) else sampler
    if isinstance(sampler, Sampler) and settings:
        raise InvalidArgument(next(iter(settings)), "a setting", "settings only with a sampler given by its name")
    prior = prior if isinstance(prior, Prior) else load_prior(prior)
    takes_complex, notes = problem.operator.in_complex, _notes(problem)
    given = problem
    stored, problem = problem.y.dtype, problem.in_single().on_real()
    _check_channels(prior, problem)
    prior.check()
    if method.needs_vjp and not prior.has_vjp:
        others = ", ".join(name for name in available_samplers() if not make_sampler(name).needs_vjp)
        raise InvalidArgument("sampler", method.name, f"one that works without gradients of the network: {others}")
    method.check(prior, _as_known(prior, problem.whitened()))

    y = problem.batch
    prior = prior.to(y.device)
    counter = Counter()
    if isinstance(prior, LatentPrior) or y.ndim not in (3, 4):
        tile = None
    elif tile is not None and y.ndim == 3:
        tile = tile**2
    size = batch or _default_batch(problem)
    wanted = Fit(min(size, len(y) * samples), None, tile)
    fit = replace(wanted)
    if limit is not None:
        first = _as_known(prior, next(_parts(problem, 1, 1))[1])
        fit = fit_into(limit, first, prior, method, steps, len(y) * samples, wanted)
        if fit != wanted:
            notes += (f"to stay within {in_words(limit)}: {fit.told(wanted)}",)
    size = fit.batch
    seen: Prior = Counted(Fitting(prior, fit), counter)
    groups = 1 if problem.model is None else len(y)
    chunks = groups * -(-len(y) * samples // groups // size)
    began = time.perf_counter()
    out = []
    with shown(progress) as report, torch.no_grad():
        for index, (keys, part) in enumerate(_parts(problem, samples, size)):
            part = _as_known(prior, part)

            def draw(
                rows: range, index: int = index, keys: list[tuple[int, int]] = keys, part: Problem = part
            ) -> Tensor:
                """These rows of the part: all of it, unless memory ran out."""
                if len(rows) < len(keys):
                    part = part.select(rows)
                own = [keys[row] for row in rows]

                def step_done(done: int, total: int) -> None:
                    report(index * total + (rows.start * total + len(rows) * done) // len(keys), chunks * total)

                watch = Watch(method.name, prior, own, method.advice(part, steps), step_done)
                noise = RowNoise([(seed, i, j) for i, j in own])
                x = part.operator.visible(method.run(seen, part, steps, noise, watch))
                watch.look(x, 0.0)
                return to_complex(x) if takes_complex else x

            out.append(in_halves(len(keys), fit, draw, y.device))
    if fit.shrunk:
        notes += (f"memory ran out; went on with {fit.told(wanted)}",)
    stacked = torch.cat(out)
    if stored in (torch.float16, torch.bfloat16) and not stacked.is_complex():
        stacked = stacked.to(stored)
    seconds = time.perf_counter() - began
    return Restoration(
        stacked.view(len(y), samples, *stacked.shape[1:]),
        Cost(counter.forwards / len(stacked), counter.vjps / len(stacked), seconds),
        method,
        notes,
        problem=given,
        steps=steps,
        calibrations=prior.calibrations,
    )


def _parts(problem: Problem, samples: int, size: int) -> Iterator[tuple[list[tuple[int, int]], Problem]]:
    """Sample j of image i for up to ``size`` pairs (i, j) at a time, in order, and the problem of these rows.

    What a noise model makes of a measurement is its own affair: no other stands beside it then.
    """
    images = range(len(problem.batch))
    if problem.model is None:
        keys = [(i, j) for i in images for j in range(samples)]
        for k in range(0, len(keys), size):
            yield keys[k : k + size], problem.select([i for i, _ in keys[k : k + size]])
        return
    for i in images:
        alone = problem.select([i]).whitened()
        for k in range(0, samples, size):
            drawn = range(k, min(k + size, samples))
            yield [(i, j) for j in drawn], alone.select([0] * len(drawn))


def _notes(problem: Problem) -> tuple[str, ...]:
    if problem.model is None:
        return ()
    name = type(problem.model).__name__
    return (f"{name} noise treated as Gaussian, with the variance that the readings imply",)


def _as_known(prior: Prior, problem: Problem) -> Problem:
    """The problem of what the prior is a model of: through the decoder, of latents."""
    if not isinstance(prior, LatentPrior):
        return problem
    return replace(problem, operator=Decoded(problem.operator, prior.autoencoder))


def _check_channels(prior: Prior, problem: Problem) -> None:
    shape = problem.operator.in_shape
    if isinstance(prior, LatentPrior):
        images = prior.autoencoder.image_shape
        if shape != images:
            raise InvalidArgument("operator", tuple(shape), f"images of the prior's size, {images}")
        if problem.guess is not None:
            raise InvalidArgument("guess", tuple(problem.guess.shape), "none: a prior of latents begins with latents")
        return
    if prior.shape is None:
        return
    fits = len(prior.shape) == len(shape) and all(p is None or p == n for p, n in zip(prior.shape, shape, strict=True))
    if not fits:
        wanted = ", ".join("any" if n is None else str(n) for n in prior.shape)
        expected = f"signals of the prior's shape ({wanted})"
        if len(prior.shape) == len(shape) == 3 and prior.shape[0] in (None, shape[0]):
            expected += "; other sizes in overlapping windows: load_prior(..., windows=True)"
        raise InvalidArgument("operator", tuple(shape), expected)


def _default_batch(problem: Problem) -> int:
    pixels = 1
    for n in problem.operator.in_shape[1:]:
        pixels *= n
    return max(1, min(16, 2**18 // pixels))
