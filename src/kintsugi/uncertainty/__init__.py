"""What the samples of a restoration say of its certainty, and how far that can be believed.

* ``intervals.py``: quantiles, and central intervals of each pixel;
* ``invented.py``: which part of the spread no measurement supports; ``gold.py`` lays it on the picture;
* ``consistency.py``: where the samples contradict the measurement;
* ``calibration.py``: widths that had the right coverage on held-out pictures, stored in a model's file;
* ``conformal.py``: widths with a guarantee.

Spread is a statement of the model. Where the model is wrong all samples may agree on what is not there: what no
sample shows, no map shows. docs/uncertainty.md says what each means and does not mean.
"""

from __future__ import annotations

from .calibration import calibrated_intervals, calibrated_std, describe_sampler, find_calibration, fit, kind_of
from .conformal import Conformal, conformal
from .consistency import consistency, residual
from .gold import gold
from .intervals import Intervals, Kind, coverage, intervals, quantiles
from .invented import invented, split_variance

__all__ = [
    "Conformal",
    "Intervals",
    "Kind",
    "calibrated_intervals",
    "calibrated_std",
    "conformal",
    "consistency",
    "coverage",
    "describe_sampler",
    "find_calibration",
    "fit",
    "gold",
    "intervals",
    "invented",
    "kind_of",
    "quantiles",
    "residual",
    "split_variance",
]
