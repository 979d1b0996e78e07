"""NCSN++ and DDPM++ (Song et al., 2021), the networks of score-SDE, rectified flow and EDM's CIFAR-10, FFHQ and AFHQv2.

A U-Net of BigGAN's residual blocks, which resample inside, on both branches; residual sums are divided by sqrt 2.
DDPM++ tells the time by sinusoids and resamples by means and copies. NCSN++ tells it by random Fourier features,
resamples with the filter (1, 3, 3, 1), and may pass the image beside the network: small copies of the input go into
every level ("input_skip", or a learned "residual" pyramid), and every level adds to the output ("output_skip").

``UNet2DModel`` of diffusers cannot be this network: it has an attention after every block on the way up, where these
have one a level. So it is written here, with the original's names of the weights: a flat list, ``all_modules``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, Self, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InvalidArgument

Kind = Literal["flow", "vp", "ve", "edm"]
Output = Literal["none", "output_skip"]
Input = Literal["none", "input_skip", "residual"]
FIRST = 0.999  # of 999, the time at which rectified flow's training begins


class NCSNpp(nn.Module):
    """``network(x, time)`` of (B, C, H, W) images and the (B,) time, in units of the data that it was trained with.

    What it takes and returns is said by ``kind``; signs are ours, from data to noise:

    | kind | time | x | returns |
    |---|---|---|---|
    | flow | 999 (1 - t): rectified flow has its noise at 0 | x_t of flow matching | eps - x_0 |
    | vp | 999 t | x_t | eps |
    | ve | sigma | x_0 + sigma eps | eps |
    | edm | log(sigma) / 4 | c_in x | EDM's F |

    channels: of the images. width, multipliers: level i is ``width * multipliers[i]`` wide. blocks: residual blocks of
    a level. attention: the levels that have one. fir: whether images are resampled by the filter. centered: whether the
    data were in [-1, 1], or in [0, 1]. classes: the number of ``class_labels``, of EDM's networks.
    """

    def __init__(
        self,
        kind: Kind,
        *,
        channels: int,
        width: int,
        multipliers: Sequence[int],
        blocks: int,
        attention: Sequence[int],
        fourier: bool,
        fir: bool,
        progressive: Output = "none",
        progressive_input: Input = "none",
        skip_rescale: bool = True,
        centered: bool = True,
        classes: int | None = None,
    ) -> None:
        super().__init__()
        if kind not in get_args(Kind):
            raise InvalidArgument("kind", kind, f"one of {', '.join(get_args(Kind))}")
        if progressive_input == "residual" and not fir:
            raise InvalidArgument("fir", fir, "True with a learned pyramid of the input")
        self.kind, self.width, self.blocks, self.attention = kind, width, blocks, tuple(attention)
        self.progressive, self.progressive_input = progressive, progressive_input
        self.fourier, self.centered = fourier, centered
        self.last, self.scale = len(multipliers) - 1, math.sqrt(0.5) if skip_rescale else 1.0
        self.down, self.up = Resample("down", fir), Resample("up", fir)

        told = 2 * width if fourier else width
        if classes is not None:
            self.label = nn.Linear(classes, told)
        attend = partial(Attention, scale=self.scale)
        block = partial(Block, time=4 * width, scale=self.scale)
        modules: list[nn.Module] = [Fourier(width)] if fourier else []
        modules += [nn.Linear(told, 4 * width), nn.Linear(4 * width, 4 * width), _conv(channels, width)]
        now, pyramid, skips = width, channels, [width]
        for level, multiplier in enumerate(multipliers):
            for _ in range(blocks):
                modules.append(block(now, width * multiplier))
                now = width * multiplier
                modules += [attend(now)] if level in self.attention else []
                skips.append(now)
            if level < self.last:
                modules.append(block(now, now, Resample("down", fir)))
                if progressive_input == "input_skip":
                    modules.append(Combine(channels, now))
                elif progressive_input == "residual":
                    modules.append(Pyramid(pyramid, now))
                    pyramid = now
                skips.append(now)
        modules += [block(now, now), attend(now), block(now, now)]
        for level, multiplier in reversed(list(enumerate(multipliers))):
            for _ in range(blocks + 1):
                modules.append(block(now + skips.pop(), width * multiplier))
                now = width * multiplier
            modules += [attend(now)] if level in self.attention else []
            if level == 0 or progressive == "output_skip":
                modules += [_norm(now), _conv(now, channels)]
            if level > 0:
                modules.append(block(now, now, Resample("up", fir)))
        self.all_modules = nn.ModuleList(modules)

    def forward(self, x: Tensor, time: Tensor, class_labels: Tensor | None = None) -> Tensor:
        if any(n % 2**self.last for n in x.shape[2:]):
            raise InvalidArgument("size", tuple(x.shape[2:]), f"height and width in multiples of {2**self.last}")
        x = x if self.centered else 2 * x - 1
        if self.kind == "ve":  # the original divides by sigma, which makes a score of it
            return -self._raw(x, time.clamp_min(1e-12).log())
        if self.kind != "flow":
            return self._raw(x, time, class_labels)
        if not self.fourier:
            return -self._raw(x, time)
        time = time.clamp_min(FIRST)
        return -self._raw(x, time.log()) / time.view(-1, 1, 1, 1)

    def _raw(self, x: Tensor, time: Tensor, class_labels: Tensor | None = None) -> Tensor:
        """The layers alone; ``time`` is what the embedding is of."""
        modules = iter(self.all_modules)
        emb: Tensor = (next(modules)(time) if self.fourier else sinusoids(time, self.width)).to(x)
        if class_labels is not None:
            classes = self.label.in_features
            emb = emb + self.label(F.one_hot(class_labels, classes).to(emb) * math.sqrt(classes))
        emb = F.silu(next(modules)(emb))
        emb = F.silu(next(modules)(emb))
        pyramid, h = x, next(modules)(x)
        skips = [h]
        for level in range(self.last + 1):
            for _ in range(self.blocks):
                h = next(modules)(h, emb)
                h = next(modules)(h) if level in self.attention else h
                skips.append(h)
            if level < self.last:
                h = next(modules)(h, emb)
                if self.progressive_input == "input_skip":
                    pyramid = self.down(pyramid)
                    h = next(modules)(pyramid) + h
                elif self.progressive_input == "residual":
                    pyramid = h = self.scale * (next(modules)(pyramid) + h)
                skips.append(h)
        h = next(modules)(h, emb)
        h = next(modules)(h)
        h = next(modules)(h, emb)
        out: Tensor | None = None
        for level in reversed(range(self.last + 1)):
            for _ in range(self.blocks + 1):
                h = next(modules)(torch.cat([h, skips.pop()], dim=1), emb)
            h = next(modules)(h) if level in self.attention else h
            if level == 0 or self.progressive == "output_skip":
                image = F.silu(next(modules)(h))
                image = next(modules)(image)
                out = image if out is None else self.up(out) + image
            if level > 0:
                h = next(modules)(h, emb)
        assert out is not None
        return out


class Block(nn.Module):
    """A residual block, which may resample both of its branches. ``emb`` comes with its SiLU."""

    def __init__(self, before: int, after: int, resample: nn.Module | None = None, *, time: int, scale: float) -> None:
        super().__init__()
        self.resample, self.scale = resample, scale
        self.GroupNorm_0, self.Conv_0 = _norm(before), _conv(before, after)
        self.Dense_0 = nn.Linear(time, after)
        self.GroupNorm_1, self.Conv_1 = _norm(after), _conv(after, after)
        self.Conv_2 = _conv(before, after, 1) if before != after or resample is not None else None

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = F.silu(self.GroupNorm_0(x))
        if self.resample is not None:
            h, x = self.resample(h), self.resample(x)
        h = self.Conv_0(h) + self.Dense_0(emb)[:, :, None, None]
        h = self.Conv_1(F.silu(self.GroupNorm_1(h)))
        return self.scale * (h + (x if self.Conv_2 is None else self.Conv_2(x)))


class Attention(nn.Module):
    """Self-attention over all pixels, with one head."""

    def __init__(self, width: int, *, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.GroupNorm_0 = _norm(width)
        self.NIN_0, self.NIN_1, self.NIN_2, self.NIN_3 = (NIN(width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.GroupNorm_0(x).flatten(2).transpose(1, 2)
        h = F.scaled_dot_product_attention(self.NIN_0(h), self.NIN_1(h), self.NIN_2(h))
        return self.scale * (x + self.NIN_3(h).transpose(1, 2).reshape(x.shape))


class NIN(nn.Module):
    """``h W + b`` over the last axis."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.W, self.b = nn.Parameter(torch.eye(width)), nn.Parameter(torch.zeros(width))

    def forward(self, h: Tensor) -> Tensor:
        return h @ self.W + self.b


