"""Settings of samplers, chosen on images held out of training (``kintsugi tune``).

A plan (:mod:`.plan`) names a prior, images, problems, samplers and numbers of steps. Each combination of a sampler, a
problem and a number of steps is a *case*, and a search of its own (:mod:`.search`): optuna's tree of Parzen estimators
over the sampler's own space, from the defaults, for a weighted sum of metrics (:mod:`.measure`). The search sees one
half of the images. What it found is scored on the other half (:mod:`.outcome`), beside the defaults, image by image,
and replaces them only if the 95 % interval of the difference is above zero. The answer is a preset
(:mod:`kintsugi.presets`).
"""

from __future__ import annotations

from ..optional import optional

for _package in ("pydantic", "yaml", "optuna"):
    optional(_package, "tune", "kintsugi tune")

from .plan import Case, TunePlan, cases, load_plan  # noqa: E402
from .run import Ahead, ahead, tune  # noqa: E402

__all__ = ["Ahead", "Case", "TunePlan", "ahead", "cases", "load_plan", "tune"]
