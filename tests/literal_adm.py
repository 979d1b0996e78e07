"""The network of guided-diffusion as its paper and code describe it, with its names of weights: a reference that shares
no line with what it checks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Residual(nn.Module):
    def __init__(self, fed: int, made: int, time: int, film: bool, zoom: str = "") -> None:
        super().__init__()
        self.film, self.zoom = film, zoom
        self.in_layers = nn.Sequential(nn.GroupNorm(32, fed), nn.SiLU(), nn.Conv2d(fed, made, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(time, made * (2 if film else 1)))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(32, made), nn.SiLU(), nn.Dropout(0.0), nn.Conv2d(made, made, 3, padding=1)
        )
        self.skip_connection = nn.Identity() if fed == made else nn.Conv2d(fed, made, 1)

    def resize(self, x: Tensor) -> Tensor:
        if self.zoom == "down":
            return (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4
        return x.repeat_interleave(2, -1).repeat_interleave(2, -2) if self.zoom == "up" else x

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.in_layers[2](self.resize(self.in_layers[1](self.in_layers[0](x))))
        told = self.emb_layers(time)[:, :, None, None]
        if self.film:
            scale, shift = told.chunk(2, 1)
            h = self.out_layers[0](h) * (1 + scale) + shift
            h = self.out_layers[3](F.silu(h))
        else:
            h = self.out_layers(h + told)
        return self.skip_connection(self.resize(x)) + h


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, new_order: bool) -> None:
        super().__init__()
        self.heads, self.new_order = heads, new_order
        self.norm = nn.GroupNorm(32, width)
        self.qkv, self.proj_out = nn.Conv1d(width, 3 * width, 1), nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        flat = x.flatten(2)
        qkv, c = self.qkv(self.norm(flat)), x.shape[1] // self.heads
        made = []
        for h in range(self.heads):
            if self.new_order:  # q of all heads, k of all heads, v of all heads
                q, k, v = (qkv[:, i * x.shape[1] + h * c :][:, :c] for i in range(3))
            else:  # q, k, v of the first head, of the second ...
                q, k, v = (qkv[:, (3 * h + i) * c :][:, :c] for i in range(3))
            weight = (torch.einsum("bcq,bck->bqk", q, k) / math.sqrt(c)).softmax(2)
            made.append(torch.einsum("bqk,bck->bcq", weight, v))
        return (flat + self.proj_out(torch.cat(made, 1))).view_as(x)


class Down(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(width, width, 3, stride=2, padding=1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return self.op(x)


class Up(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return self.conv(x.repeat_interleave(2, -1).repeat_interleave(2, -2))


class First(nn.Conv2d):
    def forward(self, x: Tensor, time: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x)


class LiteralADM(nn.Module):
    """``attention``: the levels, 0 the finest, that attend. ``heads``: of all, or else of ``head_channels`` each."""

    def __init__(
        self,
        base: int = 32,
        mult: Sequence[float] = (1, 2),
        blocks: int = 1,
        attention: Sequence[int] = (1,),
        *,
        channels: int = 3,
        out: int = 6,
        classes: int | None = None,
        film: bool = True,
        updown: bool = True,
        heads: int | None = None,
        head_channels: int = 16,
        new_order: bool = False,
    ) -> None:
        super().__init__()
        self.base, t = base, 4 * base

        def attend(width: int) -> Attention:
            return Attention(width, heads or width // head_channels, new_order)

        self.time_embed = nn.Sequential(nn.Linear(base, t), nn.SiLU(), nn.Linear(t, t))
        self.label_emb = None if classes is None else nn.Embedding(classes, t)
        ch = int(mult[0] * base)
        entries: list[list[nn.Module]] = [[First(channels, ch, 3, padding=1)]]
        kept = [ch]
        for level, m in enumerate(mult):
            for _ in range(blocks):
                entries.append([Residual(ch, int(m * base), t, film)])
                ch = int(m * base)
                if level in attention:
                    entries[-1].append(attend(ch))
                kept.append(ch)
            if level < len(mult) - 1:
                entries.append([Residual(ch, ch, t, film, "down") if updown else Down(ch)])
                kept.append(ch)
        self.input_blocks = nn.ModuleList(map(nn.ModuleList, entries))
        self.middle_block = nn.ModuleList([Residual(ch, ch, t, film), attend(ch), Residual(ch, ch, t, film)])
        entries = []
        for level in reversed(range(len(mult))):
            for i in range(blocks + 1):
                entries.append([Residual(ch + kept.pop(), int(mult[level] * base), t, film)])
                ch = int(mult[level] * base)
                if level in attention:
                    entries[-1].append(attend(ch))
                if level and i == blocks:
                    entries[-1].append(Residual(ch, ch, t, film, "up") if updown else Up(ch))
        self.output_blocks = nn.ModuleList(map(nn.ModuleList, entries))
        self.out = nn.Sequential(nn.GroupNorm(32, ch), nn.SiLU(), nn.Conv2d(ch, out, 3, padding=1))

    def forward(self, x: Tensor, step: Tensor, label: Tensor | None = None) -> Tensor:
        half = self.base // 2  # frequencies from 1 to nearly 1/10000, in float32 as all have them
        angle = step.float()[:, None] * torch.exp(-math.log(10000) * torch.arange(half) / half)
        time = self.time_embed(torch.cat([angle.cos(), angle.sin()], 1).to(x.dtype))
        if self.label_emb is not None:
            time = time + self.label_emb(label)
        kept = []
        for entry in self.input_blocks:
            for module in entry:
                x = module(x, time)
            kept.append(x)
        for module in self.middle_block:
            x = module(x, time)
        for entry in self.output_blocks:
            x = torch.cat([x, kept.pop()], 1)
            for module in entry:
                x = module(x, time)
        return self.out(x)


def randomise(net: nn.Module, seed: int = 0) -> nn.Module:
    """Weights that leave nothing at zero or one: every layer, norm and bias tells in the output."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in net.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim > 1:
            gain = 2.0 if "qkv" in name else 1.0  # attentions that choose, not average
            parameter.data = gain * noise / math.sqrt(parameter[0].numel())
        else:
            parameter.data = 0.3 * noise + (1.0 if name.endswith("weight") else 0.0)
    return net.eval().requires_grad_(False)
