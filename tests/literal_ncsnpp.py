"""NCSN++ and DDPM++ letter by letter, with the original's names and order of the weights; slow and plain."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass
class Config:
    """The entries of score-SDE's configurations that the network reads."""

    image_size: int = 8
    num_channels: int = 3
    centered: bool = True
    nf: int = 8
    ch_mult: tuple[int, ...] = (1, 2)
    num_res_blocks: int = 1
    attn_resolutions: tuple[int, ...] = (4,)
    fir: bool = False
    skip_rescale: bool = True
    progressive: str = "none"
    progressive_input: str = "none"
    embedding_type: str = "positional"
    scale_by_sigma: bool = False
    kernel: tuple[int, ...] = field(default=(1, 3, 3, 1))


def upfirdn(x: Tensor, kernel: Tensor, up: int = 1, down: int = 1, pad: tuple[int, int] = (0, 0)) -> Tensor:
    """Zeros between pixels, zeros around, the kernel turned around, every ``down``-th pixel."""
    b, c, h, w = x.shape
    spread = x.new_zeros(b, c, h * up, w * up)
    spread[:, :, ::up, ::up] = x
    spread = F.pad(spread, (pad[0], pad[1], pad[0], pad[1]))
    n = len(kernel)
    height, width = spread.shape[2] - n + 1, spread.shape[3] - n + 1
    out = x.new_zeros(b, c, height, width)
    for i in range(n):
        for j in range(n):
            out = out + kernel[n - 1 - i, n - 1 - j] * spread[:, :, i : i + height, j : j + width]
    return out[:, :, ::down, ::down]


def setup(kernel: tuple[int, ...], x: Tensor) -> Tensor:
    k = torch.tensor(kernel, dtype=x.dtype)
    k = k[:, None] * k[None, :]
    return k / k.sum()