class Combine(nn.Module):
    """The small copy of the input in the width of a level."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.Conv_0 = _conv(before, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.Conv_0(x)


class Pyramid(nn.Module):
    """A level of the learned pyramid: the filter, and a convolution at every other pixel."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.Conv2d_0 = nn.Conv2d(before, after, 3, stride=2)
        self.register_buffer("kernel", _kernel(), persistent=False)

    kernel: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return self.Conv2d_0(_each(x, F.conv2d, self.kernel, padding=2))


class Resample(nn.Module):
    """Half or twice the size: with the filter (1, 3, 3, 1) over zeros outside, or means and copies."""

    def __init__(self, way: Literal["down", "up"], fir: bool) -> None:
        super().__init__()
        self.way, self.fir = way, fir
        self.register_buffer("kernel", _kernel(), persistent=False)

    kernel: Tensor

    def forward(self, x: Tensor) -> Tensor:
        if self.way == "down":
            return _each(x, F.conv2d, self.kernel, stride=2, padding=1) if self.fir else F.avg_pool2d(x, 2)
        if self.fir:
            return _each(x, F.conv_transpose2d, 4 * self.kernel, stride=2, padding=1)
        return F.interpolate(x, scale_factor=2, mode="nearest")


class Fourier(nn.Module):
    """Sines and cosines of random frequencies ``W``, which are not trained.

    They stay in single precision: in half precision, phases of some hundreds would be off by a radian.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("W", torch.zeros(width))

    W: Tensor

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        frequencies = self.W
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.W = frequencies.to(self.W.device)
        return self

    def forward(self, time: Tensor) -> Tensor:
        phase = 2 * math.pi * time[:, None] * self.W
        return torch.cat([phase.sin(), phase.cos()], dim=1)


def sinusoids(time: Tensor, width: int) -> Tensor:
    """(B, width): sines, then cosines, of frequencies from 1 to 1/10000, both included."""
    half = width // 2
    steps = torch.arange(half, device=time.device, dtype=time.dtype)
    phase = time[:, None] * torch.exp(steps * (-math.log(10000) / (half - 1)))
    return torch.cat([phase.sin(), phase.cos()], dim=1)


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(min(width // 4, 32), width, eps=1e-6)


def _conv(before: int, after: int, kernel: int = 3) -> nn.Conv2d:
    return nn.Conv2d(before, after, kernel, padding=kernel // 2)


def _kernel() -> Tensor:
    row = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    return torch.outer(row, row)[None, None]


def _each(x: Tensor, filtered: Callable[..., Tensor], kernel: Tensor, **settings: int) -> Tensor:
    """A filter of every channel by itself."""
    out = filtered(x.flatten(0, 1)[:, None], kernel.to(x), **settings)
    return out.view(*x.shape[:2], *out.shape[2:])
