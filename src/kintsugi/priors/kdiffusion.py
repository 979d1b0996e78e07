"""k-diffusion's models in safetensors, whose header holds their configuration; the package itself builds the network.

Its denoisers are ``D(x, sigma)`` already (Karras et al., 2022). Class-conditional ones have one label more than there
are classes, for none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ..errors import InvalidArgument
from ..optional import optional
from ..paths import VE
from .clock import Level
from .model import ModelPrior


def recognises(metadata: Mapping[str, Any]) -> bool:
    """Whether the header of a safetensors file is that of k-diffusion."""
    config = metadata.get("config")
    return isinstance(config, Mapping) and isinstance(config.get("model"), Mapping)


def load(
    state: Mapping[str, Tensor], metadata: Mapping[str, Any], *, card: Mapping[str, Any] | None = None
) -> ModelPrior:
    """The weights and the header of a file as a prior."""
    package = optional("k_diffusion", "kdiffusion", "a model of k-diffusion")
    config = package.config.load_config(dict(metadata["config"]))
    net = package.config.make_denoiser_wrapper(config)(package.config.make_model(config))
    try:
        net.inner_model.load_state_dict(dict(state))
    except RuntimeError as error:
        raise InvalidArgument("checkpoint", " ".join(str(error).split()), "weights that fit the network") from error
    model, classes = config["model"], config["dataset"]["num_classes"] or None
    return ModelPrior(
        _Labelled(net.eval().requires_grad_(False)),
        VE(float(model["sigma_max"])),
        "sample",
        Level(),
        shape=(model["input_channels"], *model["input_size"]),
        data_variance=float(model["sigma_data"]) ** 2,
        classes=classes,
        null_label=classes,
        card=card,
    )


class _Labelled(nn.Module):
    """The network with our word for a class."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, sigma: Tensor, class_labels: Tensor | None = None) -> Tensor:
        return self.net(x, sigma) if class_labels is None else self.net(x, sigma, class_cond=class_labels)