def upsample_2d(x: Tensor, kernel: tuple[int, ...]) -> Tensor:
    p = len(kernel) - 2
    return upfirdn(x, 4 * setup(kernel, x), up=2, pad=((p + 1) // 2 + 1, p // 2))


def downsample_2d(x: Tensor, kernel: tuple[int, ...]) -> Tensor:
    p = len(kernel) - 2
    return upfirdn(x, setup(kernel, x), down=2, pad=((p + 1) // 2, p // 2))


def conv_downsample_2d(x: Tensor, w: Tensor, kernel: tuple[int, ...]) -> Tensor:
    p = len(kernel) - 2 + w.shape[-1] - 1
    return F.conv2d(upfirdn(x, setup(kernel, x), pad=((p + 1) // 2, p // 2)), w, stride=2)


class NIN(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.W, self.b = nn.Parameter(torch.zeros(channels, channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bchw,cd->bdhw", x, self.W) + self.b[None, :, None, None]


class GaussianFourierProjection(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.zeros(size), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        projected = x[:, None] * self.W[None, :] * 2 * math.pi
        return torch.cat([torch.sin(projected), torch.cos(projected)], dim=-1)


def timestep_embedding(t: Tensor, dim: int) -> Tensor:
    rows = [[v * 10000.0 ** (-k / (dim // 2 - 1)) for k in range(dim // 2)] for v in t.tolist()]
    angles = torch.tensor(rows, dtype=torch.float64)
    return torch.cat([angles.sin(), angles.cos()], dim=1).to(t)


def group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(min(channels // 4, 32), channels, eps=1e-6)


class AttnBlock(nn.Module):
    def __init__(self, config: Config, channels: int) -> None:
        super().__init__()
        self.rescale = config.skip_rescale
        self.GroupNorm_0 = group_norm(channels)
        self.NIN_0 = NIN(channels)
        self.NIN_1 = NIN(channels)
        self.NIN_2 = NIN(channels)
        self.NIN_3 = NIN(channels)

    def forward(self, x: Tensor) -> Tensor:
        h = self.GroupNorm_0(x)
        q, k, v = self.NIN_0(h), self.NIN_1(h), self.NIN_2(h)
        w = torch.einsum("bchw,bcij->bhwij", q, k) / math.sqrt(x.shape[1])
        w = w.flatten(3).softmax(-1).view(w.shape)
        h = self.NIN_3(torch.einsum("bhwij,bcij->bchw", w, v))
        return (x + h) / math.sqrt(2) if self.rescale else x + h


class ResnetBlockBigGAN(nn.Module):
    def __init__(self, config: Config, in_ch: int, out_ch: int, up: bool = False, down: bool = False) -> None:
        super().__init__()
        self.config, self.up, self.down = config, up, down
        self.GroupNorm_0 = group_norm(in_ch)
        self.Conv_0 = nn.Conv2d(in_ch, out_ch, 3, padding=1)
        self.Dense_0 = nn.Linear(config.nf * 4, out_ch)
        self.GroupNorm_1 = group_norm(out_ch)
        self.Conv_1 = nn.Conv2d(out_ch, out_ch, 3, padding=1)
        if in_ch != out_ch or up or down:
            self.Conv_2 = nn.Conv2d(in_ch, out_ch, 1)

    def resample(self, x: Tensor) -> Tensor:
        if self.up:
            nearest = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
            return upsample_2d(x, self.config.kernel) if self.config.fir else nearest
        if self.down:
            mean = (x[..., ::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, ::2] + x[..., 1::2, 1::2]) / 4
            return downsample_2d(x, self.config.kernel) if self.config.fir else mean
        return x

    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        h = self.resample(F.silu(self.GroupNorm_0(x)))
        x = self.resample(x)
        h = self.Conv_0(h)
        h = h + self.Dense_0(F.silu(temb))[:, :, None, None]
        h = self.Conv_1(F.silu(self.GroupNorm_1(h)))
        if hasattr(self, "Conv_2"):
            x = self.Conv_2(x)
        return (x + h) / math.sqrt(2) if self.config.skip_rescale else x + h


class Combine(nn.Module):
    def __init__(self, dim1: int, dim2: int) -> None:
        super().__init__()
        self.Conv_0 = nn.Conv2d(dim1, dim2, 1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.Conv_0(x) + y


class Downsample(nn.Module):
    """Of the "residual" pyramid: always with FIR and convolution."""

    def __init__(self, config: Config, in_ch: int, out_ch: int) -> None:
        super().__init__()
        self.kernel = config.kernel
        self.Conv2d_0 = nn.Conv2d(in_ch, out_ch, 3)

    def forward(self, x: Tensor) -> Tensor:
        return conv_downsample_2d(x, self.Conv2d_0.weight, self.kernel) + self.Conv2d_0.bias.reshape(1, -1, 1, 1)


class LiteralNCSNpp(nn.Module):
    """``model(x, time)`` as score-SDE and rectified flow call it."""

    def __init__(self, config: Config, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("sigmas", torch.linspace(50.0, 0.01, 10))
        nf, image = config.nf, config.num_channels
        self.resolutions = [config.image_size // 2**i for i in range(len(config.ch_mult))]
        top = len(config.ch_mult) - 1
        m: list[nn.Module] = []
        if config.embedding_type == "fourier":
            m.append(GaussianFourierProjection(nf))
        m.append(nn.Linear(2 * nf if config.embedding_type == "fourier" else nf, 4 * nf))
        m.append(nn.Linear(4 * nf, 4 * nf))
        m.append(nn.Conv2d(image, nf, 3, padding=1))
        hs_c, in_ch, pyramid_ch = [nf], nf, image
        for i in range(top + 1):
            for _ in range(config.num_res_blocks):
                out_ch = nf * config.ch_mult[i]
                m.append(ResnetBlockBigGAN(config, in_ch, out_ch))
                in_ch = out_ch
                if self.resolutions[i] in config.attn_resolutions:
                    m.append(AttnBlock(config, in_ch))
                hs_c.append(in_ch)
            if i != top:
                m.append(ResnetBlockBigGAN(config, in_ch, in_ch, down=True))
                if config.progressive_input == "input_skip":
                    m.append(Combine(image, in_ch))
                if config.progressive_input == "residual":
                    m.append(Downsample(config, pyramid_ch, in_ch))
                    pyramid_ch = in_ch
                hs_c.append(in_ch)
        m.append(ResnetBlockBigGAN(config, in_ch, in_ch))
        m.append(AttnBlock(config, in_ch))
        m.append(ResnetBlockBigGAN(config, in_ch, in_ch))
        for i in range(top, -1, -1):
            for _ in range(config.num_res_blocks + 1):
                out_ch = nf * config.ch_mult[i]
                m.append(ResnetBlockBigGAN(config, in_ch + hs_c.pop(), out_ch))
                in_ch = out_ch
            if self.resolutions[i] in config.attn_resolutions:
                m.append(AttnBlock(config, in_ch))
            if config.progressive == "output_skip":
                m += [group_norm(in_ch), nn.Conv2d(in_ch, image, 3, padding=1)]
            if i != 0:
                m.append(ResnetBlockBigGAN(config, in_ch, in_ch, up=True))
        if config.progressive != "output_skip":
            m += [group_norm(in_ch), nn.Conv2d(in_ch, image, 3, padding=1)]
        self.all_modules = nn.ModuleList(m)
        self.randomise(seed)

    def randomise(self, seed: int) -> None:
        """Random weights everywhere, also where training would begin at zero or one."""
        generator = torch.Generator().manual_seed(seed)
        for name, p in self.named_parameters():
            fan_in = p[0].numel() if p.ndim > 1 else 4
            p.data = torch.randn(p.shape, generator=generator) / math.sqrt(fan_in)
            if "GroupNorm" in name and name.endswith("weight"):
                p.data += 1
            if name == "all_modules.0.W":
                p.data *= 32  # standard deviation 16

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        c, m, k = self.config, self.all_modules, 0
        if c.embedding_type == "fourier":
            temb = m[k](torch.log(time))
            k += 1
        else:
            temb = timestep_embedding(time, c.nf)
        temb = m[k](temb)
        temb = m[k + 1](F.silu(temb))
        k += 2
        if not c.centered:
            x = 2 * x - 1
        input_pyramid = x
        hs = [m[k](x)]
        k += 1
        top = len(c.ch_mult) - 1
        for i in range(top + 1):
            for _ in range(c.num_res_blocks):
                h = m[k](hs[-1], temb)
                k += 1
                if h.shape[-1] in c.attn_resolutions:
                    h = m[k](h)
                    k += 1
                hs.append(h)
            if i != top:
                h = m[k](hs[-1], temb)
                k += 1
                if c.progressive_input == "input_skip":
                    input_pyramid = (
                        downsample_2d(input_pyramid, c.kernel) if c.fir else F.avg_pool2d(input_pyramid, 2, stride=2)
                    )
                    h = m[k](input_pyramid, h)
                    k += 1
                if c.progressive_input == "residual":
                    input_pyramid = m[k](input_pyramid)
                    k += 1
                    input_pyramid = input_pyramid + h
                    if c.skip_rescale:
                        input_pyramid = input_pyramid / math.sqrt(2)
                    h = input_pyramid
                hs.append(h)
        h = m[k](hs[-1], temb)
        h = m[k + 1](h)
        h = m[k + 2](h, temb)
        k += 3
        pyramid = None
        for i in range(top, -1, -1):
            for _ in range(c.num_res_blocks + 1):
                h = m[k](torch.cat([h, hs.pop()], dim=1), temb)
                k += 1
            if h.shape[-1] in c.attn_resolutions:
                h = m[k](h)
                k += 1
            if c.progressive == "output_skip":
                added = m[k + 1](F.silu(m[k](h)))
                k += 2
                if pyramid is None:
                    pyramid = added
                elif c.fir:
                    pyramid = upsample_2d(pyramid, c.kernel) + added
                else:
                    pyramid = F.interpolate(pyramid, scale_factor=2, mode="nearest") + added
            if i != 0:
                h = m[k](h, temb)
                k += 1
        if c.progressive == "output_skip":
            h = pyramid
        else:
            h = m[k + 1](F.silu(m[k](h)))
            k += 2
        assert k == len(m)
        if c.scale_by_sigma:
            h = h / time.view(-1, 1, 1, 1)
        return h
