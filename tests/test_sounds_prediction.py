"""Linear prediction through gaps, against dense least squares; and what samplers make of a guess."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from kintsugi import restore
from kintsugi.errors import InvalidArgument
from kintsugi.noise import RowNoise
from kintsugi.operators import MRI, Mask, StationaryCovariance
from kintsugi.priors import GaussianPrior, StationaryPrior
from kintsugi.problem import Problem
from kintsugi.samplers import make_sampler
from kintsugi.samplers.base import start_at
from kintsugi.sounds import Sound, prediction, restoring
from kintsugi.sounds.prediction import _coefficients, _fill, predict_missing
from kintsugi.sounds.restoring import restore_sound
from kintsugi.sounds.tasks import SoundSettings, prepare_sound

Array = NDArray[np.float64]


def tones(n: int, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    t = np.arange(n)
    parts = zip((0.3, 0.2, 0.1), (0.11, 0.37, 0.9), rng.uniform(0, 6, 3), strict=True)
    return np.asarray(sum(a * np.sin(w * t + p) for a, w, p in parts)) + 1e-4 * rng.standard_normal(n)


def hidden(n: int, *runs: tuple[int, int]) -> NDArray[np.bool_]:
    missing = np.zeros(n, dtype=bool)
    for start, end in runs:
        missing[start:end] = True
    return missing


@pytest.mark.parametrize("order", [1, 5, 12])
def test_coefficients_are_those_of_yule_and_walker(order: int) -> None:
    x = tones(200) + 0.05 * np.random.default_rng(1).standard_normal(200)
    c = np.array([(x[: 200 - k] * x[k:]).sum() for k in range(order + 1)])
    rows = np.array([[c[abs(i - j)] for j in range(order)] for i in range(order)])
    a = np.linalg.solve(rows + 1e-9 * c[0] * np.eye(order), c[1:])
    np.testing.assert_allclose(_coefficients(x, order), [1, *-a], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    "runs", [[(50, 60)], [(3, 9)], [(0, 4)], [(95, 99)], [(96, 100)], [(40, 41), (45, 52), (58, 59)], [(30, 70)]]
)
def test_what_fills_a_gap_makes_the_prediction_errors_least(runs: list[tuple[int, int]]) -> None:
    """Of all samples, and beyond the ends as if silence came before and after."""
    n, order = 100, 8
    x, lost = tones(n), np.flatnonzero(hidden(n, *runs))
    a = _coefficients(tones(400, seed=3), order)
    filled = x.copy()
    filled[lost] = 99.0  # what stood there does not matter
    _fill(filled, lost, a)
    errors = np.zeros((n + order, n))  # e = errors @ x
    for i in range(n):
        errors[i : i + order + 1, i] = a
    known = np.delete(np.arange(n), lost)
    best = np.linalg.lstsq(errors[:, lost], -errors[:, known] @ x[known], rcond=None)[0]
    np.testing.assert_allclose(filled[lost], best, rtol=0, atol=1e-5)
    assert np.array_equal(filled[known], x[known])


def test_steady_tones_go_on_and_the_error_is_told() -> None:
    x, missing = tones(16_000), hidden(16_000, (5000, 5320), (9000, 9160))
    got, error = predict_missing(np.where(missing, np.nan, x), missing, 16_000)
    off = np.sqrt(np.square(got - x)[missing].mean())
    assert off < 0.01 < 0.2 < x.std()
    assert np.array_equal(got[~missing], x[~missing])
    assert np.array_equal(error > 0, missing)
    told = np.sqrt(np.square(error[missing]).mean())
    assert 0.3 * off < told < 3 * off


def test_the_error_of_many_gaps_is_that_of_some(monkeypatch: pytest.MonkeyPatch) -> None:
    x, missing = tones(40_000), hidden(40_000, *((i, i + 20) for i in range(2000, 38_000, 4000)))
    _, each = predict_missing(x, missing, 16_000)
    monkeypatch.setattr(prediction, "TRIED", 3)
    _, some = predict_missing(x, missing, 16_000)
    starts = [i + 5 for i in range(2000, 38_000, 4000)]
    assert some[starts].tolist() == [each[starts[3 * (k // 3)]] for k in range(9)]


def test_the_error_of_noise_is_that_of_silence() -> None:
    rng = np.random.default_rng(0)
    x, missing = rng.standard_normal(16_000), hidden(16_000, (5000, 5320))
    _, error = predict_missing(x, missing, 16_000)
    assert 0.9 < error[5000] < 1.3


def test_where_nothing_is_known_beside_a_gap_the_error_is_that_of_silence() -> None:
    x, missing = tones(1000), hidden(1000, (200, 800))
    got, error = predict_missing(x, missing, 16_000)
    assert np.isfinite(got).all()
    np.testing.assert_allclose(error[500], got.std())


@pytest.mark.parametrize("n", [3, 10, 40])
def test_short_sounds_and_silence(n: int) -> None:
    missing = hidden(n, (1, 2))
    got, error = predict_missing(np.zeros(n), missing, 48_000)
    assert np.array_equal(got, np.zeros(n))
    assert np.array_equal(error, np.zeros(n))
    got, _ = predict_missing(tones(n), missing, 48_000)
    assert np.isfinite(got).all()


# --- a problem's guess ------------------------------------------------------------------------------------------------

X = torch.linspace(-1, 1, 24, dtype=torch.float64).view(2, 1, 12)
EVEN = Mask(torch.arange(12) % 2 == 0, (1, 12))
PRIOR = GaussianPrior((1, 12), torch.eye(12, dtype=torch.float64) * 0.3)


def problem(**changes: Any) -> Problem:
    return replace(Problem(EVEN(X), EVEN, guess=X, guess_error=0.05), **changes)


@pytest.mark.parametrize(("start", "used"), [("pinv", True), ("gaussian", True), ("zero", False)])
def test_methods_that_begin_with_an_estimate_begin_with_the_guess(start: Any, used: bool) -> None:
    z = start_at(PRIOR, problem(), start, 0.1, RowNoise([(0, 0), (0, 1)]))
    other = start_at(PRIOR, problem(guess=X + 1), start, 0.1, RowNoise([(0, 0), (0, 1)]))
    zero = start_at(PRIOR, problem(guess=None, guess_error=None), "zero", 0.1, RowNoise([(0, 0), (0, 1)]))
    torch.testing.assert_close(z - zero, X if used else torch.zeros_like(X))
    torch.testing.assert_close(other - z, torch.full_like(X, float(used)))


def test_the_default_begins_at_the_level_of_its_error() -> None:
    method = make_sampler("kintsugi")
    assert method.resolved(problem(), 5)["eta"] == 0.05
    end = method.resolved(problem(guess_error=1e-6), 5)["end"]
    assert method.resolved(problem(guess_error=1e-6), 5)["eta"] == 2 * end
    assert method.resolved(problem(guess_error=None), 5)["eta"] > 0.1
    assert make_sampler("kintsugi", eta=0.3).resolved(problem(), 5)["eta"] == 0.3
    assert make_sampler("kintsugi", texture=1.0).resolved(problem(), 5)["eta"] == 2.0


@pytest.mark.parametrize("name", ["kintsugi", "ddnm", "reddiff", "cm4ir", "cpigdm"])
def test_a_guess_changes_the_result_of_its_own_row_alone(name: str) -> None:
    moved = X.clone()
    moved[1] += 0.4
    one, two = (restore(problem(guess=guess), PRIOR, name, steps=1).samples[:, 0] for guess in (X, moved))
    assert torch.equal(one[0], two[0])
    assert not torch.allclose(one[1], two[1], atol=1e-4)


def test_rows_and_noise_models_keep_it() -> None:
    chosen = problem().select([1, 1])
    assert chosen.guess is not None
    assert torch.equal(chosen.guess, X[[1, 1]])
    alone = Problem(EVEN(X)[0], EVEN, guess=X[0])
    assert alone.guess is not None
    assert alone.guess.shape == (1, 1, 12)
    assert problem().whitened().guess is not None


def test_a_complex_guess_becomes_real_channels() -> None:
    operator = MRI((1, 4, 3), torch.ones(4, 3))
    x = torch.complex(X[:1].view(1, 1, 4, 3), -X[1:].view(1, 1, 4, 3))
    seen = Problem(operator(x), operator, guess=x).on_real()
    assert seen.guess is not None
    assert torch.equal(seen.guess, torch.cat((x.real, x.imag), 1))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("guess", {"guess": X[:1]}),
        ("guess", {"guess": X[..., :6]}),
        ("guess", {"guess": X.int()}),
        ("guess", {"guess": torch.full_like(X, float("nan"))}),
        ("guess", {"guess": 0.0}),
        ("guess", {"guess": torch.complex(X, X)}),
        ("guess_error", {"guess_error": 0.0}),
        ("guess_error", {"guess_error": float("nan")}),
        ("guess_error", {"guess_error": "small"}),
        ("guess_error", {"guess": None}),
    ],
)
def test_bad_guesses_are_named(name: str, changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        problem(**changes)
    assert caught.value.name == name


# --- and of sounds ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [None, 0.001])
@pytest.mark.parametrize("rate", [16_000, 8000])
def test_gaps_begin_with_what_is_predicted(rate: int, noise: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the rate of the model, whatever that of the recording is, and whether there is noise beside the gaps."""
    x = torch.from_numpy(tones(2 * rate)).float()[None]
    gaps = torch.zeros(2 * rate, dtype=torch.bool)
    gaps[rate : rate + rate // 100] = True
    seen: list[Problem] = []

    def look(given: Problem, *rest: Any, **more: Any) -> Any:
        seen.append(given)
        return restore(given, *rest, **more)

    monkeypatch.setattr(restoring, "restore", look)
    prepared = prepare_sound("gap", Sound(x * ~gaps, rate, "FLOAT"), SoundSettings(gaps=gaps, noise=noise))
    prior = StationaryPrior(StationaryCovariance(lambda radius: torch.full((2, *radius.shape), 0.04)), 1)
    prior.shape = (1, None)
    restore_sound(prepared, prior, steps=2)
    (given,) = seen
    assert given.guess is not None
    truth = prepared.scale * x
    seen_of_it = given.operator.visible(given.guess)[0]
    shown = seen_of_it[:, :: seen_of_it.shape[-1] // (2 * rate)]
    assert float((shown - truth)[:, gaps].abs().max()) < 0.05
    assert given.guess_error is not None
    assert given.guess_error < 0.05
