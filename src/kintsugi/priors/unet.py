"""The default network: a small fully convolutional U-Net that runs on a CPU.

The photograph is folded 2 x 2 into channels (pixel unshuffle), so that the first level works at half resolution;
each further level halves it again. A block is two full 3 x 3 convolutions with a residual connection, as in DRUNet
(Zhang et al., TPAMI 2021). On a CPU that is faster than the depth-wise blocks of NAFNet at equal work: those spend
their time in memory traffic (measured at 768 x 512 on 2 cores: 1.0 s against 0.4 s for 22 G multiply-adds). Two
things differ from DRUNet, because a restoration library needs them:

* a normalisation, where there is one, is over the channels of *one pixel*. Nothing in the network sees statistics of
  the whole image, so a tile of a photograph is processed exactly as it would be inside the photograph, once the overlap
  covers the receptive field (:meth:`UNet.receptive_radius`). A denoiser of photographs is better and cheaper without
  any (``norm``; ``docs/models.md``): how strong a detail is beside the noise is what it has to judge by;
* each block is modulated by the noise level (FiLM: a scale and a shift from an embedding of ``log eta``).

For pictures of one size whose parts depend on each other over all of it, as those of a face do, three things can be
added, each of which is absent by default: self-attention over all pixels of a level, dropout inside the blocks, and
labels (how a training picture was augmented: Karras et al., 2022, appendix F.2) that enter with the noise level. With
attention the network is no longer local, and knows only pictures of the size that it was trained on.

A sound is seen as the picture of its short-time Fourier transform (``frames.py``), where ``frame`` is given.

The network itself predicts the bounded quantity of EDM (Karras et al., NeurIPS 2022); :class:`NetworkPrior` in
``network.py`` wraps it into the denoiser ``D(z, eta)``.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InvalidArgument
from .frames import Frames


@dataclass(frozen=True)
class UNetConfig:
    """Shape of a :class:`UNet`; stored in the header of a model file.

    ``widths`` and ``blocks`` run from the finest level (after folding by ``patch``) to the coarsest; ``blocks`` are
    used once on the way down and once on the way up, except at the coarsest level, where they are used once.

    size: the side of the pictures, where the network is a model of whole square pictures of one size; None for any.
    attention: the levels, counted from 0 at the finest, whose blocks are followed by self-attention over all pixels;
    needs ``size``. dropout: the share of a block's inner activations that training drops. labels: how many numbers
    come with a picture beside the noise level. frame: the signals are sounds (channels, samples), of which the network
    sees frames of so many samples. norm: whether the inside of a block is brought to zero mean and unit variance over
    the channels of each pixel.
    """

    channels: int = 3
    patch: int = 2
    widths: tuple[int, ...] = (32, 64, 128, 256)
    blocks: tuple[int, ...] = (1, 2, 2, 2)
    embedding: int = 128
    size: int | None = None
    attention: tuple[int, ...] = ()
    dropout: float = 0.0
    labels: int = 0
    frame: int | None = None
    norm: bool = True

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.blocks) or not self.widths:
            raise InvalidArgument("widths", (self.widths, self.blocks), "as many widths as blocks, at least one")
        for name in ("channels", "patch", "embedding"):
            if getattr(self, name) < 1:
                raise InvalidArgument(name, getattr(self, name), "a positive integer")
        for name in ("widths", "blocks"):
            if min(getattr(self, name)) < 1:
                raise InvalidArgument(name, getattr(self, name), "positive integers")
        if self.size is not None and (self.size < 1 or self.size % self.cell):
            raise InvalidArgument("size", self.size, f"a positive multiple of {self.cell}, for this network")
        if not set(self.attention) <= set(range(len(self.widths))):
            raise InvalidArgument("attention", self.attention, f"levels from 0 to {len(self.widths) - 1}")
        if self.attention and self.size is None:
            raise InvalidArgument("attention", self.attention, "none without a size: it sees the whole picture")
        if self.frame is not None and (self.size is not None or self.frame < 2 or self.frame % (2 * self.cell)):
            expected = f"a multiple of {2 * self.cell}, for this network, and no size; or none, for pictures"
            raise InvalidArgument("frame", self.frame, expected)
        if not 0 <= self.dropout < 1:
            raise InvalidArgument("dropout", self.dropout, "a share from 0 to below 1")
        if not isinstance(self.norm, bool):  # of a file's header, where anything may stand
            raise InvalidArgument("norm", self.norm, "True or False")
        if self.labels < 0:
            raise InvalidArgument("labels", self.labels, "an integer of at least 0")

    @property
    def cell(self) -> int:
        """The side of what the coarsest level sees as one pixel, in pixels of the picture that the network sees."""
        return self.patch * 2 ** (len(self.widths) - 1)

    @property
    def multiple(self) -> int:
        """The side of such a cell in samples of the signal: tiles begin on its multiples."""
        return self.cell if self.frame is None else self.cell * (self.frame // 2)

    def padded(self, size: Sequence[int]) -> tuple[int, ...]:
        """The least size of a signal, at least ``size``, that the network can take: multiples of :attr:`multiple`; of
        sounds half a frame less, since there is a frame more than there are steps between them.
        """
        less = 0 if self.frame is None else self.frame // 2
        return tuple(-(-(n + less) // self.multiple) * self.multiple - less for n in size)

    @property
    def dimensions(self) -> int:
        """How many axes a signal has beside its channels."""
        return 2 if self.frame is None else 1

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> UNetConfig:
        """The inverse of :meth:`to_dict`, also after a way through JSON, which makes lists of tuples."""
        known: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**known)


class Modulation(nn.Module):
    """``(1 + scale) x + shift`` of ``x`` (B, C, H, W), with ``scale`` and ``shift`` (B, C).

    norm: ``x`` is first brought to zero mean and unit variance over the channels of each pixel.
    """

    def __init__(self, norm: bool = True) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        last = x.permute(0, 2, 3, 1)
        if self.norm:
            last = F.layer_norm(last, last.shape[-1:])
        return torch.addcmul(shift[:, None, None, :], last, 1 + scale[:, None, None, :]).permute(0, 3, 1, 2)


class Attention(nn.Module):
    """Residual self-attention over all pixels of ``(B, C, H, W)``, in heads of 32 channels (one, if C is no multiple).

    ``x + W_o softmax(q k^T / sqrt(d)) v`` with ``q, k, v`` linear in the pixel norm of ``x``.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // 32 if width % 32 == 0 else 1
        self.qkv = nn.Conv2d(width, 3 * width, 1)
        self.out = nn.Conv2d(width, width, 1)
        nn.init.normal_(self.out.weight, std=1e-2 / math.sqrt(width))
        nn.init.zeros_(_bias(self.out))

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        normed = F.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2]).permute(0, 3, 1, 2)
        q, k, v = (part.unflatten(1, (self.heads, -1)).flatten(3).transpose(2, 3)
                   for part in self.qkv(normed).chunk(3, dim=1))  # fmt: skip
        mixed = F.scaled_dot_product_attention(q, k, v)  # (B, heads, pixels, C / heads)
        return x + self.out(mixed.transpose(2, 3).flatten(1, 2).unflatten(2, (height, width)))


