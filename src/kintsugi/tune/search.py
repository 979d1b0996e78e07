"""One search: optuna over a sampler's space, on the half of the images that is for tuning.

The value of a trial is the mean over crops of its score *less that of the defaults on the same crop*: what one picture
is harder than another cancels. Trial 0 is the defaults, of value 0. After each crop Wilcoxon's test against the best
trial so far may end a trial that is worse; trials with a sample that is not finite have failed, and are in no mean.

A search is a journal file, and a function of its case and seed: the n-th trial is drawn by a sampler with a seed of
its own from the trials before it, so it does not matter where a process was killed. One process at a time holds a
search (a lock, which the system releases when it dies); others take other cases.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..bench.problems import seed_of
from ..optional import optional
from ..samplers import Range, Space, available_samplers
from ..samplers.space import flat, nested
from .measure import Measurer
from .pictures import Crop
from .plan import Case, TunePlan, default_settings

if TYPE_CHECKING:
    import optuna

STARTUP = 5  # trials drawn from the whole space before the estimators learn from them
PRUNE_BELOW = 0.15  # by Wilcoxon: at three crops a trial that is worse on all of them ends (p = 1/8)


@dataclass(frozen=True)
class Found:
    """The best settings of a search (empty for the defaults), and how many trials it took. ``trials`` counts the
    defaults, those that were ``pruned`` and those that ``failed``."""

    settings: Mapping[str, Any]
    trials: int
    pruned: int
    failed: int


def search(case: Case, plan: TunePlan, measurer: Measurer, crops: tuple[Crop, ...], folder: Path) -> Found:
    """Go on with the search of ``case`` until it has all its trials. The caller holds its lock."""
    study = _study(case, plan, folder)
    space = available_samplers()[case.sampler].space
    reference = _references(case, plan, measurer, crops)
    if not study.get_trials(deepcopy=False):
        study.add_trial(_default_trial(case, space, reference, crops[0]))
    wanted = 1 + plan.trials_at(case.steps)
    while (done := len(_counted(study))) < wanted:
        _trial(study, done, case, plan, measurer, crops, reference)
    return _found(study, wanted)


def finished(case: Case, plan: TunePlan, folder: Path) -> int:
    """How many trials the search has, from its journal; 0 where there is none."""
    if not journal(case, folder).exists():
        return 0
    return len(_counted(_study(case, plan, folder, mend=False)))


def journal(case: Case, folder: Path) -> Path:
    """The journal of the search."""
    return folder / f"{case.id}.journal"


def _trial(
    study: optuna.Study,
    number: int,
    case: Case,
    plan: TunePlan,
    measurer: Measurer,
    crops: tuple[Crop, ...],
    reference: Mapping[str, float],
) -> None:
    optuna = optional("optuna", "tune", "kintsugi tune")
    failed, pruned = optuna.trial.TrialState.FAIL, optuna.trial.TrialState.PRUNED
    space = available_samplers()[case.sampler].space
    # Searches for other objectives begin with the same settings, which are then known already.
    words = (case.sampler, case.problem.name, str(case.steps), str(plan.seed), str(number))
    seed = seed_of(*words) % 2**32
    with _quiet():
        study.sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, n_startup_trials=STARTUP)
        trial = study.ask(_distributions(space))
    settings = {name: space[name].tidy(value) for name, value in trial.params.items()}
    trial.set_user_attr("settings", nested(settings))
    gains = []
    for step, crop in enumerate(crops):
        measured = measurer(case, nested(settings), crop)
        if measured.values is None:
            trial.set_user_attr("why", f"{crop.name}: {measured.failed}")
            study.tell(trial, state=failed)
            return
        gains.append(plan.score(measured.values) - reference[crop.name])
        trial.report(gains[-1], step)
        with _quiet():
            stop = step + 1 < len(crops) and trial.should_prune()
        if stop:
            study.tell(trial, state=pruned)
            return
    study.tell(trial, sum(gains) / len(gains))


def _references(case: Case, plan: TunePlan, measurer: Measurer, crops: tuple[Crop, ...]) -> dict[str, float]:
    """The scores of the defaults; zeros where they fail on any crop, so that scores stand for themselves."""
    out = {}
    for crop in crops:
        measured = measurer(case, {}, crop)
        if measured.values is None:
            return {crop.name: 0.0 for crop in crops} | {"failed": 1.0}
        out[crop.name] = plan.score(measured.values)
    return out


def _default_trial(case: Case, space: Space, reference: Mapping[str, float], crop: Crop) -> Any:
    """Trial 0. Its point in the space teaches the estimators, unless this problem's defaults lie outside."""
    optuna = optional("optuna", "tune", "kintsugi tune")
    if "failed" in reference:
        attributes = {"settings": {}, "why": "the defaults give samples that are not finite"}
        return optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL, user_attrs=attributes)
    values = flat(default_settings(case, crop.size))
    inside = all(values[name] in entry for name, entry in space.items())
    return optuna.trial.create_trial(
        value=0.0,
        params=values if inside else {},
        distributions=_distributions(space) if inside else {},
        user_attrs={"settings": {}},
        intermediate_values=dict.fromkeys(range(len(reference)), 0.0),
    )


