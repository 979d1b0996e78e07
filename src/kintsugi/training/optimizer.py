"""Which optimizer steps which parameters, and how fast."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import nn

from ..priors.unet import UNet
from .config import TrainConfig
from .muon import Muon


def make_optimizer(net: UNet, fast: list[nn.Parameter], config: TrainConfig) -> torch.optim.Optimizer:
    """The optimizer of ``net``, and of other parameters, ``fast``, at 20 times the learning rate of Adam.

    The weight decay is that of the matrices of Muon, or of all of ``net`` by Adam. A group's ``scale`` is what the
    learning rate of the configuration is multiplied by: of Muon that of its matrices, with half of it for Adam.
    """
    groups: list[dict[str, Any]]
    if config.optimizer == "adam":
        groups = [
            {"params": list(net.parameters()), "scale": 1.0, "weight_decay": config.weight_decay},
            {"params": fast, "scale": 20.0},
        ]
        return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    matrices, others = parameter_groups(net)
    groups = [
        {"params": others, "scale": 0.5},
        {"params": fast, "scale": 10.0},
        {"params": matrices, "scale": 1.0, "matrices": True},
    ]
    # Who asks for bfloat16 has a processor that is fast at it.
    dtype = torch.bfloat16 if config.mixed_precision == "bf16" else torch.float32
    return Muon(groups, config.learning_rate, dtype=dtype, weight_decay=config.weight_decay)


def idle_optimizer(net: UNet, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimizer of a copy of ``net``: a step of it costs what one of the network does, and changes nothing."""
    net = copy.deepcopy(net)
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    return make_optimizer(net, [], config)


def parameter_groups(net: UNet) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The convolutions inside ``net``, which are matrices to Muon, and its other parameters."""
    ends = {net.stem.weight, net.head.weight}
    inside = [p for p in net.parameters() if p.ndim == 4 and p not in ends]
    chosen = set(inside)
    return inside, [p for p in net.parameters() if p not in chosen]


def learning_rate(step: int, config: TrainConfig) -> float:
    """Linear warm-up, then constant, and over the last ``cooldown`` steps a cosine to a hundredth of ``lr``."""
    warm = min(1.0, (step + 1) / max(1, config.warmup))
    cooldown = config.steps if config.cooldown is None else min(config.cooldown, config.steps)
    place = (step - (config.steps - cooldown)) / max(1, cooldown)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, place))))
    return config.learning_rate * warm * (0.01 + 0.99 * cosine)