class Block(nn.Module):
    """Residual block of two full 3x3 convolutions, with FiLM and perhaps a norm between, and attention after them."""

    def __init__(
        self, width: int, embedding: int, dropout: float = 0.0, attention: bool = False, norm: bool = True
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.modulate = Modulation(norm)
        self.film = nn.Linear(embedding, 2 * width)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)
        nn.init.normal_(self.second.weight, std=1e-2 / math.sqrt(9 * width))
        self.attend = Attention(width) if attention else None

    def be_identity(self) -> None:
        """Set the last convolution to zeros, and that of the attention, so that the block returns its input."""
        for last in [self.second] if self.attend is None else [self.second, self.attend.out]:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(_bias(last))

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        scale, shift = self.film(emb).chunk(2, dim=1)
        inner = F.silu(self.modulate(self.first(x), scale, shift))
        if self.dropout:
            inner = F.dropout(inner, self.dropout, self.training)
        x = x + self.second(inner)
        return x if self.attend is None else self.attend(x)


class NoiseEmbedding(nn.Module):
    """Fourier features of ``c_noise`` (B,) at fixed octaves, then a two-layer perceptron to ``(B, embedding)``.

    Labels ``(B, labels)`` are added, linearly and without a bias, to its hidden layer: zeros are as none.
    """

    frequencies: Tensor

    def __init__(self, embedding: int, labels: int = 0) -> None:
        super().__init__()
        self.register_buffer("frequencies", 2.0 ** torch.linspace(-1, 4, 16), persistent=False)
        self.first = nn.Linear(32, embedding)
        self.second = nn.Linear(embedding, embedding)
        self.label = nn.Linear(labels, embedding, bias=False) if labels else None

    def forward(self, c_noise: Tensor, labels: Tensor | None = None) -> Tensor:
        angles = c_noise[:, None] * self.frequencies
        hidden = self.first(torch.cat((angles.sin(), angles.cos()), dim=1))
        if labels is not None and self.label is not None:
            hidden = hidden + self.label(labels)
        return F.silu(self.second(F.silu(hidden)))


