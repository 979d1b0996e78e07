"""What a run is trained on: pictures and arrays, or sounds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor
from torch.utils.data import Dataset

from ..errors import InvalidArgument
from ..sounds.reading import find_sounds
from .config import LABELS, TrainConfig
from .data import ARRAYS, Crops, count_channels, find_images, spectrum_crops, split, validation_crops
from .sounds import SoundCrops, spectrum_sounds, split_sounds, validation_sounds


@dataclass(frozen=True)
class Material:
    """``crops``: what is seen, of ``files`` files. ``validation``, ``to_measure``: signals of the ``held_out`` ones.

    All of it is read at once: a broken file must not be found after hours of training.
    """

    crops: Dataset[Tensor]
    files: int
    held_out: int
    validation: Tensor
    to_measure: Tensor


def open_material(folder: str | os.PathLike[str], config: TrainConfig) -> tuple[TrainConfig, Material]:
    """What is below ``folder``, and ``config`` with a network for it.

    Sounds where the network has frames, of as many channels as it has; else pictures, or arrays that say how many
    channels there are.
    """
    if config.net.frame is not None:
        return config, _sounds(find_sounds(folder), config)
    files = find_images(folder)
    labels = LABELS if config.augment else 0
    net = replace(config.net, channels=count_channels(files), size=config.size, labels=labels)
    config = replace(config, net=net)
    arrays = [path for path in files if path.suffix.lower() == ARRAYS]
    if config.augment and arrays:
        raise InvalidArgument("augment", config.augment, f"0 for arrays such as {arrays[0].name}")
    return config, _pictures(files, config)


def _pictures(files: Sequence[Path], config: TrainConfig) -> Material:
    kept, held_out = split(files, config.validation_share)
    crops = Crops(kept, config)
    return Material(
        crops, len(kept), len(held_out), validation_crops(held_out, config), spectrum_crops(held_out, config)
    )


def _sounds(files: Sequence[Path], config: TrainConfig) -> Material:
    kept, held_out = split_sounds(files, config.validation_share)
    crops = SoundCrops(kept, config)
    return Material(
        crops, len(kept), len(held_out), validation_sounds(held_out, config), spectrum_sounds(held_out, config)
    )
