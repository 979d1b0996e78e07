"""Measurements of images that a model knows by their latents: ``y = A(decode(z))``.

A latent model is one of the codes ``z`` of an autoencoder, a few channels on a grid about eight times coarser than the
image. A measurement of the image is one of its code, through the decoder, and is not linear in ``z`` even where ``A``
is linear in the image:

    A_z(z) = A(decode(z)),    A_z'^T v = decode'^T A'^T v,    A_z^+ y = encode(A^+ y)

The last is the encoder's shortcut: not the inverse of the composition, but a code whose image nearly has the
measurement, as good as the autoencoder is. Methods that take measurements which are not linear then run on latents
unchanged, and what they return is decoded by :meth:`Decoded.visible`. Methods made for latents take the parts from
:func:`in_pixels`, which are trivial where the model knows the image itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..errors import InvalidArgument
from .base import Operator, Shape, check_shape
from .chain import Chain
from .linear import Identity


class Codec(Protocol):
    """What is needed of an autoencoder: codes (B, *latent_shape), images (B, *image_shape) in [-1, 1]."""

    latent_shape: Shape
    image_shape: Shape

    def decode(self, z: Tensor) -> Tensor: ...

    def encode(self, x: Tensor) -> Tensor: ...


class Decoder(Operator):
    """``decode`` as an operator."""

    has_pinv = True

    def __init__(self, autoencoder: Codec) -> None:
        self.autoencoder = autoencoder
        self.in_shape, self.out_shape = tuple(autoencoder.latent_shape), tuple(autoencoder.image_shape)

    def _forward(self, x: Tensor) -> Tensor:
        return self.autoencoder.decode(x)

    def jvp(self, x: Tensor, v: Tensor) -> Tensor:
        with sdpa_kernel(SDPBackend.MATH):  # fused attention has no forward mode and no second derivative
            return super().jvp(x, v)

    def pinv(self, y: Tensor) -> Tensor:
        check_shape("y", y, self.out_shape)
        return self.autoencoder.encode(y)


class Encoder(Operator):
    """``encode`` as an operator."""

    def __init__(self, autoencoder: Codec) -> None:
        self.autoencoder = autoencoder
        self.in_shape, self.out_shape = tuple(autoencoder.image_shape), tuple(autoencoder.latent_shape)

    def _forward(self, x: Tensor) -> Tensor:
        return self.autoencoder.encode(x)


class Decoded(Chain):
    """``operator(decode(z))``: the measurement of an image as one of its code ``z`` (B, *latent_shape)."""

    def __init__(self, operator: Operator, autoencoder: Codec) -> None:
        shape = tuple(autoencoder.image_shape)
        if operator.in_shape != shape or operator.in_complex:
            got = f"{'complex ' if operator.in_complex else ''}signals of shape {tuple(operator.in_shape)}"
            raise InvalidArgument("operator", got, f"the images of the autoencoder, real and of shape {shape}")
        super().__init__(operator, Decoder(autoencoder))
        self.autoencoder = autoencoder

    @property
    def pixels(self) -> Operator:
        """The measurement of the image."""
        return self.outer

    def visible(self, x: Tensor) -> Tensor:
        """The image of a code, or the part of it that the user asked for."""
        return self.pixels.visible(self.inner(x))

    def extend(self, x: Tensor) -> Tensor:
        """The code of a visible image."""
        return self.autoencoder.encode(self.pixels.extend(x))

    def select(self, rows: Sequence[int]) -> Operator:
        return Decoded(self.pixels.select(rows), self.autoencoder)


class Parts(NamedTuple):
    """A measurement of images, and the ways between images and what the model knows of them."""

    pixels: Operator
    decode: Operator
    encode: Operator


def in_pixels(operator: Operator) -> Parts:
    """``operator`` in its parts; where it measures the model's own signals, codes are images."""
    if isinstance(operator, Decoded):
        return Parts(operator.pixels, operator.inner, Encoder(operator.autoencoder))
    same = Identity(operator.in_shape)
    return Parts(operator, same, same)
