"""The metrics of a suite, with what they look through: classifier, labels, features."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import InvalidArgument, InvalidFile
from ..metrics import Metric, SetMetric, make_metric, make_set_metric
from ..metrics.functions import load_function
from .suite import Suite


def row_metrics(suite: Suite, image: str | None = None) -> dict[str, Metric]:
    """The metrics of a row by name; for ``image``, whose label is looked up, or for no image in particular.

    Errors: :class:`InvalidArgument`, :class:`InvalidFile` for a classifier or labels that are not there.
    """
    made = {}
    for name in suite.metrics:
        settings: dict[str, Any] = {}
        if name == "top1" and suite.classifier is not None:
            settings["classifier"] = load_function(suite.classifier)
            if suite.labels is not None and image is not None:
                settings["label"] = label_of(suite.labels, image)
        made[name] = make_metric(name, **settings)
    return made


def set_metrics(suite: Suite, device: str = "cpu") -> dict[str, SetMetric]:
    """The metrics of sets by name; all look through the same features. Errors: as :func:`row_metrics`."""
    features = None if suite.features is None else load_function(suite.features, device)
    return {name: make_set_metric(name, features=features) for name in suite.set_metrics}


def missing_metrics(suite: Suite) -> dict[str, str]:
    """The metrics that cannot be computed here ("metric lpips"), and why."""
    metrics: Mapping[str, Metric | SetMetric] = {**row_metrics(suite), **set_metrics(suite)}
    found = {f"metric {name}": metric.missing() for name, metric in metrics.items()}
    return {name: why for name, why in found.items() if why}


def label_of(path: Path, image: str) -> int:
    """The class of ``image`` in a file of lines "NAME LABEL"; a name may be a path, and its suffix does not count.

    Errors: :class:`InvalidFile` for another kind of file, :class:`InvalidArgument` for an image that is not in it.
    """
    known = read_labels(path)
    if image not in known:
        raise InvalidArgument("labels", image, f"a name in {path}")
    return known[image]


@lru_cache(maxsize=4)
def read_labels(path: Path) -> Mapping[str, int]:
    """The classes of images by name, in a file as :func:`label_of` reads. Errors: :class:`InvalidFile`."""
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        return {Path(name).stem: int(label) for name, label in lines}
    except (OSError, UnicodeError, ValueError) as error:
        raise InvalidFile(path, f'not a file of labels, one "NAME LABEL" a line ({error})') from error
