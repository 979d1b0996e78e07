"""EDM's SongUNet as one function of a state with its names: slow, plain, written from the paper's appendix F."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from literal_ncsnpp import upfirdn


@dataclass
class Song:
    """What a SongUNet is built from."""

    size: int = 8
    channels: int = 3
    width: int = 8
    multipliers: tuple[int, ...] = (2, 2)
    blocks: int = 1
    attention: tuple[int, ...] = (4,)
    fourier: bool = False
    residual: bool = False
    fir: bool = False
    classes: int = 0
    augment: int = 0

    @property
    def sizes(self) -> list[int]:
        return [self.size // 2**i for i in range(len(self.multipliers))]


class Builder:
    """Random weights of a state, everywhere."""

    def __init__(self, song: Song, seed: int) -> None:
        self.song, self.state, self.generator = song, dict[str, Tensor](), torch.Generator().manual_seed(seed)

    def random(self, name: str, *shape: int, shift: float = 0.0) -> None:
        fan_in = math.prod(shape[1:]) if len(shape) > 1 else 4
        self.state[name] = shift + torch.randn(shape, generator=self.generator).double() / math.sqrt(fan_in)

    def affine(self, name: str, *shape: int) -> None:
        self.random(f"{name}.weight", *shape, shift=1.0 if len(shape) == 1 else 0.0)
        self.random(f"{name}.bias", shape[0])

    def resampled(self, name: str) -> None:
        row = torch.tensor([1.0, 3.0, 3.0, 1.0] if self.song.fir else [1.0, 1.0]).double()
        self.state[f"{name}.resample_filter"] = (torch.outer(row, row) / row.sum() ** 2)[None, None]

    def block(self, name: str, before: int, after: int, resample: bool = False, attention: bool = False) -> None:
        self.affine(f"{name}.norm0", before)
        self.affine(f"{name}.conv0", after, before, 3, 3)
        self.affine(f"{name}.affine", after, 4 * self.song.width)
        self.affine(f"{name}.norm1", after)
        self.affine(f"{name}.conv1", after, after, 3, 3)
        if resample or before != after:
            self.affine(f"{name}.skip", after, before, 1, 1)
        if resample:
            self.resampled(f"{name}.conv0")
            self.resampled(f"{name}.skip")
        if attention:
            self.affine(f"{name}.norm2", after)
            self.affine(f"{name}.qkv", 3 * after, after, 1, 1)
            self.affine(f"{name}.proj", after, after, 1, 1)


def random_state(song: Song, seed: int = 0) -> dict[str, Tensor]:
    b = Builder(song, seed)
    told = song.width * (2 if song.fourier else 1)
    if song.fourier:
        b.state["map_noise.freqs"] = 16 * torch.randn(song.width, generator=b.generator).double()
    if song.classes:
        b.affine("map_label", told, song.classes)
    if song.augment:
        b.random("map_augment.weight", told, song.augment)
    b.affine("map_layer0", 4 * song.width, told)
    b.affine("map_layer1", 4 * song.width, 4 * song.width)
    now, aux, skips = song.width, song.channels, [song.width]
    for n, multiplier in zip(song.sizes, song.multipliers, strict=True):
        if n == song.size:
            b.affine(f"enc.{n}x{n}_conv", now, song.channels, 3, 3)
        else:
            b.block(f"enc.{n}x{n}_down", now, now, resample=True)
            if song.residual:
                b.affine(f"enc.{n}x{n}_aux_residual", now, aux, 3, 3)
                b.resampled(f"enc.{n}x{n}_aux_residual")
                aux = now
            skips.append(now)
        for k in range(song.blocks):
            b.block(f"enc.{n}x{n}_block{k}", now, song.width * multiplier, attention=n in song.attention)
            now = song.width * multiplier
            skips.append(now)
    for n, multiplier in zip(song.sizes[::-1], song.multipliers[::-1], strict=True):
        if n == song.sizes[-1]:
            b.block(f"dec.{n}x{n}_in0", now, now, attention=True)
            b.block(f"dec.{n}x{n}_in1", now, now)
        else:
            b.block(f"dec.{n}x{n}_up", now, now, resample=True)
        for k in range(song.blocks + 1):
            attends = k == song.blocks and n in song.attention
            b.block(f"dec.{n}x{n}_block{k}", now + skips.pop(), song.width * multiplier, attention=attends)
            now = song.width * multiplier
    b.affine(f"dec.{song.size}x{song.size}_aux_norm", now)
    b.affine(f"dec.{song.size}x{song.size}_aux_conv", song.channels, now, 3, 3)
    return b.state


def song_unet(song: Song, s: dict[str, Tensor], x: Tensor, c_noise: Tensor, labels: Tensor | None = None) -> Tensor:
    """``labels``: (B, classes), one-hot."""

    def conv(name: str, h: Tensor) -> Tensor:
        w = s[f"{name}.weight"]
        return F.conv2d(h, w, s[f"{name}.bias"], padding=w.shape[-1] // 2)

    def linear(name: str, h: Tensor) -> Tensor:
        return h @ s[f"{name}.weight"].T + s[f"{name}.bias"]

    def norm(name: str, h: Tensor) -> Tensor:
        groups = min(32, h.shape[1] // 4)
        parts = h.view(len(h), groups, -1)
        mean, var = parts.mean(-1, keepdim=True), parts.var(-1, unbiased=False, keepdim=True)
        h = ((parts - mean) / (var + 1e-6).sqrt()).view(h.shape)
        return h * s[f"{name}.weight"][:, None, None] + s[f"{name}.bias"][:, None, None]

    def resample(name: str, h: Tensor, way: str) -> Tensor:
        k = s[f"{name}.resample_filter"][0, 0]
        p = (len(k) - 1) // 2
        if way == "down":
            return upfirdn(h, k, down=2, pad=(p, p))
        return upfirdn(h, 4 * k, up=2, pad=(len(k) // 2, p))  # a transposed convolution, cut by p on either side

    def block(name: str, h: Tensor, way: str = "") -> Tensor:
        a = F.silu(norm(f"{name}.norm0", h))
        if way:
            a = resample(f"{name}.conv0", a, way)
            h = resample(f"{name}.skip", h, way)
        a = conv(f"{name}.conv0", a) + linear(f"{name}.affine", emb)[:, :, None, None]
        a = conv(f"{name}.conv1", F.silu(norm(f"{name}.norm1", a)))
        h = (a + (conv(f"{name}.skip", h) if f"{name}.skip.weight" in s else h)) * math.sqrt(0.5)
        if f"{name}.qkv.weight" in s:
            width = h.shape[1]
            qkv = conv(f"{name}.qkv", norm(f"{name}.norm2", h)).view(len(h), width, 3, -1)
            q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
            w = torch.softmax(torch.einsum("ncq,nck->nqk", q, k) / math.sqrt(width), dim=2)
            h = (h + conv(f"{name}.proj", torch.einsum("nqk,nck->ncq", w, v).reshape(h.shape))) * math.sqrt(0.5)
        return h

    if song.fourier:
        angles = c_noise[:, None] * 2 * math.pi * s["map_noise.freqs"]
    else:
        half = song.width // 2
        angles = c_noise[:, None] * torch.tensor([1e-4 ** (k / (half - 1)) for k in range(half)], dtype=x.dtype)
    emb = torch.cat([angles.sin(), angles.cos()], dim=1)
    if labels is not None:
        emb = emb + linear("map_label", labels * math.sqrt(labels.shape[1]))
    emb = F.silu(linear("map_layer1", F.silu(linear("map_layer0", emb))))

    h, aux, skips = x, x, []
    for n in song.sizes:
        if n == song.size:
            h = conv(f"enc.{n}x{n}_conv", h)
        else:
            h = block(f"enc.{n}x{n}_down", h, "down")
            if song.residual:
                # The convolution first, over a border of two, then the filter at every other pixel.
                name = f"enc.{n}x{n}_aux_residual"
                wide = F.conv2d(
                    aux, s[f"{name}.weight"], padding=1 + (len(s[f"{name}.resample_filter"][0, 0]) - 1) // 2
                )
                small = upfirdn(wide, s[f"{name}.resample_filter"][0, 0], down=2)
                h = aux = (h + small + s[f"{name}.bias"][:, None, None]) / math.sqrt(2)
        skips.append(h)
        for k in range(song.blocks):
            h = block(f"enc.{n}x{n}_block{k}", h)
            skips.append(h)
    for n in song.sizes[::-1]:
        if n == song.sizes[-1]:
            h = block(f"dec.{n}x{n}_in1", block(f"dec.{n}x{n}_in0", h))
        else:
            h = block(f"dec.{n}x{n}_up", h, "up")
        for k in range(song.blocks + 1):
            h = block(f"dec.{n}x{n}_block{k}", torch.cat([h, skips.pop()], dim=1))
    return conv(f"dec.{song.size}x{song.size}_aux_conv", F.silu(norm(f"dec.{song.size}x{song.size}_aux_norm", h)))


def edm_denoiser(
    song: Song, s: dict[str, Tensor], x: Tensor, sigma: float, labels: Tensor | None = None, sigma_data: float = 0.5
) -> Tensor:
    """Karras et al. (2022), equation 7 and table 1."""
    c_skip = sigma_data**2 / (sigma**2 + sigma_data**2)
    c_out = sigma * sigma_data / math.sqrt(sigma**2 + sigma_data**2)
    c_in = 1 / math.sqrt(sigma_data**2 + sigma**2)
    c_noise = torch.full((len(x),), math.log(sigma) / 4, dtype=x.dtype)
    return c_skip * x + c_out * song_unet(song, s, c_in * x, c_noise, labels)
