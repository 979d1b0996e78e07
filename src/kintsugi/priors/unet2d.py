"""diffusers' ``UNet2DModel`` for the checkpoints of others: built from a configuration and a few changes.

Architectures that differ from it in a number only (ADM-128's four heads at every width, the residual sums of score-SDE
divided by sqrt 2) are not copied here: the model is built, and the number is set on its modules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from ..errors import InvalidArgument
from ..optional import optional


@dataclass(frozen=True)
class UNetSpec:
    """How to build a network.

    config: of ``UNet2DModel``. heads: of every attention, instead of a fixed width of each. rescale: what every
    residual block and attention divides its sum by. time_scale: what the time is multiplied by on its way in.
    """

    config: Mapping[str, Any]
    heads: int | None = None
    rescale: float | None = None
    time_scale: float = 1.0

    def to_dict(self) -> dict[str, Any]:
        """As JSON would hold it."""
        return asdict(self) | {"config": dict(self.config)}

    def build(self) -> nn.Module:
        """The network with the weights it is born with."""
        diffusers = optional("diffusers", "diffusers", "a checkpoint of this kind")
        net = diffusers.UNet2DModel(**self.config)
        for module in net.modules():
            kind = type(module).__name__
            if kind == "Attention" and self.heads is not None:
                width = module.to_q.out_features
                if width % self.heads:
                    raise InvalidArgument("heads", self.heads, f"a divisor of the width {width}")
                module.heads, module.scale = self.heads, (width // self.heads) ** -0.5
            if self.rescale is not None and kind == "Attention":
                module.rescale_output_factor = self.rescale
            if self.rescale is not None and kind == "ResnetBlock2D":
                module.output_scale_factor = self.rescale
        return net
