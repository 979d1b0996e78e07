"""Checkpoints of OpenAI's guided-diffusion (ADM; Dhariwal and Nichol, 2021) and of its forks, as a ``UNet2DModel``.

The two networks compute the same function, so a checkpoint is renamed, not retrained. What its keys tell is read from
them: widths, residual blocks a level, the levels that attend, how levels are joined, how the time enters, classes,
and whether a variance is predicted as well. What they do not tell is the user's to say:

| model | heads | order | betas |
|---|---|---|---|
| ImageNet 64 | 64 channels each | new | cosine |
| ImageNet 128 | 4 | legacy | linear |
| ImageNet 256 and 512, LSUN, FFHQ of DPS | 64 channels each | legacy | linear |

One convolution makes q, k and v. With h heads of c channels its outputs are numbered (h, 3, c) in the legacy order and
(3, h, c) in the new one.

The network predicts the noise at the steps 0 ... n - 1, which it is told as they are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from torch import Tensor

from ..errors import InvalidArgument, is_whole
from ..paths import DiscreteVP
from .clock import Between, Steps
from .unet2d import Converted, UNetPrior, UNetSpec

Schedule = Literal["linear", "cosine"]

MARKS = (
    "time_embed.0.weight",
    "input_blocks.0.0.weight",
    "middle_block.1.qkv.weight",
    "output_blocks.0.0.in_layers.2.weight",
    "out.2.weight",
)
"""Keys that every ADM network has. Its classifiers have no output blocks, latent diffusion other attentions."""

SIZES: Mapping[tuple[float, ...], int] = {
    (1, 2, 3, 4): 64,
    (1, 1, 2, 3, 4): 128,
    (1, 1, 2, 2, 4, 4): 256,
    (0.5, 1, 1, 2, 2, 4, 4): 512,
}
"""The pictures that ADM's scripts take the widths of the levels for, in multiples of ``num_channels``."""


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Whether the keys are those of an ADM network, also under "module.", "model." and the like."""
    return find_prefix(state, MARKS) is not None


def convert(
    state: Mapping[str, Tensor],
    *,
    heads: int | None = None,
    head_channels: int = 64,
    new_attention_order: bool = False,
) -> Converted:
    """The checkpoint as diffusers has it.

    heads: of every attention, as ADM's ``num_heads``; None for heads of ``head_channels`` channels each.
    new_attention_order: ADM's ``use_new_attention_order``.

    Errors: :class:`InvalidArgument` for ``checkpoint`` where keys are missing, too many or contradict each other.
    """
    prefix = find_prefix(state, MARKS)
    if prefix is None:
        raise InvalidArgument("checkpoint", ", ".join(list(state)[:3]), "the keys of an ADM network")
    for name, value in (("heads", heads), ("head_channels", head_channels)):
        if value is not None and not is_whole(value, 1):
            raise InvalidArgument(name, value, "a whole number of at least 1")
    keys = _Keys({key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)})
    layout = _Layout.of(keys)
    for width in layout.attended:
        if heads is None and width % head_channels:
            raise InvalidArgument("head_channels", head_channels, f"a divisor of the width {width} of an attention")
        if heads is not None and width % heads:
            raise InvalidArgument("heads", heads, f"a divisor of the width {width} of an attention")
    _rename(keys, layout, heads, head_channels, new_attention_order)
    if keys.left:
        raise InvalidArgument("checkpoint", next(iter(keys.left)), "no other keys than those of an ADM network")
    spec = UNetSpec(
        config=layout.config(None if heads is not None else head_channels),
        heads=heads,
        time_channels=None if layout.base == layout.widths[0] else layout.base,
    )
    return Converted(spec, keys.out)


def load(
    state: Mapping[str, Tensor],
    *,
    size: int | None = None,
    schedule: Schedule = "linear",
    steps: int = 1000,
    heads: int | None = None,
    head_channels: int = 64,
    new_attention_order: bool = False,
    between: Between = "interpolate",
    card: Mapping[str, Any] | None = None,
) -> UNetPrior:
    """The checkpoint as a prior.

    size: pixels of a side; None for what ADM's scripts take a network of these widths for. schedule, steps: its
    ``noise_schedule`` and ``diffusion_steps``. between: see :class:`~kintsugi.priors.clock.Steps`. Others: see
    :func:`convert`.
    """
    path = DiscreteVP(betas(schedule, steps))
    clock = Steps(path, between)
    converted = convert(state, heads=heads, head_channels=head_channels, new_attention_order=new_attention_order)
    channels, size, classes = check_picture(converted.spec, size)
    return UNetPrior(
        converted, path, "epsilon", clock, shape=(channels, size, size), data_variance=0.25, classes=classes, card=card
    )


def betas(schedule: Schedule, steps: int) -> tuple[float, ...]:
    """The variances of ADM's forward process.

    "linear": from 0.1 / n to 20 / n, those of Ho et al. (2020) at n = 1000. "cosine" (Nichol and Dhariwal, 2021):
    ``1 - a((i + 1) / n) / a(i / n)`` with ``a(t) = cos^2((t + 0.008) / 1.008 pi / 2)``, at most 0.999.

    >>> [round(beta, 6) for beta in betas("linear", 1000)[::999]]
    [0.0001, 0.02]
    """
    if schedule == "linear":
        if not is_whole(steps, 21):  # 20 / n < 1
            raise InvalidArgument("steps", steps, "a whole number of at least 21 for linear betas")
        return tuple((0.1 + 19.9 * i / (steps - 1)) / steps for i in range(steps))
    if schedule == "cosine":
        if not is_whole(steps, 2):
            raise InvalidArgument("steps", steps, "a whole number of at least 2")
        kept = [math.cos((i / steps + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(steps + 1)]
        return tuple(min(1 - after / before, 0.999) for before, after in pairwise(kept))
    raise InvalidArgument("schedule", schedule, "'linear' or 'cosine'")


def find_prefix(state: Mapping[str, Tensor], marks: tuple[str, ...]) -> str | None:
    """What wrappers ("module.", "model.", ...) put before every one of the ``marks``; None where they are not there."""
    for key in state:
        prefix = key.removesuffix(marks[0])
        wrapped = re.fullmatch(r"((module|model|network|net|unet|_orig_mod)\.)*", prefix)
        if key.endswith(marks[0]) and wrapped and all(prefix + mark in state for mark in marks):
            return prefix
    return None


def check_picture(spec: UNetSpec, size: int | None) -> tuple[int, int, int | None]:
    """Channels, pixels of a side and classes of the pictures of a network.

    Errors: :class:`InvalidArgument` for ``size``, and for networks that see more than the noisy picture.
    """
    config = spec.config
    channels, out = config["in_channels"], config["out_channels"]
    if out not in (channels, 2 * channels):
        what = "a network that sees a picture and nothing else (ADM's upsamplers see two)"
        raise InvalidArgument("checkpoint", f"{channels} channels in and {out} out", what)
    widths = config["block_out_channels"]
    multiple = 2 ** (len(widths) - 1)
    if size is None:
        base = spec.time_channels or widths[0]
        size = SIZES.get(tuple(width / base for width in widths))
        if size is None:
            raise InvalidArgument("size", None, f"the pixels of a side: the widths {widths} do not tell it")
    if not is_whole(size, multiple) or size % multiple:
        raise InvalidArgument("size", size, f"a multiple of {multiple}, which the network halves the picture by")
    return channels, size, config["num_class_embeds"]


class _Keys:
    """The keys that are left of a checkpoint, and those that diffusers has for the ones that were taken."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self.left = dict(state)
        self.out: dict[str, Tensor] = {}

    def __contains__(self, name: str) -> bool:
        return name in self.left

    def see(self, name: str, dims: int) -> Tensor:
        """A weight of so many dimensions, which stays."""
        weight = self.left.get(name)
        if weight is None:
            raise InvalidArgument("checkpoint", f"none called {name}", "all weights of an ADM network")
        if weight.ndim != dims:
            raise InvalidArgument("checkpoint", f"{name} of shape {tuple(weight.shape)}", f"{dims} dimensions")
        return weight

    def take(self, name: str, dims: int) -> Tensor:
        weight = self.see(name, dims)
        del self.left[name]
        return weight

    def move(self, theirs: str, ours: str, dims: int) -> None:
        """Weight, of so many dimensions, and bias of a layer."""
        self.out[f"{ours}.weight"] = self.take(f"{theirs}.weight", dims)
        self.out[f"{ours}.bias"] = self.take(f"{theirs}.bias", 1)

    def residual(self, theirs: str, ours: str) -> None:
        fed, made = self.see(f"{theirs}.in_layers.2.weight", 4).shape[1::-1]
        self.move(f"{theirs}.in_layers.0", f"{ours}.norm1", 1)
        self.move(f"{theirs}.in_layers.2", f"{ours}.conv1", 4)
        self.move(f"{theirs}.emb_layers.1", f"{ours}.time_emb_proj", 2)
        self.move(f"{theirs}.out_layers.0", f"{ours}.norm2", 1)
        self.move(f"{theirs}.out_layers.3", f"{ours}.conv2", 4)
        if fed != made:
            self.move(f"{theirs}.skip_connection", f"{ours}.conv_shortcut", 4)

    def attention(self, theirs: str, ours: str, heads: int | None, head_channels: int, new_order: bool) -> None:
        self.move(f"{theirs}.norm", f"{ours}.group_norm", 1)
        width = len(self.out[f"{ours}.group_norm.weight"])
        heads = heads or width // head_channels
        for part in ("weight", "bias"):
            weight = self.take(f"{theirs}.qkv.{part}", 3 if part == "weight" else 1)
            if len(weight) != 3 * width:
                raise InvalidArgument("checkpoint", f"{theirs}.qkv.{part} of {len(weight)} rows", f"{3 * width} rows")
            split = weight.unflatten(0, (3, heads, -1) if new_order else (heads, 3, -1)).unbind(0 if new_order else 1)
            for name, value in zip("qkv", split, strict=True):
                self.out[f"{ours}.to_{name}.{part}"] = value.reshape(width, *weight.shape[1:2])
        self.out[f"{ours}.to_out.0.weight"] = self.take(f"{theirs}.proj_out.weight", 3).squeeze(-1)
        self.out[f"{ours}.to_out.0.bias"] = self.take(f"{theirs}.proj_out.bias", 1)