class UNet(nn.Module):
    """``(B, C, H, W), (B,) -> (B, C, H, W)``, or ``(B, C, T)`` of sounds, of any size that ``config.padded`` keeps.

    ``forward(x, c_noise, labels)`` takes the scaled input ``c_in z``, ``c_noise = log(eta) / 4`` of EDM, and in
    training the labels (B, config.labels) of the pictures; without them they are zero.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        widths, blocks = config.widths, config.blocks
        self.frames = None if config.frame is None else Frames(config.frame)
        seen, made = (config.channels,) * 2 if self.frames is None else (4 * config.channels + 2, 2 * config.channels)

        def stage(level: int) -> nn.ModuleList:
            settings = widths[level], config.embedding, config.dropout, level in config.attention, config.norm
            return nn.ModuleList(Block(*settings) for _ in range(blocks[level]))

        self.embed = NoiseEmbedding(config.embedding, config.labels)
        self.fold = nn.PixelUnshuffle(config.patch)
        self.stem = nn.Conv2d(seen * config.patch**2, widths[0], 3, padding=1)
        coarse = range(1, len(widths))
        self.down = nn.ModuleList(stage(i) for i in range(len(widths) - 1))
        self.shrink = nn.ModuleList(nn.Conv2d(widths[i - 1], widths[i], 2, stride=2) for i in coarse)
        self.middle = stage(len(widths) - 1)
        self.grow = nn.ModuleList(nn.Conv2d(widths[i], 4 * widths[i - 1], 1) for i in coarse)
        self.up = nn.ModuleList(stage(i) for i in range(len(widths) - 1))
        self.head = nn.Conv2d(widths[0], made * config.patch**2, 3, padding=1)
        self.unfold = nn.PixelShuffle(config.patch)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(_bias(self.head))

    def forward(self, x: Tensor, c_noise: Tensor, labels: Tensor | None = None) -> Tensor:
        emb = self.embed(c_noise, labels)
        length = x.shape[-1]
        if self.frames is not None:
            x = self.frames.see(x)
        h = self.stem(self.fold(x).contiguous(memory_format=torch.channels_last))
        skips = []
        for stage, shrink in zip(self.down, self.shrink, strict=True):
            h = _run(stage, h, emb)
            skips.append(h)
            h = shrink(h)
        h = _run(self.middle, h, emb)
        for stage, grow, skip in zip(reversed(self.up), reversed(self.grow), reversed(skips), strict=True):
            h = _run(stage, F.pixel_shuffle(grow(h), 2).contiguous(memory_format=torch.channels_last) + skip, emb)
        out = self.unfold(self.head(h))
        return out if self.frames is None else self.frames.synthesise(out, length)

    def receptive_radius(self) -> int:
        """How far, in pixels or samples of the signal, an output looks; a bound, from the layers' sizes.

        Unlimited (``sys.maxsize``) for a model of pictures of one size: where a pixel stands matters to it.
        """
        if self.config.size is not None:
            return sys.maxsize
        radius, stride = self.config.patch, self.config.patch
        for level, blocks in enumerate(self.config.blocks):
            passes = blocks if level == len(self.config.blocks) - 1 else 2 * blocks
            radius += stride * 2 * passes
            stride *= 2
        radius += 2 * self.config.patch + self.config.cell
        return radius if self.frames is None else (radius + 2) * self.frames.hop


def _run(stage: nn.Module, h: Tensor, emb: Tensor) -> Tensor:
    for block in stage:  # type: ignore[attr-defined]
        h = block(h, emb)
    return h


def _bias(layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias
