"""DiT (Peebles and Xie, 2023): transformers of the latents of an autoencoder, conditional on a class.

The network was trained with a label dropped now and then; the number of classes is the label that stands for none, so
that the prior without a condition is that of all classes, and classifier-free guidance works.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .clock import Between
from .diffusers import meaning
from .latent import Autoencoder, LatentPrior


def from_pipeline(pipe: Any, *, between: Between = "interpolate", card: Mapping[str, Any] | None = None) -> LatentPrior:
    """A ``DiTPipeline`` as a prior of images of the size that its transformer was made for."""
    net, config = pipe.transformer, pipe.transformer.config
    said = meaning(pipe.scheduler, between=between)
    side = config.sample_size * 2 ** (len(pipe.vae.config.block_out_channels) - 1)
    return LatentPrior(
        net.eval().requires_grad_(False),
        said.path,
        said.prediction,
        said.clock,
        Autoencoder.of(pipe.vae.eval(), (side, side)),
        classes=config.num_embeds_ada_norm,
        null_label=config.num_embeds_ada_norm,
        card=card,
    )