@dataclass(frozen=True)
class _Layout:
    """What the keys tell of a network.

    base: ADM's ``num_channels``. widths: of the levels, finest first. blocks: residual blocks of a level on the way
    down; on the way up it has one more. attends: each level. resample: "resnet" or "conv", how levels are joined.
    """

    base: int
    widths: tuple[int, ...]
    blocks: int
    attends: tuple[bool, ...]
    resample: str
    time_width: int
    scale_shift: bool
    channels: int
    out_channels: int
    classes: int | None

    @classmethod
    def of(cls, keys: _Keys) -> _Layout:
        # A block that halves the picture has the keys of any other. One that doubles it stands behind the last block
        # of its level, as the second or third module of the same entry, and so gives the number of blocks away.
        count = len({int(k.split(".")[1]) for k in keys.left if re.match(r"output_blocks\.\d+\.", k)})
        joins = {
            kind: [k for k in range(count) if any(f"output_blocks.{k}.{j}.{mark}.weight" in keys for j in (1, 2))]
            for kind, mark in (("resnet", "in_layers.2"), ("conv", "conv"))
        }
        kind = "resnet" if joins["resnet"] else "conv"
        period = joins[kind][0] + 1 if joins[kind] else count
        starts = range(1, 1 + count, period)
        if count % period or period < 2 or joins[kind] != list(range(period - 1, count - 1, period)):
            what = "levels of as many blocks each, joined by convolutions or by residual blocks"
            raise InvalidArgument("checkpoint", f"{count} output blocks, joined at {joins[kind]}", what)
        time_width, base = keys.see("time_embed.0.weight", 2).shape
        widths = tuple(keys.see(f"input_blocks.{k}.0.in_layers.2.weight", 4).shape[0] for k in starts)
        time_rows = keys.see("input_blocks.1.0.emb_layers.1.weight", 2).shape[0]
        first = keys.see("input_blocks.0.0.weight", 4)
        if len(first) != widths[0]:
            raise InvalidArgument("checkpoint", f"{len(first)} channels into level 0", f"its width, {widths[0]}")
        return cls(
            base=base,
            widths=widths,
            blocks=period - 1,
            attends=tuple(f"input_blocks.{k}.1.qkv.weight" in keys for k in starts),
            resample=kind,
            time_width=time_width,
            scale_shift=time_rows == 2 * widths[0],
            channels=first.shape[1],
            out_channels=keys.see("out.2.weight", 4).shape[0],
            classes=keys.see("label_emb.weight", 2).shape[0] if "label_emb.weight" in keys else None,
        )

    @property
    def attended(self) -> set[int]:
        """The widths of the attentions; the middle always has one."""
        return {self.widths[-1]} | {w for w, attends in zip(self.widths, self.attends, strict=True) if attends}

    def config(self, head_channels: int | None) -> dict[str, Any]:
        """Of ``UNet2DModel``."""
        plain = "Resnet{}sampleBlock2D" if self.resample == "resnet" else "{}Block2D"
        down = [("Attn{}Block2D" if attends else plain).format("Down") for attends in self.attends]
        up = [("Attn{}Block2D" if attends else plain).format("Up") for attends in reversed(self.attends)]
        return {
            "in_channels": self.channels,
            "out_channels": self.out_channels,
            "block_out_channels": self.widths,
            "layers_per_block": self.blocks,
            "down_block_types": tuple(down),
            "up_block_types": tuple(up),
            "downsample_type": self.resample,
            "upsample_type": self.resample,
            "attention_head_dim": head_channels,
            "time_embedding_dim": self.time_width,
            "freq_shift": 0,
            "flip_sin_to_cos": True,
            "resnet_time_scale_shift": "scale_shift" if self.scale_shift else "default",
            "norm_num_groups": 32,
            # By itself the middle would leave the norm of its attention out, with scale and shift.
            "attn_norm_num_groups": 32,
            "norm_eps": 1e-5,
            "num_class_embeds": self.classes,
        }