def _distributions(space: Space) -> dict[str, Any]:
    optuna = optional("optuna", "tune", "kintsugi tune")
    return {
        name: optuna.distributions.FloatDistribution(entry.low, entry.high, log=entry.log)
        if isinstance(entry, Range)
        else optuna.distributions.CategoricalDistribution(entry.values)
        for name, entry in space.items()
    }


def _counted(study: optuna.Study) -> list[Any]:
    optuna = optional("optuna", "tune", "kintsugi tune")
    state = optuna.trial.TrialState
    trials = study.get_trials(deepcopy=False)
    # What failed says why; what does not was given up by a process that was killed, and is tried again.
    return [t for t in trials if t.state.is_finished() and (t.state != state.FAIL or "why" in t.user_attrs)]


def _found(study: optuna.Study, wanted: int) -> Found:
    state = optional("optuna", "tune", "kintsugi tune").trial.TrialState
    trials = _counted(study)[:wanted]
    complete = [t for t in trials if t.state == state.COMPLETE]
    # The first of equals: the defaults are trial 0, and win a tie.
    best = max(complete, key=lambda t: (t.value, -t.number)).user_attrs["settings"] if complete else {}
    counts = (sum(t.state == kind for t in trials) for kind in (state.PRUNED, state.FAIL))
    return Found(best, len(trials), *counts)


def _study(case: Case, plan: TunePlan, folder: Path, mend: bool = True) -> optuna.Study:
    """The study of ``case``. ``mend``: end what a killed process left, which only the holder of the lock may do."""
    optuna = optional("optuna", "tune", "kintsugi tune")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = journal(case, folder)
    if mend and path.exists():
        _drop_cut_line(path)
    backend = optuna.storages.journal.JournalFileBackend(str(path), lock_obj=_Held())
    with _quiet():
        study = optuna.create_study(
            storage=optuna.storages.JournalStorage(backend),
            study_name=case.id,
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.WilcoxonPruner(p_threshold=PRUNE_BELOW),
        )
    if mend:
        for left in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
            study.tell(left.number, state=optuna.trial.TrialState.FAIL)
    return study


class _Held:
    """A lock for optuna that does nothing: the case is locked, and a file that a killed process left would block."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        return None


def _drop_cut_line(path: Path) -> None:
    """End the journal at its last whole line; a machine that stopped may have cut the one after it."""
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with path.open("r+b") as file:
            file.truncate(whole)


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna warns of what is experimental in it: the pruner and the joint estimator, whose version is pinned."""
    optuna = optional("optuna", "tune", "kintsugi tune")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield
