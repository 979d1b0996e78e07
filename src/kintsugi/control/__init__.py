"""How much of the original stays: control over a restoration after it was drawn.

Not every imperfection is damage. Film has grain, a painting has its canvas, a drawing its paper, and some parts of a
picture should be left as they are. These are functions of tensors, applied to what a restoration gives:

* ``mixing.py``: between the original and the restoration, by a number or a map of strengths;
* ``grain.py``: fresh noise with the level and spectrum of the original's, so that mended parts do not look smooth;
* ``surface.py``: the grain, canvas or paper of the original itself, separated from its structure;
* ``residual.py``: what a model calls noise in a picture, of which the two are made.

They follow the measurement no longer, and are for the eye. ``kintsugi restore`` has them as --strength, --blend,
--keep-grain and --keep-surface; docs/control.md shows each.
"""

from __future__ import annotations

from .grain import Grain, measure_grain
from .mixing import baseline, mix
from .residual import noise_residual
from .surface import surface

__all__ = ["Grain", "baseline", "measure_grain", "mix", "noise_residual", "surface"]
