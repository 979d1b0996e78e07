"""Models of latents: a diffusion or flow model of the codes of an autoencoder.

    x = decode(z),    z = encode(x),    z = scale (e - shift)

where ``e`` is the mean (the mode) of what the encoder says of ``x``, and ``scale`` and ``shift`` bring its variance to
about 1, in which the model was trained. The prior is that of ``z``; :func:`kintsugi.restore` measures it through the
decoder (``operators/latent.py``) and returns images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from ..errors import InvalidArgument, is_whole
from ..operators.base import signal_shape
from ..paths import Path
from .clock import Clock
from .model import Condition, ModelPrior, Network, check_scale
from .prediction import Form, Prediction

Code = Callable[[Tensor], Tensor]
# The condition of a text, "" for none, at a guidance scale, None for the model's usual one.
Text = Callable[[str, float | None], Condition]


class Autoencoder(nn.Module):
    """Codes of images: :meth:`decode` (B, *latent_shape) to (B, *image_shape) in [-1, 1], and :meth:`encode` back.

    decode, encode: functions of a batch, between images and codes ``e`` that were not scaled. network: the module that
    they run, which moves to devices with the prior and whose dtype they take.
    """

    latent_shape: tuple[int, ...]
    image_shape: tuple[int, ...]

    def __init__(
        self,
        decode: Code,
        encode: Code,
        latent_shape: Sequence[int],
        image_shape: Sequence[int],
        *,
        scale: float | Sequence[float] = 1.0,
        shift: float | Sequence[float] = 0.0,
        network: nn.Module | None = None,
    ) -> None:
        super().__init__()
        for name, given in (("decode", decode), ("encode", encode)):
            if not callable(given):
                raise InvalidArgument(name, type(given).__name__, "a function of a batch")
        self.latent_shape, self.image_shape = signal_shape(latent_shape), signal_shape(image_shape)
        self._decode, self._encode, self.network = decode, encode, network
        self._scale, self._shift = (
            _by_channel(n, v, self.latent_shape) for n, v in (("scale", scale), ("shift", shift))
        )
        if not bool((self._scale > 0).all()):
            raise InvalidArgument("scale", scale, "positive numbers")

    @classmethod
    def of(cls, vae: Any, size: tuple[int, int]) -> Self:
        """An autoencoder of diffusers (``AutoencoderKL``, ``AutoencoderTiny``) for images of ``size`` (height, width).

        Its weights are frozen, and its scaling and shift read from its config.
        """
        config = vae.config
        factor = 2 ** (len(config.block_out_channels) - 1)
        check_size(size, factor)
        std, mean = (getattr(config, name, None) for name in ("latents_std", "latents_mean"))
        scaling = getattr(config, "scaling_factor", None) or 1.0
        vae.requires_grad_(False)

        def encode(x: Tensor) -> Tensor:
            out = vae.encode(x)
            return out.latent_dist.mode() if hasattr(out, "latent_dist") else out.latents

        return cls(
            lambda z: vae.decode(z).sample,
            encode,
            (config.latent_channels, size[0] // factor, size[1] // factor),
            (config.out_channels, *size),
            scale=scaling if std is None else [scaling / s for s in std],
            shift=(getattr(config, "shift_factor", None) or 0.0) if mean is None else mean,
            network=vae,
        )

    def decode(self, z: Tensor) -> Tensor:
        """The images (B, *image_shape) of codes (B, *latent_shape)."""
        scale, shift = self._scale.to(z), self._shift.to(z)
        return self._decode(self._cast(z / scale + shift)).to(z)

    def encode(self, x: Tensor) -> Tensor:
        """The codes (B, *latent_shape) of images (B, *image_shape)."""
        e = self._encode(self._cast(x)).to(x)
        return (e - self._shift.to(e)) * self._scale.to(e)

    def _cast(self, x: Tensor) -> Tensor:
        weight = None if self.network is None else next(self.network.parameters(), None)
        return x if weight is None else x.to(weight.dtype)


class LatentPrior(ModelPrior):
    """A :class:`~kintsugi.priors.model.ModelPrior` of the codes of ``autoencoder``.

    text: the condition of a prompt, for models that take one; without a prompt they are asked with the empty one.
    """

    def __init__(
        self,
        network: Network,
        path: Path,
        prediction: Prediction | Form,
        clock: Clock,
        autoencoder: Autoencoder,
        *,
        text: Text | None = None,
        data_variance: float = 1.0,
        **settings: Any,
    ) -> None:
        if not isinstance(autoencoder, Autoencoder):
            raise InvalidArgument("autoencoder", type(autoencoder).__name__, "an Autoencoder")
        shape = autoencoder.latent_shape
        super().__init__(network, path, prediction, clock, shape=shape, data_variance=data_variance, **settings)
        self.autoencoder = autoencoder
        self.text = text
        if text is not None:
            self.condition = text("", None)

    def with_condition(
        self, *, label: int | None = None, prompt: str | None = None, guidance_scale: float | None = None
    ) -> Self:
        if self.text is None or label is not None:
            return super().with_condition(label=label, prompt=prompt, guidance_scale=guidance_scale)
        if not (prompt is None or isinstance(prompt, str)):
            raise InvalidArgument("prompt", prompt, "a text")
        scale = None if guidance_scale is None else check_scale(guidance_scale)
        return self._with(self.text(prompt or "", scale))


def check_size(size: Sequence[int], multiple: int) -> None:
    """Raise :class:`InvalidArgument` unless ``size`` is a height and a width that ``multiple`` divides."""
    fits = isinstance(size, tuple | list) and len(size) == 2 and all(is_whole(n, 1) and n % multiple == 0 for n in size)
    if not fits:
        raise InvalidArgument("size", size, f"a height and a width in pixels, multiples of {multiple}")


def _by_channel(name: str, value: float | Sequence[float], shape: tuple[int, ...]) -> Tensor:
    """``value``, one or one a channel, as a tensor that broadcasts over codes."""
    out = torch.as_tensor(value, dtype=torch.float64)
    if out.ndim > 1 or (out.ndim == 1 and len(out) != shape[0]) or not bool(torch.isfinite(out).all()):
        raise InvalidArgument(name, value, f"a finite number, or {shape[0]} of them")
    return out.view(-1, *(1,) * (len(shape) - 1)) if out.ndim else out
