"""Going through the cases of a plan, and writing the preset when the last is done.

Beside PRESET.yaml stands the folder PRESET.trials: a journal a case, what was measured, and an entry for each case that
is finished. Every process takes the cases that no other holds; the one that finds all of them finished writes the
preset, whole.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import yaml

from ..bench.compute import versions
from ..errors import InvalidArgument
from ..files import atomic_path, remove_half_written
from ..optional import optional
from ..priors import Prior, load_prior
from ..samplers import make_sampler
from ..samplers.space import flat, nested
from ..work.claims import Claims
from .measure import Measurer, weights_digest
from .outcome import entry
from .pictures import Halves, halves
from .plan import Case, TunePlan, cases, default_settings
from .search import Found, finished, search

Say = Callable[[str], None]


@dataclass(frozen=True)
class Ahead:
    """What a run is about to do: cases and trials in all, trials left, and at most about how many seconds they take
    (trials that are ended early take less)."""

    cases: int
    trials: int
    left: int
    seconds: float


@dataclass(frozen=True)
class _Ready:
    """A plan whose every part was looked at."""

    plan: TunePlan
    measurer: Measurer
    halves: Halves
    cases: list[Case]
    folder: Path


def ahead(plan: TunePlan, output: Path, *, measured: Path | None = None, device: str = "cpu") -> Ahead:
    """Check a plan against this machine and estimate its time, without a network running for more than a moment.

    Errors: as :func:`tune`.
    """
    ready = _ready(plan, output, measured, device)
    return _ahead(ready)


def tune(
    plan: TunePlan,
    output: Path,
    *,
    measured: Path | None = None,
    device: str = "cpu",
    so_far: bool = False,
    say: Say = print,
) -> bool:
    """Search what is missing, and write the preset ``output``; whether it was written.

    It is not while other processes are at cases. ``measured``: the folder of what was measured, which searches for
    other objectives may share; None for one beside the output. ``so_far``: search nothing; write a preset of the cases
    that are finished.

    Errors: :class:`InvalidFile`, :class:`InvalidArgument` for a prior, pictures or problems that cannot be, or that a
    sampler does not take.
    """
    ready = _ready(plan, output, measured, device)
    if not so_far:
        (ready.folder / "entries").mkdir(parents=True, exist_ok=True)
        ready.measurer.folder.mkdir(parents=True, exist_ok=True)
        for number, case in enumerate(ready.cases, 1):
            _one(ready, case, f"{number}/{len(ready.cases)} ", say)
    entries = [_stated(ready, case) for case in ready.cases]
    done = [item for item in entries if item is not None]
    if not done:
        raise InvalidArgument("output", output, "a run with at least one case that is finished")
    if len(done) < len(entries) and not so_far:
        say(f"{len(entries) - len(done)} cases are with other processes; the last of these writes {output}")
        return False
    with Claims(ready.folder / "locks").alone("preset"):
        remove_half_written(output)
        _write(output, _content(ready, done, device))
    return True


def _ready(plan: TunePlan, output: Path, measured: Path | None, device: str) -> _Ready:
    if output.suffix not in (".yaml", ".yml"):
        raise InvalidArgument("output", output, "the name of a file that ends in .yaml")
    if not output.parent.is_dir():
        raise InvalidArgument("output", output, "a file in a folder that there is")
    cut = halves(plan.images)
    pictures = cut.digests
    prior = load_prior(plan.prior, device=device)
    weights = weights_digest(prior)
    folder = output.with_suffix(".trials")
    kept = folder / "measured" if measured is None else measured
    measurer = Measurer(prior, weights, pictures, tuple(plan.metrics), plan.seed, kept, device)
    wanted = list(cases(plan, weights, pictures))
    for case in wanted:
        _check(case, prior, cut)
    return _Ready(plan, measurer, cut, wanted, folder)


def _check(case: Case, prior: Prior, cut: Halves) -> None:
    """The operator fits the crops, and the sampler takes it."""
    crop = cut.tuned_on[0]
    problem = case.problem.simulate(crop.load(), crop.name)
    method = make_sampler(case.sampler)
    try:
        method.check(prior, problem)
    except InvalidArgument as error:
        raise InvalidArgument("problems", case.problem.name, f"one that {case.sampler} takes ({error})") from error


def _one(ready: _Ready, case: Case, which: str, say: Say) -> None:
    """A case, unless it is finished or another process is at it."""
    if _read(ready, case) is not None:
        return
    with Claims(ready.folder / "locks").claim(case.id) as ours:
        if not ours or _read(ready, case) is not None:
            return
        began = time.perf_counter()
        found = search(case, ready.plan, ready.measurer, ready.halves.tuned_on, ready.folder)
        item = entry(case, ready.plan, ready.measurer, ready.halves.scored_on, found)
        remove_half_written(_entry_path(ready, case))
        with atomic_path(_entry_path(ready, case)) as temporary:
            temporary.write_text(json.dumps(item, indent=1), encoding="utf-8")
        say(f"{which}{case.shown}: {_line(item, found)}, {time.perf_counter() - began:.0f} s")


def _line(item: dict[str, Any], found: Found) -> str:
    gain = item.get("difference") or item.get("tried", {}).get("difference")
    words = "" if not gain else f" {gain['mean']:+.3g} ± {gain['half'] or 0:.2g}"
    return f"{dict(found.settings) or 'defaults'}{words}, {item['verdict'].partition(':')[0]}"


def _entry_path(ready: _Ready, case: Case) -> Path:
    return ready.folder / "entries" / f"{case.id}.json"


def _read(ready: _Ready, case: Case) -> dict[str, Any] | None:
    """The entry of a case that has all its trials."""
    path = _entry_path(ready, case)
    if not path.exists():
        return None
    item: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return item if item["trials"]["all"] >= 1 + ready.plan.trials_at(case.steps) else None


def _stated(ready: _Ready, case: Case) -> dict[str, Any] | None:
    """The entry, with what the defaults were: those of a later version of the library may be others."""
    item = _read(ready, case)
    if item is None:
        return None
    return item | {"default_settings": _short(default_settings(case, ready.plan.images.crop))}


def _short(settings: dict[str, Any]) -> dict[str, Any]:
    """Numbers to four digits."""
    words = {name: float(f"{v:.4g}") if isinstance(v, float) else v for name, v in flat(settings).items()}
    return nested(words)


def _ahead(ready: _Ready) -> Ahead:
    """From one evaluation of the prior on a crop; a VJP counts as two more."""
    plan, cut = ready.plan, ready.halves
    x = cut.tuned_on[0].load()[None].to(ready.measurer.device)
    with torch.no_grad():
        ready.measurer.prior.denoise(x, torch.ones(1, device=x.device))
        began = time.perf_counter()
        ready.measurer.prior.denoise(x, torch.ones(1, device=x.device))
        once = time.perf_counter() - began
    trials = left = 0
    seconds = 0.0
    for case in ready.cases:
        wanted = 1 + plan.trials_at(case.steps)
        trials += wanted
        if _read(ready, case) is not None:
            continue
        missing = wanted - min(finished(case, plan, ready.folder), wanted)
        left += missing
        runs = missing * len(cut.tuned_on) + 2 * len(cut.scored_on)
        seconds += once * case.steps * runs * (3 if make_sampler(case.sampler).needs_vjp else 1)
    return Ahead(len(ready.cases), trials, left, seconds)


def _content(ready: _Ready, entries: Sequence[dict[str, Any]], device: str) -> dict[str, Any]:
    """All that a preset states, of plain values and without the place of any file."""
    plan, cut = ready.plan, ready.halves
    images = plan.images.model_dump(mode="json") | {"folder": plan.images.folder.resolve().name}
    digests = cut.digests
    whole = len(entries) == len(ready.cases)
    made = {"optuna": optional("optuna", "tune").__version__, **versions(device)}
    made = {name: str(value) for name, value in made.items()}  # torch has a type of its own for it
    return {
        "name": plan.name,
        "summary": plan.summary,
        "made_by": "kintsugi tune",
        "date": datetime.now(UTC).date().isoformat(),
        "versions": made,
        "prior": {"name": Path(plan.prior).name, "weights": ready.measurer.prior_digest},
        "objective": dict(plan.objective),
        "images": images
        | {half: {crop.name: digests[crop.name] for crop in getattr(cut, half)} for half in ("tuned_on", "scored_on")},
        "seed": plan.seed,
        "trials": plan.trials,
        **({} if whole else {"unfinished": f"{len(ready.cases) - len(entries)} of {len(ready.cases)} cases"}),
        "intervals": "95 %, Student's, over the images of scored_on; differences are image by image",
        "entries": list(entries),
    }


def _write(output: Path, content: dict[str, Any]) -> None:
    head = "# Written by 'kintsugi tune'. Scores are means of the objective on images that the search did not see.\n"
    with atomic_path(output) as temporary:
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=118, default_flow_style=None)
        temporary.write_text(head + text, encoding="utf-8")
