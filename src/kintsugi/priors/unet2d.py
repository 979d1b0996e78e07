"""diffusers' ``UNet2DModel`` for the checkpoints of others: built from a configuration and a few changes.

Architectures that differ from it in a number only (ADM-128's four heads at every width, ADM-512's wider sinusoids of
the time) are not copied here: the model is built, and the number is set on its modules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from ..errors import InvalidArgument
from ..optional import optional
from .model import ModelPrior
from .ncsnpp_net import NCSNpp


@dataclass(frozen=True)
class UNetSpec:
    """How to build a network.

    network: diffusers' or our NCSN++. config: its arguments. The rest is for ``UNet2DModel``.

    heads: of every attention, instead of a fixed width of each. time_channels: of the sinusoids of the time, instead
    of as many as the first level is wide (ADM-512 has twice as many).
    """

    config: Mapping[str, Any]
    heads: int | None = None
    time_channels: int | None = None
    network: Literal["UNet2DModel", "ncsnpp"] = "UNet2DModel"

    def build(self) -> nn.Module:
        """The network with the weights it is born with."""
        if self.network == "ncsnpp":
            return NCSNpp(**self.config)
        diffusers = optional("diffusers", "diffusers", "a checkpoint of this kind")
        net = diffusers.UNet2DModel(**self.config)
        for module in net.modules():
            if type(module).__name__ == "Attention" and self.heads is not None:
                width = module.to_q.out_features
                if width % self.heads:
                    raise InvalidArgument("heads", self.heads, f"a divisor of the width {width}")
                module.heads, module.scale = self.heads, (width // self.heads) ** -0.5
        if self.time_channels is not None:
            net.time_proj.num_channels = self.time_channels
            net.time_embedding.linear_1 = nn.Linear(self.time_channels, net.time_embedding.linear_1.out_features)
        return net


@dataclass(frozen=True)
class Converted:
    """A checkpoint of another code as diffusers would have it: how to build the network, and its weights by name."""

    spec: UNetSpec
    state: Mapping[str, Tensor]


class UNetPrior(ModelPrior):
    """A converted checkpoint as a prior, in float32, on the CPU, frozen.

    Arguments beyond ``converted`` are those of :class:`ModelPrior`. Errors: :class:`InvalidArgument` where the weights
    do not fit the network.
    """

    def __init__(self, converted: Converted, *args: Any, **settings: Any) -> None:
        net = converted.spec.build()
        try:
            net.load_state_dict({name: value.float() for name, value in converted.state.items()})
        except RuntimeError as error:
            raise InvalidArgument("checkpoint", " ".join(str(error).split()), "weights that fit the network") from error
        super().__init__(net, *args, **settings)
        self.eval().requires_grad_(False)