def _rename(keys: _Keys, layout: _Layout, heads: int | None, head_channels: int, new_order: bool) -> None:
    def attention(theirs: str, ours: str) -> None:
        keys.attention(theirs, ours, heads, head_channels, new_order)

    keys.move("time_embed.0", "time_embedding.linear_1", 2)
    keys.move("time_embed.2", "time_embedding.linear_2", 2)
    if layout.classes is not None:
        keys.out["class_embedding.weight"] = keys.take("label_emb.weight", 2)
    keys.move("input_blocks.0.0", "conv_in", 4)
    levels, last = len(layout.widths), layout.blocks
    for level, attends in enumerate(layout.attends):
        ours, first = f"down_blocks.{level}", 1 + level * (last + 1)
        for i in range(last):
            keys.residual(f"input_blocks.{first + i}.0", f"{ours}.resnets.{i}")
            if attends:
                attention(f"input_blocks.{first + i}.1", f"{ours}.attentions.{i}")
        if level < levels - 1 and layout.resample == "resnet":
            keys.residual(f"input_blocks.{first + last}.0", f"{ours}.downsamplers.0")
        elif level < levels - 1:
            keys.move(f"input_blocks.{first + last}.0.op", f"{ours}.downsamplers.0.conv", 4)
    keys.residual("middle_block.0", "mid_block.resnets.0")
    attention("middle_block.1", "mid_block.attentions.0")
    keys.residual("middle_block.2", "mid_block.resnets.1")
    for up, attends in enumerate(reversed(layout.attends)):
        ours, first = f"up_blocks.{up}", up * (last + 1)
        for i in range(last + 1):
            keys.residual(f"output_blocks.{first + i}.0", f"{ours}.resnets.{i}")
            if attends:
                attention(f"output_blocks.{first + i}.1", f"{ours}.attentions.{i}")
        theirs = f"output_blocks.{first + last}.{2 if attends else 1}"
        if up < levels - 1 and layout.resample == "resnet":
            keys.residual(theirs, f"{ours}.upsamplers.0")
        elif up < levels - 1:
            keys.move(f"{theirs}.conv", f"{ours}.upsamplers.0.conv", 4)
    keys.move("out.0", "conv_norm_out", 1)
    keys.move("out.2", "conv_out", 4)
